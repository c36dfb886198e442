//! A server and an agent with stores of their own, and whatever stands between them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tapio_bus::forward::{ForwardConfig, Forwarder, Forwarding, Uplink, UplinkTarget};
use tapio_bus::ingest::{Gate, Ingest, SharedToken};
use tapio_bus::log::sqlite::{SqliteConfig, SqliteLog};
use tapio_core::ports::{EventLog, Position, Record};
use tapio_core::raw::RawEvent;
use tapio_core::time::Time;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::front::{Front, listen};
pub(crate) use super::front::{Mood, answer};

pub(crate) const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// Runs a test on two threads, with a limit.
pub(crate) fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let limit = Duration::from_secs(90);
        assert!(tokio::time::timeout(limit, test).await.is_ok(), "took longer than {limit:?}");
    });
}

/// An event of a node's collector with a number in it.
pub(crate) fn event(n: u64) -> RawEvent {
    let text = format!(
        r#"{{"timestamp":"2026-01-15T10:30:00.{:06}Z","type":"PodStats","source":"kubelet_collector","metadata":{{"node":"n1"}},"data":{{"n":{n}}}}}"#,
        n % 1_000_000
    );
    serde_json::from_str(&text).unwrap()
}

pub(crate) fn events(numbers: std::ops::Range<u64>) -> Vec<RawEvent> {
    numbers.map(event).collect()
}

/// The number of an event.
pub(crate) fn number(record: &Record) -> Option<u64> {
    serde_json::from_str::<serde_json::Value>(record.event.data.get()).unwrap()["n"].as_u64()
}

pub(crate) async fn read_all(log: &dyn EventLog) -> Vec<Record> {
    let (mut cursor, mut all) = (Position(0), Vec::<Record>::new());
    loop {
        let page = log.read(cursor, 1_000).await.unwrap();
        let Some(last) = page.last() else { return all };
        cursor = last.position;
        all.extend(page);
    }
}

/// Exactly these numbers are there, in order.
#[track_caller]
pub(crate) fn exactly(records: &[Record], numbers: std::ops::Range<u64>) {
    let found: Vec<u64> = records.iter().filter_map(number).collect();
    let doubled = found.len() - found.iter().collect::<std::collections::BTreeSet<_>>().len();
    let (want, have) = (numbers.end - numbers.start, found.len());
    assert_eq!(have as u64, want, "{doubled} doubled of {have}, {want} were told");
    assert!(found.iter().copied().eq(numbers), "not in order");
}

/// A server at work.
pub(crate) struct Server {
    pub(crate) log: Arc<SqliteLog>,
    pub(crate) ingest: Arc<Ingest>,
    pub(crate) address: SocketAddr,
    stop: oneshot::Sender<()>,
    listening: JoinHandle<()>,
    keeping: JoinHandle<()>,
}

/// A gate with the shared token.
pub(crate) fn gate(dir: &Path) -> Gate {
    let file = dir.join("server-token");
    std::fs::write(&file, TOKEN).unwrap();
    Gate::Shared(SharedToken::open(file).unwrap())
}

pub(crate) async fn ingest(log: &Arc<SqliteLog>, gate: Gate) -> Arc<Ingest> {
    let (appended, _) = watch::channel(Position(0));
    let log = Arc::clone(log) as Arc<dyn EventLog>;
    Arc::new(Ingest::open(log, Arc::new(gate), "test", appended, Box::new(|| 0)).await.unwrap())
}

impl Server {
    pub(crate) async fn start(dir: &Path, address: Option<SocketAddr>, tls: Option<TlsAcceptor>, mood: Mood) -> Self {
        let log = Arc::new(SqliteLog::open(dir.join("log.sqlite"), SqliteConfig::default()).unwrap());
        let ingest = ingest(&log, gate(dir)).await;
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = loop {
            match TcpListener::bind(address.unwrap_or(any)).await {
                Ok(l) => break l,
                // The one before is just letting go of it.
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        };
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let (end, ended) = oneshot::channel::<()>();
        let front = Arc::new(Front { ingest: Arc::clone(&ingest), mood });
        let listening = tokio::spawn(async move {
            listen(listener, tls, front, stopped).await;
            drop(end);
        });
        let keeper = Arc::clone(&ingest);
        let keeping = tokio::spawn(async move {
            let stop = async move {
                let _ = ended.await;
            };
            keeper.keep(stop).await.unwrap();
        });
        Server { log, ingest, address, stop, listening, keeping }
    }

    pub(crate) async fn plain(dir: &Path, address: Option<SocketAddr>) -> Self {
        Self::start(dir, address, None, Mood::Well).await
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) async fn count(&self) -> u64 {
        self.log.stats().await.unwrap().last.0
    }

    pub(crate) async fn until(&self, n: u64) {
        until(&format!("{n} events at the server"), async || self.count().await >= n).await;
    }

    /// Ends it in order; where it was.
    pub(crate) async fn end(self) -> SocketAddr {
        drop(self.stop);
        self.listening.await.unwrap();
        self.keeping.await.unwrap();
        self.address
    }
}

pub(crate) async fn until(what: &str, mut is: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !is().await {
        assert!(begun.elapsed() < Duration::from_secs(60), "{what} did not come");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// An agent at work.
pub(crate) struct Agent {
    pub(crate) spool: Arc<SqliteLog>,
    pub(crate) state: Arc<Forwarding>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

pub(crate) fn quick() -> ForwardConfig {
    ForwardConfig { bound_secs: 1, drain_secs: 3, ..ForwardConfig::default() }
}

impl Agent {
    pub(crate) async fn start(dir: &Path, target: UplinkTarget, config: ForwardConfig) -> Self {
        let spool = Arc::new(SqliteLog::open(dir.join("spool.sqlite"), SqliteConfig::default()).unwrap());
        let log = Arc::clone(&spool) as Arc<dyn EventLog>;
        let forwarder = Forwarder::open(log, Uplink::new(target).unwrap(), "n1", config).await.unwrap();
        let state = forwarder.state();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            let stop = async move {
                let _ = stopped.await;
            };
            forwarder.run(stop).await.unwrap();
        });
        Agent { spool, state, stop, task }
    }

    pub(crate) async fn plain(dir: &Path, url: &str) -> Self {
        Self::start(dir, target(dir, url), quick()).await
    }

    /// Ends it in order.
    pub(crate) async fn end(self) {
        drop(self.stop);
        self.task.await.unwrap();
    }
}

/// To a server, with the token that it knows.
pub(crate) fn target(dir: &Path, url: &str) -> UplinkTarget {
    let token_file = dir.join("token");
    if !token_file.exists() {
        std::fs::write(&token_file, TOKEN).unwrap();
    }
    UplinkTarget { server: url.to_owned(), ca_file: None, token_file }
}

/// Two folders.
pub(crate) fn folders() -> (TempDir, PathBuf, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let (server, agent) = (dir.path().join("server"), dir.path().join("agent"));
    std::fs::create_dir(&server).unwrap();
    std::fs::create_dir(&agent).unwrap();
    (dir, server, agent)
}

/// A time of this machine's clock, so many seconds from now.
pub(crate) fn from_now(secs: i64) -> Time {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Time::from_micros(since.as_micros() as i64 + secs * 1_000_000)
}
