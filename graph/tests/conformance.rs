//! One suite over every graph store: what `GraphStore` promises, tried on each.
//!
//! A store that is not configured shows as ignored with the reason, never as ok. The embedded one needs nothing; a
//! case that only it can have (folders, kills) stands in `conformance/folder.rs`. Neo4j needs a server that may be
//! emptied, named by `TAPIO_NEO4J_TEST`; what only a server can have stands in `conformance/server.rs`.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is the failed test")]

#[path = "conformance/cases.rs"]
mod cases;
#[path = "conformance/differential.rs"]
mod differential;
#[path = "conformance/folder.rs"]
mod folder;
#[path = "conformance/questions.rs"]
mod questions;
#[path = "conformance/server.rs"]
mod server;
#[path = "conformance/survey.rs"]
mod survey;
#[path = "conformance/travel.rs"]
mod travel;

use std::any::Any;

use libtest_mimic::{Arguments, Failed, Trial};
use tapio_core::ports::GraphStore;
use tapio_graph::{EmbeddedConfig, EmbeddedGraph};

/// A fresh, empty store and whatever has to live as long as it.
type Fresh = Box<dyn Fn() -> (Box<dyn GraphStore>, Box<dyn Any>) + Send + Sync>;
/// A case: its name says what must hold.
type Case = (&'static str, fn(&dyn GraphStore));

/// A case that makes its own stores.
type Plain = (&'static str, fn());

struct Backend {
    name: &'static str,
    /// A store, or why there is none.
    fresh: Result<Fresh, String>,
    /// Cases of its own, by group.
    own: &'static [(&'static str, &'static [Plain])],
    /// Further cases that get a fresh store.
    more: &'static [Case],
}

fn backends() -> Vec<Backend> {
    let embedded: Fresh = Box::new(|| {
        let dir = tempfile::tempdir().unwrap();
        let store = EmbeddedGraph::open(dir.path(), EmbeddedConfig::default()).unwrap();
        (Box::new(store) as Box<dyn GraphStore>, Box::new(dir) as Box<dyn Any>)
    });
    let neo4j: Fresh = Box::new(|| {
        let (store, turn) = server::fresh();
        (Box::new(store) as Box<dyn GraphStore>, Box::new(turn) as Box<dyn Any>)
    });
    let neo4j = server::missing().map_or(Ok(neo4j), Err);
    vec![
        Backend { name: "embedded", fresh: Ok(embedded), own: &[("folder", folder::CASES)], more: questions::EMBEDDED },
        Backend {
            name: "neo4j",
            fresh: neo4j,
            own: &[("server", server::CASES), ("server", travel::SERVER)],
            more: &[],
        },
    ]
}

/// Waits for a store's answer; the stores themselves start no runtime.
fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn swap<A, B>((a, b): (A, B)) -> (B, A) {
    (b, a)
}

fn plain(name: String, case: fn()) -> Trial {
    Trial::test(name, move || {
        case();
        Ok(())
    })
}

fn main() {
    if let Some(dir) = std::env::var_os("TAPIO_CONFORMANCE_WRITE") {
        return folder::write_until_killed(dir.as_ref());
    }
    let args = Arguments::from_args();
    let mut trials = Vec::new();
    for backend in backends() {
        let cases = cases::CASES.iter().chain(questions::CASES).chain(travel::CASES).chain(backend.more);
        let own = backend.own.iter().flat_map(|(group, cases)| cases.iter().map(move |c| (group, c)));
        match backend.fresh {
            Err(reason) => {
                let names = cases.map(|(n, _)| (*n).to_owned()).chain(own.map(|(g, (n, _))| format!("{g}::{n}")));
                for name in names {
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
                        // The guard goes last.
                        let (_guard, store) = swap(fresh());
                        wait(store.ensure_schema()).unwrap();
                        case(store.as_ref());
                        Ok(())
                    };
                    trials.push(Trial::test(format!("{}::{name}", backend.name), run));
                }
                for (group, &(name, case)) in own {
                    trials.push(plain(format!("{}::{group}::{name}", backend.name), case));
                }
            }
        }
    }
    for &(name, case) in server::ALONE {
        trials.push(plain(format!("neo4j::address::{name}"), case));
    }
    libtest_mimic::run(&args, trials).exit();
}
