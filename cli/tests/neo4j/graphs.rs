//! The graph as a whole, on a server: how it gets there and away, and what it answers by itself.

use std::process::Stdio;
use std::time::Duration;

use crate::running::{Ran, run, tapio, text};
use crate::server::{address, embedded, empty, hash, replay, stats};

/// From a folder's store to a server and back, by each way there is, and by replay: one hash.
pub(crate) fn travels() {
    empty();
    let dir = tempfile::tempdir().unwrap();
    let want = embedded(dir.path());
    let data = dir.path().join("embedded");
    let at = |name: &str| dir.path().join(name).display().to_string();
    let go = |args: &[&str]| run(&[&["graph"], args, &["-q"]].concat());
    go(&["backup", "--data-dir", text(&data), "--to", &at("b")]).ok();
    go(&["export", "--data-dir", text(&data), "--format", "jsonl", "--to", &at("g.jsonl")]).ok();
    // Killed at several moments; then the same command goes on, and another one does not.
    let restore = || tapio(&["graph", "restore", &at("b"), "--graph", &address(), "-q"]);
    for millis in [20, 60, 120] {
        let mut child = restore().stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(millis));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    Ran::of(restore().output().unwrap()).ok();
    assert_eq!(hash(), want);
    let told = go(&["stats", "--graph", &address(), "--hash", "-o", "json"]).ok();
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["hash"], want.as_str());
    let relations: u64 = stats().relations.values().sum();
    assert_eq!(told["relations_total"].as_u64(), Some(relations));
    go(&["check", "--graph", &address()]).ok();
    // A graph that is there stays, unless it is told to go.
    go(&["restore", &at("g.jsonl"), "--graph", &address()]).failed(2, "--replace");
    go(&["restore", &at("g.jsonl"), "--graph", &address(), "--replace"]).ok();
    assert_eq!(hash(), want);
    // And away again; both stores write the same bytes.
    go(&["export", "--graph", &address(), "--format", "jsonl", "--to", &at("n.jsonl")]).ok();
    assert_eq!(std::fs::read(at("n.jsonl")).unwrap(), std::fs::read(at("g.jsonl")).unwrap());
    go(&["backup", "--graph", &address(), "--to", &at("nb")]).ok();
    go(&["restore", &at("nb"), "--data-dir", &at("back")]).ok();
    let told = go(&["stats", "--data-dir", &at("back"), "--hash", "-o", "json"]).ok();
    assert!(told.contains(&want), "{told}");
    // By replay it is the same graph.
    empty();
    Ran::of(replay(&dir.path().join("replayed")).output().unwrap()).ok();
    assert_eq!(hash(), want);
    // What is no export costs nobody a graph.
    std::fs::write(at("no"), "hello").unwrap();
    go(&["restore", &at("no"), "--graph", &address(), "--replace"]).failed(2, "line 1");
    assert_eq!(hash(), want);
}

/// One text from a server, from a restored folder and, where it knows no more, from the engine.
pub(crate) fn asked() {
    empty();
    let dir = tempfile::tempdir().unwrap();
    embedded(dir.path());
    let data = dir.path().join("embedded");
    let at = |name: &str| dir.path().join(name).display().to_string();
    Ran::of(replay(&dir.path().join("noted")).output().unwrap()).ok();
    run(&["graph", "backup", "--data-dir", text(&data), "--to", &at("b"), "-q"]).ok();
    run(&["graph", "restore", &at("b"), "--data-dir", &at("restored"), "-q"]).ok();
    let id = run(&["query", "MATCH (i:Incident) RETURN i.id AS id LIMIT 1", "--graph", &address(), "-o", "csv"]).ok();
    let id = id.lines().nth(1).unwrap().to_owned();
    let asks: &[&[&str]] = &[
        &["incidents"],
        &["incidents", "-o", "json"],
        &["incidents", "-n", "team-07", "-o", "wide"],
        &["incidents", "--state", "resolved"],
        &["incident", &id[..6]],
        &["incident", &id[..6], "-o", "json"],
        &["impact", "cm/cart-env"],
        &["impact", "deploy/cart", "-o", "json"],
        &["impact", "svc/cart", "-n", "team-07", "-o", "json"],
        &["impact", "node/tapio-node"],
        &["impact", "ns/team-07"],
        &["impact", "sa/default", "-n", "team-07"],
    ];
    for ask in asks {
        let from = |place: &[&str]| run(&[ask, place].concat()).ok();
        let server = from(&["--graph", &address()]);
        assert_eq!(server, from(&["--data-dir", &at("restored")]), "{ask:?}");
        assert!(!server.trim().is_empty(), "{ask:?}");
    }
    let from = |ask: &[&str], place: &[&str]| run(&[ask, place].concat()).ok();
    for ask in [&["incidents"][..], &["incidents", "-o", "wide"], &["impact", "deploy/cart"], &["impact", "svc/cart"]] {
        let server = from(ask, &["--graph", &address()]);
        // The engine tells callers by their configuration, too, which is in no graph.
        let beside_callers = |text: String| text.split("\nworkloads that call").next().map(str::to_owned);
        assert_eq!(from(ask, &["--data-dir", text(&data)]), from(ask, &["--data-dir", &at("noted")]), "{ask:?}");
        assert_eq!(beside_callers(server), beside_callers(from(ask, &["--data-dir", text(&data)])), "{ask:?}");
    }
    run(&["impact", "cm/nobody", "--graph", &address()]).failed(1, "no ConfigMap/nobody");
    run(&["incident", "ffff", "--graph", &address()]).failed(1, "no incident ffff");
    run(&["incidents", "--graph", &address(), "--data-dir", text(&data)]).failed(2, "cannot be used with");
}
