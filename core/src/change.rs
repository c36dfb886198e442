//! `GraphChange`: what the engine wants written into the graph. Idempotent: applying one twice changes nothing.

use serde::{Deserialize, Serialize};

use crate::ontology::{Label, Relation};
use crate::time::Time;

/// A property value. The graph has no maps: those are JSON text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Prop {
    /// The property is removed.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// A text.
    Text(String),
    /// A point in time, written as the store's own date-time.
    Time(Time),
    /// A list of texts.
    List(Vec<String>),
}

impl From<&str> for Prop {
    fn from(v: &str) -> Self {
        Prop::Text(v.to_owned())
    }
}
impl From<String> for Prop {
    fn from(v: String) -> Self {
        Prop::Text(v)
    }
}
impl From<i64> for Prop {
    fn from(v: i64) -> Self {
        Prop::Int(v)
    }
}
impl From<bool> for Prop {
    fn from(v: bool) -> Self {
        Prop::Bool(v)
    }
}
impl From<f64> for Prop {
    fn from(v: f64) -> Self {
        Prop::Float(v)
    }
}
impl From<Time> for Prop {
    fn from(v: Time) -> Self {
        Prop::Time(v)
    }
}
impl<T: Into<Prop>> From<Option<T>> for Prop {
    fn from(v: Option<T>) -> Self {
        v.map_or(Prop::Null, Into::into)
    }
}

/// Property names with their values. Names are Tapio's own words, never input.
pub type Props = Vec<(&'static str, Prop)>;

/// A node, by the label and the key that make it unique.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeRef {
    /// The label under which `key` is unique.
    pub label: Label,
    /// Value of [`Label::key_property`].
    pub key: String,
}

/// One change of the graph.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum GraphChange {
    /// The node exists with (at least) these properties: `MERGE … SET n += props`.
    Node {
        /// Which node.
        node: NodeRef,
        /// A second label (`Change`, `PVC`, or the kind of an `Object`); an identifier, checked by the store.
        also: Option<String>,
        /// Properties to set; [`Prop::Null`] removes one.
        props: Props,
    },
    /// The relation exists once between the two nodes, with these properties. Ends that do not exist are made.
    Edge {
        /// Start.
        from: NodeRef,
        /// Relation.
        relation: Relation,
        /// End.
        to: NodeRef,
        /// Properties to set.
        props: Props,
    },
    /// The relation is gone.
    RemoveEdge {
        /// Start.
        from: NodeRef,
        /// Relation.
        relation: Relation,
        /// End.
        to: NodeRef,
    },
    /// The node that was known by a derived key now has its real one. Relations move along.
    Rekey {
        /// Derived key.
        from: NodeRef,
        /// Real uid.
        to: String,
    },
}

impl GraphChange {
    /// A node without a second label.
    pub fn node(label: Label, key: impl Into<String>, props: Props) -> Self {
        GraphChange::Node { node: NodeRef { label, key: key.into() }, also: None, props }
    }
}
