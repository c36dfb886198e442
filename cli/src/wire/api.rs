//! The HTTP API beside a living cluster: a runtime of its own, a desk for questions to the engine, and a listener that
//! brings it what happens.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tapio_api::config::LISTEN;
use tapio_api::metrics::Metered;
use tapio_api::{
    ApiConfig, Desk, Feed, Happening, Health, Levels, LogLevel, Metrics, Part, Parts, ReadManifests, ServeError,
    Server, desk,
};
use tapio_collectors::cluster::{ScopeState, State};
use tapio_collectors::manifests;
use tapio_collectors::redaction::Redaction;
use tapio_core::answer::IncidentState;
use tapio_core::time::{SECOND, Time};
use tapio_engine::Outcome as EngineOutcome;
use tapio_engine::incidents::Transition;
use tapio_graph::rules::News;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::live::{Listener, Live, View};
use crate::cmd::Session;
use crate::error::{Failure, Outcome, chain};

/// For so long questions are answered before the next batch is taken; one that takes longer is not cut off.
const BUDGET: Duration = Duration::from_millis(50);
/// Between two looks at what others count.
const LOOK: Duration = Duration::from_secs(1);
/// How long the server may take to end.
const END: Duration = Duration::from_secs(8);

/// An API that is up.
pub(crate) struct Api {
    desk: Desk,
    feed: Arc<Feed>,
    health: Arc<Health>,
    metrics: Metrics,
    url: String,
    looked: Option<Instant>,
    /// Microseconds by which the cluster's clock is ahead of ours.
    ahead: i64,
    stop: Option<oneshot::Sender<()>>,
    served: Option<JoinHandle<std::io::Result<()>>>,
    runtime: Runtime,
}

impl Api {
    /// Listens and answers; `listen`: an address that somebody asked for.
    pub(crate) fn start(
        session: &Session,
        live: &mut Live,
        listen: Option<SocketAddr>,
        log_level: LogLevel,
    ) -> Outcome<Self> {
        let mut config = session.config.api.clone();
        config.listen = listen.unwrap_or(config.listen);
        let metrics = Metrics::new();
        let its = metrics.clone();
        let graph = live.pipeline_mut().wrap_graph(|g| Arc::new(Metered::new(g, its)));
        let (reader, desk) = desk::desk(&config, live.bell());
        let (feed, health) = (Arc::new(Feed::new(&config)), Arc::new(Health::default()));
        let key = live.pipeline().folder().redaction_key()?;
        let read: ReadManifests = Arc::new(move |body| {
            // Values have to become the same hashes as the cluster's, to be compared with them.
            let redaction = Redaction::with_key(key);
            manifests::read_text("body", body, &redaction).map_err(|e| chain(&e))
        });
        let parts = || Parts {
            reader: reader.clone(),
            graph: Arc::clone(&graph),
            feed: Arc::clone(&feed),
            health: Arc::clone(&health),
            metrics: metrics.clone(),
            manifests: Arc::clone(&read),
            log_level: Some(log_level.clone()),
            query: session.config.query.limits(),
        };
        let server = match Server::bind(&config, parts()) {
            // Nobody chose the port, so any will do: a second cluster is watched beside the first.
            Err(ServeError::Listen { source, .. })
                if listen.is_none() && config.listen == LISTEN && source.kind() == std::io::ErrorKind::AddrInUse =>
            {
                session.note(&format!("{LISTEN} is taken, the API is at a port that is free; --listen chooses one"));
                config.listen.set_port(0);
                Server::bind(&config, parts())
            }
            bound => bound,
        };
        let server = server.map_err(refused)?;
        for w in server.warnings() {
            session.note(&format!("warning: {w}"));
        }
        let url = server.url();
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("api")
            .enable_all()
            .build()
            .map_err(|e| Failure::Unreachable(format!("cannot start the API's runtime: {e}")))?;
        let (stop, stopped) = oneshot::channel::<()>();
        let served = runtime.spawn(server.run(async move {
            // Sent or dropped, it means the same.
            let _ = stopped.await;
        }));
        health.set(vec![Part::not_ready("first lists", "not begun")]);
        Ok(Api {
            desk,
            feed,
            health,
            metrics,
            url,
            looked: None,
            ahead: 0,
            stop: Some(stop),
            served: Some(served),
            runtime,
        })
    }

    /// Where it is.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Answers what waits, and takes in now and then how everything stands.
    fn serve(&mut self, view: &View) {
        let engine = view.pipeline.engine();
        self.desk.serve(engine, BUDGET);
        if self.looked.is_some_and(|at| at.elapsed() < LOOK) {
            return;
        }
        self.looked = Some(Instant::now());
        self.ahead = view.state.connection.clock_ahead();
        self.health.set(parts(view.state));
        self.metrics.set(&levels(view, self.now()));
    }

    /// Now, by the cluster's clock.
    fn now(&self) -> Time {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Time::from_micros(i64::try_from(now.as_micros()).unwrap_or(i64::MAX)).plus(self.ahead)
    }
}

impl Listener for Api {
    fn heard(&mut self, out: &EngineOutcome, news: &[News]) -> Outcome {
        for (t, i) in &out.incidents {
            let happening = Happening::of(*t, i);
            let took = self.now().since(i.opened_at).max(0);
            let took = (*t == Transition::Opened).then(|| Duration::from_micros(took.unsigned_abs()));
            self.metrics.happened(happening.transition, took);
            self.feed.tell(&happening);
        }
        for happening in news.iter().filter_map(Happening::of_rule) {
            self.metrics.happened(happening.transition, None);
            self.feed.tell(&happening);
        }
        Ok(())
    }

    fn between(&mut self, view: &View) -> Outcome {
        self.serve(view);
        Ok(())
    }

    fn rested(&mut self, view: &View) -> Outcome {
        self.serve(view);
        match self.served.take_if(|s| s.is_finished()) {
            None => Ok(()),
            Some(ended) => match self.runtime.block_on(ended) {
                Ok(Ok(())) => Err(Failure::Unreachable("the API ended by itself".to_owned())),
                Ok(Err(e)) => Err(Failure::Unreachable(format!("the API ended: {e}"))),
                Err(e) => Err(Failure::Unreachable(format!("the API ended with a defect of tapio: {e}"))),
            },
        }
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(served) = self.served.take() {
            // It lets go of the graph when it ends.
            let _ = self.runtime.block_on(async { tokio::time::timeout(END, served).await });
        }
    }
}

/// Settings that are wrong are the user's to correct, an address that is taken is not there.
fn refused(e: ServeError) -> Failure {
    match e {
        ServeError::Listen { .. } => Failure::Unreachable(format!("{}, or --no-api", chain(&e))),
        _ => Failure::input(chain(&e)),
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
    }
}

/// Reads `ADDRESS:PORT` for clap.
pub(crate) fn listen_address(text: &str) -> Result<SocketAddr, String> {
    let text = text.strip_prefix("localhost:").map_or(text.to_owned(), |port| format!("127.0.0.1:{port}"));
    text.parse().map_err(|_| "give ADDRESS:PORT, e.g. 127.0.0.1:7878, [::1]:7878 or 0.0.0.0:7878".to_owned())
}

/// Whether there is to be one.
pub(crate) fn wanted(config: &ApiConfig, listen: Option<SocketAddr>, off: bool) -> bool {
    !off && (config.enabled || listen.is_some())
}
