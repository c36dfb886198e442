//! Which graph a command uses: the one in the data folder, or a Neo4j; and the credentials for that.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tapio_core::ports::{Cell, GraphStore, Limits, Query};
use tapio_core::time::Time;
use tapio_graph::neo4j::{Address, Neo4jConfig, Neo4jGraph, Secret};
use tapio_graph::{EmbeddedGraph, embedded};

use super::{Folder, block_on};
use crate::cmd::Session;
use crate::error::{Failure, Outcome};

/// A graph, wherever it is.
pub(crate) type Graph = Box<dyn GraphStore>;

const USER: &str = "TAPIO_NEO4J_USER";
const PASSWORD: &str = "TAPIO_NEO4J_PASSWORD";
const PASSWORD_FILE: &str = "TAPIO_NEO4J_PASSWORD_FILE";
const CA_FILE: &str = "TAPIO_NEO4J_CA_FILE";

/// Longest password file that is read.
const MAX_PASSWORD: u64 = 4_096;

/// Reads an address for clap.
pub(crate) fn address(text: &str) -> Result<Address, String> {
    text.parse::<Address>().map_err(|e| e.to_string())
}

/// Connects to a Neo4j as to any graph.
pub(crate) fn neo4j(session: &Session, address: &Address) -> Outcome<Graph> {
    Ok(Box::new(server(session, address)?))
}

/// Connects to a Neo4j; credentials come from the environment only.
pub(crate) fn server(session: &Session, address: &Address) -> Outcome<Neo4jGraph> {
    let set = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
    let password = match (set(PASSWORD), set(PASSWORD_FILE)) {
        (Some(_), Some(_)) => {
            return Err(Failure::input(format!("{PASSWORD} and {PASSWORD_FILE} are both set; set one of them")));
        }
        (Some(password), None) => password,
        (None, Some(file)) => password_of(Path::new(&file))?,
        (None, None) => String::new(),
    };
    let user = set(USER).unwrap_or_else(|| "neo4j".to_owned());
    let mut config = Neo4jConfig::new(address.clone(), user, Secret::new(password));
    config.readers = session.config.graph.readers;
    config.writers = session.config.graph.neo4j_connections;
    config.patience = Duration::from_secs(session.config.graph.neo4j_patience_secs);
    config.ca_file = set(CA_FILE).map(PathBuf::from);
    Ok(Neo4jGraph::open(&config)?)
}

fn password_of(file: &Path) -> Outcome<String> {
    use std::io::Read;
    let cannot = |why: String| Failure::input(format!("cannot read {PASSWORD_FILE} {}: {why}", file.display()));
    let opened = std::fs::File::open(file).map_err(|e| cannot(e.to_string()))?;
    let mut text = String::new();
    opened.take(MAX_PASSWORD + 1).read_to_string(&mut text).map_err(|e| cannot(e.to_string()))?;
    if text.len() as u64 > MAX_PASSWORD {
        return Err(cannot(format!("it has more than {MAX_PASSWORD} bytes, which is no password")));
    }
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}

/// The graph of a data folder: at the address that the folder notes, else in the folder.
pub(crate) fn of_folder(session: &Session, folder: &Folder) -> Outcome<Graph> {
    match folder.graph_address() {
        Some(noted) => neo4j(session, &noted.parse()?),
        None => Ok(Box::new(EmbeddedGraph::open(folder.graph(), session.config.graph.embedded())?)),
    }
}

/// Changes that go into the graph of a folder in one step: a server is fast with several connections at work on each.
pub(crate) fn batch(folder: &Folder) -> usize {
    if folder.graph_address().is_some() { 8_000 } else { super::watch::BATCH }
}

/// The graph that a replay writes, its schema there; and whether it has to be built from the whole event log.
///
/// An address that is given is noted in the folder before anything is written, so that the next command finds it, and
/// a killed one goes on with it.
pub(crate) fn to_write(session: &Session, folder: &mut Folder, asked: Option<&Address>) -> Outcome<(Graph, bool)> {
    if let Some(address) = asked {
        // Connected before it is noted: a wrong address must not stay.
        drop(neo4j(session, address)?);
        folder.set_graph_address(&address.to_string())?;
    }
    let new = folder.graph_address().is_none() && !folder.graph().join(embedded::GRAPH_FILE).exists();
    let graph = of_folder(session, folder)?;
    block_on(graph.ensure_schema())??;
    // A server's graph may have been emptied, or never have been ours.
    let empty = folder.graph_address().is_some() && newest(graph.as_ref())?.is_none();
    let rebuild = new || empty || folder.rebuilding();
    folder.set_rebuilding(rebuild)?;
    Ok((graph, rebuild))
}

/// The time of the newest event in a graph.
pub(crate) fn newest(graph: &dyn GraphStore) -> Outcome<Option<Time>> {
    event_time(graph, "DESC")
}

/// The time of the oldest event in a graph.
pub(crate) fn oldest(graph: &dyn GraphStore) -> Outcome<Option<Time>> {
    event_time(graph, "ASC")
}

fn event_time(graph: &dyn GraphStore, order: &str) -> Outcome<Option<Time>> {
    // By the index on the integer.
    let text = format!("MATCH (e:Event) WHERE e.ts_ms > 0 RETURN e.timestamp AS at ORDER BY e.ts_ms {order} LIMIT 1");
    // Our own question: a server that has just started takes longer for its first one than a user would wait.
    let limits = Limits { timeout_millis: 60_000, ..Limits::default() };
    let query = Query { text, params: Default::default(), at: Time::MIN, limits };
    let rows = block_on(graph.query(query))??;
    Ok(rows.rows.into_iter().flatten().find_map(|cell| match cell {
        Cell::Time(at) => Some(at),
        _ => None,
    }))
}
