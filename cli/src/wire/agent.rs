//! An agent at work: collectors of its node → spool → server.
//!
//! Everything runs on one thread: there is little to do, and a node's cores are for others. Collectors know nothing of
//! the server; the spool is all that is between them.

mod standing;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tapio_api::{Health, Metrics};
use tapio_bus::forward::{Forwarder, Uplink, UplinkTarget};
use tapio_bus::log::sqlite::{SqliteConfig, SqliteLog};
use tapio_cluster::Connection;
use tapio_collectors::cluster::LogSink;
use tapio_collectors::cni::CniCollector;
use tapio_collectors::kubelet::{KubeletCollector, KubeletConfig};
use tapio_collectors::redaction::Redaction;
use tapio_collectors::{Clock, Collector};
use tapio_core::ports::{EventLog, LogError, Position};
use tapio_core::raw::source;
use tapio_core::time::Time;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::task::JoinSet;

use self::standing::Standing;
use super::operations::Port;
use super::{Interrupt, block_on, new_key};
use crate::cmd::Session;
use crate::error::{Failure, Outcome};

/// Between two looks at remarks and clocks.
const LOOK: Duration = Duration::from_millis(200);
/// Between two attempts to read the account's files.
const AGAIN: Duration = Duration::from_secs(5);
/// The spool's file may be so many times as large as what it holds.
const FILE: u64 = 2;

/// What was asked for.
pub(crate) struct Settings {
    pub(crate) server: String,
    /// For probes and metrics.
    pub(crate) listen: SocketAddr,
    pub(crate) node: String,
    pub(crate) data_dir: PathBuf,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) token_file: PathBuf,
    pub(crate) kubelet_address: Option<String>,
    pub(crate) cni_files: bool,
}

/// An agent.
pub(crate) struct Agent<'a> {
    session: &'a Session,
    settings: Settings,
    spool: Arc<SqliteLog>,
    /// When an earlier run told something last.
    last: Option<Time>,
    uplink: Uplink,
    runtime: Runtime,
}

impl<'a> Agent<'a> {
    /// Opens the spool; nothing is asked or sent yet.
    pub(crate) fn open(session: &'a Session, settings: Settings) -> Outcome<Self> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| Failure::Unreachable(format!("cannot start the runtime: {e}")))?;
        let target = UplinkTarget {
            server: settings.server.clone(),
            ca_file: settings.ca_file.clone(),
            token_file: settings.token_file.clone(),
        };
        let inside = runtime.enter();
        let uplink = Uplink::new(target).map_err(Failure::input)?;
        drop(inside);
        let dir = &settings.data_dir;
        std::fs::create_dir_all(dir).map_err(|e| {
            Failure::Unreachable(format!("cannot make {}: {e}; name another folder with --data-dir", dir.display()))
        })?;
        let bound = session.config.agent.spool_max_bytes;
        let config = SqliteConfig { max_file_bytes: bound.saturating_mul(FILE), ..session.config.log };
        let spool = Arc::new(SqliteLog::open(dir.join("spool.sqlite"), config)?);
        let stats = block_on(spool.stats())??;
        let newest = block_on(spool.read(Position(stats.last.0.saturating_sub(1)), 1))??;
        let last = newest.first().map(|r| r.event.timestamp);
        Ok(Agent { session, settings, spool, last, uplink, runtime })
    }

    /// Works until somebody asks for an end; then the collectors end, and what they told is sent for a short while.
    pub(crate) fn run(self, stop: &Interrupt) -> Outcome {
        let operations = standing::operations();
        let told = (Arc::clone(&operations.health), operations.metrics.clone());
        let port = Port::open(self.session, &self.runtime, self.settings.listen, None, operations)?;
        let Agent { session, settings, spool, last, uplink, runtime } = self;
        session.note(&format!(
            "node {}, to {}, spool in {}",
            settings.node,
            uplink.server(),
            settings.data_dir.display()
        ));
        let result = runtime.block_on(work(session, settings, spool, last, uplink, told, stop));
        runtime.block_on(port.close());
        result
    }
}

async fn work(
    session: &Session,
    settings: Settings,
    spool: Arc<SqliteLog>,
    last: Option<Time>,
    uplink: Uplink,
    told: (Arc<Health>, Metrics),
    stop: &Interrupt,
) -> Outcome {
    let node = settings.node;
    let clock = Clock::default();
    let log = Arc::clone(&spool) as Arc<dyn EventLog>;
    let forwarder = Forwarder::open(log, uplink, &node, session.config.agent.clone()).await?;
    let mut standing = Standing::new(Arc::clone(&spool), told, forwarder.state());
    let (end_collectors, ended) = watch::channel(());
    let mut collectors = JoinSet::new();
    let (end_sending, sending_ended) = watch::channel(());
    let mut sending = tokio::spawn(forwarder.run(until_gone(sending_ended)));
    if settings.cni_files {
        let cni = CniCollector::new(session.config.cni.clone(), &node, "", redaction()?).with_clock(clock.clone());
        standing.cni = Some(cni.state());
        start(&mut collectors, cni, &spool, &ended);
    }
    let mut asked_of = session.config.kubelet.clone();
    if let Some(address) = settings.kubelet_address {
        asked_of.address = address;
    }
    let kubelet = tokio::select! {
        kubelet = kubelet(session, &asked_of, &node) => Some(kubelet?),
        () = asked(stop) => None,
    };
    if let Some(connection) = kubelet {
        let k = KubeletCollector::new(asked_of, connection, &node, "", redaction()?);
        let k = k.with_clock(clock.clone()).since(last);
        standing.kubelet = Some(k.state());
        start(&mut collectors, k, &spool, &ended);
    }
    let mut result: Outcome = Ok(());
    loop {
        standing.look(session).await?;
        clock.set_ahead(standing.forwarding().clock_ahead());
        tokio::select! {
            () = tokio::time::sleep(LOOK) => if stop.asked() { break },
            Some(e) = collectors.join_next() => {
                result = ending(e);
                break;
            }
            e = &mut sending => return ending(e),
        }
    }
    // From left to right: what collectors have told is in the spool before the last of it is sent.
    drop(end_collectors);
    while let Some(e) = collectors.join_next().await {
        result = result.and(ending(e));
    }
    drop(end_sending);
    result = result.and(ending(sending.await));
    standing.say(session);
    let n = &standing.forwarding().counts;
    let (sent, dropped) = (n.sent.load(Ordering::Relaxed), n.dropped.load(Ordering::Relaxed));
    let bound = session.config.agent.spool_max_bytes;
    let dropped = match dropped {
        0 => String::new(),
        n => format!(", {n} dropped unsent (agent.spool_max_bytes {bound})"),
    };
    let waits = standing.waiting().await?;
    session.note(&format!("ended, {sent} events sent, {waits} wait in the spool{dropped}"));
    result
}

/// A key of this process alone: what an agent hashes is compared with nothing.
fn redaction() -> Outcome<Redaction> {
    Ok(Redaction::with_key(new_key()?))
}

fn start(
    collectors: &mut JoinSet<Result<(), LogError>>,
    collector: impl Collector + 'static,
    spool: &Arc<SqliteLog>,
    ended: &watch::Receiver<()>,
) {
    debug_assert_ne!(collector.source(), source::CLUSTER, "an agent has its node alone");
    let (sink, _) = LogSink::new(Arc::clone(spool) as Arc<dyn EventLog>, Position(0));
    let stop = until_gone(ended.clone());
    collectors.spawn(Box::new(collector).run(Box::new(sink), Box::pin(stop)));
}

/// Nothing is ever sent: it is over when the sender is gone.
async fn until_gone(mut ended: watch::Receiver<()>) {
    while ended.changed().await.is_ok() {}
}

async fn asked(stop: &Interrupt) {
    while !stop.asked() {
        tokio::time::sleep(LOOK).await;
    }
}

/// The kubelet of this node; waits for the files of the account, which a pod may get a moment later.
async fn kubelet(session: &Session, config: &KubeletConfig, node: &str) -> Outcome<Arc<Connection>> {
    let mut said = String::new();
    loop {
        match Connection::to_kubelet(config.target(node)).await {
            Ok(connection) => return Ok(Arc::new(connection)),
            Err(e) => {
                let why = e.to_string();
                if why != said {
                    session.note(&format!("{why}; trying again"));
                    said = why;
                }
            }
        }
        tokio::time::sleep(AGAIN).await;
    }
}

fn ending(e: Result<Result<(), LogError>, tokio::task::JoinError>) -> Outcome {
    match e {
        Ok(ended) => ended.map_err(Failure::from),
        Err(e) => Err(Failure::Unreachable(format!("a part ended with a defect of tapio: {e}"))),
    }
}
