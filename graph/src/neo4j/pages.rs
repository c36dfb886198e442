//! The whole graph, page by page, as far as it is Tapio's: nodes of a label in the order of their keys, and what starts
//! at them.

use neo4rs::BoltType;
use tapio_core::change::NodeRef;
use tapio_core::ontology::Label;
use tapio_core::ports::{StoredNode, StoredRelation};

use super::fault::Fault;
use super::pool::Pool;
use super::schema::column;
use super::value::{cells, labels, text, text_of};
use super::write::{Times, node_ref, query};
use crate::statements;

/// At most `most` nodes of a label behind a key.
pub(super) async fn nodes(
    pool: &Pool,
    label: Label,
    after: &str,
    most: usize,
    times: Times,
) -> Result<Vec<StoredNode>, Fault> {
    let asked = query(&statements::neo4j_page_of_nodes(label, most), [("after", text(after))]);
    let page = column(pool, asked, "n", times).await?;
    Ok(page.into_iter().filter_map(|value| node(label, value)).collect())
}

fn node(label: Label, value: BoltType) -> Option<StoredNode> {
    let BoltType::Node(found) = value else { return None };
    let key = found.properties.value.get(label.key_property()).and_then(text_of)?.to_owned();
    let also = labels(&found).into_iter().filter(|l| l != label.as_str()).collect();
    let mut props = cells(found.properties);
    props.remove(label.key_property());
    Some(StoredNode { node: NodeRef { label, key }, also, props })
}

/// The relations that start at nodes of a label between two keys.
pub(super) async fn relations(
    pool: &Pool,
    label: Label,
    (after, last): (&str, &str),
    times: Times,
) -> Result<Vec<StoredRelation>, Fault> {
    // One column: the driver gives a row as a map, and names are not needed here.
    let statement =
        format!("CALL () {{ {} }} RETURN [key, relation, props, other] AS row", statements::page_of_relations(label));
    let asked = query(&statement, [("after", text(after)), ("last", text(last))]);
    let page = column(pool, asked, "row", times).await?;
    Ok(page.into_iter().filter_map(|value| relation(label, value)).collect())
}

fn relation(label: Label, value: BoltType) -> Option<StoredRelation> {
    let BoltType::List(row) = value else { return None };
    let Ok([key, relation, BoltType::Map(props), BoltType::Node(other)]) = <[BoltType; 4]>::try_from(row.value) else {
        return None;
    };
    let (key, relation) = (text_of(&key)?.to_owned(), text_of(&relation)?.to_owned());
    Some(StoredRelation { from: NodeRef { label, key }, relation, to: node_ref(&other)?, props: cells(props) })
}
