//! `tapio graph`: the graph as a whole, in a data folder or in a Neo4j.

mod backup;
mod check;
mod export;
mod restore;
mod stats;

use std::path::PathBuf;

use clap::Subcommand;
use tapio_graph::neo4j::Address;

use super::Session;
use crate::error::{Failure, Outcome};
use crate::wire::{Folder, Graph, neo4j, of_folder};

pub(super) const EXAMPLES: &str = "\
Examples:
  tapio graph stats --data-dir d
  tapio graph check --graph bolt://localhost:7687
  tapio graph export --data-dir d --format cypher --to graph.cypher
  tapio graph backup --data-dir d --to backup
  tapio graph restore backup --graph bolt://localhost:7687";

#[derive(clap::Args, Debug)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// What it holds: nodes, relations, span of time, size
    #[command(after_help = stats::EXAMPLES)]
    Stats(stats::Args),
    /// Looks for what is wrong in it; exit code 1 where anything is
    #[command(after_help = check::EXAMPLES)]
    Check(check::Args),
    /// Writes all of it as a Cypher script, JSON lines, or CSV for neo4j-admin
    #[command(after_help = export::EXAMPLES)]
    Export(export::Args),
    /// Writes a copy that `restore` takes
    #[command(after_help = backup::EXAMPLES)]
    Backup(backup::Args),
    /// Brings a backup or an export into an empty graph
    #[command(after_help = restore::EXAMPLES)]
    Restore(restore::Args),
}

/// Which graph.
#[derive(clap::Args, Clone, Debug)]
#[group(id = "where", required = true, multiple = false)]
struct Place {
    /// The graph of this data folder: in it, or in the Neo4j that it notes
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The graph in this Neo4j: bolt://HOST:7687, bolt+s:// for TLS, ?database=NAME behind it
    #[arg(long, value_name = "URL", value_parser = crate::wire::address)]
    graph: Option<Address>,
}

impl Place {
    /// Opens a graph that is there. The folder, where there is one, is held as long as it lives.
    fn open(&self, session: &Session) -> Outcome<(Graph, Option<Folder>)> {
        match (&self.graph, &self.data_dir) {
            (Some(address), _) => Ok((neo4j(session, address)?, None)),
            (None, Some(dir)) => {
                let folder = Folder::existing(dir)?;
                // Opening would make an empty one.
                if folder.graph_address().is_none() && !folder.graph().join(tapio_graph::embedded::GRAPH_FILE).is_file()
                {
                    return Err(Failure::input(format!(
                        "there is no graph in {}; make one with `tapio replay --data-dir {}`",
                        dir.display(),
                        dir.display()
                    )));
                }
                Ok((of_folder(session, &folder)?, Some(folder)))
            }
            (None, None) => Err(Failure::input("say which graph: --data-dir DIR, or --graph bolt://HOST:7687")),
        }
    }
}

pub(super) fn run(session: &Session, args: &Args) -> Outcome {
    match &args.command {
        Command::Stats(a) => stats::run(session, a),
        Command::Check(a) => check::run(session, a),
        Command::Export(a) => export::run(session, a),
        Command::Backup(a) => backup::run(session, a),
        Command::Restore(a) => restore::run(session, a),
    }
}
