//! `tapio graph restore`: a backup or an export into a graph, all of it or nothing that is taken for all.
//!
//! In a data folder the new graph is built beside, and takes its place when it is whole. A server is marked until then;
//! the same command again goes on, because everything is merged by key.

use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};

use tapio_core::ontology::Label;
use tapio_core::ports::GraphStore;
use tapio_graph::embedded::GRAPH_FILE;
use tapio_graph::neo4j::Neo4jGraph;
use tapio_graph::transfer::jsonl::{End, Reader};
use tapio_graph::transfer::restore;
use tapio_graph::{EmbeddedConfig, EmbeddedGraph};

use super::Place;
use super::backup::{FORMAT, LINES, NOTES, Notes};
use super::export::{cannot, place};
use crate::cmd::Session;
use crate::error::{Failure, Outcome};
use crate::wire::{Folder, block_on, fingerprint, newest, progress_of, server};

pub(super) const EXAMPLES: &str = "\
Examples:
  tapio graph restore backup --data-dir d
  tapio graph restore backup --graph bolt://localhost:7687      from the data folder's store to a Neo4j
  tapio graph restore graph.jsonl --graph bolt://localhost:7687
  tapio graph restore backup --data-dir d --replace             in the place of the graph that is there

The graph must be empty, or give --replace. When it was killed, the same command does the rest. At the end the hash of
what stands there is compared with that of what was read.";

#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// Folder made by `backup`, or file made by `export --format jsonl`
    #[arg(value_name = "BACKUP|FILE")]
    from: PathBuf,
    #[command(flatten)]
    place: Place,
    /// Empty the graph first: every node of Tapio's goes, others stay
    #[arg(long)]
    replace: bool,
    /// Do not compare hashes at the end, which reads all of the graph again
    #[arg(long)]
    no_verify: bool,
}

/// Where a graph comes from.
enum Source {
    Lines(PathBuf),
    /// A folder with the embedded store's files.
    Store(PathBuf),
}

pub(super) fn run(session: &Session, args: &Args) -> Outcome {
    let (source, notes) = source(&args.from)?;
    if let Source::Lines(file) = &source {
        // What is no export at all must not cost anybody a graph.
        lines(file)?;
    }
    let end = match (&args.place.graph, &args.place.data_dir) {
        (Some(address), _) => into_server(session, args, &source, &server(session, address)?)?,
        (None, Some(dir)) => {
            let folder = Folder::create(dir)?;
            match folder.graph_address().map(str::parse).transpose()? {
                Some(address) => into_server(session, args, &source, &server(session, &address)?)?,
                None => into_folder(session, args, &source, notes.as_ref(), folder)?,
            }
        }
        (None, None) => return Err(Failure::input("say where to: --data-dir DIR, or --graph bolt://HOST:7687")),
    };
    session.note(&format!("{} nodes and {} relations are restored, hash {}", end.nodes, end.relations, end.hash));
    Ok(())
}

fn source(from: &Path) -> Outcome<(Source, Option<Notes>)> {
    let no = |why: &str| Failure::input(format!("{} is no backup of a graph: {why}", from.display()));
    if from.is_file() {
        return Ok((Source::Lines(from.to_owned()), None));
    }
    let text = fs::read_to_string(from.join(NOTES)).map_err(|e| no(&format!("{NOTES}: {e}")))?;
    let format = serde_json::from_str::<serde_json::Value>(&text).ok().and_then(|v| v.get("format")?.as_i64());
    if let Some(found) = format.filter(|f| *f > FORMAT) {
        return Err(no(&format!("it has format {found}, this tapio reads up to {FORMAT}; use the newer tapio")));
    }
    let notes: Notes = serde_json::from_str(&text).map_err(|e| no(&format!("{NOTES} is damaged: {e}")))?;
    if from.join(LINES).is_file() {
        return Ok((Source::Lines(from.join(LINES)), Some(notes)));
    }
    if from.join(GRAPH_FILE).is_file() {
        return Ok((Source::Store(from.to_owned()), Some(notes)));
    }
    Err(no("it holds no graph"))
}

fn lines(file: &Path) -> Outcome<Reader<BufReader<File>>> {
    let opened = File::open(file).map_err(|e| Failure::input(format!("cannot read {}: {e}", file.display())))?;
    Reader::open(BufReader::with_capacity(1 << 20, opened))
        .map_err(|e| Failure::input(format!("{}: {e}", file.display())))
}

/// Reads all of the source into a store, whose schema is there.
fn fill(session: &Session, source: &Source, store: &dyn GraphStore) -> Outcome<End> {
    let mut bar = crate::wire::Counter::new(session, "restored");
    let end = match source {
        Source::Lines(file) => {
            block_on(restore::read(store, lines(file)?, |n| bar.show(n)))?.map_err(|e| Failure::from(e).about(file))
        }
        Source::Store(dir) => {
            let from = EmbeddedGraph::open(dir, EmbeddedConfig::default())?;
            block_on(restore::copy(&from, store, |n| bar.show(n)))?.map_err(Failure::from)
        }
    };
    bar.hide();
    end
}

/// Compares what stands there with what was read.
fn verify(args: &Args, store: &dyn GraphStore, end: &End) -> Outcome {
    if args.no_verify {
        return Ok(());
    }
    let hash = block_on(store.graph_hash())??;
    if hash == end.hash {
        return Ok(());
    }
    Err(Failure::Unreachable(format!(
        "what stands there now (hash {hash}) is not what was read (hash {}); did somebody write meanwhile, or are keys \
         longer than 4,000 bytes, which a Neo4j shortens? Restore again with --replace",
        end.hash
    )))
}

fn into_server(session: &Session, args: &Args, source: &Source, graph: &Neo4jGraph) -> Outcome<End> {
    let mark = fingerprint(std::slice::from_ref(&args.from), None)?
        .ok_or_else(|| Failure::input(format!("{} cannot be read twice; give a file", args.from.display())))?;
    let counts = block_on(graph.stats())??;
    let holds = Label::ALL.iter().filter_map(|l| counts.nodes.get(l.as_str())).sum::<u64>();
    match block_on(graph.restoring())?? {
        Some(old) if old == mark && !args.replace => session.note("going on with a restore that was interrupted"),
        Some(old) if old != mark && !args.replace => {
            return Err(Failure::input(format!(
                "a restore of something else was interrupted in {}; finish that one, or give --replace",
                graph.place()
            )));
        }
        _ if holds > 0 && !args.replace => {
            return Err(Failure::input(format!(
                "{} holds a graph of {holds} nodes; give --replace to remove it first, or name another database",
                graph.place()
            )));
        }
        _ => {}
    }
    block_on(graph.ensure_schema())??;
    if args.replace && holds > 0 {
        block_on(graph.clear())??;
    }
    block_on(graph.set_restoring(Some(&mark)))??;
    let end = fill(session, source, graph)?;
    verify(args, graph, &end)?;
    block_on(graph.set_restoring(None))??;
    Ok(end)
}

fn into_folder(
    session: &Session,
    args: &Args,
    source: &Source,
    notes: Option<&Notes>,
    mut folder: Folder,
) -> Outcome<End> {
    let target = folder.graph();
    if target.join(GRAPH_FILE).exists() && !args.replace {
        let held = EmbeddedGraph::open(&target, session.config.graph.embedded())?;
        let holds = block_on(held.stats())??.nodes.values().sum::<u64>();
        if holds > 0 {
            return Err(Failure::input(format!(
                "{} holds a graph of {holds} nodes; give --replace to put this one in its place",
                folder.dir().display()
            )));
        }
    }
    let (end, newest_event) = place(&target, true, |part| {
        if let Source::Store(dir) = source {
            fs::create_dir(part).map_err(|e| cannot(part, &e))?;
            for name in [GRAPH_FILE, tapio_graph::embedded::VERSION_FILE] {
                fs::copy(dir.join(name), part.join(name)).map_err(|e| cannot(&part.join(name), &e))?;
                File::open(part.join(name)).and_then(|f| f.sync_all()).map_err(|e| cannot(&part.join(name), &e))?;
            }
        }
        let graph = EmbeddedGraph::open(part, session.config.graph.embedded())?;
        block_on(graph.ensure_schema())??;
        let end = match source {
            Source::Lines(_) => {
                let end = fill(session, source, &graph)?;
                verify(args, &graph, &end)?;
                end
            }
            Source::Store(_) => copied(&graph, notes)?,
        };
        Ok((end, newest(&graph)?))
    })?;
    // The graph is that of the log only where it was taken at just this place of it.
    let at = progress_of(session, &folder)?;
    let behind = at.last > 0 && notes.and_then(|n| n.log_position) != Some(at.committed);
    folder.set_rebuilding(behind)?;
    if behind {
        session.note(&format!(
            "the event log of {} is at another place than this graph; `tapio replay --data-dir` builds the graph from the log",
            folder.dir().display()
        ));
    }
    if folder.stream_end().is_none()
        && let Some(at) = notes.and_then(|n| n.stream_end).or(newest_event)
    {
        folder.set_stream_end(at)?;
    }
    Ok(end)
}

/// A copied store holds what the backup says.
fn copied(graph: &EmbeddedGraph, notes: Option<&Notes>) -> Outcome<End> {
    let counts = block_on(graph.stats())??;
    if let Some(n) = notes.filter(|n| (&n.nodes, &n.relations) != (&counts.nodes, &counts.relations)) {
        let total = |m: &std::collections::BTreeMap<String, u64>| m.values().sum::<u64>();
        return Err(Failure::input(format!(
            "the backup holds {} labelled nodes and {} relations, and says that it holds {} and {}; it is damaged",
            total(&counts.nodes),
            total(&counts.relations),
            total(&n.nodes),
            total(&n.relations)
        )));
    }
    let nodes = Label::ALL.iter().filter_map(|l| counts.nodes.get(l.as_str())).sum();
    let hash = block_on(graph.graph_hash())??;
    Ok(End { nodes, relations: counts.relations.values().sum(), hash })
}
