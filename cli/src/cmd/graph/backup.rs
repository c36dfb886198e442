//! `tapio graph backup`: a copy of the graph in a folder, which `restore` takes.
//!
//! A folder holds `backup.json` and either the embedded store's own files or, of a Neo4j, JSON lines. It appears when it
//! is whole.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tapio_core::time::Time;
use tapio_graph::transfer::jsonl;

use super::Place;
use super::export::{cannot, place, write_file};
use crate::cmd::Session;
use crate::error::{Failure, Outcome};
use crate::wire::{block_on, newest, progress_of};

pub(super) const EXAMPLES: &str = "\
Examples:
  tapio graph backup --data-dir d --to backup
  tapio graph backup --graph bolt://localhost:7687 --to backup

Of a data folder it is a copy of one moment. A Neo4j is read page by page: stop what writes into it meanwhile, or use
`neo4j-admin database dump`, which copies everything that stands beside Tapio's graph, too.";

/// Format of a backup.
pub(super) const FORMAT: i64 = 1;
/// The file that says what a backup is.
pub(super) const NOTES: &str = "backup.json";
/// JSON lines in it.
pub(super) const LINES: &str = "graph.jsonl";

/// What a backup is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Notes {
    pub(super) format: i64,
    pub(super) tapio: String,
    /// Up to which position of its folder's event log the graph was.
    pub(super) log_position: Option<u64>,
    /// Newest time in the stream.
    pub(super) stream_end: Option<Time>,
    pub(super) nodes: BTreeMap<String, u64>,
    pub(super) relations: BTreeMap<String, u64>,
}

#[derive(clap::Args, Debug)]
pub(super) struct Args {
    #[command(flatten)]
    place: Place,
    /// Folder to make
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// Replace what is there
    #[arg(long)]
    replace: bool,
}

pub(super) fn run(session: &Session, args: &Args) -> Outcome {
    let (graph, folder) = args.place.open(session)?;
    let counts = block_on(graph.stats())??;
    let (mut log_position, mut stream_end) = (None, None);
    if let Some(folder) = &folder {
        if folder.rebuilding() {
            return Err(Failure::input(
                "the graph is being built and not all there; run `tapio replay --data-dir` first",
            ));
        }
        log_position = Some(progress_of(session, folder)?.committed);
        stream_end = folder.stream_end();
    }
    let stream_end = match stream_end {
        None => newest(graph.as_ref())?,
        known => known,
    };
    let tapio = env!("CARGO_PKG_VERSION").to_owned();
    let (nodes, relations) = (counts.nodes, counts.relations);
    let notes = Notes { format: FORMAT, tapio, log_position, stream_end, nodes, relations };
    let embedded = args.place.graph.is_none() && folder.as_ref().is_some_and(|f| f.graph_address().is_none());
    place(&args.to, args.replace, |part| {
        std::fs::create_dir(part).map_err(|e| cannot(part, &e))?;
        if embedded {
            block_on(graph.backup(part))??;
        } else {
            let file = part.join(LINES);
            let tally = write_file(&file, |out| {
                Ok(block_on(jsonl::export(graph.as_ref(), out, &file.display().to_string()))??)
            })?;
            for (what, n) in &tally.left_out {
                session.note(&format!("left out, because it is not Tapio's: {what}, {n}×"));
            }
        }
        write_notes(part, &notes)
    })?;
    let total: u64 = notes.relations.values().sum();
    session.note(&format!("the graph with its {total} relations is in {}", args.to.display()));
    Ok(())
}

fn write_notes(dir: &Path, notes: &Notes) -> Outcome {
    let text = crate::output::json(notes)?;
    let path = dir.join(NOTES);
    write_file(&path, |out| out.write_all(text.as_bytes()).map_err(|e| cannot(&path, &e)))
}
