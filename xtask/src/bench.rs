//! `cargo xtask bench`: all benches, one after the other, with what they have to reach.

mod dump;

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::neo4j;
use crate::process::run_cargo;

/// One bench of the tree.
struct Bench {
    name: &'static str,
    title: &'static str,
    /// Folder whose bench file has to be there.
    file: &'static str,
    full: &'static [&'static str],
    quick: &'static [&'static str],
    /// Environment of the quick run.
    env: &'static [(&'static str, &'static str)],
}

const BENCHES: &[Bench] = &[
    Bench {
        name: "fold",
        title: "the engine's fold, beside serde_json on the same bytes",
        file: "engine/benches/fold.rs",
        full: &["bench", "-p", "tapio-engine", "--bench", "fold"],
        quick: &["bench", "-p", "tapio-engine", "--bench", "fold", "--", "--quick"],
        env: &[],
    },
    Bench {
        name: "memory",
        title: "a long stream, memory over time",
        file: "engine/benches/fold.rs",
        full: &["bench", "-p", "tapio-engine", "--bench", "fold", "--", "--long"],
        quick: &["bench", "-p", "tapio-engine", "--bench", "fold", "--", "--long", "--quick"],
        env: &[],
    },
    Bench {
        name: "normalise",
        title: "normalisers, beside serde_json",
        file: "core/benches/normalise.rs",
        full: &["bench", "-p", "tapio-core", "--bench", "normalise"],
        quick: &["bench", "-p", "tapio-core", "--bench", "normalise", "--", "--test"],
        env: &[],
    },
    Bench {
        name: "log",
        title: "the event log, beside a plain file with fdatasync",
        file: "bus/benches/log.rs",
        full: &["bench", "-p", "tapio-bus", "--bench", "log"],
        quick: &["bench", "-p", "tapio-bus", "--bench", "log"],
        env: &[("TAPIO_BENCH_SECONDS", "0.3")],
    },
    Bench {
        name: "embedded",
        title: "the embedded graph, beside bare marsdb",
        file: "graph/benches/embedded.rs",
        full: &["bench", "-p", "tapio-graph", "--bench", "embedded", "--", "100000", "1000000"],
        quick: &["bench", "-p", "tapio-graph", "--bench", "embedded"],
        env: &[],
    },
    Bench {
        name: "neo4j",
        title: "the graph on a Neo4j, beside a bare UNWIND loop",
        file: "graph/benches/neo4j.rs",
        full: &["bench", "-p", "tapio-graph", "--bench", "neo4j", "--", "50000", "5"],
        quick: &["bench", "-p", "tapio-graph", "--bench", "neo4j"],
        env: &[],
    },
];

/// Runs the benches whose name contains `only`; the last is `dump`, the binary over generated dumps.
///
/// # Errors
/// Where one fails.
pub(crate) fn run(root: &Path, quick: bool, tapio: Option<PathBuf>, only: Option<&str>) -> Result<()> {
    let wanted = |name: &str| only.is_none_or(|o| name.contains(o));
    let mut ran = 0;
    for b in BENCHES.iter().filter(|b| wanted(b.name)) {
        ran += 1;
        println!("\n== {}: {} ==", b.name, b.title);
        if !root.join(b.file).exists() {
            println!("SKIPPED: {} is not there", b.file);
            continue;
        }
        let (args, env) = if quick { (b.quick, b.env) } else { (b.full, &[] as &[(&str, &str)]) };
        match b.name {
            // Quickly, it compiles and says that it was skipped: a figure takes minutes on a server of its own.
            "neo4j" if !quick => on_neo4j(root, args)?,
            _ => run_cargo(root, args, env)?,
        }
    }
    if wanted("dump") {
        ran += 1;
        println!("\n== dump: `tapio analyze` of generated dumps, release ==");
        dump::run(root, quick, tapio)?;
    }
    if ran == 0 {
        let names: Vec<&str> = BENCHES.iter().map(|b| b.name).chain(["dump"]).collect();
        bail!("no bench of that name; there are {}", names.join(", "));
    }
    Ok(())
}

/// Runs a bench on a server of its own, where none is named and one can be started.
fn on_neo4j(root: &Path, args: &[&str]) -> Result<()> {
    let version = &neo4j::VERSIONS[0];
    if std::env::var_os("TAPIO_NEO4J_TEST").is_some() {
        return run_cargo(root, args, &[]);
    }
    if let Some(why) = neo4j::missing(version) {
        println!("no server: {why}");
        // It compiles all the same, and says that it was skipped.
        return run_cargo(root, args, &[]);
    }
    let server = neo4j::start(root, version, "2g")?;
    let env = server.env();
    let env: Vec<(&str, &str)> = env.iter().map(|(name, value)| (*name, value.as_str())).collect();
    run_cargo(root, args, &env)
}
