//! The cluster collector: everything that the API server tells, as it happens.
//!
//! Each kind is listed page by page and then watched from there. Raw JSON goes through redaction, gets the time of the
//! API server, and is appended; what the collector keeps of an object is its uid and version, so that the next list
//! shows what vanished meanwhile.
//!
//! ```text
//!  API server ──▶ followers, one a kind ──▶ [ 4,096 messages, 16 MiB ] ──▶ writer: stamp, append, durable
//!      ▲             │ failing containers                    ▲
//!      └── logs ◀── [ 1,000 logs wait ] ─────────────────────┘
//! ```
//!
//! # What always holds
//! - Nothing is dropped between the server and the sink: a full queue stops the watches, and the list that follows
//!   makes up for what they missed.
//! - Nothing is told twice, not after a relist, an outage or a restart.
//! - First lists are of one moment, and watches begin when all of them are there; so no look at the whole sees a pod
//!   without the ConfigMap that the next list brings.
//! - Time that nobody watched is a `Gap`, and no heartbeat says meanwhile that nothing happened.
//! - A kind that may not be read is left out, said, and tried again slowly.

mod config;
mod context;
mod follow;
mod kinds;
mod known;
mod leases;
mod logs;
mod outlet;
mod reach;
mod secrets;
mod state;
mod survey;

use std::collections::BTreeSet;
use std::hash::RandomState;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::json;
use serde_json::value::to_raw_value;
use tapio_cluster::{ApiError, Connection};
use tapio_core::ports::{LogError, Position};
use tapio_core::time::{SECOND, Time};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

pub use config::{ClusterConfig, Timing};
use context::{Context, Pulse, Sync};
use follow::Follower;
use kinds::{Form, Scope};
pub use known::{CONSUMER, Memory};
use known::{Known, Saved};
use outlet::{Closed, Outlet, Writer};
pub use outlet::{LogSink, QUEUE, QUEUE_BYTES, Sink};
pub use reach::{Lost, Reach};
pub use state::{Counts, ScopeState, State};
pub use survey::{Finding, Survey, survey};

use crate::log_desk::LogDesk;
use crate::redaction::Redaction;
use crate::stamp::{self, Stamp};

/// Between two looks at the pulse.
const PULSE: Duration = Duration::from_secs(5);
/// First and longest pause between two probes of a server that does not answer.
const PROBE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// A pause between two runs that is worth a fact, in microseconds.
const AWAY: i64 = 10 * SECOND;

/// What is known of all scopes, for the memory.
type Register = Arc<Mutex<Vec<(String, Arc<Known>)>>>;

/// The cluster collector, ready to run.
pub struct ClusterCollector {
    cluster: String,
    config: ClusterConfig,
    timing: Timing,
    redaction: Redaction,
    memory: Memory,
    state: Arc<State>,
}

impl ClusterCollector {
    /// A collector that knows nothing. `cluster`: the name in every event's metadata; `last`: the last position of the
    /// log that it writes to, 0 for other sinks.
    pub fn new(
        connection: Arc<Connection>,
        cluster: &str,
        config: ClusterConfig,
        redaction: Redaction,
        last: Position,
    ) -> Self {
        ClusterCollector {
            cluster: cluster.to_owned(),
            config,
            timing: Timing::default(),
            redaction,
            memory: Memory::default(),
            state: Arc::new(State::new(connection, last)),
        }
    }

    /// The same, going on where an earlier run stopped.
    #[must_use]
    pub fn with_memory(self, memory: Memory) -> Self {
        ClusterCollector { memory, ..self }
    }

    /// The same with other times.
    #[must_use]
    pub fn with_timing(self, timing: Timing) -> Self {
        ClusterCollector { timing, ..self }
    }

    /// How it stands.
    pub fn state(&self) -> Arc<State> {
        Arc::clone(&self.state)
    }

    /// Collects until `stop`; everything that was taken in is in the sink when it ends.
    ///
    /// # Errors
    /// The sink cannot be written any more.
    pub async fn run<S: Sink + 'static>(
        mut self,
        sink: S,
        stop: impl Future<Output = ()> + Send,
    ) -> Result<(), LogError> {
        let (outlet, incoming) = Outlet::new(&self.cluster);
        let stamp = Stamp::behind(self.memory.last);
        let writer = Writer::new(sink, stamp, self.timing.clone(), &self.cluster, self.state());
        let mut writing = tokio::spawn(writer.run(incoming));
        let register: Register = Arc::default();
        let mut ended = None;
        tokio::select! {
            biased;
            // It ends early only where the sink cannot be written.
            end = &mut writing => ended = Some(end),
            () = stop => {}
            _ = self.collect(&outlet, &register) => {}
        }
        if let Some(end) = ended {
            return end.unwrap_or_else(|e| Err(defect(&e)));
        }
        // Followers are gone with their set; what they had sent is in the queue, and is written.
        let _ = remember(&self.state, &outlet, &register).await;
        drop(outlet);
        writing.await.unwrap_or_else(|e| Err(defect(&e)))
    }

    /// Starts everything and keeps it going; dropping the future ends it.
    async fn collect(&mut self, outlet: &Outlet, register: &Register) -> Result<(), Closed> {
        let mut scopes = kinds::own(&self.config);
        scopes.extend(found(&self.state, &self.config).await);
        let names: BTreeSet<String> = scopes.iter().map(Scope::name).collect();
        let logs = self.config.logs.then(|| LogDesk::new(self.timing.unready));
        let context = Arc::new(Context {
            state: self.state(),
            config: self.config.clone(),
            timing: self.timing.clone(),
            redaction: self.redaction.clone(),
            outlet: outlet.clone(),
            lists: Semaphore::new(self.config.lists_at_once.max(1)),
            sync: Sync::of(names),
            pulse: Pulse::default(),
            logs: logs.clone(),
            dice: RandomState::new(),
        });
        if let Some(last) = self.memory.last {
            let now = context.server_time(stamp::now());
            if now.since(last) > AWAY {
                outlet.gap("API server", last, "the collector was not running").await?;
            }
        }
        outlet.hold().await?;
        let mut tasks = JoinSet::new();
        let mut watched: BTreeSet<String> = BTreeSet::new();
        for scope in &scopes {
            self.follow(scope, &context, register, &mut tasks);
            watched.insert(scope.name());
        }
        tasks.spawn(probe(Arc::clone(&context)));
        if let Some(desk) = logs {
            tasks.spawn(logs::read(Arc::clone(&context), desk));
        }
        // A cluster in which one kind hangs is watched without it for now.
        let _ = tokio::time::timeout(self.timing.sync, context.sync.complete()).await;
        self.tell_listed(outlet, &scopes).await?;
        outlet.release().await?;
        context.sync.open();
        tasks.spawn(feel(Arc::clone(&context)));
        let mut discovery = every(self.timing.discovery);
        let mut memory = every(self.timing.memory);
        loop {
            tokio::select! {
                _ = discovery.tick() => {
                    for scope in found(&self.state, &self.config).await {
                        if watched.insert(scope.name()) {
                            self.follow(&scope, &context, register, &mut tasks);
                        }
                    }
                }
                _ = memory.tick() => remember(&self.state, outlet, register).await?,
                Some(ended) = tasks.join_next() => if let Err(e) = ended {
                    // A follower that fell over is a defect; the others go on, and somebody should know.
                    self.state.note(format!("a part of the collector ended with a defect of tapio; please report it: {e}"));
                },
            }
        }
    }

    fn follow(&mut self, scope: &Scope, context: &Arc<Context>, register: &Register, tasks: &mut JoinSet<()>) {
        let known = Arc::new(self.memory.take(scope));
        let mut all = register.lock().unwrap_or_else(PoisonError::into_inner);
        all.push((scope.family(), Arc::clone(&known)));
        drop(all);
        tasks.spawn(Follower::new(scope.clone(), known, Arc::clone(context)).run());
    }

    /// Which kinds were listed: an absent object of such a kind does not exist.
    async fn tell_listed(&self, outlet: &Outlet, scopes: &[Scope]) -> Result<(), Closed> {
        let states = self.state.scopes();
        let listed = |s: &&Scope| {
            // What was refused or failed is not known to be absent. Secrets' and Events' absence says nothing.
            let there = matches!(states.get(&s.name()), Some(ScopeState::Listing | ScopeState::Watching));
            there && s.form != Form::Event
        };
        let kinds: Vec<_> = scopes
            .iter()
            .filter(listed)
            .map(|s| {
                let kind = tapio_core::object::canonical_kind(&s.resource.api_version(), &s.resource.kind);
                json!({"namespace": s.namespace, "kind": kind})
            })
            .collect();
        let at: Time = stamp::now().plus(self.state.connection.clock_ahead());
        let data = to_raw_value(&json!({"at": at, "tool": "tapio", "context": self.cluster, "kinds": kinds}));
        match data {
            Ok(data) => outlet.event("SnapshotTaken", data).await,
            Err(_) => Ok(()),
        }
    }
}

fn defect(e: &tokio::task::JoinError) -> LogError {
    LogError::Other { place: "writer".to_owned(), why: format!("ended with a defect of tapio: {e}") }
}

fn every(period: Duration) -> tokio::time::Interval {
    let mut interval = tokio::time::interval_at(tokio::time::Instant::now() + period, period);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    interval
}

/// Kinds of users' own that the server has now and the settings ask for.
async fn found(state: &State, config: &ClusterConfig) -> Vec<Scope> {
    let wanted: BTreeSet<&str> = config.kinds.iter().map(|k| kinds::group_of(k)).collect();
    let mut out = Vec::new();
    // What cannot be found out now is asked again later.
    let Ok(groups) = state.connection.groups().await else { return out };
    for group in groups.iter().filter(|g| wanted.contains(g.name.as_str())) {
        let Ok(resources) = state.connection.kinds(group).await else { continue };
        for r in resources {
            if config.kinds.iter().any(|k| kinds::means(k, &r)) {
                kinds::spread(r, Form::Object, config, &mut out);
            }
        }
    }
    out
}

/// Saves what is known, behind everything that was sent before.
async fn remember(state: &State, outlet: &Outlet, register: &Register) -> Result<(), Closed> {
    // Everything up to here is in the tables already; what is behind it will be read from the log.
    let cursor = state.last();
    let mut saved = Saved::new();
    for (family, known) in register.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        known.save_into(saved.entry(family.clone()).or_default());
    }
    match serde_json::to_vec(&saved) {
        Ok(bytes) => outlet.remember(cursor, bytes).await,
        Err(_) => Ok(()),
    }
}

/// Asks for a lost server until it answers, then says how long it was away.
async fn probe(context: Arc<Context>) {
    let (state, timing) = (&context.state, &context.timing);
    loop {
        state.reach.gone().await;
        let lost_at = Instant::now();
        let (mut pause, mut said) = (PROBE.0, false);
        loop {
            match state.connection.version(PROBE.1).await {
                Ok(_) => break,
                // New credentials may be there by now. Where they are not, the next probe says so.
                Err(ApiError::Unauthorised(_) | ApiError::Untrusted(_)) => _ = state.connection.renew().await,
                Err(_) => {}
            }
            if lost_at.elapsed() > timing.gap
                && !std::mem::replace(&mut said, true)
                && let Some(lost) = state.reach.lost()
            {
                state.note(format!("the API server cannot be reached: {}", lost.why));
            }
            tokio::time::sleep(context.jittered(pause, "probe")).await;
            pause = (pause * 2).min(PROBE.1);
        }
        if let Some(lost) = state.reach.lost() {
            let blind = stamp::now().since(lost.from);
            if blind > i64::try_from(timing.gap.as_micros()).unwrap_or(i64::MAX) {
                let span = tapio_core::time::span(blind);
                state.note(format!("the API server is back after {span}"));
                state.reach.told(lost.from, stamp::now());
                if context.outlet.gap("API server", context.server_time(lost.from), lost.why).await.is_err() {
                    return;
                }
            }
        }
        state.reach.regain();
        state.reach.suspect(lost_at);
    }
}

/// Feels the pulse: where leases are not renewed any more, either the server is gone or the watches are dead.
async fn feel(context: Arc<Context>) {
    let (state, timing) = (&context.state, &context.timing);
    let mut tick = every(PULSE.min(timing.pulse / 2));
    loop {
        tick.tick().await;
        let Some(silence) = context.pulse.silence().filter(|s| *s > timing.pulse && state.reach.is_up()) else {
            continue;
        };
        match state.connection.version(PROBE.1).await {
            Ok(_) => state.reach.suspect(Instant::now() - timing.pulse),
            Err(e) if e.is_away() => {
                let silent = i64::try_from(silence.as_micros()).unwrap_or(0);
                state.reach.lose(e.to_string(), stamp::now().plus(-silent));
            }
            Err(_) => {}
        }
    }
}
