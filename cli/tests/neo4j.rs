//! The graph of a replay in a real Neo4j: the same graph as in the folder, also when server or replay are killed.
//!
//! `TAPIO_NEO4J_TEST` names a server whose content may go, as for the graph's conformance suite;
//! `TAPIO_NEO4J_TEST_HOME` is its folder, where it can be killed and started again. `cargo xtask ci neo4j` gives both.
//! Without them the cases are shown as ignored, with the reason.

#![allow(clippy::unwrap_used, reason = "a test may")]

#[path = "cli/running.rs"]
mod running;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Failed, Trial};
use tapio_core::ports::GraphStore;
use tapio_graph::neo4j::Secret;
use tapio_graph::{EmbeddedConfig, EmbeddedGraph, Neo4jConfig, Neo4jGraph};

use running::{Ran, recording, run, tapio, text};

const SERVER: &str = "TAPIO_NEO4J_TEST";
const HOME: &str = "TAPIO_NEO4J_TEST_HOME";

type Case = (&'static str, fn(), &'static [&'static str]);

const CASES: &[Case] = &[
    ("a_replay_makes_the_graph_that_the_folder_would_hold", same, &[SERVER]),
    ("a_folder_finds_its_server_again_and_fills_an_empty_one", again, &[SERVER]),
    ("a_graph_that_moves_to_a_server_is_built_whole_also_when_killed", moved, &[SERVER]),
    ("what_is_wrong_with_a_server_is_said_with_exit_code_3", wrong, &[SERVER]),
    ("a_server_killed_in_the_middle_costs_nothing", killed, &[SERVER, HOME]),
    ("addresses_and_credentials_that_cannot_be_are_refused", refused, &[]),
];

fn main() {
    let mut args = Arguments::from_args();
    // One server for all.
    args.test_threads = Some(1);
    let trials = CASES.iter().map(|&(name, case, needs)| match needs.iter().find(|n| std::env::var_os(n).is_none()) {
        Some(lacks) => Trial::test(format!("{name} ({lacks} is not set)"), || Err(Failed::from("no server")))
            .with_ignored_flag(true),
        None => Trial::test(name, move || {
            case();
            Ok(())
        }),
    });
    libtest_mimic::run(&args, trials.collect()).exit();
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn server() -> String {
    std::env::var(SERVER).unwrap()
}

fn store() -> Neo4jGraph {
    let password = Secret::new(std::env::var("TAPIO_NEO4J_PASSWORD").unwrap_or_default());
    Neo4jGraph::open(&Neo4jConfig::new(server().parse().unwrap(), "neo4j", password)).unwrap()
}

fn hash() -> String {
    wait(store().graph_hash()).unwrap()
}

/// Empties the database; one that holds what is not ours is refused by the conformance suite's mark.
fn empty() {
    const MARK: &str = "SHOW INDEXES YIELD name WHERE name = 'conformance_may_empty_this' RETURN count(*) AS n";
    wait(async {
        let password = std::env::var("TAPIO_NEO4J_PASSWORD").unwrap_or_default();
        let graph = neo4rs::Graph::new(server(), "neo4j", password).unwrap();
        let count = async |text: &str| {
            let mut rows = graph.execute(text).await.unwrap();
            rows.next().await.unwrap().unwrap().get::<i64>("n").unwrap()
        };
        let nodes = count("MATCH (n) RETURN count(n) AS n").await;
        assert!(nodes == 0 || count(MARK).await == 1, "the database at {SERVER} is not ours to empty");
        graph
            .run("CREATE INDEX conformance_may_empty_this IF NOT EXISTS FOR (n:TapioConformance) ON (n.x)")
            .await
            .unwrap();
        graph.run("MATCH (n) CALL (n) { DETACH DELETE n } IN TRANSACTIONS OF 1000 ROWS").await.unwrap();
    });
}

/// The hash of the same replay in a folder.
fn embedded(dir: &Path) -> String {
    let data = dir.join("embedded");
    run(&["replay", text(&recording()), "--data-dir", text(&data), "-q"]).ok();
    let graph = EmbeddedGraph::open(data.join("graph"), EmbeddedConfig::default()).unwrap();
    wait(graph.graph_hash()).unwrap()
}

fn replay(data: &Path) -> Command {
    tapio(&["replay", text(&recording()), "--data-dir", text(data), "--graph", &server(), "-q"])
}

fn same() {
    empty();
    let dir = tempfile::tempdir().unwrap();
    let want = embedded(dir.path());
    let data = dir.path().join("d");
    Ran::of(replay(&data).output().unwrap()).ok();
    assert_eq!(hash(), want);
    // The same input a second and a third time, and from another folder: nothing changes.
    Ran::of(replay(&data).output().unwrap()).ok();
    Ran::of(replay(&dir.path().join("other")).output().unwrap()).ok();
    Ran::of(replay(&dir.path().join("third")).output().unwrap()).ok();
    assert_eq!(hash(), want);
    assert!(!data.join("graph").exists());
    let cypher = "MATCH (i:Incident)-[r:ROOT_CAUSE]->(o) RETURN i.opened_at AS at, r.mechanism AS cause, o.name AS name \
                  ORDER BY at, cause, name";
    let folder = run(&["query", cypher, "--data-dir", text(&dir.path().join("embedded")), "-o", "csv"]).ok();
    assert!(folder.contains("config-content-invalid"), "{folder}");
    assert_eq!(run(&["query", cypher, "--graph", &server(), "-o", "csv"]).ok(), folder);
    assert_eq!(run(&["query", cypher, "--data-dir", text(&data), "-o", "csv"]).ok(), folder);
    let recent = "MATCH (e:Event) WHERE e.timestamp > datetime() - duration({minutes: 5}) RETURN count(e) AS n";
    let folder = run(&["query", recent, "--data-dir", text(&dir.path().join("embedded")), "-o", "csv"]).ok();
    assert_eq!(run(&["query", recent, "--data-dir", text(&data), "-o", "csv"]).ok(), folder);
    run(&["query", "CREATE (n)", "--graph", &server()]).failed(2, "CREATE writes");
    let why = |data: &Path| run(&["why", "deploy/cart", "--data-dir", text(data), "-o", "json"]).ok();
    assert_eq!(why(&data), why(&dir.path().join("embedded")));
}

fn again() {
    empty();
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("d");
    Ran::of(replay(&data).output().unwrap()).ok();
    let want = hash();
    empty();
    let ran = run(&["replay", "--data-dir", text(&data)]);
    assert!(ran.err.contains("building it from the whole event log"), "{}", ran.err);
    assert_eq!((ran.code, hash()), (0, want));
}

fn moved() {
    empty();
    let dir = tempfile::tempdir().unwrap();
    let want = embedded(dir.path());
    let data = dir.path().join("embedded");
    // Killed at several moments of the move.
    for millis in [150, 400, 700] {
        let mut child = replay(&data).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(millis));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    Ran::of(replay(&data).output().unwrap()).ok();
    assert_eq!(hash(), want);
}

fn wrong() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("d");
    let with = |password: &str, server: &str| {
        let mut c = tapio(&["replay", text(&recording()), "--data-dir", text(&data), "--graph", server]);
        Ran::of(c.env("TAPIO_NEO4J_PASSWORD", password).output().unwrap())
    };
    let ran = with("hunter2-hunter2", &server());
    assert!(!ran.err.contains("hunter2"), "{}", ran.err);
    ran.failed(3, "user or password is wrong");
    let right = std::env::var("TAPIO_NEO4J_PASSWORD").unwrap_or_default();
    with(&right, &format!("{}?database=nosuch", server())).failed(3, "no such database");
    // A wrong address is not noted: without one the graph is in the folder.
    with(&right, "bolt://127.0.0.1:1").failed(3, "nobody listens there");
    run(&["replay", text(&recording()), "--data-dir", text(&data), "-q"]).ok();
    assert!(data.join("graph").exists());
    let file = dir.path().join("password");
    std::fs::write(&file, format!("{right}\n")).unwrap();
    let mut c = tapio(&["query", "RETURN 1 AS one", "--at", "2024-01-15T10:30:00Z", "--graph", &server()]);
    c.env_remove("TAPIO_NEO4J_PASSWORD").env("TAPIO_NEO4J_PASSWORD_FILE", &file);
    assert!(Ran::of(c.output().unwrap()).ok().contains("one"));
}

fn alive(child: &mut Child) -> bool {
    child.try_wait().unwrap().is_none()
}

fn killed() {
    let dir = tempfile::tempdir().unwrap();
    let want = embedded(dir.path());
    empty();
    let begun = Instant::now();
    Ran::of(replay(&dir.path().join("whole")).output().unwrap()).ok();
    let lasts = begun.elapsed();
    assert_eq!(hash(), want);
    let mut hit = 0;
    for (round, part) in [0.3, 0.6, 0.8, 0.5].into_iter().enumerate() {
        empty();
        let data = dir.path().join(format!("killed-{round}"));
        let mut child = replay(&data).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        std::thread::sleep(lasts.mul_f64(part));
        hit += u32::from(alive(&mut child));
        kill_and_start();
        let out = Ran::of(child.wait_with_output().unwrap());
        // It waited for the server, or gave up cleanly; then the same command goes on.
        assert!(matches!(out.code, 0 | 3), "{}: {}", out.code, out.err);
        Ran::of(replay(&data).output().unwrap()).ok();
        assert_eq!(hash(), want, "round {round}");
        if hit == 2 {
            break;
        }
    }
    assert!(hit > 0, "every replay was faster than the killing");
}

fn kill_and_start() {
    let home = std::env::var(HOME).unwrap();
    let pid = std::fs::read_to_string(Path::new(&home).join("pid")).unwrap();
    assert!(Command::new("kill").args(["-KILL", pid.trim()]).status().unwrap().success());
    while Path::new(&format!("/proc/{}/cmdline", pid.trim())).exists() {
        let line = std::fs::read(format!("/proc/{}/cmdline", pid.trim())).unwrap_or_default();
        if line.is_empty() {
            break; // A dead child that nobody has waited for.
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(Command::new("sh").arg(Path::new(&home).join("start")).stdin(Stdio::null()).status().unwrap().success());
}

fn refused() {
    let dir = tempfile::tempdir().unwrap();
    let ask = |url: &str| run(&["query", "RETURN 1", "--graph", url]);
    ask("http://localhost:7474").failed(2, "none of the schemes");
    let ran = ask("bolt://neo4j:hunter2@localhost");
    assert!(ran.err.contains("user and password do not belong into it"), "{}", ran.err);
    assert_eq!(ran.code, 2);
    run(&["replay", text(&recording()), "--graph", "bolt://localhost"]).failed(2, "--data-dir");
    run(&["query", "RETURN 1", "--graph", "bolt://h", "--data-dir", text(dir.path())]).failed(2, "cannot be used with");
    let mut c = tapio(&["query", "RETURN 1", "--graph", "bolt://127.0.0.1:1"]);
    c.env("TAPIO_NEO4J_PASSWORD", "a").env("TAPIO_NEO4J_PASSWORD_FILE", "/b");
    Ran::of(c.output().unwrap()).failed(2, "are both set");
    let mut c = tapio(&["query", "RETURN 1", "--graph", "bolt://127.0.0.1:1"]);
    c.env_remove("TAPIO_NEO4J_PASSWORD").env("TAPIO_NEO4J_PASSWORD_FILE", dir.path().join("none"));
    Ran::of(c.output().unwrap()).failed(2, "TAPIO_NEO4J_PASSWORD_FILE");
    let mut c = tapio(&["query", "RETURN 1", "--graph", "bolt://127.0.0.1:1"]);
    c.env_remove("TAPIO_NEO4J_PASSWORD_FILE");
    Ran::of(c.output().unwrap()).failed(3, "nobody listens there");
}
