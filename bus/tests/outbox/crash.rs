//! Killed at any moment: the cursor and what is owed move together, and a sink gets every alert, with one key each.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tapio_bus::log::sqlite::{SqliteConfig, SqliteLog};
use tapio_bus::outbox::{Courier, Dispatch, Outbox, Plan, Selection, SinkPlan};
use tapio_core::alert::Alert;
use tapio_core::ports::{AlertSink, BoxFuture, EventLog, Position, SinkError};
use tapio_core::raw::RawEvent;
use tapio_core::time::Time;
use tapio_core::unified::Severity::{Critical, High};

use super::fixture::*;

const CHILD_DIR: &str = "TAPIO_TEST_CHILD_DIR";
const INCIDENTS: u64 = 400;

/// A sink that writes down what it gets, and fails now and then.
struct File(PathBuf, AtomicI64);

impl AlertSink for File {
    fn kind(&self) -> &'static str {
        "file"
    }

    fn send<'a>(&'a self, alerts: &'a [Alert], _: Time) -> BoxFuture<'a, Result<(), SinkError>> {
        Box::pin(async move {
            if self.1.fetch_add(1, Ordering::Relaxed) % 7 == 3 {
                return Err(SinkError::RetryAfter { why: "busy".to_owned(), secs: 0 });
            }
            let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&self.0).unwrap();
            for a in alerts {
                let line = format!("{} {} {}\n", a.incident, a.transition, a.key);
                file.write_all(line.as_bytes()).unwrap();
            }
            Ok(())
        })
    }
}

fn plan() -> Plan {
    let sink = |name: &str| SinkPlan::new(name);
    Plan { cluster: "main".to_owned(), sinks: vec![sink("a"), sink("b")], keep_millis: 1 << 40 }
}

/// The three things that happen to incident `n`, at positions `3n + 1` and on.
fn at(position: u64) -> tapio_core::answer::Incident {
    let (n, step) = ((position - 1) / 3, (position - 1) % 3);
    let mut i = incident(usize::try_from(n).unwrap(), "shop", High, secs(i64::try_from(n).unwrap()));
    if step >= 1 {
        (i.severity, i.updated_at) = (Critical, i.opened_at.plus(1_000));
    }
    if step == 2 { over(&i, i.opened_at.plus(2_000)) } else { i }
}

#[test]
#[ignore = "the child of a test; it is killed"]
fn tells_until_it_is_killed() {
    let dir = PathBuf::from(std::env::var_os(CHILD_DIR).expect("runs only as the child of another test"));
    let path = dir.join("log.sqlite");
    let log = SqliteLog::open_with_clock(&path, SqliteConfig::default(), Box::new(|| secs(9_000))).unwrap();
    let outbox = Arc::new(Outbox::open(&path).unwrap());
    let plan = Arc::new(plan());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let dispatch = Arc::new(Dispatch::default());
    let couriers = plan.sinks.iter().map(|s| {
        let sink = File(dir.join(&s.name), AtomicI64::new(0));
        Courier::new(Arc::new(sink), s.clone(), "main")
    });
    // The couriers' clock runs fast, so that waiting takes no time.
    let tick = AtomicI64::new(0);
    let clock = Arc::new(move || secs(10_000).plus(tick.fetch_add(1_000_000, Ordering::Relaxed)));
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let working = runtime.spawn(Arc::clone(&dispatch).run(
        Arc::clone(&outbox),
        couriers.collect(),
        clock,
        stopped,
        Duration::from_secs(20),
    ));
    runtime.block_on(async {
        let last = log.stats().await.unwrap().last.0;
        if last == 0 {
            let text = r#"{"timestamp":"2024-01-15T10:30:00Z","type":"Heartbeat","source":"x","data":{}}"#;
            let event: RawEvent = serde_json::from_str(text).unwrap();
            log.append(vec![event; usize::try_from(INCIDENTS * 3).unwrap()]).await.unwrap();
        }
        let mut cursor = log.committed("engine").await.unwrap().0;
        while cursor < INCIDENTS * 3 {
            // Sometimes several at once, as the pipeline does it.
            let end = (cursor + 1 + cursor % 4).min(INCIDENTS * 3);
            let batch = (cursor + 1..=end).map(|p| seen(&at(p))).collect();
            log.commit_and_tell("engine", Position(end), Arc::clone(&plan), batch).await.unwrap();
            dispatch.wake();
            cursor = end;
        }
        while outbox.counts().unwrap().values().any(|c| c.pending > 0) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        drop(stop);
        working.await.unwrap();
    });
}

fn child(dir: &Path) -> Command {
    let mut c = Command::new(std::env::current_exe().unwrap());
    c.args(["--exact", "crash::tells_until_it_is_killed", "--ignored", "--nocapture"]);
    c.env(CHILD_DIR, dir).stdout(Stdio::null()).stderr(Stdio::null());
    c
}

#[test]
fn killed_at_any_moment_every_transition_is_owed_once_and_told_in_order_with_one_key() {
    let dir = tempfile::tempdir().unwrap();
    let mut kills = 0;
    for round in 0..60_u64 {
        let mut running = child(dir.path()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(60 + 37 * (round % 7)));
        if running.try_wait().unwrap().is_none() {
            running.kill().unwrap();
            kills += 1;
        }
        running.wait().unwrap();
        if kills >= 12 {
            break;
        }
    }
    assert!(child(dir.path()).status().unwrap().success());
    assert!(kills >= 3, "it was killed {kills} times only");
    let outbox = Outbox::open(&dir.path().join("log.sqlite")).unwrap();
    let rows = outbox.list(&Selection::default(), 1_000_000).unwrap();
    for sink in ["a", "b"] {
        let mine: Vec<_> = rows.iter().filter(|r| r.sink == sink).collect();
        assert_eq!(mine.len() as u64, INCIDENTS * 3, "one row a transition");
        let text = std::fs::read_to_string(dir.path().join(sink)).unwrap();
        let mut told: BTreeMap<&str, Vec<(&str, &str)>> = BTreeMap::new();
        for line in text.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let list = told.entry(words[0]).or_default();
            // A second delivery, after a kill, has the same key.
            if list.last() != Some(&(words[1], words[2])) {
                list.push((words[1], words[2]));
            }
        }
        assert_eq!(told.len() as u64, INCIDENTS);
        for (incident, list) in &told {
            let order: Vec<&str> = list.iter().map(|(t, _)| *t).collect();
            assert_eq!(order, ["opened", "escalated", "resolved"], "{incident}");
        }
        let keys: BTreeSet<&str> = told.values().flatten().map(|(_, k)| *k).collect();
        assert_eq!(keys.len() as u64, INCIDENTS * 3);
    }
}

/// A sink that hangs, and one that panics.
struct Bad(bool);

impl AlertSink for Bad {
    fn kind(&self) -> &'static str {
        "bad"
    }

    fn send<'a>(&'a self, _: &'a [Alert], _: Time) -> BoxFuture<'a, Result<(), SinkError>> {
        Box::pin(async move {
            assert!(self.0, "a defect");
            std::future::pending().await
        })
    }
}

#[test]
fn a_sink_that_hangs_or_panics_holds_up_no_other() {
    let desk = Desk::new(["hangs", "panics", "well"].map(SinkPlan::new).into());
    for n in 1..=50 {
        desk.take(&incident(n, "shop", High, START), secs(0));
    }
    let well = Told::default();
    let got = Arc::clone(&well.got);
    let sinks: [Arc<dyn AlertSink>; 3] = [Arc::new(Bad(true)), Arc::new(Bad(false)), Arc::new(well)];
    let couriers = sinks.into_iter().zip(&desk.plan.sinks).map(|(s, p)| Courier::new(s, p.clone(), "main")).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let dispatch = Arc::new(Dispatch::default());
    let outbox = Arc::new(Outbox::open(&desk.path).unwrap());
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let began = std::time::Instant::now();
    runtime.block_on(async {
        let settle = Duration::from_millis(200);
        let working = tokio::spawn(Arc::clone(&dispatch).run(outbox, couriers, Arc::new(|| secs(1)), stopped, settle));
        while got.lock().unwrap().len() < 50 {
            assert!(began.elapsed() < Duration::from_secs(20), "the good sink waits for the others");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        drop(stop);
        working.await.unwrap();
    });
    runtime.shutdown_background();
    let notes = dispatch.take_notes();
    assert!(notes.iter().any(|n| n.sink == "panics" && n.says.contains("defect")), "{notes:?}");
    let counts = desk.outbox.counts().unwrap();
    assert_eq!((counts["hangs"].pending, counts["panics"].pending), (50, 50), "nothing is lost");
}
