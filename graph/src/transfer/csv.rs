//! Files for `neo4j-admin database import`: for each label and each kind of relation a header and its rows.
//!
//! The graph is walked twice, because a header names every column with its type before the first row. Keys are in an ID
//! space a label (`uid:ID(Pod)`), so that two labels may have the same key. Texts are always in quotes, so that an empty
//! text stays one and an absent property stays absent. Beside the rows stand `import.args` with the arguments of the
//! import, `after.cypher` to run after it (schema, and lists without items, which a column cannot hold), and README.txt with
//! both commands.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use tapio_core::ontology::Label;
use tapio_core::ports::{Cell, GraphStore};

use super::walk::{Piece, Tally, Walker};
use super::{TransferError, cannot_write, cypher};
use crate::projection::second_label;

/// Stands between the items of a list; no text of a cluster holds it, and one that does is refused.
const BETWEEN: char = '\u{1f}';

/// Rows of one statement after the import.
const ROWS: usize = 200;

const README: &str = "\
A graph of Tapio for neo4j-admin. On the server, stopped, in this folder:

  neo4j-admin database import full neo4j @import.args

Then start the server, and make constraints, indexes and what a column cannot hold:

  cypher-shell -f after.cypher
";

/// Which file a row belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Group {
    /// Label and second labels.
    Nodes(&'static str, Vec<String>),
    /// Labels of the ends around the type.
    Relations(&'static str, String, &'static str),
}

impl Group {
    fn name(&self) -> String {
        match self {
            Group::Nodes(label, also) => {
                [&["nodes", *label], &*also.iter().map(String::as_str).collect::<Vec<_>>()].concat().join("-")
            }
            Group::Relations(from, relation, to) => format!("relations-{from}-{relation}-{to}"),
        }
    }
}

/// Names of the columns with their types.
type Columns = BTreeMap<String, &'static str>;

/// Writes a graph into a folder that is there and empty.
///
/// # Errors
/// [`TransferError::Store`], [`TransferError::Write`]; [`TransferError::Form`] for a property that is of two types in
/// one file.
pub async fn export(store: &dyn GraphStore, dir: &Path) -> Result<Tally, TransferError> {
    let mut groups: BTreeMap<Group, Columns> = BTreeMap::new();
    let mut walker = Walker::new(store);
    while let Some(piece) = walker.next().await? {
        each_row(&piece, |group, _, props| columns(groups.entry(group).or_default(), props))?;
    }
    let mut files = Files { dir, groups: &groups, open: BTreeMap::new(), after: After::create(dir)? };
    let mut walker = Walker::new(store);
    while let Some(piece) = walker.next().await? {
        each_row(&piece, |group, keys, props| files.row(group, keys, props))?;
    }
    files.close()?;
    let mut args =
        String::from("--multiline-fields=true\n--array-delimiter=U+001F\n--id-type=string\n--bad-tolerance=0\n");
    for (group, columns) in &groups {
        let name = group.name();
        write(dir, &format!("{name}-header.csv"), &header(group, columns))?;
        let (kind, of) = match group {
            Group::Nodes(label, also) => {
                ("nodes", [&[*label], &*also.iter().map(String::as_str).collect::<Vec<_>>()].concat().join(":"))
            }
            Group::Relations(_, relation, _) => ("relationships", relation.clone()),
        };
        args += &format!("--{kind}={of}={name}-header.csv,{name}.csv\n");
    }
    write(dir, "import.args", &args)?;
    write(dir, "README.txt", README)?;
    Ok(walker.tally())
}

fn each_row(
    piece: &Piece,
    mut each: impl FnMut(Group, [&str; 2], &BTreeMap<String, Cell>) -> Result<(), TransferError>,
) -> Result<(), TransferError> {
    match piece {
        Piece::Nodes(page) => page.iter().try_for_each(|n| {
            let also = n.also.iter().filter_map(|a| second_label(a)).collect();
            each(Group::Nodes(n.node.label.as_str(), also), [&n.node.key, ""], &n.props)
        }),
        Piece::Relations(page) => page.iter().try_for_each(|r| {
            let group = Group::Relations(r.from.label.as_str(), r.relation.clone(), r.to.label.as_str());
            each(group, [&r.from.key, &r.to.key], &r.props)
        }),
    }
}

/// Adds the columns of a row.
fn columns(columns: &mut Columns, props: &BTreeMap<String, Cell>) -> Result<(), TransferError> {
    for (name, value) in props {
        let Some(kind) = type_of(value) else { continue };
        let known = columns.entry(name.clone()).or_insert(kind);
        if *known != kind {
            return Err(TransferError::Form(format!(
                "`{name}` is {known} in one place and {kind} in another, which a column cannot be; use --format jsonl or \
                 cypher"
            )));
        }
    }
    Ok(())
}

fn type_of(cell: &Cell) -> Option<&'static str> {
    Some(match cell {
        Cell::Null | Cell::Map(_) => return None,
        Cell::Bool(_) => "boolean",
        Cell::Int(_) => "long",
        Cell::Float(_) => "double",
        Cell::Time(_) => "datetime",
        Cell::Text(_) => "string",
        Cell::List(_) => "string[]",
    })
}

fn header(group: &Group, columns: &Columns) -> String {
    let ends = match group {
        Group::Nodes(label, _) => {
            vec![format!("{}:ID({label})", key_of(label))]
        }
        Group::Relations(from, _, to) => vec![format!(":START_ID({from})"), format!(":END_ID({to})")],
    };
    let props = columns.iter().map(|(name, kind)| format!("{name}:{kind}"));
    format!("{}\n", ends.into_iter().chain(props).collect::<Vec<_>>().join(","))
}

/// The open files of rows: as many as there are groups, some hundred at most.
struct Files<'a> {
    dir: &'a Path,
    groups: &'a BTreeMap<Group, Columns>,
    open: BTreeMap<Group, BufWriter<File>>,
    after: After,
}

impl Files<'_> {
    fn row(&mut self, group: Group, keys: [&str; 2], props: &BTreeMap<String, Cell>) -> Result<(), TransferError> {
        let path = self.dir.join(format!("{}.csv", group.name()));
        let cannot = cannot_write(&path.display().to_string());
        // A group that was not there at the first walk came meanwhile.
        let Some(columns) = self.groups.get(&group) else { return Err(changed()) };
        if props.iter().any(|(name, v)| type_of(v).is_some_and(|t| columns.get(name) != Some(&t))) {
            return Err(changed());
        }
        let mut cells: Vec<String> = match &group {
            Group::Nodes(..) => vec![quoted(keys[0])],
            Group::Relations(..) => keys.map(quoted).into(),
        };
        for name in columns.keys() {
            if matches!(props.get(name), Some(Cell::List(items)) if items.is_empty()) {
                self.after.empty_list(&group, name, keys)?;
            }
            cells.push(props.get(name).map_or(Ok(String::new()), cell)?);
        }
        let file = match self.open.entry(group) {
            std::collections::btree_map::Entry::Occupied(open) => open.into_mut(),
            std::collections::btree_map::Entry::Vacant(new) => {
                new.insert(BufWriter::new(File::create(&path).map_err(&cannot)?))
            }
        };
        writeln!(file, "{}", cells.join(",")).map_err(&cannot)
    }

    fn close(self) -> Result<(), TransferError> {
        self.after.close()?;
        for (group, file) in self.open {
            let cannot = cannot_write(&format!("{}.csv", group.name()));
            let file = file.into_inner().map_err(|e| cannot(e.into_error()))?;
            file.sync_all().map_err(&cannot)?;
        }
        Ok(())
    }
}

/// The statements that have to run after the import.
struct After {
    file: BufWriter<File>,
    what: String,
    /// Ends of relations, or a node's key and nothing, with a list without items under this name.
    empty: BTreeMap<(Group, String), Vec<[String; 2]>>,
}

impl After {
    fn create(dir: &Path) -> Result<Self, TransferError> {
        let path = dir.join("after.cypher");
        let what = path.display().to_string();
        let cannot = cannot_write(&what);
        let mut file = BufWriter::new(File::create(&path).map_err(&cannot)?);
        cypher::schema().iter().try_for_each(|s| writeln!(file, "{s};")).map_err(&cannot)?;
        writeln!(file, "CALL db.awaitIndexes(300);").map_err(&cannot)?;
        Ok(After { file, what, empty: BTreeMap::new() })
    }

    fn empty_list(&mut self, group: &Group, name: &str, keys: [&str; 2]) -> Result<(), TransferError> {
        let rows = self.empty.entry((group.clone(), name.to_owned())).or_default();
        rows.push(keys.map(str::to_owned));
        if rows.len() >= ROWS { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> Result<(), TransferError> {
        let cannot = cannot_write(&self.what);
        for ((group, name), rows) in std::mem::take(&mut self.empty) {
            let rows: Vec<String> =
                rows.iter().map(|[a, b]| format!("[{}, {}]", cypher::text(a), cypher::text(b))).collect();
            let find = match &group {
                Group::Nodes(label, _) => format!("MATCH (x:{label} {{{}: r[0]}})", key_of(label)),
                Group::Relations(from, relation, to) => format!(
                    "MATCH (:{from} {{{}: r[0]}})-[x:{relation}]->(:{to} {{{}: r[1]}})",
                    key_of(from),
                    key_of(to)
                ),
            };
            writeln!(self.file, "UNWIND [{}] AS r {find} SET x.`{name}` = [];", rows.join(", ")).map_err(&cannot)?;
        }
        Ok(())
    }

    fn close(mut self) -> Result<(), TransferError> {
        self.write()?;
        let cannot = cannot_write(&self.what);
        let file = self.file.into_inner().map_err(|e| cannot(e.into_error()))?;
        file.sync_all().map_err(&cannot)
    }
}

/// The property that is the key of a label.
fn key_of(label: &str) -> &'static str {
    Label::ALL.iter().find(|l| l.as_str() == label).map_or("uid", |l| l.key_property())
}

fn changed() -> TransferError {
    TransferError::Form("somebody writes into the graph meanwhile; stop that, then export again".to_owned())
}

fn cell(value: &Cell) -> Result<String, TransferError> {
    Ok(match value {
        Cell::Null | Cell::Map(_) => String::new(),
        Cell::Bool(b) => b.to_string(),
        Cell::Int(i) => i.to_string(),
        Cell::Float(f) if f.is_infinite() => if *f < 0.0 { "-Infinity" } else { "Infinity" }.to_owned(),
        Cell::Float(f) => format!("{f:?}"),
        Cell::Time(t) => t.to_string(),
        Cell::Text(s) => quoted(s),
        Cell::List(items) => {
            let texts: Vec<&str> =
                items.iter().filter_map(|i| if let Cell::Text(s) = i { Some(&**s) } else { None }).collect();
            if texts.iter().any(|t| t.contains(BETWEEN)) || texts == [""] {
                return Err(TransferError::Form(
                    "a list holds a text that CSV cannot; use --format jsonl or cypher".to_owned(),
                ));
            }
            // One without items stands in `after.cypher`.
            if texts.is_empty() {
                return Ok(String::new());
            }
            quoted(&texts.join(&BETWEEN.to_string()))
        }
    })
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

fn write(dir: &Path, name: &str, text: &str) -> Result<(), TransferError> {
    let path = dir.join(name);
    let cannot = cannot_write(&path.display().to_string());
    let mut file = File::create(&path).map_err(&cannot)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(&cannot)
}
