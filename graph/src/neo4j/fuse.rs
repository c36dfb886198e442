//! Events together with what they affect, in one statement.
//!
//! Most of a batch are events, and each affects one object. Written as a node and then as a relation, the server looks
//! the event up twice and gets twice the messages. Only relations without properties go this way, one an event; all
//! else is written as the steps say. Order: nodes, removals, fused events, relations. So both ends of everything exist
//! when it is written, and a relation that is removed and made again stands in the end. An object of which the batch
//! says no more than that it is affected comes into being with its event.

use std::collections::{BTreeMap, HashMap, HashSet};

use tapio_core::ontology::{Label, Relation};

use crate::projection::{LinkRow, NodeRow, Step};

/// A part of a transaction.
#[derive(Debug, PartialEq)]
pub(super) enum Piece<'a> {
    /// A step as it is.
    Step(&'a Step),
    /// Nodes of a step.
    Nodes { label: Label, also: &'a [String], rows: Vec<&'a NodeRow> },
    /// Events, each with the key of the object that it affects; all objects have this label.
    Affecting { also: &'a [String], to: Label, rows: Vec<(&'a NodeRow, &'a str)> },
    /// Relations of a step.
    Links { from: Label, relation: Relation, to: Label, rows: Vec<&'a LinkRow> },
}

/// Cuts the steps of a transaction into pieces, with events fused where that is possible.
pub(super) fn pieces(job: &[Step]) -> Vec<Piece<'_>> {
    let plain = || job.iter().map(Piece::Step).collect();
    if !in_order(job) {
        return plain();
    }
    let (objects, mut links) = split(job);
    if objects.is_empty() {
        return plain();
    }
    let made: HashSet<(Label, &str)> = objects.values().copied().collect();
    let (mut out, mut fused) = (Vec::new(), Vec::new());
    for step in job {
        match step {
            Step::Nodes { label: Label::Event, also, rows } => {
                let mut alone = Vec::new();
                let mut affecting: BTreeMap<Label, Vec<(&NodeRow, &str)>> = BTreeMap::new();
                for row in rows {
                    match objects.get(row.key.as_str()) {
                        Some(&(to, key)) => affecting.entry(to).or_default().push((row, key)),
                        None => alone.push(row),
                    }
                }
                if !alone.is_empty() {
                    out.push(Piece::Nodes { label: Label::Event, also, rows: alone });
                }
                fused.extend(affecting.into_iter().map(|(to, rows)| Piece::Affecting { also, to, rows }));
            }
            Step::Nodes { label, also, rows } => {
                let comes = |r: &&NodeRow| also.is_empty() && r.props.is_empty() && made.contains(&(*label, &r.key));
                let rows: Vec<&NodeRow> = rows.iter().filter(|r| !comes(r)).collect();
                if !rows.is_empty() {
                    out.push(Piece::Nodes { label: *label, also, rows });
                }
            }
            Step::Unlink { .. } => out.push(Piece::Step(step)),
            Step::Link { .. } | Step::Rekey { .. } => {}
        }
    }
    out.append(&mut fused);
    out.append(&mut links);
    out
}

/// Whether nothing depends on an order beyond that of one fold: no rekey, and no node or removal behind a relation.
fn in_order(job: &[Step]) -> bool {
    let first = job.iter().position(|s| matches!(s, Step::Link { .. })).unwrap_or(job.len());
    !job.iter().any(|s| matches!(s, Step::Rekey { .. })) && job[first..].iter().all(|s| matches!(s, Step::Link { .. }))
}

/// The first object that each event affects, by the event's key; and the relations that are left.
fn split(job: &[Step]) -> (HashMap<&str, (Label, &str)>, Vec<Piece<'_>>) {
    let mut objects: HashMap<&str, (Label, &str)> = HashMap::new();
    let mut links = Vec::new();
    for step in job {
        match step {
            Step::Link { from: Label::Event, relation: Relation::Affects, to, rows } if *to != Label::Event => {
                let mut left = Vec::new();
                for row in rows {
                    if row.props.is_empty() && !objects.contains_key(row.from.as_str()) {
                        objects.insert(&row.from, (*to, &row.to));
                    } else {
                        left.push(row);
                    }
                }
                if !left.is_empty() {
                    links.push(Piece::Links { from: Label::Event, relation: Relation::Affects, to: *to, rows: left });
                }
            }
            Step::Link { .. } => links.push(Piece::Step(step)),
            _ => {}
        }
    }
    (objects, links)
}

#[cfg(test)]
mod tests {
    use tapio_core::change::{GraphChange, NodeRef, Props};

    use super::*;
    use crate::projection::fold;

    fn node(label: Label, key: &str) -> NodeRef {
        NodeRef { label, key: key.to_owned() }
    }

    fn edge(from: &str, relation: Relation, to: NodeRef, props: Props) -> GraphChange {
        GraphChange::Edge { from: node(Label::Event, from), relation, to, props }
    }

    /// Which rows stand where, as text.
    fn told(changes: Vec<GraphChange>) -> Vec<String> {
        let job = fold(changes);
        let all = pieces(&job);
        all.iter()
            .map(|piece| match piece {
                Piece::Step(Step::Nodes { label, rows, .. }) => format!("{label} {}", rows.len()),
                Piece::Step(Step::Link { relation, rows, .. }) => format!("{relation} {}", rows.len()),
                Piece::Step(Step::Unlink { relation, rows, .. }) => format!("no {relation} {}", rows.len()),
                Piece::Step(Step::Rekey { .. }) => "rekey".to_owned(),
                Piece::Nodes { label, rows, .. } => format!("{label} alone {}", rows.len()),
                Piece::Affecting { to, rows, .. } => format!("affecting {to} {}", rows.len()),
                Piece::Links { relation, rows, .. } => format!("{relation} left {}", rows.len()),
            })
            .collect()
    }

    #[test]
    fn each_event_takes_its_first_object_along_and_nothing_is_lost() {
        let pod = |k: &str| node(Label::Pod, k);
        let affects = Relation::Affects;
        let batch = vec![
            edge("a", affects, pod("p"), vec![]),
            edge("a", affects, pod("q"), vec![]),
            edge("b", affects, node(Label::Node, "n"), vec![]),
            edge("c", affects, pod("p"), vec![("why", "x".into())]),
            edge("a", Relation::Triggered, node(Label::Event, "b"), vec![]),
        ];
        let want =
            ["Pod alone 1", "Event alone 1", "affecting Pod 1", "affecting Node 1", "AFFECTS left 2", "TRIGGERED 1"];
        let mut got = told(batch);
        let fused = got.iter().position(|p| p.starts_with("affecting")).unwrap();
        assert!(got[fused..].iter().all(|p| !p.contains("alone")), "{got:?}");
        got.sort_unstable();
        let mut want = want.map(str::to_owned);
        want.sort_unstable();
        assert_eq!(got, want);
    }

    #[test]
    fn where_the_order_says_something_nothing_is_moved() {
        let affects = |e: &str, p: &str| edge(e, Relation::Affects, node(Label::Pod, p), vec![]);
        let rekey = GraphChange::Rekey { from: node(Label::Pod, "p"), to: "q".to_owned() };
        assert_eq!(
            told(vec![affects("a", "p"), rekey, affects("b", "q")]),
            ["Pod 1", "Event 1", "AFFECTS 1", "rekey", "Pod 1", "Event 1", "AFFECTS 1"]
        );
        // A rekey to the same key is no step, but what stood around it is still two parts.
        let same = GraphChange::Rekey { from: node(Label::Pod, "p"), to: "p".to_owned() };
        assert_eq!(told(vec![affects("a", "p"), same, affects("a", "q")]).len(), 6);
        // A removal comes before the relation is made again.
        let gone = GraphChange::RemoveEdge {
            from: node(Label::Event, "a"),
            relation: Relation::Affects,
            to: node(Label::Pod, "p"),
        };
        assert_eq!(told(vec![gone, affects("a", "p")]), ["no AFFECTS 1", "affecting Pod 1"]);
    }
}
