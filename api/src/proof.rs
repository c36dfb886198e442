//! Whether the graph holds what the engine claims.

use std::collections::{BTreeMap, BTreeSet};

use tapio_core::answer::Gap;
use tapio_core::ontology::Relation;
use tapio_core::ports::{Cell, GraphStore, Limits, Query, StoreError};
use tapio_core::time::Time;
use tapio_engine::read::Claimed;

/// Claims that are checked.
const CHECKED: usize = 200;

/// What the engine claims and the graph does not hold, as gaps of an answer.
///
/// # Errors
/// The graph cannot be asked.
pub async fn lacking(graph: &dyn GraphStore, claims: Vec<Claimed>, at: Time) -> Result<Vec<Gap>, StoreError> {
    let mut missing: BTreeMap<(String, &'static str), usize> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for c in claims.into_iter().take(CHECKED) {
        if seen.insert((c.from.clone(), c.relation, c.to.clone())) && !holds(graph, &c, at).await? {
            *missing.entry((c.says.clone(), c.relation.as_str())).or_default() += 1;
        }
    }
    Ok(missing
        .into_iter()
        .map(|((says, relation), n)| Gap {
            source: "graph".to_owned(),
            node: None,
            from: None,
            to: None,
            why: format!(
                "the graph lacks {n} {}{relation} of {says}, which the engine claims; build it again: remove the folder's graph/ and run `tapio replay --data-dir`",
                if n == 1 { "relation " } else { "relations " },
            ),
        })
        .collect())
}

async fn holds(graph: &dyn GraphStore, c: &Claimed, at: Time) -> Result<bool, StoreError> {
    let text = match c.relation {
        Relation::Triggered => {
            "MATCH (a:Event {id: $from})-[r:TRIGGERED]->(b:Event {id: $to}) RETURN r.via AS via LIMIT 1".to_owned()
        }
        _ => format!(
            "MATCH (a:{} {{id: $from}})-[r:{}]->(b:{}) WHERE b.name = $to RETURN r.mechanism AS mechanism LIMIT 1",
            c.from.label, c.relation, c.to.label
        ),
    };
    let params = BTreeMap::from([
        ("from".to_owned(), Cell::Text(c.from.key.clone())),
        ("to".to_owned(), Cell::Text(c.to.key.clone())),
    ]);
    let rows = graph.query(Query { text, params, at, limits: Limits::default() }).await?;
    Ok(!rows.rows.is_empty())
}
