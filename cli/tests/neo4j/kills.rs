//! Server and replay killed in turn, under load: what is there in the end is what an undisturbed replay leaves.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use tapio_core::ports::{GraphStats, GraphStore};
use tapio_core::time::Time;
use tapio_graph::{EmbeddedConfig, EmbeddedGraph};

use crate::running::{Ran, run, text};
use crate::server::{empty, hash, hash_of, ready, replay_of, signal, start, stats, wait};

/// How often something is killed; `TAPIO_NEO4J_TEST_KILLS` says another number.
const KILLS: usize = 6;

/// Events of one round: enough for the killing to come in the middle.
const EVENTS: usize = 4_000;

/// A recording of so many events, the `part`th piece of one stream: pods that become ready and unready.
pub(crate) fn stream(dir: &Path, part: usize, events: usize) -> PathBuf {
    let file = dir.join(format!("part-{part}.jsonl"));
    let mut out = std::io::BufWriter::new(std::fs::File::create(&file).unwrap());
    let begin = Time::parse("2024-01-15T10:00:00Z").unwrap();
    for i in part * events..(part + 1) * events {
        let at = begin.plus(i64::try_from(i).unwrap() * 50_000);
        let (pod, ready) = (i % 300, (i / 300) % 2 == 0);
        writeln!(
            out,
            r#"{{"timestamp":"{at}","type":"PodReady","source":"kubelet_collector","metadata":{{"node":"node-{}"}},"data":{{"pod":"web-{pod}","namespace":"shop","uid":"uid-{pod}","ready":{ready}}}}}"#,
            pod % 5,
        )
        .unwrap();
    }
    out.flush().unwrap();
    file
}

fn alive(child: &mut Child) -> bool {
    child.try_wait().unwrap().is_none()
}

fn counts(data: &Path) -> GraphStats {
    let graph = EmbeddedGraph::open(data.join("graph"), EmbeddedConfig::default()).unwrap();
    wait(graph.stats()).unwrap()
}

/// Waits until the server has more than there was before, or the replay ended: then it is at its work.
fn at_work(child: &mut Child, before: u64, share: f64) -> bool {
    let begun = Instant::now();
    let want = before + (EVENTS as f64 * share) as u64;
    while alive(child) && begun.elapsed() < Duration::from_secs(120) {
        if events() >= want {
            return alive(child);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}

fn events() -> u64 {
    stats().nodes.get("Event").copied().unwrap_or_default()
}

pub(crate) fn in_turn() {
    let told = std::env::var("TAPIO_NEO4J_TEST_KILLS").ok().and_then(|n| n.parse().ok());
    let kills: usize = told.unwrap_or(KILLS);
    let dir = tempfile::tempdir().unwrap();
    empty();
    let (whole, data) = (dir.path().join("whole"), dir.path().join("killed"));
    let (mut server, mut replay, mut gave_up) = (0, 0, 0);
    let mut down = Duration::ZERO;
    for round in 0..kills {
        let part = stream(dir.path(), round, EVENTS);
        run(&["replay", text(&part), "--data-dir", text(&whole), "-q"]).ok();
        let before = events();
        let mut child = replay_of(&part, &data).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        // Early, in the middle, late.
        let share = [0.2, 0.5, 0.75][round % 3];
        assert!(at_work(&mut child, before, share), "round {round}: the replay was over before it was disturbed");
        if round % 2 == 0 {
            server += 1;
            let begun = Instant::now();
            signal("-KILL");
            start();
            let out = Ran::of(child.wait_with_output().unwrap());
            // It waited for the server, or gave up cleanly.
            assert!(matches!(out.code, 0 | 3), "round {round}: {}: {}", out.code, out.err);
            gave_up += usize::from(out.code == 3);
            ready();
            down += begun.elapsed();
        } else {
            replay += 1;
            child.kill().unwrap();
            child.wait().unwrap();
        }
        // The same command goes on.
        Ran::of(replay_of(&part, &data).output().unwrap()).ok();
        let (have, want) = (stats(), counts(&whole));
        assert_eq!(have, want, "round {round}");
    }
    assert_eq!(hash(), hash_of(&whole));
    println!(
        "{} events; the server was killed {server} times ({:.1} s until the replay had ended and it answered, on average), \
         the replay {replay} times; {gave_up} replays gave up; counts and hash as undisturbed",
        kills * EVENTS,
        down.as_secs_f64() / server.max(1) as f64
    );
}
