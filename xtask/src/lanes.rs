//! `cargo xtask ci`: the lanes, each with its title, its time and, where it did not run, the reason.
//!
//! A lane that cannot run says SKIPPED and why; it never says ok. With `CI=true` a skip of a lane that has to run
//! there is a failure.

mod alertmanager;
mod e2e;
mod table;
mod tests;

use std::path::Path;
use std::time::Instant;

use anyhow::{Result, bail};

use crate::process::run_cargo;
use crate::{bench, boundaries, docs, neo4j};
use table::{Ended, Row};

/// What a lane does.
enum Work {
    /// Cargo with these arguments and environment.
    Cargo(&'static [&'static str], &'static [(&'static str, &'static str)]),
    /// Cargo's tests; their counts are added up.
    Tests(&'static [&'static str], &'static [(&'static str, &'static str)]),
    /// A task of this program.
    Task(fn(&Path) -> Result<()>),
    /// Tests against a real Neo4j of this version.
    Neo4j(&'static neo4j::Version),
    /// Tests on a real cluster.
    Cluster,
}

struct Lane {
    name: &'static str,
    title: &'static str,
    work: Work,
    /// Why it cannot run here, where it cannot.
    missing: fn(&Path) -> Option<String>,
    /// Whether it has to run in CI.
    required: bool,
}

const fn lane(name: &'static str, title: &'static str, work: Work) -> Lane {
    Lane { name, title, work, missing: nothing_missing, required: true }
}

fn nothing_missing(_: &Path) -> Option<String> {
    None
}

/// Cheap lanes first, so that a small slip is told early; lanes of one profile side by side. The stories of `scenarios/`
/// are among the tests of the workspace.
const LANES: &[Lane] = &[
    lane("format", "formatting", Work::Cargo(&["fmt", "--all", "--check"], &[])),
    lane("boundaries", "folders, purity, names, licences", Work::Task(boundaries::run)),
    lane("docs", "generated references are current", Work::Task(|root| docs::run(root, true))),
    // To its end, so that one run names all that fails.
    lane("test", "the README's test command", Work::Tests(&["test", "--workspace", "--locked", "--no-fail-fast"], &[])),
    lane(
        "fuzz",
        "damaged input to the readers, 20 s",
        Work::Tests(&["test", "--locked", "-p", "tapio-collectors", "--test", "fuzz"], &[("TAPIO_FUZZ_SECS", "20")]),
    ),
    lane(
        "clippy",
        "lints of the whole workspace",
        Work::Cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"], &[]),
    ),
    lane(
        "rustdoc",
        "documentation builds without a warning",
        Work::Cargo(&["doc", "--workspace", "--no-deps", "--locked"], &[("RUSTDOCFLAGS", "-D warnings")]),
    ),
    Lane {
        name: "neo4j-5",
        title: "the graph suite on a real Neo4j 5",
        work: Work::Neo4j(&neo4j::VERSIONS[0]),
        missing: |_| neo4j::missing(&neo4j::VERSIONS[0]),
        required: true,
    },
    Lane {
        name: "neo4j-2026",
        title: "the graph suite on a real Neo4j 2026",
        work: Work::Neo4j(&neo4j::VERSIONS[1]),
        missing: |_| neo4j::missing(&neo4j::VERSIONS[1]),
        required: true,
    },
    Lane {
        name: "alertmanager",
        title: "alerts on a real Alertmanager",
        work: Work::Tests(&["test", "--locked", "-p", "tapio-bus", "--test", "alertmanager"], &[]),
        missing: alertmanager::missing,
        required: false,
    },
    Lane {
        name: "e2e",
        title: "faults on a real cluster",
        work: Work::Cluster,
        missing: e2e::missing,
        required: false,
    },
    lane("demo", "the README's first command", Work::Cargo(&["run", "--release", "--locked", "--", "demo"], &[])),
    lane("bench", "benches compile and run, quickly", Work::Task(|root| bench::run(root, true, None, None))),
    Lane {
        name: "deny",
        title: "licences, advisories and sources by cargo-deny",
        work: Work::Cargo(&["deny", "--locked", "check", "bans", "licenses", "sources"], &[]),
        missing: |root| {
            let there = crate::process::output(root, &crate::process::cargo(), &["deny", "--version"]).is_ok();
            (!there).then(|| "cargo-deny is not installed; licences and sources are checked by boundaries".to_owned())
        },
        required: false,
    },
];

/// Runs the lanes whose name contains `only`.
///
/// # Errors
/// Where a lane failed, or was skipped although it has to run in CI.
pub(crate) fn run(root: &Path, only: Option<&str>) -> Result<()> {
    let in_ci = std::env::var("CI").is_ok_and(|v| v == "true");
    let mut rows = Vec::new();
    let mut counts = tests::Counts::default();
    for lane in LANES.iter().filter(|l| only.is_none_or(|o| l.name.contains(o))) {
        println!("\n==== {}: {} ====", lane.name, lane.title);
        let start = Instant::now();
        let ended = match (lane.missing)(root) {
            Some(why) if in_ci && lane.required => Ended::Failed(format!("had to run in CI: {why}")),
            Some(why) => Ended::Skipped(why),
            None => match work(root, &lane.work, &mut counts) {
                Ok(()) => Ended::Ok,
                Err(e) => Ended::Failed(format!("{e:#}")),
            },
        };
        println!("---- {}: {} in {:.1} s", lane.name, ended.word(), start.elapsed().as_secs_f64());
        rows.push(Row { name: lane.name, title: lane.title, ended, secs: start.elapsed().as_secs_f64() });
    }
    if rows.is_empty() {
        let names: Vec<&str> = LANES.iter().map(|l| l.name).collect();
        bail!("no lane of that name; there are {}", names.join(", "));
    }
    table::print(&rows);
    counts.print();
    let failed = rows.iter().filter(|r| matches!(r.ended, Ended::Failed(_))).count();
    if failed > 0 {
        bail!("{failed} of {} lanes failed", rows.len());
    }
    Ok(())
}

fn work(root: &Path, work: &Work, counts: &mut tests::Counts) -> Result<()> {
    match work {
        Work::Cargo(args, env) => run_cargo(root, args, env),
        Work::Tests(args, env) => tests::run(root, args, env, counts),
        Work::Task(task) => task(root),
        Work::Neo4j(version) => on_neo4j(root, version, counts),
        Work::Cluster => e2e::run(root, counts),
    }
}

/// Runs the tests that want a server, against a real one.
fn on_neo4j(root: &Path, version: &neo4j::Version, counts: &mut tests::Counts) -> Result<()> {
    // Of the whole workspace, as the lane of all tests builds it.
    let suites: [&[&str]; 2] = [
        &["test", "--workspace", "--locked", "--test", "conformance", "neo4j"],
        &["test", "--workspace", "--locked", "--test", "neo4j"],
    ];
    let server = neo4j::start(root, version, "512m")?;
    let env = server.env();
    let env: Vec<(&str, &str)> = env.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let mut ended = Ok(());
    for suite in suites {
        ended = ended.and(tests::run(root, suite, &env, counts));
    }
    if ended.is_err() {
        println!("what the server said last:\n{}", server.said());
    }
    ended
}
