//! A graph into a store: from JSON lines, or from another store.
//!
//! Everything is merged by key, so a restore that was killed is simply done again. That the place is empty before, and
//! that half a graph is not taken for a whole one, is the caller's part.

use std::collections::BTreeMap;
use std::io::BufRead;

use tapio_core::change::{GraphChange, Prop, Props};
use tapio_core::ports::{Cell, GraphStore, StoredNode, StoredRelation};

use super::jsonl::{End, Line, Reader};
use super::walk::{Piece, Walker};
use super::{TransferError, relation_of, word};

/// Changes of one batch.
const BATCH: usize = 2_000;

/// Reads JSON lines into a store, whose schema is there; `seen` is told how many lines are written.
///
/// # Errors
/// [`TransferError::Input`] for what is damaged or was cut off; what came before it is in the store then.
pub async fn read<R: BufRead>(
    store: &dyn GraphStore,
    mut lines: Reader<R>,
    mut seen: impl FnMut(u64),
) -> Result<End, TransferError> {
    let mut batch = Vec::new();
    let (mut nodes, mut relations) = (0, 0);
    loop {
        match lines.next_line()? {
            Some(Line::Change(changes)) => {
                match changes.last() {
                    Some(GraphChange::Edge { .. }) => relations += 1,
                    _ => nodes += 1,
                }
                batch.extend(changes);
                if batch.len() >= BATCH {
                    store.apply(std::mem::take(&mut batch)).await?;
                    seen(lines.line());
                }
            }
            Some(Line::End(end)) => {
                if (end.nodes, end.relations) != (nodes, relations) {
                    return Err(lines.wrong(&format!(
                        "it tells of {} nodes and {} relations, and {nodes} and {relations} stand before it; the file is damaged",
                        end.nodes, end.relations
                    )));
                }
                store.apply(batch).await?;
                seen(lines.line());
                return Ok(end);
            }
            None => return Err(lines.wrong("the file has no end; it was cut off, or is still being written")),
        }
    }
}

/// Copies one store into another, whose schema is there; `seen` is told how many nodes and relations are written.
///
/// # Errors
/// Those of the stores; what came before is in the new one then.
pub async fn copy(from: &dyn GraphStore, to: &dyn GraphStore, mut seen: impl FnMut(u64)) -> Result<End, TransferError> {
    let mut done = 0;
    let mut waiting: Vec<GraphChange> = Vec::new();
    let mut walker = Walker::new(from);
    while let Some(piece) = walker.next().await? {
        match piece {
            Piece::Nodes(page) => {
                done += page.len() as u64;
                waiting.extend(page.into_iter().flat_map(of_node));
            }
            Piece::Relations(page) => {
                done += page.len() as u64;
                waiting.extend(page.into_iter().filter_map(of_relation));
            }
        }
        if waiting.len() >= BATCH {
            to.apply(std::mem::take(&mut waiting)).await?;
            seen(done);
        }
    }
    to.apply(waiting).await?;
    let tally = walker.tally();
    Ok(End { nodes: tally.nodes, relations: tally.relations, hash: tally.hash() })
}

/// A node may have more than one label beside its own, and one change sets one.
fn of_node(n: StoredNode) -> Vec<GraphChange> {
    let mut also = n.also.into_iter();
    let first = GraphChange::Node { node: n.node.clone(), also: also.next(), props: props(n.props) };
    let more = also.map(|a| GraphChange::Node { node: n.node.clone(), also: Some(a), props: Vec::new() });
    std::iter::once(first).chain(more).collect()
}

fn of_relation(r: StoredRelation) -> Option<GraphChange> {
    let relation = relation_of(&r.relation)?;
    Some(GraphChange::Edge { from: r.from, relation, to: r.to, props: props(r.props) })
}

/// The walk has left out what is no word of ours.
fn props(props: BTreeMap<String, Cell>) -> Props {
    props.into_iter().filter_map(|(name, value)| Some((word(&name)?, prop(value)?))).collect()
}

fn prop(cell: Cell) -> Option<Prop> {
    Some(match cell {
        Cell::Null => Prop::Null,
        Cell::Bool(b) => Prop::Bool(b),
        Cell::Int(i) => Prop::Int(i),
        Cell::Float(f) => Prop::Float(f),
        Cell::Time(t) => Prop::Time(t),
        Cell::Text(s) => Prop::Text(s),
        Cell::List(items) => {
            let text = |i: Cell| match i {
                Cell::Text(s) => Some(s),
                _ => None,
            };
            Prop::List(items.into_iter().map(text).collect::<Option<_>>()?)
        }
        Cell::Map(_) => return None,
    })
}
