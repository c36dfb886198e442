//! A Cypher script: constraints and indexes, then nodes and relations, merged in batches.
//!
//! It runs unchanged in cypher-shell (`cypher-shell -f FILE`) and in Neo4j Browser, on an empty database or on one that
//! has a part of it already. Every statement ends its line with a semicolon; no text of the graph breaks a line.

use std::collections::BTreeMap;
use std::io::Write;

use tapio_core::ontology::{Label, Relation};
use tapio_core::ports::{Cell, GraphStore, StoredNode, StoredRelation};

use super::walk::{Piece, Tally, Walker};
use super::{TransferError, cannot_write, relation_of};
use crate::projection::second_label;
use crate::statements;

/// Rows of one statement; larger ones are slow to parse.
const ROWS: usize = 200;

/// Writes a graph; `what` names the output in errors.
///
/// # Errors
/// [`TransferError::Store`], [`TransferError::Write`].
pub async fn export(store: &dyn GraphStore, out: &mut (dyn Write + Send), what: &str) -> Result<Tally, TransferError> {
    let cannot = cannot_write(what);
    writeln!(out, "// A graph of Tapio. Run it with: cypher-shell -f FILE").map_err(&cannot)?;
    for ddl in schema() {
        writeln!(out, "{ddl};").map_err(&cannot)?;
    }
    writeln!(out, "CALL db.awaitIndexes(300);").map_err(&cannot)?;
    let mut walker = Walker::new(store);
    while let Some(piece) = walker.next().await? {
        match piece {
            Piece::Nodes(page) => nodes(out, &page),
            Piece::Relations(page) => relations(out, &page),
        }
        .map_err(&cannot)?;
    }
    let tally = walker.tally();
    writeln!(out, "// {} nodes, {} relations, hash {}", tally.nodes, tally.relations, tally.hash()).map_err(&cannot)?;
    Ok(tally)
}

/// Every statement of the schema in Neo4j's words, the mark of the format first.
pub fn schema() -> Vec<String> {
    let mark =
        format!("CREATE INDEX tapio_format_{} IF NOT EXISTS FOR (n:TapioFormat) ON (n.version)", crate::neo4j::FORMAT);
    std::iter::once(mark).chain(statements::schema().into_iter().map(statements::neo4j_index)).collect()
}

fn nodes(out: &mut dyn Write, page: &[StoredNode]) -> std::io::Result<()> {
    let mut groups: BTreeMap<(Label, Vec<String>), Vec<&StoredNode>> = BTreeMap::new();
    for n in page {
        let also = n.also.iter().filter_map(|a| second_label(a)).collect();
        groups.entry((n.node.label, also)).or_default().push(n);
    }
    for ((label, also), nodes) in groups {
        for some in nodes.chunks(ROWS) {
            let rows = some.iter().map(|n| format!("{{key: {}, props: {}}}", text(&n.node.key), map(&n.props)));
            statement(out, &statements::merge_nodes(label, &also), rows)?;
        }
    }
    Ok(())
}

fn relations(out: &mut dyn Write, page: &[StoredRelation]) -> std::io::Result<()> {
    let mut groups: BTreeMap<(Label, Relation, Label), Vec<&StoredRelation>> = BTreeMap::new();
    for r in page {
        if let Some(relation) = relation_of(&r.relation) {
            groups.entry((r.from.label, relation, r.to.label)).or_default().push(r);
        }
    }
    for ((from, relation, to), found) in groups {
        for some in found.chunks(ROWS) {
            let row = |r: &&StoredRelation| {
                format!("{{from: {}, to: {}, props: {}}}", text(&r.from.key), text(&r.to.key), map(&r.props))
            };
            statement(out, &statements::link(from, relation, to), some.iter().map(row))?;
        }
    }
    Ok(())
}

/// A statement of the catalog with its rows written out.
fn statement(out: &mut dyn Write, catalog: &str, rows: impl Iterator<Item = String>) -> std::io::Result<()> {
    let (before, after) = catalog.split_once("$rows").unwrap_or((catalog, ""));
    writeln!(out, "{before}[\n  {}\n]{after};", rows.collect::<Vec<_>>().join(",\n  "))
}

fn map(props: &BTreeMap<String, Cell>) -> String {
    let entries: Vec<String> =
        props.iter().filter(|(_, v)| **v != Cell::Null).map(|(k, v)| format!("`{k}`: {}", value(v))).collect();
    format!("{{{}}}", entries.join(", "))
}

fn value(cell: &Cell) -> String {
    match cell {
        Cell::Null | Cell::Map(_) => "null".to_owned(),
        Cell::Bool(b) => b.to_string(),
        // Its digits alone are one too many for a whole number.
        Cell::Int(i64::MIN) => "(-9223372036854775807 - 1)".to_owned(),
        Cell::Int(i) => i.to_string(),
        Cell::Float(f) if f.is_nan() => "(0.0 / 0.0)".to_owned(),
        Cell::Float(f) if f.is_infinite() => format!("({}1.0 / 0.0)", if *f < 0.0 { "-" } else { "" }),
        Cell::Float(f) => format!("{f:?}"),
        Cell::Time(t) => format!("datetime('{t}')"),
        Cell::Text(s) => text(s),
        Cell::List(items) => format!("[{}]", items.iter().map(value).collect::<Vec<_>>().join(", ")),
    }
}

/// A text as a literal of one line, in which nothing can be taken for anything else.
pub(super) fn text(s: &str) -> String {
    let mut out = String::with_capacity(s.len() + 2);
    out.push('\'');
    let mut rest = s.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\\' => {
                out.push_str("\\\\");
                // Neo4j reads a unicode escape before it reads the text: `\\u0041` must not become one.
                if rest.peek() == Some(&'u') {
                    out.push_str("' + '");
                }
            }
            '\'' => out.push_str("\\'"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}') => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out.push('\'');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_numbers_are_literals() {
        for (typed, want) in [
            ("a'b", r"'a\'b'"),
            ("a\nb;\n", r"'a\nb;\n'"),
            (r"c:\users", r"'c:\\' + 'users'"),
            ("\u{0}\u{7f}", r"'\u0000\u007f'"),
            ("// no comment", "'// no comment'"),
        ] {
            assert_eq!(text(typed), want);
        }
        for (cell, want) in [
            (Cell::Float(1.0), "1.0"),
            (Cell::Float(1e300), "1e300"),
            (Cell::Int(-3), "-3"),
            (Cell::List(vec![Cell::Text("a".into())]), "['a']"),
            (Cell::Null, "null"),
        ] {
            assert_eq!(value(&cell), want);
        }
    }
}
