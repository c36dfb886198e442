//! Answers out of a graph alone, where there is no event log beside it: what a Neo4j or a restored graph remembers.
//!
//! The engine knows more than it writes into the graph. So an incident here has its cause, its first event and its
//! symptoms, but no refuters and no path; and a reader of a ConfigMap is a workload, not a container of it. What is
//! told is the same from both stores.

mod impact;
mod incidents;

use std::collections::BTreeMap;

use tapio_core::object::ObjectRef;
use tapio_core::ports::{Cell, GraphStore, Limits, Query, Rows};
use tapio_core::time::Time;

use crate::args::{Anywhere, Reading};
use crate::cmd::Session;
use crate::error::{Failure, Outcome};
use crate::wire::{Folder, Graph, Known, block_on, known, neo4j, of_folder, progress_of};

pub(crate) use impact::{found, impact};
pub(crate) use incidents::incidents;

/// What a question is asked of.
pub(crate) enum Asked {
    /// The engine, at the end of what is known.
    Engine(Box<Known>),
    /// A graph and nothing else.
    Graph(Graph),
}

/// Opens what a question is asked of.
pub(crate) fn asked(session: &Session, place: &Anywhere, reading: &Reading) -> Outcome<Asked> {
    if let Some(address) = &place.graph {
        return Ok(Asked::Graph(neo4j(session, address)?));
    }
    let from = &place.source.from;
    if let Some(dir) = &from.data_dir {
        let folder = Folder::existing(dir)?;
        // A restored graph has no log from which the engine could know anything.
        if progress_of(session, &folder)?.last == 0 {
            return Ok(Asked::Graph(of_folder(session, &folder)?));
        }
    }
    Ok(Asked::Engine(Box::new(known(session, from, reading)?)))
}

/// Rows that a question of ours may have; a graph of more is told, not cut in silence.
const MOST: usize = 100_000;

/// Asks the graph; columns by their place.
fn ask<const N: usize>(graph: &dyn GraphStore, text: &str, params: [(&str, Cell); N]) -> Outcome<Vec<Vec<Cell>>> {
    let params: BTreeMap<String, Cell> = params.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
    let limits = Limits { timeout_millis: 60_000, max_rows: MOST, ..Limits::default() };
    let Rows { rows, truncated, .. } =
        block_on(graph.query(Query { text: text.to_owned(), params, at: Time::MAX, limits }))??;
    if truncated {
        return Err(Failure::input(format!("the graph has more than {MOST} rows of it; ask by `tapio query`")));
    }
    Ok(rows)
}

/// A node as it comes in a row.
struct Node<'a>(&'a BTreeMap<String, Cell>);

impl<'a> Node<'a> {
    fn of(cell: &'a Cell) -> Option<Self> {
        match cell {
            Cell::Map(entries) => Some(Node(entries)),
            _ => None,
        }
    }

    fn text(&self, name: &str) -> Option<&'a str> {
        match self.0.get(name) {
            Some(Cell::Text(s)) => Some(s),
            _ => None,
        }
    }

    fn time(&self, name: &str) -> Option<Time> {
        match self.0.get(name) {
            Some(Cell::Time(t)) => Some(*t),
            _ => None,
        }
    }

    fn number(&self, name: &str) -> Option<f64> {
        match self.0.get(name) {
            Some(Cell::Float(f)) => Some(*f),
            Some(Cell::Int(i)) => Some(*i as f64),
            _ => None,
        }
    }

    /// The object that it stands for.
    fn object(&self) -> Option<ObjectRef> {
        Some(ObjectRef::new(self.text("kind")?, self.text("namespace").unwrap_or(""), self.text("name")?))
    }
}

/// A text in a row.
fn text(cell: &Cell) -> Option<&str> {
    match cell {
        Cell::Text(s) => Some(s),
        _ => None,
    }
}
