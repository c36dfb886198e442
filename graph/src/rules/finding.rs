//! What a rule found: the rows of one key, as people and programs read them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tapio_core::ports::{Cell, Rows};
use tapio_core::time::Time;
use tapio_core::unified::Severity;

use super::Rule;
use super::template::plain;

/// Rows that a finding shows.
pub const ROWS_SHOWN: usize = 10;
/// Entries of a list or map in a row, and how deep they nest.
const ENTRIES: usize = 32;
const DEPTH: usize = 4;

/// Where a finding stands; a pending one is none yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It is so, or not gone for long enough.
    Firing,
    /// It is over.
    Resolved,
}

impl State {
    /// The lower-case word used in every output.
    pub const fn as_str(self) -> &'static str {
        match self {
            State::Firing => "firing",
            State::Resolved => "resolved",
        }
    }
}

/// A finding of a rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// Of the rule.
    pub id: String,
    /// How bad.
    pub severity: Severity,
    /// What it is about.
    pub title: String,
    /// The rule's message, with the values of the first row.
    pub message: String,
    /// What tells it from others: key columns and their values.
    pub key: BTreeMap<String, String>,
    /// Where it stands.
    pub state: State,
    /// When it was so for the first time.
    pub since: Time,
    /// When it had held long enough.
    pub opened_at: Time,
    /// When it was over.
    pub resolved_at: Option<Time>,
    /// The rows that say so, as they were last: at most [`ROWS_SHOWN`], in an order of their own.
    pub rows: Vec<BTreeMap<String, Cell>>,
}

/// The rows of one key at one look.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Seen {
    pub(super) key: BTreeMap<String, String>,
    pub(super) message: String,
    pub(super) rows: Vec<BTreeMap<String, Cell>>,
}

/// Puts rows together by their key. The order in which the store gave them has no meaning and leaves no trace.
pub(super) fn by_key(rule: &Rule, rows: &Rows) -> BTreeMap<String, Seen> {
    let places: Vec<(&String, Option<usize>)> =
        rule.key.iter().map(|k| (k, rows.columns.iter().position(|c| c == k))).collect();
    let cell = |row: &[Cell], at: Option<usize>| at.and_then(|i| row.get(i)).cloned().unwrap_or(Cell::Null);
    // Whole values tell keys and rows apart; only what is shown of them is shortened.
    let exact = |cells: &[Cell]| serde_json::to_string(cells).unwrap_or_default();
    let mut groups: BTreeMap<String, BTreeMap<String, &Vec<Cell>>> = BTreeMap::new();
    for row in &rows.rows {
        let key: Vec<Cell> = places.iter().map(|(_, at)| cell(row, *at)).collect();
        groups.entry(exact(&key)).or_default().insert(exact(row), row);
    }
    let seen = |group: BTreeMap<String, &Vec<Cell>>| {
        let shown: Vec<&Vec<Cell>> = group.into_values().take(ROWS_SHOWN).collect();
        let first = shown.first().map(|r| r.as_slice()).unwrap_or_default();
        let words: BTreeMap<&str, String> =
            rows.columns.iter().map(String::as_str).zip(first.iter().map(word)).collect();
        let key = places.iter().map(|(name, at)| ((*name).clone(), word(&cell(first, *at)))).collect();
        let message = rule.message.fill(|name| words.get(name).map(String::as_str));
        let rows = shown.into_iter().map(|r| rows.columns.iter().cloned().zip(r.iter().map(|c| tidy(c, 0))).collect());
        Seen { key, message, rows: rows.collect() }
    };
    groups.into_iter().map(|(key, group)| (key, seen(group))).collect()
}

/// A value as a word of a message: a node by its name.
fn word(cell: &Cell) -> String {
    let text = match cell {
        Cell::Null => String::new(),
        Cell::Bool(b) => b.to_string(),
        Cell::Int(i) => i.to_string(),
        Cell::Float(x) => x.to_string(),
        Cell::Time(t) => t.to_string(),
        Cell::Text(t) => return plain(t),
        Cell::List(items) => items.iter().take(ENTRIES).map(word).collect::<Vec<_>>().join(", "),
        Cell::Map(m) => match m.get("name").or_else(|| m.get("message")) {
            Some(Cell::Text(name)) => return plain(name),
            _ => serde_json::to_string(&tidy(cell, 0)).unwrap_or_default(),
        },
    };
    plain(&text)
}

/// A value as it is shown: texts plain and short, nothing endless.
fn tidy(cell: &Cell, depth: usize) -> Cell {
    match cell {
        Cell::Text(t) => Cell::Text(plain(t)),
        Cell::List(_) | Cell::Map(_) if depth == DEPTH => Cell::Text("…".to_owned()),
        Cell::List(items) => Cell::List(items.iter().take(ENTRIES).map(|c| tidy(c, depth + 1)).collect()),
        Cell::Map(m) => Cell::Map(m.iter().take(ENTRIES).map(|(k, c)| (plain(k), tidy(c, depth + 1))).collect()),
        plain => plain.clone(),
    }
}
