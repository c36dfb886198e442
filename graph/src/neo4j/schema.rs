//! What a server must be, and the schema: made at the start where it is missing, never changed.
//!
//! The format of the graph is kept as the name of an index without nodes ([`MARK`]), not as a node: `MATCH (n)` must
//! find the same on every store.

use std::time::{Duration, Instant};

use neo4rs::{BoltType, Query};
use tapio_core::ports::StoreAbout;

use super::fault::Fault;
use super::pool::Pool;
use super::value::text_of;
use super::write::Times;
use crate::statements;

/// Format of the graph; raised when an older Tapio could not read it.
pub const FORMAT: i64 = 1;

/// Begin of the name of the index that says the format.
const MARK: &str = "tapio_format_";

/// Least major version of the server.
const LEAST: i64 = 5;

/// How long new indexes may take to fill.
const FILLING: Duration = Duration::from_secs(600);

/// Asks a statement and gives one column of its rows.
pub(super) async fn column(pool: &Pool, query: Query, name: &str, times: Times) -> Result<Vec<BoltType>, Fault> {
    let lease = pool.lease().await?;
    let work = async {
        let mut found = lease.graph().execute(query).await.map_err(Fault::of)?;
        let mut out = Vec::new();
        while let Some(row) = found.next().await.map_err(Fault::of)? {
            out.push(row.get::<BoltType>(name).map_err(|e| Fault::Other(format!("no column {name}: {e}")))?);
        }
        Ok(out)
    };
    let done = tokio::time::timeout(times.transaction, work).await;
    let done = done.map_err(|_| Fault::late("a statement", times.transaction))?;
    if done.is_ok() {
        lease.keep();
    }
    done
}

/// Looks whether this is a Neo4j of our time whose graph we understand. Writes nothing.
pub(super) async fn check(pool: &Pool, times: Times) -> Result<(), Fault> {
    let asked = Query::new("CALL dbms.components() YIELD versions RETURN versions[0] AS version LIMIT 1".to_owned());
    let work = column(pool, asked, "version", times);
    let found = tokio::time::timeout(times.connect, work).await;
    let found = found.map_err(|_| {
        Fault::Away(format!("it did not answer within {} s; check host and port", times.connect.as_secs_f32()))
    })?;
    let found = match found {
        Err(Fault::Statement(why)) => return Err(Fault::Denied(format!("it is no Neo4j 5 or newer: {why}"))),
        found => found?,
    };
    let version = found.first().and_then(text_of).unwrap_or_default().to_owned();
    let major: i64 = version.split('.').next().and_then(|m| m.parse().ok()).unwrap_or_default();
    if major < LEAST {
        return Err(Fault::Denied(format!("it is version `{version}`; Neo4j {LEAST} or newer is needed")));
    }
    let newest = names(pool, times).await?.iter().filter_map(|n| n.strip_prefix(MARK)?.parse::<i64>().ok()).max();
    match newest {
        Some(found) if found > FORMAT => Err(Fault::Newer(found)),
        _ => Ok(()),
    }
}

/// Creates what is missing of the schema and waits until it is there.
pub(super) async fn ensure(pool: &Pool, times: Times) -> Result<(), Fault> {
    let have = names(pool, times).await?;
    let mark = format!("{MARK}{FORMAT}");
    // First of all: from here on an older Tapio keeps away.
    let mut wanted =
        vec![(mark.clone(), format!("CREATE INDEX {mark} IF NOT EXISTS FOR (n:TapioFormat) ON (n.version)"))];
    wanted.extend(statements::schema().into_iter().map(|i| (statements::neo4j_name(i), statements::neo4j_index(i))));
    let missing: Vec<_> = wanted.into_iter().filter(|(name, _)| !have.contains(name)).collect();
    for (name, text) in &missing {
        column(pool, Query::new(text.clone()), "", times).await.map_err(|fault| match fault {
            Fault::Statement(why) | Fault::Other(why) => Fault::Other(format!(
                "cannot make {name}: {why}; drop what stands in its way, or name another database"
            )),
            other => other,
        })?;
    }
    if missing.is_empty() { Ok(()) } else { filled(pool, times).await }
}

/// What is missing or unusable of constraints, indexes and the mark of the format.
pub(super) async fn faults(pool: &Pool, times: Times) -> Result<Vec<String>, Fault> {
    let asked = "SHOW INDEXES YIELD name, state, owningConstraint, labelsOrTypes, properties \
                 WHERE name STARTS WITH 'tapio_' \
                 RETURN [name, state, owningConstraint IS NOT NULL, labelsOrTypes[0], properties[0]] AS row"
        .to_owned();
    let found: Vec<Vec<BoltType>> = column(pool, Query::new(asked), "row", times)
        .await?
        .into_iter()
        .filter_map(|row| match row {
            BoltType::List(row) => Some(row.value),
            _ => None,
        })
        .collect();
    let named = |name: &str| found.iter().find(|row| row.first().and_then(text_of) == Some(name));
    let mut faults = Vec::new();
    if named(&format!("{MARK}{FORMAT}")).is_none() {
        faults.push(format!("no mark of the format (index {MARK}{FORMAT})"));
    }
    for index in statements::schema() {
        let (name, words) = (statements::neo4j_name(index), statements::index_in_words(index));
        let Some(row) = named(&name) else {
            faults.push(format!("no {words} ({name})"));
            continue;
        };
        let at = |n: usize| row.get(n).and_then(text_of).unwrap_or_default();
        let unique = matches!(row.get(2), Some(BoltType::Boolean(b)) if b.value);
        if at(1) != "ONLINE" {
            faults.push(format!("the {words} ({name}) is {}", at(1)));
        } else if (at(3), at(4), unique) != (index.label.as_str(), index.property, index.unique) {
            faults.push(format!("{name} is no {words}, but something else of that name"));
        }
    }
    Ok(faults)
}

/// Version of the server and format of the graph.
pub(super) async fn about(pool: &Pool, times: Times) -> Result<StoreAbout, Fault> {
    let asked = "CALL dbms.components() YIELD name, versions, edition \
                 RETURN name + ' ' + versions[0] + ' ' + edition AS about LIMIT 1";
    let found = column(pool, Query::new(asked.to_owned()), "about", times).await?;
    let store = found.first().and_then(text_of).unwrap_or("Neo4j").replace("Neo4j Kernel", "Neo4j");
    let marks = names(pool, times).await?;
    let format = marks.iter().filter_map(|n| n.strip_prefix(MARK)?.parse().ok()).max().unwrap_or_default();
    // The community edition tells nobody how large a database is.
    Ok(StoreAbout { store, format, bytes: None })
}

async fn names(pool: &Pool, times: Times) -> Result<Vec<String>, Fault> {
    let asked = "SHOW INDEXES YIELD name WHERE name STARTS WITH 'tapio_' RETURN name".to_owned();
    let found = column(pool, Query::new(asked), "name", times).await?;
    Ok(found.iter().filter_map(|n| text_of(n).map(str::to_owned)).collect())
}

/// Waits until the indexes are filled; on a graph that has grown without them this takes a while.
async fn filled(pool: &Pool, times: Times) -> Result<(), Fault> {
    let begun = Instant::now();
    loop {
        let asked = "SHOW INDEXES YIELD name, state WHERE name STARTS WITH 'tapio_' AND state <> 'ONLINE' \
                     RETURN state"
            .to_owned();
        let states = column(pool, Query::new(asked), "state", times).await?;
        match states.len() {
            0 => return Ok(()),
            _ if states.iter().any(|s| text_of(s) == Some("FAILED")) => {
                return Err(Fault::Other("an index could not be filled; see SHOW INDEXES in Neo4j".to_owned()));
            }
            _ if begun.elapsed() > FILLING => return Err(Fault::late("filling the indexes", FILLING)),
            _ => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}
