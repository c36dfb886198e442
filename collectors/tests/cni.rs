//! The CNI collector on a node's files: what is told when they come, change, break and go.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use tapio_collectors::cluster::Sink;
use tapio_collectors::cni::{CniCollector, CniConfig, CniState, Readable};
use tapio_collectors::redaction::Redaction;
use tapio_core::event::{Nothing, normalise};
use tapio_core::ports::{BoxFuture, LogError, Position};
use tapio_core::raw::{DeadLetter, RawEvent};
use tapio_core::unified::{EventKind, Severity};
use tokio::sync::oneshot;

#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<RawEvent>>>);

impl Sink for Memory {
    fn append(&mut self, events: Vec<RawEvent>) -> BoxFuture<'_, Result<Position, LogError>> {
        self.0.lock().unwrap().extend(events);
        Box::pin(async { Ok(Position(0)) })
    }

    fn bury(&mut self, _: Vec<DeadLetter>) -> BoxFuture<'_, Result<(), LogError>> {
        Box::pin(async { Ok(()) })
    }

    fn remember(&mut self, _: Position, _: u32, _: Vec<u8>) -> BoxFuture<'_, Result<(), LogError>> {
        Box::pin(async { Ok(()) })
    }
}

struct Node {
    dir: tempfile::TempDir,
    memory: Memory,
    state: Arc<CniState>,
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<Result<(), LogError>>,
}

const BRIDGE: &str = r#"{"cniVersion":"0.4.0","name":"net","plugins":[{"type":"bridge","ipam":{"type":"host-local","ranges":[[{"subnet":"10.244.0.0/28"}]]}},{"type":"portmap"}]}"#;

impl Node {
    /// A collector on the folders `net.d` and `networks`, prepared by `before`.
    fn start(before: impl FnOnce(&Path)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("networks")).unwrap();
        before(dir.path());
        let config = CniConfig {
            conf_dir: dir.path().join("net.d"),
            ipam_dir: dir.path().join("networks"),
            flannel_env: dir.path().join("subnet.env"),
            poll_secs: 1,
        };
        let collector = CniCollector::new(config, "node-1", "test", Redaction::default());
        let (state, memory) = (collector.state(), Memory::default());
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(collector.run(memory.clone(), async move {
            let _ = stopped.await;
        }));
        Node { dir, memory, state, stop, task }
    }

    fn put(&self, name: &str, text: impl AsRef<[u8]>) {
        std::fs::write(self.dir.path().join(name), text).unwrap();
    }

    fn data(&self, kind: &str) -> Vec<Value> {
        let events = self.memory.0.lock().unwrap().clone();
        events.iter().filter(|e| e.kind == kind).map(|e| serde_json::from_str(e.data.get()).unwrap()).collect()
    }

    async fn until(&self, what: &str, mut is: impl FnMut(&Self) -> bool) {
        let begun = Instant::now();
        while !is(self) {
            let all = self.memory.0.lock().unwrap().clone();
            assert!(begun.elapsed() < Duration::from_secs(30), "{what} did not come; told: {all:#?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn looks(&self, n: u64) {
        let before = self.state.counts.looks.load(Ordering::Relaxed);
        self.until("looks", |s| s.state.counts.looks.load(Ordering::Relaxed) >= before + n).await;
    }

    async fn stop(self) -> Vec<RawEvent> {
        drop(self.stop);
        self.task.await.unwrap().unwrap();
        let events = self.memory.0.lock().unwrap().clone();
        for e in &events {
            normalise(e, &Nothing).unwrap();
        }
        events
    }
}

fn folder(dir: &Path) {
    std::fs::create_dir(dir.join("net.d")).unwrap();
    std::fs::write(dir.join("net.d/10-net.conflist"), BRIDGE).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_comes_changes_breaks_and_goes_is_told_each_time_and_no_content_leaves() {
    let n = Node::start(folder);
    n.looks(3).await;
    assert!(n.data("CniConfig").is_empty(), "what was right before is no news");
    n.put("net.d/05-first.conflist", r#"{"name":"x","plugins":[{"type":"ptp","token":"CANARY-token"}]}"#);
    n.until("the new file", |n| n.data("CniConfig").len() == 1).await;
    let added = n.data("CniConfig").remove(0);
    assert_eq!(
        (&added["action"], &added["active"], &added["usable"]),
        (&"added".into(), &"05-first.conflist".into(), &2.into())
    );
    n.put("net.d/05-first.conflist", "{\"name\":\"CANARY");
    n.until("the broken file", |n| n.data("CniConfig").len() == 2).await;
    let broken = n.data("CniConfig").remove(1);
    assert!(broken["problem"].as_str().unwrap().contains("no JSON"), "{broken}");
    assert_eq!(broken["active"], "10-net.conflist");
    for name in ["05-first.conflist", "10-net.conflist"] {
        std::fs::remove_file(n.dir.path().join("net.d").join(name)).unwrap();
    }
    n.until("the end", |n| n.data("CniConfig").iter().any(|d| d["action"] == "missing")).await;
    n.put("net.d/10-net.conflist", BRIDGE);
    n.until("what came back", |n| n.data("CniConfig").last().is_some_and(|d| d["action"] == "added")).await;
    let events = n.stop().await;
    assert!(events.iter().all(|e| !e.data.get().contains("CANARY")));
    let missing = events.iter().find(|e| e.data.get().contains("missing")).unwrap();
    let told = normalise(missing, &Nothing).unwrap().events.remove(0);
    assert_eq!((told.kind, told.severity), (EventKind::CniConfigChanged, Severity::High));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_half_written_for_a_moment_is_not_told() {
    let n = Node::start(folder);
    n.looks(3).await;
    for _ in 0..3 {
        n.put("net.d/10-net.conflist", &BRIDGE[..40]);
        n.looks(1).await;
        n.put("net.d/10-net.conflist", BRIDGE);
        n.looks(1).await;
    }
    assert!(n.data("CniConfig").is_empty(), "{:?}", n.data("CniConfig"));
    n.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_a_usable_configuration_is_told_at_the_first_looks() {
    let n = Node::start(|_| {});
    n.until("the missing folder", |n| n.data("CniConfig").len() == 1).await;
    assert_eq!(n.state.folder(), Readable::Absent);
    assert!(n.state.take_notes().join("\n").contains("conf_dir"));
    n.stop().await;
    let n = Node::start(|dir| {
        std::fs::create_dir(dir.join("net.d")).unwrap();
        std::fs::write(dir.join("net.d/10-bad.conf"), "{}").unwrap();
    });
    n.until("the bad file", |n| n.data("CniConfig").len() == 2).await;
    let actions: Vec<Value> = n.data("CniConfig").iter().map(|d| d["action"].clone()).collect();
    assert_eq!(actions, ["found", "missing"]);
    n.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_are_told_as_they_run_out_and_low_ones_are_an_event() {
    let n = Node::start(folder);
    n.until("the pool", |n| n.data("IpamState").len() == 1).await;
    let first = n.data("IpamState").remove(0);
    assert_eq!((&first["total"], &first["used"], &first["pool"]), (&13.into(), &0.into(), &"10.244.0.0/28".into()));
    std::fs::create_dir(n.dir.path().join("networks/net")).unwrap();
    for i in 2..=14 {
        n.put(&format!("networks/net/10.244.0.{i}"), "id\neth0");
    }
    n.put("networks/net/last_reserved_ip.0", "10.244.0.14");
    n.put("networks/net/lock", "");
    n.until("a full pool", |n| n.data("IpamState").last().is_some_and(|d| d["used"] == 13)).await;
    n.looks(2).await;
    let told = n.data("IpamState").len();
    std::fs::remove_file(n.dir.path().join("networks/net/10.244.0.7")).unwrap();
    n.until("one that was given back", |n| n.data("IpamState").len() == told + 1).await;
    let events = n.stop().await;
    let full = events.iter().find(|e| e.data.get().contains("\"used\":13")).unwrap();
    let event = normalise(full, &Nothing).unwrap().events.remove(0);
    assert_eq!((event.kind, event.severity), (EventKind::IpPoolLow, Severity::High));
    let begin = events.iter().find(|e| e.data.get().contains("\"used\":0")).unwrap();
    assert!(normalise(begin, &Nothing).unwrap().events.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_files_are_told_as_unusable_and_the_collector_goes_on() {
    let n = Node::start(folder);
    n.looks(2).await;
    let mut seed = 7u64;
    let mut dice = move |n: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 33).unwrap() % n
    };
    for i in 0..200 {
        let mut bytes = BRIDGE.as_bytes().to_vec();
        for _ in 0..=dice(5) {
            let at = dice(bytes.len());
            match dice(3) {
                0 => bytes[at] = u8::try_from(dice(256)).unwrap(),
                1 => bytes.truncate(at.max(1)),
                _ => bytes.insert(at, b"{}[]\",:/"[dice(8)]),
            }
        }
        n.put(&format!("net.d/{i:03}.conf"), bytes);
    }
    std::fs::create_dir(n.dir.path().join("net.d/dir.conf")).unwrap();
    n.put("net.d/deep.json", "[".repeat(200_000));
    n.put("net.d/large.conf", vec![b' '; 2 << 20]);
    n.until("all of them", |n| n.data("CniConfig").len() >= 200).await;
    assert!(
        n.data("CniConfig")
            .iter()
            .any(|d| d["file"] == "large.conf" && d["problem"].as_str().unwrap().contains("larger than"))
    );
    n.stop().await;
}
