//! How a service stands, for probes and Prometheus: health and metrics of a living cluster, and the port of a service
//! where they are told and agents bring what they saw.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tapio_api::{ApiConfig, Happening, Health, Levels, Metrics, Operations, Part, ServeError, Server, TlsFiles};
use tapio_collectors::cluster::{ScopeState, State};
use tapio_core::answer::IncidentState;
use tapio_core::time::{SECOND, Time};
use tapio_engine::Outcome as EngineOutcome;
use tapio_engine::incidents::Transition;
use tapio_graph::rules::News;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::live::{Listener, View};
use crate::cmd::Session;
use crate::error::{Failure, Outcome, chain};

/// Between two looks at what others count.
const LOOK: Duration = Duration::from_secs(1);
/// How long a port may take to end.
const END: Duration = Duration::from_secs(8);
/// Agents' batches that are received at once.
const RECEIVED: usize = 16;
/// Connections to the port of a service: every agent has one.
const CONNECTIONS: usize = 1_024;
/// Milliseconds for a batch to come.
const RECEIVE_MILLIS: u64 = 30_000;
/// Who tells how the cluster is seen.
const CLUSTER: &str = "cluster";

/// How a living cluster is seen, for whoever asks.
pub(crate) struct Standing {
    health: Arc<Health>,
    metrics: Metrics,
    looked: Option<Instant>,
    /// Microseconds by which the cluster's clock is ahead of ours.
    ahead: i64,
}

impl Standing {
    /// One that is told there.
    pub(crate) fn new(health: Arc<Health>, metrics: Metrics) -> Self {
        health.set(CLUSTER, vec![Part::not_ready("first lists", "not begun")]);
        Standing { health, metrics, looked: None, ahead: 0 }
    }

    /// Where it is told.
    pub(crate) fn shared(&self) -> (Arc<Health>, Metrics) {
        (Arc::clone(&self.health), self.metrics.clone())
    }

    /// Takes in now and then how everything stands.
    fn look(&mut self, view: &View) {
        if self.looked.is_some_and(|at| at.elapsed() < LOOK) {
            return;
        }
        self.looked = Some(Instant::now());
        self.ahead = view.state.connection.clock_ahead();
        self.health.set(CLUSTER, parts(view.state));
        self.metrics.set(&levels(view, self.now()));
    }

    /// Now, by the cluster's clock.
    fn now(&self) -> Time {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Time::from_micros(i64::try_from(now.as_micros()).unwrap_or(i64::MAX)).plus(self.ahead)
    }
}

impl Listener for Standing {
    fn heard(&mut self, out: &EngineOutcome, news: &[News]) -> Outcome {
        for (t, i) in &out.incidents {
            let took = self.now().since(i.opened_at).max(0);
            let took = (*t == Transition::Opened).then(|| Duration::from_micros(took.unsigned_abs()));
            self.metrics.happened(Happening::of(*t, i).transition, took);
        }
        for happening in news.iter().filter_map(Happening::of_rule) {
            self.metrics.happened(happening.transition, None);
        }
        Ok(())
    }

    fn between(&mut self, view: &View) -> Outcome {
        self.look(view);
        Ok(())
    }

    fn rested(&mut self, view: &View) -> Outcome {
        self.look(view);
        Ok(())
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        self.health.set(CLUSTER, Vec::new());
    }
}

/// The port of a service, beside that of people.
pub(crate) struct Port {
    stop: oneshot::Sender<()>,
    served: JoinHandle<std::io::Result<()>>,
}

impl Port {
    /// Listens, and answers on `runtime`.
    pub(crate) fn open(
        session: &Session,
        runtime: &Runtime,
        listen: SocketAddr,
        tls: Option<TlsFiles>,
        operations: Operations,
    ) -> Outcome<Self> {
        let secured = tls.is_some();
        let takes = operations.intake.is_some();
        let config = ApiConfig {
            listen,
            tls,
            token_file: None,
            max_body_bytes: tapio_bus::ingest::PACKED_BYTES,
            max_requests: RECEIVED,
            max_connections: CONNECTIONS,
            receive_timeout_millis: RECEIVE_MILLIS,
            ..session.config.api.clone()
        };
        let server = Server::operations(&config, operations).map_err(|e| match e {
            ServeError::Listen { .. } => Failure::Unreachable(format!("{}, with --listen", chain(&e))),
            _ => Failure::input(chain(&e)),
        })?;
        let (addr, url) = (server.addr(), server.url());
        let local = addr.ip().to_canonical().is_loopback();
        session.note(&format!("listening on {url}{}", if local { ", for this machine alone" } else { "" }));
        if takes && !secured && !local {
            session.note(
                "warning: agents' tokens would come in the clear; give --tls-cert and --tls-key, or listen on this machine alone",
            );
        }
        let (stop, stopped) = oneshot::channel::<()>();
        let served = runtime.spawn(server.run(async move {
            // Sent or dropped, it means the same.
            let _ = stopped.await;
        }));
        Ok(Port { stop, served })
    }

    /// Listens no longer; what is under way is finished.
    pub(crate) async fn close(self) {
        drop(self.stop);
        let _ = tokio::time::timeout(END, self.served).await;
    }
}

/// How the collector stands, part by part.
fn parts(state: &State) -> Vec<Part> {
    let mut out = vec![match state.reach.lost() {
        Some(lost) => Part::degraded("API server", format!("cannot be reached: {}", lost.why)),
        None => Part::ready("API server"),
    }];
    let scopes = state.scopes();
    out.push(match state.synced_after_millis() {
        Some(_) => Part::ready("first lists"),
        None => {
            let under_way = |s: &&ScopeState| matches!(s, ScopeState::Waiting | ScopeState::Listing);
            let left = scopes.values().filter(under_way).count();
            Part::not_ready("first lists", format!("{left} of {} kinds are being listed", scopes.len()))
        }
    });
    out.extend(scopes.into_iter().map(|(name, how)| match how {
        ScopeState::Watching | ScopeState::NotServed => Part::ready(name),
        ScopeState::Waiting => Part::degraded(name, "not listed yet"),
        ScopeState::Listing => Part::degraded(name, "being listed"),
        ScopeState::Forbidden { why } => Part::degraded(name, format!("may not be watched: {why}")),
        ScopeState::Failing { why } => Part::degraded(name, format!("cannot be watched for now: {why}")),
    }));
    out
}

/// What engine, log and collector count.
fn levels(view: &View, now: Time) -> Levels {
    let engine = view.pipeline.engine();
    let counts = &view.state.counts;
    let n = |c: &std::sync::atomic::AtomicU64| c.load(Ordering::Relaxed);
    let mut incidents: BTreeMap<_, u64> = BTreeMap::new();
    for i in engine.incidents() {
        let state = match i.state {
            IncidentState::Open => "open",
            IncidentState::Resolved => "resolved",
        };
        *incidents.entry((state, i.severity.as_str())).or_default() += 1;
    }
    let mut kinds: BTreeMap<_, u64> = BTreeMap::new();
    for s in view.state.scopes().values() {
        let how = match s {
            ScopeState::Waiting => "waiting",
            ScopeState::Listing => "listing",
            ScopeState::Watching => "watching",
            ScopeState::Forbidden { .. } => "forbidden",
            ScopeState::NotServed => "not_served",
            ScopeState::Failing { .. } => "failing",
        };
        *kinds.entry(how).or_default() += 1;
    }
    let newest = engine.newest();
    let lag = if newest > Time::MIN { now.since(newest).max(0) } else { 0 };
    Levels {
        engine: engine.stats(),
        size: engine.size(),
        log_position: view.pipeline.last(),
        engine_position: view.pipeline.taken(),
        #[allow(clippy::cast_precision_loss, reason = "seconds for people")]
        lag_secs: lag as f64 / SECOND as f64,
        incidents,
        dropped: vec![
            ("collector", "dead_letter", n(&counts.dead_letters)),
            ("collector", "too_many_logs", n(&counts.logs_dropped)),
        ],
        collector: vec![
            ("events", n(&counts.events)),
            ("relists", n(&counts.relists)),
            ("watches", n(&counts.watches)),
            ("half_dead_watches", n(&counts.half_dead)),
            ("thinned_leases", n(&counts.thinned)),
            ("logs", n(&counts.logs)),
        ],
        kinds,
        ingest: view.ingest.map(|i| i.counts.told().to_vec()).unwrap_or_default(),
        agents: view.ingest.map_or(0, |i| i.agents() as u64),
    }
}
