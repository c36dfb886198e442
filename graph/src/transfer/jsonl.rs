//! JSON lines: a head, nodes, relations, and an end that counts and has the hash.
//!
//! ```json
//! {"format":1,"tapio":"graph"}
//! {"key":"9a…","node":"Pod","props":{"created_at":{"$time":"2024-01-15T10:30:00Z"},"name":"web-1","ready":true}}
//! {"from":["Pod","9a…"],"props":{},"relation":"RUNS_ON","to":["Node","4c…"]}
//! {"end":{"hash":"5e…","nodes":2,"relations":1}}
//! ```
//! Points in time are `{"$time": …}` and numbers that JSON lacks `{"$float": …}`, so that nothing has to be guessed.
//! Whatever has no end was cut off, and is refused.

use std::collections::BTreeMap;
use std::io::{BufRead, Read, Write};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tapio_core::change::{GraphChange, NodeRef, Prop, Props};
use tapio_core::ontology::Label;
use tapio_core::ports::{Cell, GraphStore, StoredNode, StoredRelation};
use tapio_core::time::Time;

use super::walk::{Piece, Tally, Walker};
use super::{TransferError, cannot_write, relation_of, word};

/// Format of the lines; raised when an older Tapio could not read them.
pub const FORMAT: i64 = 1;

/// Longest line that is read; the longest texts of a graph are some hundred kilobytes.
const MAX_LINE: u64 = 64 * 1024 * 1024;

/// Most labels of one node.
const MAX_LABELS: usize = 64;

/// What the last line says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// Nodes before it.
    pub nodes: u64,
    /// Relations before it.
    pub relations: u64,
    /// Hash over both.
    pub hash: String,
}

/// Writes a graph; `what` names the output in errors.
///
/// # Errors
/// [`TransferError::Store`], [`TransferError::Write`].
pub async fn export(store: &dyn GraphStore, out: &mut (dyn Write + Send), what: &str) -> Result<Tally, TransferError> {
    let cannot = cannot_write(what);
    let mut line = |value: &Value| -> std::io::Result<()> {
        serde_json::to_writer(&mut *out, value)?;
        out.write_all(b"\n")
    };
    line(&json!({"tapio": "graph", "format": FORMAT})).map_err(&cannot)?;
    let mut walker = Walker::new(store);
    while let Some(piece) = walker.next().await? {
        match piece {
            Piece::Nodes(page) => page.iter().try_for_each(|n| line(&of_node(n))),
            Piece::Relations(page) => page.iter().try_for_each(|r| line(&of_relation(r))),
        }
        .map_err(&cannot)?;
    }
    let tally = walker.tally();
    let end = End { nodes: tally.nodes, relations: tally.relations, hash: tally.hash() };
    line(&json!({ "end": end })).map_err(&cannot)?;
    Ok(tally)
}

fn of_node(n: &StoredNode) -> Value {
    let mut line = json!({"node": n.node.label.as_str(), "key": n.node.key, "props": of_props(&n.props)});
    if !n.also.is_empty() {
        line["also"] = json!(n.also);
    }
    line
}

fn of_relation(r: &StoredRelation) -> Value {
    let end = |n: &NodeRef| json!([n.label.as_str(), n.key]);
    json!({"relation": r.relation, "from": end(&r.from), "to": end(&r.to), "props": of_props(&r.props)})
}

fn of_props(props: &BTreeMap<String, Cell>) -> Value {
    Value::Object(props.iter().map(|(name, value)| (name.clone(), of_cell(value))).collect())
}

fn of_cell(cell: &Cell) -> Value {
    match cell {
        Cell::Null => Value::Null,
        Cell::Bool(b) => json!(b),
        Cell::Int(i) => json!(i),
        Cell::Float(f) if f.is_finite() => json!(f),
        Cell::Float(f) => json!({"$float": f.to_string()}),
        Cell::Time(t) => json!({"$time": t.to_string()}),
        Cell::Text(s) => json!(s),
        Cell::List(items) => Value::Array(items.iter().map(of_cell).collect()),
        Cell::Map(entries) => of_props(entries),
    }
}

/// A line.
#[derive(Clone, Debug, PartialEq)]
pub enum Line {
    /// What makes a node, or a relation.
    Change(Vec<GraphChange>),
    /// The end.
    End(End),
}

/// Reads lines, one at a time.
pub struct Reader<R> {
    input: R,
    line: u64,
    buffer: Vec<u8>,
}

impl<R: BufRead> Reader<R> {
    /// Reads the head.
    ///
    /// # Errors
    /// [`TransferError::Input`] if it is none, or one of a newer Tapio.
    pub fn open(input: R) -> Result<Self, TransferError> {
        let mut reader = Reader { input, line: 0, buffer: Vec::new() };
        let other = "this is no graph that `tapio graph export --format jsonl` or `tapio graph backup` has written";
        let Ok(Some(Value::Object(head))) = reader.value() else { return Err(reader.wrong(other)) };
        match (head.get("tapio").and_then(Value::as_str), head.get("format").and_then(Value::as_i64)) {
            (Some("graph"), Some(FORMAT)) => Ok(reader),
            (Some("graph"), Some(found)) if found > FORMAT => Err(reader.wrong(&format!(
                "it has format {found}, this version reads up to {FORMAT}; use the newer tapio that wrote it"
            ))),
            _ => Err(reader.wrong(other)),
        }
    }

    /// Number of the line read last, from 1.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// An error at the line read last.
    pub(super) fn wrong(&self, why: &str) -> TransferError {
        TransferError::Input { line: self.line.max(1), why: why.to_owned() }
    }

    /// The next line; none: nothing stands there any more.
    ///
    /// # Errors
    /// [`TransferError::Input`] for what is no such line.
    pub fn next_line(&mut self) -> Result<Option<Line>, TransferError> {
        let Some(value) = self.value()? else { return Ok(None) };
        let Value::Object(line) = value else { return Err(self.wrong("this is no JSON object")) };
        parse(line).map(Some).map_err(|why| self.wrong(&why))
    }

    fn value(&mut self) -> Result<Option<Value>, TransferError> {
        self.buffer.clear();
        self.line += 1;
        let read = self.input.by_ref().take(MAX_LINE + 1).read_until(b'\n', &mut self.buffer);
        match read {
            Err(e) => Err(self.wrong(&format!("cannot read it: {e}"))),
            Ok(0) => Ok(None),
            Ok(n) if n as u64 > MAX_LINE => Err(self.wrong(&format!("it is longer than {} MiB", MAX_LINE >> 20))),
            Ok(_) => {
                let value = serde_json::from_slice(&self.buffer);
                value.map(Some).map_err(|e| self.wrong(&format!("this is no whole JSON ({e}); was it cut off?")))
            }
        }
    }
}

fn parse(mut line: Map<String, Value>) -> Result<Line, String> {
    if let Some(end) = line.remove("end") {
        return serde_json::from_value(end).map(Line::End).map_err(|e| format!("the end is damaged: {e}"));
    }
    let props = match line.remove("props") {
        Some(Value::Object(props)) => props_of(props)?,
        _ => return Err("it has no props".to_owned()),
    };
    if let Some(label) = line.remove("node") {
        let node = node_of(Some(label), line.remove("key"))?;
        let also: Vec<String> = match line.remove("also") {
            None => Vec::new(),
            Some(list) => serde_json::from_value(list).map_err(|_| "`also` is no list of labels".to_owned())?,
        };
        if also.len() > MAX_LABELS {
            return Err(format!("a node has at most {MAX_LABELS} labels"));
        }
        // One change sets one label more.
        let more = also.iter().skip(1);
        let more = more.map(|a| GraphChange::Node { node: node.clone(), also: Some(a.clone()), props: Vec::new() });
        let mut changes: Vec<GraphChange> = more.collect();
        changes.push(GraphChange::Node { node, also: also.into_iter().next(), props });
        return Ok(Line::Change(changes));
    }
    let Some(name) = line.get("relation").and_then(Value::as_str) else {
        return Err("it is no node, no relation and no end".to_owned());
    };
    let relation = relation_of(name).ok_or_else(|| {
        format!("no relation of this version is called `{}`", name.chars().take(60).collect::<String>())
    })?;
    let mut end = |name: &str| match line.remove(name) {
        Some(Value::Array(pair)) if pair.len() == 2 => {
            let mut pair = pair.into_iter();
            node_of(pair.next(), pair.next())
        }
        _ => Err(format!("`{name}` is no pair of label and key")),
    };
    let (from, to) = (end("from")?, end("to")?);
    Ok(Line::Change(vec![GraphChange::Edge { from, relation, to, props }]))
}

fn node_of(label: Option<Value>, key: Option<Value>) -> Result<NodeRef, String> {
    let (Some(Value::String(label)), Some(Value::String(key))) = (label, key) else {
        return Err("label or key is no text".to_owned());
    };
    let known = Label::ALL.iter().copied().find(|l| l.as_str() == label);
    let label = known.ok_or_else(|| {
        format!("no label of this version is called `{}`", label.chars().take(60).collect::<String>())
    })?;
    Ok(NodeRef { label, key })
}

fn props_of(props: Map<String, Value>) -> Result<Props, String> {
    props
        .into_iter()
        .map(|(name, value)| {
            let shown = || name.chars().take(60).collect::<String>();
            let known = word(&name).ok_or_else(|| format!("no property of this version is called `{}`", shown()))?;
            let value =
                prop_of(value).ok_or_else(|| format!("the value of `{known}` is of no type that a graph has"))?;
            Ok((known, value))
        })
        .collect()
}

fn prop_of(value: Value) -> Option<Prop> {
    Some(match value {
        Value::Null => Prop::Null,
        Value::Bool(b) => Prop::Bool(b),
        Value::Number(n) => match n.as_i64() {
            Some(i) => Prop::Int(i),
            None if n.is_f64() => Prop::Float(n.as_f64()?),
            None => return None,
        },
        Value::String(s) => Prop::Text(s),
        Value::Array(items) => {
            let text = |i: Value| match i {
                Value::String(s) => Some(s),
                _ => None,
            };
            Prop::List(items.into_iter().map(text).collect::<Option<_>>()?)
        }
        Value::Object(mut typed) if typed.len() == 1 => match (typed.remove("$time"), typed.remove("$float")) {
            (Some(Value::String(t)), _) => Prop::Time(Time::parse(&t).ok()?),
            (_, Some(Value::String(f))) => Prop::Float(f.parse().ok()?),
            _ => return None,
        },
        Value::Object(_) => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Line>, String> {
        let mut reader = Reader::open(text.as_bytes()).map_err(|e| e.to_string())?;
        let mut lines = Vec::new();
        while let Some(line) = reader.next_line().map_err(|e| e.to_string())? {
            lines.push(line);
        }
        Ok(lines)
    }

    #[test]
    fn every_value_comes_back_as_it_was() {
        let values = [
            ("name", Cell::Text("2024-01-15T10:30:00Z".into())),
            ("message", Cell::Text("a\nb\"\\u0041 🦀".into())),
            ("created_at", Cell::Time(Time::from_micros(1_705_314_600_123_456))),
            ("count", Cell::Int(i64::MIN)),
            ("confidence", Cell::Float(1.0)),
            ("ready", Cell::Bool(true)),
            ("taints", Cell::List(vec![Cell::Text("a=;b".into()), Cell::Text(String::new())])),
        ];
        let props: BTreeMap<String, Cell> = values.iter().map(|(n, v)| ((*n).to_owned(), v.clone())).collect();
        let node = NodeRef { label: Label::Pod, key: "k".into() };
        let line = of_node(&StoredNode { node: node.clone(), also: vec!["A".into(), "B".into()], props });
        let lines = read(&format!("{{\"tapio\":\"graph\",\"format\":1}}\n{line}\n")).unwrap();
        let [Line::Change(changes)] = lines.as_slice() else { panic!("{lines:?}") };
        let GraphChange::Node { props, also, .. } = &changes[1] else { panic!("{changes:?}") };
        assert_eq!((changes.len(), also.as_deref()), (2, Some("A")));
        let got: BTreeMap<&str, &Prop> = props.iter().map(|(n, v)| (*n, v)).collect();
        assert_eq!(got["name"], &Prop::Text("2024-01-15T10:30:00Z".into()));
        assert_eq!(got["created_at"], &Prop::Time(Time::from_micros(1_705_314_600_123_456)));
        assert_eq!((got["count"], got["confidence"]), (&Prop::Int(i64::MIN), &Prop::Float(1.0)));
        assert_eq!(got["taints"], &Prop::List(vec!["a=;b".into(), String::new()]));
        assert_eq!(got["message"], &Prop::Text("a\nb\"\\u0041 🦀".into()));
    }

    #[test]
    fn what_is_no_export_is_refused_with_its_line() {
        let head = "{\"tapio\":\"graph\",\"format\":1}\n";
        for (text, says) in [
            (String::new(), "no graph"),
            ("[]".to_owned(), "no graph"),
            ("{\"tapio\":\"graph\",\"format\":2}\n".to_owned(), "newer tapio"),
            (format!("{head}{{\"node\":\"Pod\",\"ke"), "line 2: this is no whole JSON"),
            (format!("{head}{{\"node\":\"Nope\",\"key\":\"k\",\"props\":{{}}}}\n"), "no label"),
            (format!("{head}{{\"node\":\"Pod\",\"key\":7,\"props\":{{}}}}\n"), "no text"),
            (format!("{head}{{\"node\":\"Pod\",\"key\":\"k\",\"props\":{{\"x` = 1\":1}}}}\n"), "no property"),
            (format!("{head}{{\"node\":\"Pod\",\"key\":\"k\",\"props\":{{\"name\":{{\"a\":1}}}}}}\n"), "no type"),
            (format!("{head}{{\"relation\":\"X\",\"props\":{{}}}}\n"), "no relation"),
            (format!("{head}{{\"relation\":\"OWNS\",\"from\":[\"Pod\"],\"props\":{{}}}}\n"), "no pair"),
            (format!("{head}{{\"props\":{{}}}}\n"), "no node, no relation"),
            (format!("{head}7\n"), "no JSON object"),
        ] {
            let got = read(&text).unwrap_err();
            assert!(got.contains(says), "{text}: {got}");
        }
    }

    proptest::proptest! {
        /// Whatever stands in the file: lines or an error, never a panic.
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            let text = [b"{\"tapio\":\"graph\",\"format\":1}\n".as_slice(), &bytes].concat();
            if let Ok(mut reader) = Reader::open(text.as_slice()) {
                while let Ok(Some(_)) = reader.next_line() {}
            }
        }
    }
}
