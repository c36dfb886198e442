//! The whole graph, page by page: nodes of a label in the order of their keys, and what starts at them.

use std::collections::{BTreeMap, HashMap};

use marsdb::{Database, Error, ExecutionOptions, PropertyValue, Value};
use tapio_core::change::NodeRef;
use tapio_core::ontology::Label;
use tapio_core::ports::{Cell, StoredNode, StoredRelation};

use super::batch::{node_ref, text, text_of};
use super::value::property;
use crate::statements;

/// At most `most` nodes of a label behind a key.
pub(super) fn nodes(db: &Database, label: Label, after: &str, most: usize) -> Result<Vec<StoredNode>, Error> {
    let page = ask(db, &statements::page_of_nodes(label, most), [("after", after)])?;
    let mut nodes: Vec<StoredNode> = page.into_iter().filter_map(|row| node(label, row)).collect();
    nodes.sort_by(|a, b| a.node.key.cmp(&b.node.key));
    Ok(nodes)
}

/// The relations that start at nodes of a label between two keys.
pub(super) fn relations(db: &Database, label: Label, after: &str, last: &str) -> Result<Vec<StoredRelation>, Error> {
    let page = ask(db, &statements::page_of_relations(label), [("after", after), ("last", last)])?;
    Ok(page.into_iter().filter_map(|row| relation(label, row)).collect())
}

fn ask<const N: usize>(db: &Database, statement: &str, params: [(&str, &str); N]) -> Result<Vec<Vec<Value>>, Error> {
    let params: HashMap<String, PropertyValue> =
        params.into_iter().map(|(name, value)| (name.to_owned(), text(value.to_owned()))).collect();
    Ok(db.execute_prepared_statement(&marsdb::parse(statement)?, &params, &ExecutionOptions::default())?.rows)
}

/// A row of [`statements::page_of_nodes`].
fn node(label: Label, row: Vec<Value>) -> Option<StoredNode> {
    let Some(Value::Node(found)) = row.into_iter().next() else { return None };
    let own = node_ref(&found.labels, &found.props)?;
    let mut also: Vec<String> = found.labels.into_iter().filter(|l| l != label.as_str()).collect();
    also.sort_unstable();
    let mut props: BTreeMap<String, Cell> = found.props.into_iter().map(|(k, v)| (k, property(v))).collect();
    props.remove(label.key_property());
    Some(StoredNode { node: NodeRef { label, key: own.key }, also, props })
}

/// A row of [`statements::page_of_relations`].
fn relation(label: Label, row: Vec<Value>) -> Option<StoredRelation> {
    let Ok([key, relation, props, Value::Node(other)]) = <[Value; 4]>::try_from(row) else { return None };
    let (key, relation, to) = (text_of(key)?, text_of(relation)?, node_ref(&other.labels, &other.props)?);
    let Cell::Map(props) = super::value::cell(props) else { return None };
    Some(StoredRelation { from: NodeRef { label, key }, relation, to, props })
}
