//! A whole graph out of a store, and into one: for moving, keeping and looking at it elsewhere.
//!
//! | module | what |
//! | --- | --- |
//! | [`walk`] | all of a graph, page by page, nodes before relations |
//! | [`jsonl`] | JSON lines, with a head, and an end that counts; what [`restore`] reads |
//! | [`cypher`] | a script for cypher-shell and Neo4j Browser |
//! | [`csv`] | files for `neo4j-admin database import` |
//! | [`restore`] | JSON lines, or another store, into a store |
//!
//! Only what is a word of the ontology travels; what somebody else has added to a server is counted and left out.
//! Memory: one page of nodes with what starts at them, whatever the size of the graph.

pub mod csv;
pub mod cypher;
pub mod jsonl;
pub mod restore;
pub mod walk;

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use tapio_core::ontology::{Label, OBJECT_PROPERTIES, Relation};
use tapio_core::ports::{Cell, StoreError, StoredNode, StoredRelation};

pub use walk::{Piece, Tally, Walker};

/// Why a graph did not travel; each variant is what the caller must do.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// The store could not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The output cannot be written: free space, or name another place.
    #[error("cannot write {what}: {error}")]
    Write {
        /// Which output.
        what: String,
        /// What the system said.
        error: io::Error,
    },
    /// The input is no export, or a damaged one.
    #[error("line {line}: {why}")]
    Input {
        /// Line, from 1.
        line: u64,
        /// What is wrong, and what to do.
        why: String,
    },
    /// The graph holds what this form cannot.
    #[error("{0}")]
    Form(String),
}

/// An error of writing.
fn cannot_write(what: &str) -> impl Fn(io::Error) -> TransferError + use<> {
    let what = what.to_owned();
    move |error| TransferError::Write { what: what.clone(), error }
}

/// A property's name as the ontology has it.
fn word(name: &str) -> Option<&'static str> {
    let of_labels = Label::ALL.iter().flat_map(|l| l.properties());
    let of_relations = Relation::ALL.iter().flat_map(|r| r.properties());
    of_labels.chain(of_relations).chain(OBJECT_PROPERTIES).copied().find(|w| *w == name)
}

/// A relation's type as the ontology has it.
fn relation_of(name: &str) -> Option<Relation> {
    Relation::ALL.iter().copied().find(|r| r.as_str() == name)
}

/// What was left out of an export, with how often.
pub type LeftOut = BTreeMap<String, u64>;

/// Takes away what is no word of the ontology, or no value that Tapio writes.
fn keep_props(of: &str, props: &mut BTreeMap<String, Cell>, left_out: &mut LeftOut) {
    let strange: BTreeSet<String> =
        props.iter().filter(|(n, v)| word(n).is_none() || !plain(v)).map(|(n, _)| n.clone()).collect();
    for name in strange {
        props.remove(&name);
        *left_out.entry(format!("property {name} of {of}")).or_default() += 1;
    }
}

fn keep_node(n: &mut StoredNode, left_out: &mut LeftOut) {
    keep_props(n.node.label.as_str(), &mut n.props, left_out);
}

/// Whether the relation is kept at all.
fn keep_relation(r: &mut StoredRelation, left_out: &mut LeftOut) -> bool {
    if relation_of(&r.relation).is_none() {
        *left_out.entry(format!("relation {}", r.relation)).or_default() += 1;
        return false;
    }
    keep_props(&r.relation, &mut r.props, left_out);
    true
}

/// Whether Tapio writes such values: nothing nested, lists of texts.
fn plain(cell: &Cell) -> bool {
    match cell {
        Cell::Map(_) => false,
        Cell::List(items) => items.iter().all(|i| matches!(i, Cell::Text(_))),
        _ => true,
    }
}
