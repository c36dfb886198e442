//! Killed at any moment and started again, a replay ends in the same state: the same answer bytes, the same graph.

#![allow(clippy::unwrap_used, reason = "a test may")]

#[path = "cli/running.rs"]
mod running;

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tapio_core::ports::GraphStore;
use tapio_graph::{EmbeddedConfig, EmbeddedGraph};

use running::{Ran, recording, run, tapio, text};

/// What people and programs can see of a data folder.
#[derive(Debug, PartialEq)]
struct Seen {
    answer: String,
    why: String,
    hash: String,
}

fn seen(data: &Path) -> Seen {
    let data_dir = text(data);
    let answer = run(&["replay", "--data-dir", data_dir, "-o", "json"]).ok();
    let why = run(&["why", "deploy/cart", "--data-dir", data_dir, "-o", "json"]).ok();
    let graph = EmbeddedGraph::open(data.join("graph"), EmbeddedConfig::default()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let hash = runtime.block_on(graph.graph_hash()).unwrap();
    Seen { answer, why, hash }
}

/// Settings with which state is saved often, so that killing hits before, in and after it.
fn settings(dir: &Path) -> String {
    let file = dir.join("often.yaml");
    fs::write(&file, "replay:\n  checkpoint_events: 128\n").unwrap();
    text(&file).to_owned()
}

/// Numbers that look random and are the same in every run.
fn numbers(mut seed: u64) -> impl FnMut(u64) -> u64 {
    move |below| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    }
}

#[test]
fn a_replay_that_is_killed_at_any_moment_ends_in_the_same_state() {
    let dir = tempfile::tempdir().unwrap();
    let config = settings(dir.path());
    let input = recording();
    let whole = dir.path().join("whole");
    let began = std::time::Instant::now();
    let args = |data: &Path| -> Vec<String> {
        ["replay", text(&input), "--data-dir", text(data), "--config", &config, "-q", "-o", "json"]
            .map(str::to_owned)
            .to_vec()
    };
    let strs = |v: &[String]| v.iter().map(String::clone).collect::<Vec<_>>();
    let start = |data: &Path| {
        let v = strs(&args(data));
        tapio(&v.iter().map(String::as_str).collect::<Vec<_>>())
    };
    Ran::of(start(&whole).output().unwrap()).ok();
    let lasts = u64::try_from(began.elapsed().as_millis()).unwrap().max(50);
    let want = seen(&whole);
    assert!(want.answer.contains("config-content-invalid"));
    for seed in 0..4 {
        let mut number = numbers(seed);
        let data = dir.path().join(format!("killed-{seed}"));
        // How long a run takes depends on what else the machine does: where the killing came too late, it comes sooner.
        let (mut killed, mut within) = (0, lasts);
        for _ in 0..40 {
            let mut child = start(&data).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            std::thread::sleep(Duration::from_millis(5 + number(within)));
            child.kill().unwrap();
            if child.wait().unwrap().code().is_none() {
                killed += 1;
            } else {
                within = (within / 2).max(10);
                if killed == 0 {
                    fs::remove_dir_all(&data).unwrap();
                }
            }
            if killed == 5 {
                break;
            }
        }
        assert!(killed > 0, "it was faster than the killing");
        Ran::of(start(&data).output().unwrap()).ok();
        assert_eq!(seen(&data), want, "seed {seed}, killed {killed} times");
    }
}

#[test]
fn a_second_replay_of_the_same_input_appends_and_tells_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("d");
    let input = recording();
    let first = run(&["replay", text(&input), "--data-dir", text(&data), "--stats"]);
    assert!(first.out.contains("opened"), "{}", first.out);
    let before = seen(&data);
    let again = run(&["replay", text(&input), "--data-dir", text(&data), "--stats"]);
    assert!(again.err.contains("nothing to append"), "{}", again.err);
    assert!(!again.out.contains("opened"), "{}", again.out);
    assert_eq!(again.code, 0);
    let log = |r: &Ran| r.err.lines().find(|l| l.starts_with("log: ")).map(str::to_owned);
    assert!(log(&first).is_some());
    assert_eq!(log(&first), log(&again));
    assert_eq!(seen(&data), before);
}

#[test]
fn a_state_of_another_version_is_read_anew_from_the_log_and_said() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("d");
    run(&["replay", text(&recording()), "--data-dir", text(&data), "-q"]).ok();
    let before = seen(&data);
    // As a later version would leave it.
    let log = tapio_bus::log::sqlite::SqliteLog::open(data.join("log.sqlite"), Default::default()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let position = tapio_core::ports::EventLog::stats(&log);
    let last = runtime.block_on(position).unwrap().last;
    runtime.block_on(tapio_core::ports::EventLog::save_checkpoint(&log, "engine", last, 9_999, vec![1, 2, 3])).unwrap();
    drop(log);
    let ran = run(&["replay", "--data-dir", text(&data)]);
    assert!(ran.err.contains("9999") && ran.err.contains("whole event log"), "{}", ran.err);
    assert_eq!(ran.code, 0);
    assert_eq!(seen(&data), before);
}

#[test]
fn two_inputs_one_after_the_other_survive_reading_the_log_anew() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("d");
    let later = dir.path().join("later.jsonl");
    fs::write(
        &later,
        "{\"timestamp\":\"2026-11-21T10:00:00Z\",\"type\":\"Heartbeat\",\"source\":\"x\",\"data\":{}}\n{\"timestamp\":\"2026-11-21T10:00:01Z\",\"type\":\"ObjectAdded\",\"source\":\"cluster_collector\",\"data\":{\"kind\":\"Pod\",\"metadata\":{\"name\":\"p\",\"namespace\":\"n\"}}}\n",
    )
    .unwrap();
    run(&["replay", text(&recording()), "--data-dir", text(&data), "-q"]).ok();
    run(&["replay", text(&later), "--data-dir", text(&data), "-q"]).ok();
    let before = seen(&data);
    fs::remove_dir_all(data.join("graph")).unwrap();
    run(&["replay", "--data-dir", text(&data)]).ok();
    assert_eq!(seen(&data), before);
}

#[cfg(unix)]
#[test]
fn an_interrupted_replay_ends_cleanly_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (data, whole) = (dir.path().join("d"), dir.path().join("whole"));
    let input = recording();
    let args = ["replay", text(&input), "--data-dir", text(&data), "--speed", "20"];
    let child = tapio(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(1_500));
    let pid = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let ran = Ran::of(child.wait_with_output().unwrap());
    assert_eq!(ran.code, 130, "{}", ran.err);
    assert!(ran.err.contains("run the same command again"), "{}", ran.err);
    // Questions are answered, and say what is missing.
    let why = run(&["why", "cm/cart-env", "--data-dir", text(&data), "-o", "json"]).ok();
    assert!(why.contains("was interrupted"), "{why}");
    run(&["replay", text(&input), "--data-dir", text(&data), "-q"]).ok();
    run(&["replay", text(&input), "--data-dir", text(&whole), "-q"]).ok();
    assert_eq!(seen(&data), seen(&whole));
}

#[test]
fn folders_that_are_not_ours_newer_or_in_use_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let foreign = dir.path().join("foreign");
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("thesis.txt"), "years of work").unwrap();
    let input = recording();
    run(&["replay", text(&input), "--data-dir", text(&foreign)]).failed(2, "thesis.txt");
    assert_eq!(fs::read_dir(&foreign).unwrap().count(), 1);
    let newer = dir.path().join("newer");
    fs::create_dir(&newer).unwrap();
    fs::write(newer.join("tapio.json"), "{\"format\": 99, \"else\": []}").unwrap();
    run(&["replay", text(&input), "--data-dir", text(&newer)]).failed(3, "use the newer tapio");
    run(&["incidents", "--data-dir", text(dir.path())]).failed(2, "is no data folder");
    let lost = dir.path().join("lost");
    run(&["replay", text(&input), "--data-dir", text(&lost), "-q"]).ok();
    fs::remove_file(lost.join("log.sqlite")).unwrap();
    run(&["replay", text(&input), "--data-dir", text(&lost)]).failed(3, "put its log.sqlite back");
    let used = dir.path().join("used");
    let args = ["replay", text(&input), "--data-dir", text(&used), "--speed", "1", "-q"];
    let mut child = tapio(&args).stdout(Stdio::null()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(800));
    run(&["why", "pod/x", "--data-dir", text(&used)]).failed(3, "in use by process");
    child.kill().unwrap();
    child.wait().unwrap();
}
