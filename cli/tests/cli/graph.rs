//! `tapio graph` on a data folder: what it says, what it writes, and what it never leaves half done.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::running::{Ran, recording, run, text};

/// A data folder with the demo's recording in it.
fn folder(dir: &Path) -> PathBuf {
    let data = dir.join("d");
    run(&["replay", text(&recording()), "--data-dir", text(&data), "-q"]).ok();
    data
}

fn graph(args: &[&str]) -> Ran {
    run(&[&["graph"], args].concat())
}

fn hash(data: &Path) -> String {
    let told = graph(&["stats", "--data-dir", text(data), "--hash", "-o", "json"]).ok();
    serde_json::from_str::<Value>(&told).unwrap()["hash"].as_str().unwrap().to_owned()
}

#[test]
fn stats_and_check_tell_of_a_sound_graph_and_of_one_that_lacks_its_log() {
    let dir = tempfile::tempdir().unwrap();
    let data = folder(dir.path());
    let told: Value = serde_json::from_str(&graph(&["stats", "--data-dir", text(&data), "-o", "json"]).ok()).unwrap();
    assert!(told["nodes"]["Event"].as_u64().unwrap() > 100 && told["bytes"].as_u64().unwrap() > 10_000, "{told}");
    assert_eq!((told["store"].as_str(), told["format"].as_i64()), (Some("embedded"), Some(1)));
    assert!(told["first_event"].as_str().unwrap() < told["last_event"].as_str().unwrap(), "{told}");
    assert!(told.get("hash").is_none());
    assert!(graph(&["stats", "--data-dir", text(&data), "-o", "yaml"]).ok().contains("format: 1"));
    assert!(graph(&["stats", "--data-dir", text(&data)]).ok().contains("AFFECTS"));
    assert!(graph(&["check", "--data-dir", text(&data)]).ok().contains("nothing is wrong"));
    // A graph that has gone is no empty graph.
    fs::remove_dir_all(data.join("graph")).unwrap();
    graph(&["stats", "--data-dir", text(&data)]).failed(2, "there is no graph");
    assert!(!data.join("graph").exists());
    graph(&["stats", "--data-dir", text(dir.path())]).failed(2, "no data folder");
    graph(&["stats"]).failed(2, "--data-dir");
    graph(&["check", "--graph", "bolt://127.0.0.1:1"]).failed(3, "nobody listens there");
}

#[test]
fn exports_appear_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let data = folder(dir.path());
    let at = |name: &str| dir.path().join(name).display().to_string();
    let export = |form: &str, to: &str| graph(&["export", "--data-dir", text(&data), "--format", form, "--to", to]);
    for form in ["jsonl", "cypher"] {
        let to = at(form);
        // Left by one that was killed.
        fs::write(format!("{to}.part"), "half").unwrap();
        export(form, &to).ok();
        assert!(!Path::new(&format!("{to}.part")).exists());
        let (file, out) = (fs::read_to_string(&to).unwrap(), export(form, "-").ok());
        assert_eq!(file, out, "{form}");
        export(form, &to).failed(2, "--replace");
        graph(&["export", "--data-dir", text(&data), "--format", form, "--to", &to, "--replace"]).ok();
    }
    let lines = fs::read_to_string(at("jsonl")).unwrap();
    assert!(lines.lines().all(|l| serde_json::from_str::<Value>(l).is_ok()));
    assert!(lines.lines().last().unwrap().contains(&hash(&data)));
    let script = fs::read_to_string(at("cypher")).unwrap();
    assert!(script.contains("CREATE CONSTRAINT tapio_Pod_uid IF NOT EXISTS"), "{script}");
    assert!(script.contains("MERGE (n:Event {id: r.key})") && script.contains("MERGE (a)-[x:AFFECTS]->(b)"));
    export("csv", &at("csv")).ok();
    assert!(Path::new(&at("csv")).join("import.args").is_file());
    export("csv", "-").failed(2, "--to a folder");
    export("jsonl", "/dev/full/x").failed(3, "cannot write");
    export("jsonl", &at("no/such/folder/x")).failed(3, "cannot write");
    if Path::new("/dev/full").exists() {
        assert_eq!(
            Ran::of(
                std::process::Command::new("sh")
                    .args([
                        "-c",
                        &format!(
                            "'{}' graph export --data-dir '{}' --format jsonl --to - > /dev/full",
                            env!("CARGO_BIN_EXE_tapio"),
                            data.display()
                        )
                    ])
                    .output()
                    .unwrap()
            )
            .code,
            3
        );
    }
}

#[test]
fn a_backup_is_restored_only_into_an_empty_graph_and_gives_the_same_one() {
    let dir = tempfile::tempdir().unwrap();
    let data = folder(dir.path());
    let want = hash(&data);
    let at = |name: &str| dir.path().join(name).display().to_string();
    graph(&["backup", "--data-dir", text(&data), "--to", &at("b")]).ok();
    graph(&["backup", "--data-dir", text(&data), "--to", &at("b")]).failed(2, "--replace");
    graph(&["export", "--data-dir", text(&data), "--format", "jsonl", "--to", &at("g")]).ok();
    for (from, to) in [("b", "x"), ("g", "y")] {
        let to = dir.path().join(to);
        graph(&["restore", &at(from), "--data-dir", text(&to)]).ok();
        assert_eq!(hash(&to), want);
        graph(&["check", "--data-dir", text(&to)]).ok();
        graph(&["restore", &at(from), "--data-dir", text(&to)]).failed(2, "--replace");
        graph(&["restore", &at(from), "--data-dir", text(&to), "--replace"]).ok();
        assert_eq!(hash(&to), want);
        assert!(run(&["incidents", "--data-dir", text(&to)]).ok().contains("config-content-invalid"));
        let left: Vec<_> = fs::read_dir(&to).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert!(!left.iter().any(|n| n.to_string_lossy().contains(".part")), "{left:?}");
    }
    // Into its own folder, at the same place of the log: nothing to rebuild.
    graph(&["restore", &at("b"), "--data-dir", text(&data), "--replace"]).ok();
    graph(&["check", "--data-dir", text(&data)]).ok();
    // One that knows of no log has to be built from it; that is said, and done by the next replay.
    let ran = graph(&["restore", &at("g"), "--data-dir", text(&data), "--replace"]);
    assert!(ran.err.contains("builds the graph from the log"), "{}", ran.err);
    let ran = graph(&["check", "--data-dir", text(&data)]);
    assert!(ran.code == 1 && ran.out.contains("being built"), "{} {}", ran.code, ran.out);
    run(&["replay", "--data-dir", text(&data), "-q"]).ok();
    graph(&["check", "--data-dir", text(&data)]).ok();
    assert_eq!(hash(&data), want);
}

#[test]
fn what_is_no_backup_costs_nobody_a_graph() {
    let dir = tempfile::tempdir().unwrap();
    let data = folder(dir.path());
    let want = hash(&data);
    let at = |name: &str| dir.path().join(name).display().to_string();
    graph(&["export", "--data-dir", text(&data), "--format", "jsonl", "--to", &at("g")]).ok();
    let lines = fs::read(at("g")).unwrap();
    fs::write(at("cut"), &lines[..lines.len() / 2]).unwrap();
    fs::write(at("text"), "hello\n").unwrap();
    fs::write(at("bytes"), [0xff; 1000]).unwrap();
    fs::create_dir(at("empty")).unwrap();
    fs::create_dir(at("newer")).unwrap();
    fs::write(dir.path().join("newer/backup.json"), "{\"format\": 99}").unwrap();
    for (from, says) in [
        ("cut", "cut off"),
        ("text", "line 1"),
        ("bytes", "line 1"),
        ("empty", "no backup"),
        ("newer", "newer tapio"),
        ("nowhere", "no backup"),
    ] {
        graph(&["restore", &at(from), "--data-dir", text(&data), "--replace"]).failed(2, says);
        assert_eq!(hash(&data), want, "{from}");
        assert!(!data.join("graph.part").exists(), "{from}");
    }
    graph(&["check", "--data-dir", text(&data)]).ok();
}
