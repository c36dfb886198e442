//! `tapio graph export`: all of the graph as files, whole or not at all.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use tapio_graph::transfer::{Tally, csv, cypher, jsonl};

use super::Place;
use crate::cmd::Session;
use crate::error::{Failure, Outcome};
use crate::wire::{Graph, block_on};

pub(super) const EXAMPLES: &str = "\
Examples:
  tapio graph export --data-dir d --format cypher --to graph.cypher    then: cypher-shell -f graph.cypher
  tapio graph export --data-dir d --format jsonl --to graph.jsonl      then: tapio graph restore graph.jsonl --graph …
  tapio graph export --data-dir d --format csv --to import             then: see import/README.txt
  tapio graph export --graph bolt://localhost:7687 --format jsonl --to - | zstd > graph.jsonl.zst

A file appears when it is whole; until then its name ends in .part. Nothing is replaced without --replace. Of a Neo4j,
only labels and relations of docs/ontology.md are written; what else stands there is counted.";

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    /// A script for cypher-shell and Neo4j Browser
    Cypher,
    /// JSON lines, nodes before relations; what `restore` takes
    Jsonl,
    /// A folder of CSV files for `neo4j-admin database import`
    Csv,
}

#[derive(clap::Args, Debug)]
pub(super) struct Args {
    #[command(flatten)]
    place: Place,
    /// Form of the export
    #[arg(long, value_name = "FORM")]
    format: Form,
    /// File, or folder for csv; `-` for standard output
    #[arg(long, value_name = "FILE|DIR")]
    to: PathBuf,
    /// Replace what is there
    #[arg(long)]
    replace: bool,
}

pub(super) fn run(session: &Session, args: &Args) -> Outcome {
    let (graph, _folder) = args.place.open(session)?;
    if args.to.as_os_str() == "-" {
        if args.format == Form::Csv {
            return Err(Failure::input("csv is several files; give --to a folder"));
        }
        let mut out = BufWriter::new(std::io::stdout());
        let tally = to_file(args.format, &graph, &mut out, "standard output")?;
        out.flush()?;
        return tell(session, &tally, &args.to);
    }
    let tally = place(&args.to, args.replace, |part| match args.format {
        Form::Csv => {
            fs::create_dir(part).map_err(|e| cannot(part, &e))?;
            Ok(block_on(csv::export(graph.as_ref(), part))??)
        }
        form => write_file(part, |out| to_file(form, &graph, out, &part.display().to_string())),
    })?;
    tell(session, &tally, &args.to)
}

fn to_file(form: Form, graph: &Graph, out: &mut (dyn Write + Send), what: &str) -> Outcome<Tally> {
    Ok(match form {
        Form::Jsonl => block_on(jsonl::export(graph.as_ref(), out, what))??,
        _ => block_on(cypher::export(graph.as_ref(), out, what))??,
    })
}

fn tell(session: &Session, tally: &Tally, to: &Path) -> Outcome {
    session.note(&format!("{} nodes and {} relations are in {}", tally.nodes, tally.relations, to.display()));
    for (what, n) in &tally.left_out {
        session.note(&format!("left out, because it is not Tapio's: {what}, {n}×"));
    }
    Ok(())
}

/// Writes a file durably.
pub(super) fn write_file<T>(path: &Path, write: impl FnOnce(&mut (dyn Write + Send)) -> Outcome<T>) -> Outcome<T> {
    let mut out = BufWriter::new(File::create(path).map_err(|e| cannot(path, &e))?);
    let done = write(&mut out)?;
    let file = out.into_inner().map_err(|e| cannot(path, e.error()))?;
    file.sync_all().map_err(|e| cannot(path, &e))?;
    Ok(done)
}

/// Makes something under a name beside, and gives it its own name when it is whole.
pub(super) fn place<T>(to: &Path, replace: bool, make: impl FnOnce(&Path) -> Outcome<T>) -> Outcome<T> {
    if to.exists() && !replace {
        return Err(Failure::input(format!("{} is there already; name another, or give --replace", to.display())));
    }
    let Some(name) = to.file_name() else {
        return Err(Failure::input(format!("{} is no name of a file or folder", to.display())));
    };
    let part = to.with_file_name(format!("{}.part", name.to_string_lossy()));
    // Of an earlier one that was killed.
    remove(&part)?;
    let made = make(&part).inspect_err(|_| drop(remove(&part)))?;
    let old = to.with_file_name(format!("{}.old", name.to_string_lossy()));
    if to.exists() {
        remove(&old)?;
        fs::rename(to, &old).map_err(|e| cannot(to, &e))?;
    }
    fs::rename(&part, to).map_err(|e| cannot(to, &e))?;
    // Also of one that was killed between the two steps.
    remove(&old)?;
    // The name, too, must survive a loss of power; not every system lets folders be opened.
    if let Some(parent) = to.parent().filter(|p| !p.as_os_str().is_empty())
        && let Ok(d) = File::open(parent)
    {
        let _ = d.sync_all();
    }
    Ok(made)
}

fn remove(path: &Path) -> Outcome {
    let gone = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match gone {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(cannot(path, &e)),
        _ => Ok(()),
    }
}

pub(super) fn cannot(path: &Path, e: &std::io::Error) -> Failure {
    Failure::Unreachable(format!("cannot write {}: {e}; check space, owner and mount options", path.display()))
}
