//! Where the suite runs: the small API server, or a real one; and a collector that writes into memory.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tapio_cluster::{Connection, Target};
use tapio_collectors::cluster::{ClusterCollector, ClusterConfig, LogSink, Memory, State, Timing};
use tapio_collectors::redaction::Redaction;
use tapio_core::ports::{BoxFuture, EventLog, LogError, LogStats, Position, Record, Retention};
use tapio_core::raw::{DeadLetter, RawEvent};
use tapio_core::time::Time;
use tokio::sync::oneshot;

use super::fake_api::FakeApi;

/// An API server with a namespace to play in.
pub(crate) trait Place: Send + Sync {
    /// A kubeconfig for it.
    fn kubeconfig(&self) -> PathBuf;
    /// The namespace.
    fn namespace(&self) -> &str;
    /// Writes an object.
    fn put(&self, object: Value);
    /// Deletes it.
    fn delete(&self, object: &Value);
}

/// The small one.
pub(crate) struct Fake {
    pub(crate) api: FakeApi,
    dir: tempfile::TempDir,
}

impl Fake {
    pub(crate) async fn start() -> Self {
        let fake = Fake { api: FakeApi::start().await, dir: tempfile::tempdir().unwrap() };
        fake.write_token("good");
        let kubeconfig = fake.api.kubeconfig(&fake.dir.path().join("token"));
        std::fs::write(fake.dir.path().join("config"), kubeconfig).unwrap();
        fake
    }

    pub(crate) fn write_token(&self, token: &str) {
        std::fs::write(self.dir.path().join("token"), token).unwrap();
    }
}

impl Place for Fake {
    fn kubeconfig(&self) -> PathBuf {
        self.dir.path().join("config")
    }

    fn namespace(&self) -> &str {
        "play"
    }

    fn put(&self, object: Value) {
        self.api.put(object);
    }

    fn delete(&self, object: &Value) {
        self.api.delete(object);
    }
}

/// A real one, in a namespace that goes with this.
pub(crate) struct Real {
    kubeconfig: PathBuf,
    namespace: String,
}

impl Real {
    pub(crate) fn new(kubeconfig: PathBuf) -> Self {
        static N: AtomicU64 = AtomicU64::new(0);
        let namespace = format!("tapio-test-{}-{}", std::process::id(), N.fetch_add(1, Ordering::Relaxed));
        let real = Real { kubeconfig, namespace };
        real.put(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": real.namespace}}));
        real
    }

    fn kubectl(&self, arguments: &[&str], input: &str) {
        // A namespace that is new has no ServiceAccount for a moment, and refuses pods.
        for _ in 0..20 {
            if self.try_kubectl(arguments, input) {
                return;
            }
            std::thread::sleep(Duration::from_millis(500));
        }
        panic!("kubectl {arguments:?} does not succeed");
    }

    fn try_kubectl(&self, arguments: &[&str], input: &str) -> bool {
        use std::io::Write;
        let mut child = std::process::Command::new("kubectl")
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .args(arguments)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("kubectl on the PATH");
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait().unwrap().success()
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        self.kubectl(&["delete", "namespace", &self.namespace, "--wait=false"], "");
    }
}

impl Place for Real {
    fn kubeconfig(&self) -> PathBuf {
        self.kubeconfig.clone()
    }

    fn namespace(&self) -> &str {
        &self.namespace
    }

    fn put(&self, object: Value) {
        self.kubectl(&["apply", "-f", "-"], &object.to_string());
    }

    fn delete(&self, object: &Value) {
        self.kubectl(&["delete", "--now", "-f", "-"], &object.to_string());
    }
}

/// Cursor, version and state of a consumer.
type Saved = (Position, u32, Vec<u8>);

/// A log in memory.
#[derive(Default)]
pub(crate) struct MemoryLog {
    records: Mutex<Vec<RawEvent>>,
    pub(crate) letters: Mutex<Vec<DeadLetter>>,
    checkpoint: Mutex<BTreeMap<String, Saved>>,
    /// Appends that fail before one succeeds.
    pub(crate) failing: AtomicU64,
    /// Milliseconds that an append takes.
    pub(crate) slow: AtomicU64,
}

impl MemoryLog {
    pub(crate) fn events(&self) -> Vec<RawEvent> {
        self.records.lock().unwrap().clone()
    }
}

impl EventLog for MemoryLog {
    fn append(&self, events: Vec<RawEvent>) -> BoxFuture<'_, Result<Position, LogError>> {
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(self.slow.load(Ordering::Relaxed))).await;
            if self.failing.load(Ordering::Relaxed) > 0 {
                self.failing.fetch_sub(1, Ordering::Relaxed);
                return Err(LogError::Full { place: "memory".into(), why: "as asked".into() });
            }
            let mut r = self.records.lock().unwrap();
            r.extend(events);
            Ok(Position(r.len() as u64))
        })
    }

    fn read(&self, cursor: Position, max: usize) -> BoxFuture<'_, Result<Vec<Record>, LogError>> {
        let r = self.records.lock().unwrap();
        let from = usize::try_from(cursor.0).unwrap();
        let page = r.iter().enumerate().skip(from).take(max).map(|(i, e)| Record {
            position: Position(i as u64 + 1),
            appended_at: e.timestamp,
            event: e.clone(),
        });
        let page: Vec<Record> = page.collect();
        Box::pin(async move { Ok(page) })
    }

    fn commit<'a>(&'a self, _: &'a str, _: Position) -> BoxFuture<'a, Result<(), LogError>> {
        Box::pin(async { Ok(()) })
    }

    fn committed<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Position, LogError>> {
        Box::pin(async { Ok(Position(0)) })
    }

    fn bury(&self, letters: Vec<DeadLetter>) -> BoxFuture<'_, Result<(), LogError>> {
        self.letters.lock().unwrap().extend(letters);
        Box::pin(async { Ok(()) })
    }

    fn dead_letters(&self, _: usize) -> BoxFuture<'_, Result<Vec<DeadLetter>, LogError>> {
        let letters = self.letters.lock().unwrap().clone();
        Box::pin(async move { Ok(letters) })
    }

    fn save_checkpoint<'a>(
        &'a self,
        consumer: &'a str,
        cursor: Position,
        version: u32,
        state: Vec<u8>,
    ) -> BoxFuture<'a, Result<(), LogError>> {
        self.checkpoint.lock().unwrap().insert(consumer.to_owned(), (cursor, version, state));
        Box::pin(async { Ok(()) })
    }

    fn load_checkpoint<'a>(
        &'a self,
        consumer: &'a str,
    ) -> BoxFuture<'a, Result<Option<(Position, u32, Vec<u8>)>, LogError>> {
        let found = self.checkpoint.lock().unwrap().get(consumer).cloned();
        Box::pin(async move { Ok(found) })
    }

    fn retain(&self, _: Retention, _: Time) -> BoxFuture<'_, Result<u64, LogError>> {
        Box::pin(async { Ok(0) })
    }

    fn stats(&self) -> BoxFuture<'_, Result<LogStats, LogError>> {
        let n = self.records.lock().unwrap().len() as u64;
        let first = Position(u64::from(n > 0));
        Box::pin(async move { Ok(LogStats { first, last: Position(n), ..LogStats::default() }) })
    }
}

/// Short times.
pub(crate) fn quick() -> Timing {
    let ms = Duration::from_millis;
    Timing {
        watch: Duration::from_secs(60),
        idle: Duration::from_secs(30),
        pulse: ms(600),
        request: Duration::from_secs(5),
        retry: ms(20),
        retry_max: ms(200),
        refused: ms(300),
        heartbeat: ms(500),
        gap: ms(500),
        sync: Duration::from_secs(20),
        discovery: Duration::from_secs(60),
        memory: Duration::from_secs(60),
        unready: ms(200),
    }
}

/// A collector at work.
pub(crate) struct Running {
    pub(crate) log: Arc<MemoryLog>,
    pub(crate) state: Arc<State>,
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<Result<(), LogError>>,
    namespace: String,
}

impl Running {
    /// Starts one on a log that may hold what an earlier one told.
    pub(crate) async fn start(place: &dyn Place, config: ClusterConfig, timing: Timing, log: Arc<MemoryLog>) -> Self {
        let target = Target { kubeconfig: Some(place.kubeconfig()), context: None };
        let connection = Arc::new(Connection::open(target).await.unwrap());
        let memory = Memory::recover(&*log).await.unwrap();
        let last = Position(log.events().len() as u64);
        let (sink, _) = LogSink::new(Arc::clone(&log) as Arc<dyn EventLog>, last);
        let collector = ClusterCollector::new(connection, "test", config, Redaction::default(), last)
            .with_memory(memory)
            .with_timing(timing);
        let state = collector.state();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(collector.run(sink, async move {
            let _ = stopped.await;
        }));
        Running { log, state, stop, task, namespace: place.namespace().to_owned() }
    }

    /// The same with usual settings, when its first lists are there.
    pub(crate) async fn synced(place: &dyn Place) -> Self {
        Self::synced_with(place, ClusterConfig::default(), Arc::default()).await
    }

    pub(crate) async fn synced_with(place: &dyn Place, config: ClusterConfig, log: Arc<MemoryLog>) -> Self {
        let running = Self::start(place, config, quick(), log).await;
        running.until("first lists", |r| r.state.synced_after_millis().is_some()).await;
        running
    }

    /// Waits for something to become true.
    pub(crate) async fn until(&self, what: &str, mut is: impl FnMut(&Self) -> bool) {
        let begun = Instant::now();
        while !is(self) {
            assert!(begun.elapsed() < Duration::from_secs(90), "{what} did not come; told: {:#?}", self.told(None));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What was told of a kind in the namespace: type, name, version.
    pub(crate) fn told(&self, kind: Option<&str>) -> Vec<(String, String, Value)> {
        let mut out = Vec::new();
        for e in self.log.events() {
            let data: Value = serde_json::from_str(e.data.get()).unwrap();
            let meta = &data["metadata"];
            let here = meta["namespace"] == self.namespace.as_str();
            if here && kind.is_none_or(|k| data["kind"] == k) {
                out.push((e.kind.clone(), meta["name"].as_str().unwrap_or_default().to_owned(), data));
            }
        }
        out
    }

    /// Types of what was told of one object, in order.
    pub(crate) fn types(&self, kind: &str, name: &str) -> Vec<String> {
        self.told(Some(kind)).into_iter().filter(|(_, n, _)| n == name).map(|(t, _, _)| t).collect()
    }

    /// Gaps: what and why.
    pub(crate) fn gaps(&self) -> Vec<Value> {
        let gaps = self.log.events().into_iter().filter(|e| e.kind == "Gap");
        gaps.map(|e| serde_json::from_str(e.data.get()).unwrap()).collect()
    }

    /// Ends it; the log.
    pub(crate) async fn stop(self) -> Arc<MemoryLog> {
        drop(self.stop);
        self.task.await.unwrap().unwrap();
        self.log
    }
}

/// A ConfigMap.
pub(crate) fn config_map(namespace: &str, name: &str, value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}, "data": {"KEY": value}})
}
