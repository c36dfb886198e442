//! Reading: users' queries within their bounds, counts, and the hash.
//!
//! A query runs in access mode read, so that the server itself refuses a write that the gate had let through. Its time
//! ends here and, a little later, on the server; whatever does not end well ends with its connection, and Neo4j stops
//! the query with that. Neo4j has no bound for steps: there, time and the server's memory limit hold.

use std::time::Duration;

use neo4rs::{BoltType, Query, Row};
use tapio_core::ontology::Label;
use tapio_core::ports::{Cell, GraphStats, Query as Asked, Rows};

use super::fault::Fault;
use super::pages;
use super::pool::Pool;
use super::schema::column;
use super::value::{cell, int_of, param, text_of};
use super::write::Times;
use crate::gate::Admitted;
use crate::hash::GraphHash;

/// Nodes that the hash holds in memory at once, with their relations.
const HASH_PAGE: usize = 500;

/// Time after the client's end of a query at which the server ends it, too.
const GRACE: u64 = 1_000;

/// Runs an admitted query.
pub(super) async fn query(pool: &Pool, asked: &Asked, admitted: &Admitted, times: Times) -> Result<Rows, Fault> {
    let lease = pool.lease().await?;
    let millis = asked.limits.timeout_millis;
    let mut query = Query::new(admitted.text.clone());
    for (name, value) in &asked.params {
        query = query.param(name, param(value));
    }
    query = query.extra("tx_timeout", i64::try_from(millis.saturating_add(GRACE)).unwrap_or(i64::MAX));
    let work = async {
        let mut found = lease.graph().execute_read(query).await.map_err(Fault::of)?;
        let mut rows = Vec::new();
        while rows.len() <= asked.limits.max_rows {
            match found.next().await.map_err(Fault::of)? {
                Some(row) => rows.push(row),
                None => return Ok((rows, true)),
            }
        }
        Ok((rows, false))
    };
    // A new connection has to be made within the same time.
    let bound = Duration::from_millis(millis).min(times.transaction.max(Duration::from_millis(millis)));
    let late = || Fault::Limit("it took longer than its time limit".to_owned());
    let (found, whole) = tokio::time::timeout(bound, work).await.map_err(|_| late())??;
    if whole {
        lease.keep();
    }
    let names = Names::of(admitted, found.first());
    let truncated = found.len() > asked.limits.max_rows;
    let rows = found.iter().take(asked.limits.max_rows).map(|row| names.cells(row)).collect();
    Ok(Rows { columns: names.shown, rows, truncated })
}

/// The columns of a result: the driver gives a row as a map, without an order.
struct Names {
    shown: Vec<String>,
    sent: Vec<String>,
}

impl Names {
    fn of(admitted: &Admitted, first: Option<&Row>) -> Self {
        let mut keys: Vec<String> = first.map(Row::keys).unwrap_or_default().iter().map(|k| k.value.clone()).collect();
        keys.sort_unstable();
        match (&admitted.columns, &admitted.sent) {
            (Some(shown), Some(sent)) if shown.len() == sent.len() => {
                let known = first.is_none() || (keys.len() == sent.len() && sent.iter().all(|s| keys.contains(s)));
                if known {
                    return Names { shown: shown.clone(), sent: sent.clone() };
                }
            }
            _ => {}
        }
        // `RETURN *` and procedures: by name, as Neo4j itself orders `*`.
        Names { shown: keys.clone(), sent: keys }
    }

    fn cells(&self, row: &Row) -> Vec<Cell> {
        self.sent.iter().map(|name| row.get::<BoltType>(name).map_or(Cell::Null, cell)).collect()
    }
}

/// Counts of labels and relations; Neo4j keeps them, nothing is walked.
pub(super) async fn stats(pool: &Pool, times: Times) -> Result<GraphStats, Fault> {
    let names = async |text: &str| column(pool, Query::new(text.to_owned()), "name", times).await;
    let mut stats = GraphStats::default();
    for name in names("CALL db.labels() YIELD label AS name RETURN name").await? {
        let Some(name) = text_of(&name) else { continue };
        let count = count(pool, format!("MATCH (n:{}) RETURN count(n) AS n", quoted(name)), times).await?;
        if count > 0 {
            stats.nodes.insert(name.to_owned(), count);
        }
    }
    for name in names("CALL db.relationshipTypes() YIELD relationshipType AS name RETURN name").await? {
        let Some(name) = text_of(&name) else { continue };
        let count = count(pool, format!("MATCH ()-[r:{}]->() RETURN count(r) AS n", quoted(name)), times).await?;
        if count > 0 {
            stats.relations.insert(name.to_owned(), count);
        }
    }
    Ok(stats)
}

async fn count(pool: &Pool, text: String, times: Times) -> Result<u64, Fault> {
    let found = column(pool, Query::new(text), "n", times).await?;
    Ok(found.first().and_then(int_of).and_then(|n| u64::try_from(n).ok()).unwrap_or_default())
}

/// A name from the database as an identifier.
fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// Pages through the whole graph.
pub(super) async fn hash(pool: &Pool, times: Times) -> Result<String, Fault> {
    let mut hash = GraphHash::default();
    for &label in Label::ALL {
        let mut after = String::new();
        loop {
            let page = pages::nodes(pool, label, &after, HASH_PAGE, times).await?;
            let Some(last) = page.last().map(|n| n.node.key.clone()) else { break };
            page.iter().for_each(|n| hash.stored_node(n));
            let relations = pages::relations(pool, label, (&after, &last), times).await?;
            relations.iter().for_each(|r| hash.stored_relation(r));
            if page.len() < HASH_PAGE {
                break;
            }
            after = last;
        }
    }
    Ok(hash.finish())
}
