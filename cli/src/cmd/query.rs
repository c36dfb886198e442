//! `tapio query`: read-only Cypher on the graph of a data folder, or of inputs analysed on the spot.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::{Value, json};
use tapio_core::ports::{Cell, GraphStore, Query, Rows};
use tapio_core::time::Time;
use tapio_graph::EmbeddedGraph;

use super::Session;
use crate::args::{Anywhere, Reading, RowFormat};
use crate::error::{Failure, Outcome};
use crate::output::rows::lay_out;
use crate::wire::{Folder, Remote, analyse, block_on, neo4j, newest, newest_of, of_folder};

pub(super) const EXAMPLES: &str = "\
Examples:
  tapio query 'MATCH (i:Incident)-[r:ROOT_CAUSE]->(o) RETURN i.opened_at AS opened, r.mechanism AS cause, o.name AS name' --data-dir d
  tapio query -f cause.cypher --param podName=cart-7c9 --data-dir d -o json
  tapio query 'MATCH (p:Pod) WHERE p.ready = false RETURN p.name AS pod' --from dump -o csv
  tapio query 'MATCH (e:Event) RETURN count(e) AS events' --graph bolt://localhost:7687
  tapio query 'MATCH (p:Pod) RETURN p.name AS pod' --server http://127.0.0.1:7878

datetime() means the end of the stream; --at sets another time. Parameters are whole numbers, numbers, true, false,
times (2024-01-15T10:30:00Z), or else texts; put a text in quotes to keep it one: --param n='\"1\"'.";

#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// The query; `-` for standard input
    #[arg(value_name = "CYPHER", required_unless_present = "file", conflicts_with = "file")]
    cypher: Option<String>,
    /// File that holds the query
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// A parameter, `$name` in the query
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = param)]
    params: Vec<(String, Cell)>,
    /// What datetime() and timestamp() stand for
    #[arg(long, value_name = "TIME", value_parser = Time::parse)]
    at: Option<Time>,
    #[command(flatten)]
    place: Anywhere,
    #[command(flatten)]
    reading: Reading,
    /// Form of the output
    #[arg(short, long, value_name = "FORM")]
    output: Option<RowFormat>,
}

fn param(text: &str) -> Result<(String, Cell), String> {
    let Some((name, value)) = text.split_once('=') else {
        return Err("give NAME=VALUE, e.g. podName=cart-7c9".to_owned());
    };
    let name = name.trim().trim_start_matches('$');
    if name.is_empty() || !name.chars().all(|c| c.is_alphanumeric() || c == '_') {
        return Err(format!("`{name}` is no name of a parameter; use letters, digits and _"));
    }
    Ok((name.to_owned(), typed(value)))
}

/// The value that a text looks like.
fn typed(text: &str) -> Cell {
    let quoted = |q: char| text.len() >= 2 && text.starts_with(q) && text.ends_with(q);
    if quoted('"') || quoted('\'') {
        return Cell::Text(text[1..text.len() - 1].to_owned());
    }
    match text {
        "true" => return Cell::Bool(true),
        "false" => return Cell::Bool(false),
        "null" => return Cell::Null,
        _ => {}
    }
    if let Ok(n) = text.parse::<i64>() {
        return Cell::Int(n);
    }
    // `inf` and `nan` are words, too.
    if text.starts_with(|c: char| c.is_ascii_digit() || c == '-' || c == '.')
        && let Ok(x) = text.parse::<f64>()
    {
        return Cell::Float(x);
    }
    Time::parse(text).map_or_else(|_| Cell::Text(text.to_owned()), Cell::Time)
}

pub(super) fn run(session: &Session, args: &Args) -> Outcome {
    let text = match (&args.file, args.cypher.as_deref()) {
        (Some(f), _) => {
            std::fs::read_to_string(f).map_err(|e| Failure::input(format!("cannot read query {}: {e}", f.display())))?
        }
        (None, Some("-")) => {
            if args.place.source.from.from.iter().any(|p| p.as_os_str() == "-") {
                return Err(Failure::input("standard input cannot be both the query and the input; use -f FILE"));
            }
            let mut text = String::new();
            std::io::stdin()
                .read_to_string(&mut text)
                .map_err(|e| Failure::input(format!("cannot read the query from standard input: {e}")))?;
            text
        }
        (None, text) => text.unwrap_or_default().to_owned(),
    };
    let params: BTreeMap<String, Cell> = args.params.iter().cloned().collect();
    let format = args.output.unwrap_or(RowFormat::Table);
    if let Some(server) = args.place.server()? {
        let rows = of_server(session, &server, &text, &params, args.at)?;
        return session.screen.print(&lay_out(&session.screen, &rows, format)?);
    }
    let limits = session.config.query.limits();
    let ask = |graph: &dyn GraphStore, end: Option<Time>| {
        let at = args
            .at
            .or(end)
            .ok_or_else(|| Failure::input("there are no events, so that datetime() has no meaning; give --at TIME"))?;
        let query = Query { text: text.clone(), params: params.clone(), at, limits };
        Ok::<_, Failure>(block_on(graph.query(query))??)
    };
    let rows = match (&args.place.graph, &args.place.source.from.data_dir) {
        (Some(address), _) => {
            let graph = neo4j(session, address)?;
            let end = if args.at.is_none() { newest(graph.as_ref())? } else { None };
            ask(graph.as_ref(), end)?
        }
        (None, Some(dir)) => {
            let folder = Folder::existing(dir)?;
            let end = newest_of(session, &folder)?;
            ask(of_folder(session, &folder)?.as_ref(), end)?
        }
        (None, None) => {
            let (_dir, graph, end) = temporary(session, &args.place.source.from.from, &args.reading)?;
            ask(&graph, Some(end))?
        }
    };
    session.screen.print(&lay_out(&session.screen, &rows, format)?)
}

/// What a server says.
fn of_server(
    session: &Session,
    server: &Remote,
    query: &str,
    params: &BTreeMap<String, Cell>,
    at: Option<Time>,
) -> Outcome<Rows> {
    let limits = session.config.query.limits();
    let mut body = json!({
        "query": query, "params": params, "timeout_millis": limits.timeout_millis, "max_rows": limits.max_rows
    });
    if let Some(at) = at {
        body["at"] = json!(at);
    }
    let said: Said = server.post(&["query"], &[], "application/json", body.to_string().into_bytes())?;
    let rows = said.rows.into_iter().map(|r| r.into_iter().map(cell).collect()).collect();
    Ok(Rows { columns: said.columns, rows, truncated: said.truncated })
}

/// Rows on the wire.
#[derive(Deserialize)]
struct Said {
    columns: Vec<String>,
    rows: Vec<Vec<Value>>,
    truncated: bool,
}

/// A value as the server wrote it; a text stays the text that it is there.
fn cell(v: Value) -> Cell {
    match v {
        Value::Null => Cell::Null,
        Value::Bool(b) => Cell::Bool(b),
        Value::Number(n) => n.as_i64().map_or_else(|| Cell::Float(n.as_f64().unwrap_or(f64::NAN)), Cell::Int),
        Value::String(s) => Cell::Text(s),
        Value::Array(l) => Cell::List(l.into_iter().map(cell).collect()),
        Value::Object(m) => Cell::Map(m.into_iter().map(|(k, v)| (k, cell(v))).collect()),
    }
}

/// A graph of inputs in a folder that goes with the process; the folder must outlive the graph's use.
fn temporary(
    session: &Session,
    inputs: &[PathBuf],
    reading: &Reading,
) -> Outcome<(tempfile::TempDir, EmbeddedGraph, Time)> {
    let cannot = |e: std::io::Error| Failure::Unreachable(format!("cannot make a temporary folder: {e}"));
    let dir = tempfile::Builder::new().prefix("tapio-").tempdir().map_err(cannot)?;
    let graph = EmbeddedGraph::open(dir.path(), session.config.graph.embedded())?;
    block_on(graph.ensure_schema())??;
    let mut waiting = Vec::new();
    let analysed = analyse(session, inputs, reading, true, |out| {
        waiting.extend(out.changes);
        if waiting.len() >= 1_000 {
            block_on(graph.apply(std::mem::take(&mut waiting)))??;
        }
        Ok(())
    })?;
    block_on(graph.apply(waiting))??;
    Ok((dir, graph, analysed.engine.newest()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_have_the_type_that_they_look_like() {
        for (text, want) in [
            ("n=3", Cell::Int(3)),
            ("n=-0.5", Cell::Float(-0.5)),
            ("n=true", Cell::Bool(true)),
            ("n=\"3\"", Cell::Text("3".into())),
            ("n=inf", Cell::Text("inf".into())),
            ("n=a=b", Cell::Text("a=b".into())),
            ("n=2024-01-15T10:30:00Z", Cell::Time(Time::parse("2024-01-15T10:30:00Z").unwrap())),
        ] {
            assert_eq!(param(text), Ok(("n".to_owned(), want)), "{text}");
        }
        assert!(param("n").is_err() && param("a b=1").is_err());
    }
}
