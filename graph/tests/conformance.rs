//! One suite over every graph store: what `GraphStore` promises, tried on each.
//!
//! A store that is not configured shows as ignored with the reason, never as ok. The embedded one needs nothing; a
//! case that only it can have (folders, kills) stands in `conformance/folder.rs`.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is the failed test")]

#[path = "conformance/cases.rs"]
mod cases;
#[path = "conformance/folder.rs"]
mod folder;
#[path = "conformance/questions.rs"]
mod questions;

use libtest_mimic::{Arguments, Failed, Trial};
use tapio_core::ports::GraphStore;
use tapio_graph::{EmbeddedConfig, EmbeddedGraph};

/// A fresh, empty store and whatever has to live as long as it.
type Fresh = Box<dyn Fn() -> (Box<dyn GraphStore>, Option<tempfile::TempDir>) + Send + Sync>;
/// A case: its name says what must hold.
type Case = (&'static str, fn(&dyn GraphStore));

struct Backend {
    name: &'static str,
    /// A store, or why there is none.
    fresh: Result<Fresh, String>,
}

fn backends() -> Vec<Backend> {
    let embedded: Fresh = Box::new(|| {
        let dir = tempfile::tempdir().unwrap();
        let store = EmbeddedGraph::open(dir.path(), EmbeddedConfig::default()).unwrap();
        (Box::new(store) as Box<dyn GraphStore>, Some(dir))
    });
    let neo4j = match std::env::var("TAPIO_TEST_NEO4J") {
        Ok(address) => format!("{address} is given, but this build has no store for Neo4j"),
        Err(_) => "TAPIO_TEST_NEO4J names no server".to_owned(),
    };
    vec![Backend { name: "embedded", fresh: Ok(embedded) }, Backend { name: "neo4j", fresh: Err(neo4j) }]
}

/// Waits for a store's answer; the stores themselves start no runtime.
fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn main() {
    if let Some(dir) = std::env::var_os("TAPIO_CONFORMANCE_WRITE") {
        return folder::write_until_killed(dir.as_ref());
    }
    let args = Arguments::from_args();
    let mut trials = Vec::new();
    for backend in backends() {
        let cases = cases::CASES.iter().chain(questions::CASES);
        match backend.fresh {
            Err(reason) => {
                for (name, _) in cases {
                    let skipped = || Err(Failed::from("not configured"));
                    let trial = Trial::test(format!("{}::{name} ({reason})", backend.name), skipped);
                    trials.push(trial.with_ignored_flag(true));
                }
            }
            Ok(fresh) => {
                let fresh = std::sync::Arc::new(fresh);
                for &(name, case) in cases {
                    let fresh = std::sync::Arc::clone(&fresh);
                    let run = move || {
                        let (store, _dir) = fresh();
                        wait(store.ensure_schema()).unwrap();
                        case(store.as_ref());
                        Ok(())
                    };
                    trials.push(Trial::test(format!("{}::{name}", backend.name), run));
                }
            }
        }
    }
    for &(name, case) in folder::CASES {
        trials.push(Trial::test(format!("embedded::folder::{name}"), move || {
            case();
            Ok(())
        }));
    }
    libtest_mimic::run(&args, trials).exit();
}
