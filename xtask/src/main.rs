//! `cargo xtask`: what the project checks, generates and measures about itself. None of it is part of the product.

mod bench;
mod boundaries;
mod docs;
mod eval;
mod lanes;
mod neo4j;
mod picture;
mod process;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Checks, references, lanes and benches of Tapio")]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Checks which crate uses what, that core and engine are pure, file names and sizes, and licences.
    Boundaries,
    /// Writes the references in docs/ from the code.
    Docs {
        /// Writes nothing; fails where a reference differs from the code.
        #[arg(long)]
        check: bool,
    },
    /// Scores the release binary over folders of cases or recordings that have an answer key.
    Eval(eval::Args),
    /// Runs the benches.
    Bench {
        /// Seconds instead of minutes; the figures only show that it works.
        #[arg(long)]
        quick: bool,
        /// Another binary than this workspace's release build, for `dump`.
        #[arg(long)]
        tapio: Option<PathBuf>,
        /// Only benches whose name contains this.
        only: Option<String>,
    },
    /// Draws the picture of docs/neo4j.md from a run on a real Neo4j.
    Picture,
    /// Runs every lane, as .ci/run does.
    Ci {
        /// Only lanes whose name contains this.
        only: Option<String>,
    },
}

fn main() -> ExitCode {
    let root = root();
    let done = match Args::parse().task {
        Task::Boundaries => boundaries::run(&root),
        Task::Docs { check } => docs::run(&root, check),
        Task::Eval(args) => eval::run(&root, &args),
        Task::Bench { quick, tapio, only } => bench::run(&root, quick, tapio, only.as_deref()),
        Task::Picture => picture::run(&root),
        Task::Ci { only } => lanes::run(&root, only.as_deref()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e:#}");
            ExitCode::FAILURE
        }
    }
}

/// The workspace's folder: the one above this crate's.
fn root() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.parent().map_or_else(|| here.clone(), PathBuf::from)
}
