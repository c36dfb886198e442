//! A batch of changes, folded into grouped steps that a store writes in one transaction.
//!
//! Stores are fast on many rows of one statement and slow on many statements, but changes arrive mixed and their
//! order means something. Within a batch, changes of different nodes and relations commute, so only the order *per
//! node* and *per relation* is kept: properties of one node merge with the later value winning, and of one relation
//! it is remembered whether it has to go first and whether (and how) it stands at the end. A [`GraphChange::Rekey`]
//! renames a node under everything before it, so it is a barrier: what came before is written before it.
//!
//! Invariants: folding and writing the same batch twice leaves the same graph; both ends of every relation named in
//! the batch exist afterwards, also when the relation itself was removed again. Cost: one ordered-map insertion a
//! change, no copy of property texts.

use std::collections::{BTreeMap, BTreeSet};

use tapio_core::change::{GraphChange, NodeRef, Prop, Props};
use tapio_core::ontology::{Label, Relation};

/// Properties by name, the last value of each.
pub type PropMap = BTreeMap<&'static str, Prop>;

/// A node to write.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeRow {
    /// Value of the label's key property.
    pub key: String,
    /// Properties to set or, where [`Prop::Null`], to remove. Never holds the key property.
    pub props: PropMap,
}

/// A relation to write.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LinkRow {
    /// Key of the start.
    pub from: String,
    /// Key of the end.
    pub to: String,
    /// Properties to set or remove.
    pub props: PropMap,
}

/// Rows that one statement writes. Steps run in order; rows of one step commute.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Nodes with one set of labels.
    Nodes {
        /// The label of the key.
        label: Label,
        /// Further labels, safe as identifiers.
        also: Vec<String>,
        /// The nodes.
        rows: Vec<NodeRow>,
    },
    /// Relations to remove; both ends exist.
    Unlink {
        /// Label of the start.
        from: Label,
        /// The relation.
        relation: Relation,
        /// Label of the end.
        to: Label,
        /// Keys of start and end.
        rows: Vec<(String, String)>,
    },
    /// Relations to write; both ends exist.
    Link {
        /// Label of the start.
        from: Label,
        /// The relation.
        relation: Relation,
        /// Label of the end.
        to: Label,
        /// The relations.
        rows: Vec<LinkRow>,
    },
    /// Nodes whose derived key becomes the real one.
    Rekey {
        /// The node under its derived key.
        from: NodeRef,
        /// The real key.
        to: String,
    },
}

/// Folds a batch into steps.
pub fn fold(changes: Vec<GraphChange>) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut part = Part::default();
    for change in changes {
        match change {
            GraphChange::Node { node, also, props } => part.node(node, also, props),
            GraphChange::Edge { from, relation, to, props } => {
                let edge = part.edge(from, relation, to);
                let link = edge.link.get_or_insert_default();
                link.extend(props);
            }
            GraphChange::RemoveEdge { from, relation, to } => {
                *part.edge(from, relation, to) = EdgeFate { unlink: true, link: None };
            }
            GraphChange::Rekey { from, to } => {
                std::mem::take(&mut part).into_steps(&mut steps);
                if from.key != to {
                    steps.push(Step::Rekey { from, to });
                }
            }
        }
    }
    part.into_steps(&mut steps);
    steps
}

/// A second label made safe: an identifier that is no word of the ontology.
///
/// Kinds come from clusters, so anything may stand in them. Characters outside `[A-Za-z0-9_]` become `_`, a leading
/// digit gets one in front. A kind that is also one of Tapio's labels (there is a Kubernetes kind `Event`) gets one
/// at the end: `:Event` must mean nodes keyed by `id` that carry `ts_ms`, and nothing else.
pub fn second_label(text: &str) -> Option<String> {
    let mut safe: String =
        text.chars().take(128).map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect();
    if safe.is_empty() {
        return None;
    }
    if safe.starts_with(|c: char| c.is_ascii_digit()) {
        safe.insert(0, '_');
    }
    if Label::ALL.iter().any(|l| l.as_str() == safe) {
        safe.push('_');
    }
    Some(safe)
}

#[derive(Default)]
struct EdgeFate {
    unlink: bool,
    link: Option<PropMap>,
}

/// Relations of one kind by the keys of their ends.
type Edges = BTreeMap<(String, String), EdgeFate>;

/// What lies between two barriers.
#[derive(Default)]
struct Part {
    nodes: BTreeMap<NodeRef, (BTreeSet<String>, PropMap)>,
    edges: BTreeMap<(Label, Relation, Label), Edges>,
}

impl Part {
    fn node(&mut self, node: NodeRef, also: Option<String>, props: Props) {
        let (label, key) = (node.label, node.label.key_property());
        let entry = self.nodes.entry(node).or_default();
        entry.0.extend(also.as_deref().and_then(second_label).filter(|a| a != label.as_str()));
        for (name, value) in props {
            match (name, &value) {
                // The key is what the node is found by; it changes by a rekey only.
                (name, _) if name == key => continue,
                // Queries and retention filter on the integer: it has an index, date-times have none.
                ("timestamp", Prop::Time(t)) if label == Label::Event => {
                    entry.1.insert("ts_ms", Prop::Int(t.millis()));
                }
                ("timestamp", Prop::Null) if label == Label::Event => {
                    entry.1.insert("ts_ms", Prop::Null);
                }
                // Derived from `timestamp` where that is known, so that the two never disagree.
                ("ts_ms", _) if label == Label::Event && entry.1.contains_key("timestamp") => continue,
                _ => {}
            }
            entry.1.insert(name, value);
        }
    }

    fn edge(&mut self, from: NodeRef, relation: Relation, to: NodeRef) -> &mut EdgeFate {
        let ends = (from.key.clone(), to.key.clone());
        let kind = (from.label, relation, to.label);
        self.nodes.entry(from).or_default();
        self.nodes.entry(to).or_default();
        self.edges.entry(kind).or_default().entry(ends).or_default()
    }

    fn into_steps(self, steps: &mut Vec<Step>) {
        let mut groups: BTreeMap<(Label, Vec<String>), Vec<NodeRow>> = BTreeMap::new();
        for (node, (also, props)) in self.nodes {
            let group = groups.entry((node.label, also.into_iter().collect())).or_default();
            group.push(NodeRow { key: node.key, props });
        }
        steps.extend(groups.into_iter().map(|((label, also), rows)| Step::Nodes { label, also, rows }));
        let mut links = Vec::new();
        for ((from, relation, to), edges) in self.edges {
            let (mut gone, mut rows) = (Vec::new(), Vec::new());
            for ((start, end), fate) in edges {
                if fate.unlink {
                    gone.push((start.clone(), end.clone()));
                }
                if let Some(props) = fate.link {
                    rows.push(LinkRow { from: start, to: end, props });
                }
            }
            if !gone.is_empty() {
                steps.push(Step::Unlink { from, relation, to, rows: gone });
            }
            if !rows.is_empty() {
                links.push(Step::Link { from, relation, to, rows });
            }
        }
        steps.append(&mut links);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tapio_core::time::Time;

    fn at(label: Label, key: &str) -> NodeRef {
        NodeRef { label, key: key.to_owned() }
    }

    #[test]
    fn later_properties_win_and_nodes_of_one_kind_share_a_step() {
        let steps = fold(vec![
            GraphChange::node(Label::Pod, "a", vec![("phase", "Pending".into()), ("ip", "1".into())]),
            GraphChange::node(Label::Pod, "b", vec![]),
            GraphChange::node(Label::Pod, "a", vec![("phase", "Running".into()), ("uid", "evil".into())]),
        ]);
        let [Step::Nodes { rows, .. }] = steps.as_slice() else { panic!("{steps:?}") };
        assert_eq!(rows[0].props, PropMap::from([("phase", "Running".into()), ("ip", "1".into())]));
        assert_eq!(rows[1].key, "b");
    }

    #[test]
    fn an_edge_written_after_its_removal_stands_with_only_its_new_properties() {
        let edge = |props: Props| GraphChange::Edge {
            from: at(Label::Service, "s"),
            relation: Relation::Selects,
            to: at(Label::Pod, "p"),
            props,
        };
        let gone = GraphChange::RemoveEdge {
            from: at(Label::Service, "s"),
            relation: Relation::Selects,
            to: at(Label::Pod, "p"),
        };
        let steps = fold(vec![edge(vec![("as", "old".into())]), gone.clone(), edge(vec![("keys", "k".into())])]);
        assert_eq!(steps.len(), 4, "{steps:?}");
        assert!(matches!(&steps[2], Step::Unlink { rows, .. } if rows.len() == 1));
        assert!(matches!(&steps[3], Step::Link { rows, .. } if rows[0].props == PropMap::from([("keys", "k".into())])));
        let steps = fold(vec![edge(vec![]), gone]);
        assert_eq!(steps.len(), 3, "both ends and the removal: {steps:?}");
    }

    #[test]
    fn a_rekey_is_a_barrier() {
        let steps = fold(vec![
            GraphChange::node(Label::Pod, "derived", vec![]),
            GraphChange::Rekey { from: at(Label::Pod, "derived"), to: "real".into() },
            GraphChange::node(Label::Pod, "real", vec![]),
        ]);
        assert!(matches!(steps.as_slice(), [Step::Nodes { .. }, Step::Rekey { .. }, Step::Nodes { .. }]), "{steps:?}");
    }

    #[test]
    fn events_get_the_integer_of_their_time() {
        let steps = fold(vec![GraphChange::node(
            Label::Event,
            "e",
            vec![("timestamp", Time::from_micros(1_500_999).into()), ("ts_ms", 7.into())],
        )]);
        assert!(matches!(&steps[0], Step::Nodes { rows, .. } if rows[0].props["ts_ms"] == Prop::Int(1_500)));
    }

    #[test]
    fn second_labels_are_identifiers_and_never_words_of_the_ontology() {
        for (text, want) in [
            ("HelmRelease", Some("HelmRelease")),
            ("PVC", Some("PVC")),
            ("Event", Some("Event_")),
            ("9p", Some("_9p")),
            ("a`b) DETACH DELETE (n", Some("a_b__DETACH_DELETE__n")),
            ("", None),
        ] {
            assert_eq!(second_label(text).as_deref(), want, "{text}");
        }
    }
}
