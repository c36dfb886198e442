//! What a replay leaves on a server.

use std::process::Stdio;
use std::time::Duration;

use crate::running::{Ran, run, text};
use crate::server::{address, embedded, empty, hash, replay};

pub(crate) fn same() {
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
    assert_eq!(run(&["query", cypher, "--graph", &address(), "-o", "csv"]).ok(), folder);
    assert_eq!(run(&["query", cypher, "--data-dir", text(&data), "-o", "csv"]).ok(), folder);
    let recent = "MATCH (e:Event) WHERE e.timestamp > datetime() - duration({minutes: 5}) RETURN count(e) AS n";
    let folder = run(&["query", recent, "--data-dir", text(&dir.path().join("embedded")), "-o", "csv"]).ok();
    assert_eq!(run(&["query", recent, "--data-dir", text(&data), "-o", "csv"]).ok(), folder);
    run(&["query", "CREATE (n)", "--graph", &address()]).failed(2, "CREATE writes");
    let why = |data: &std::path::Path| run(&["why", "deploy/cart", "--data-dir", text(data), "-o", "json"]).ok();
    assert_eq!(why(&data), why(&dir.path().join("embedded")));
}

pub(crate) fn again() {
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

pub(crate) fn moved() {
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
