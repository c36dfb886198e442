//! What is counted and measured, as Prometheus reads it.
//!
//! Labels have few values: routes are templates, reasons and outcomes are words of ours. What others count (the engine,
//! the collectors) comes in as [`Levels`], and on a node as [`AgentLevels`], every second or so.

/// Registers a metric under its name and help.
macro_rules! registered {
    ($registry:ident, $($name:literal, $help:literal => $metric:expr;)+) => {
        ($({ let m = $metric; $registry.register($name, $help, m.clone()); m },)+)
    };
}

mod agent;
mod metered;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use tapio_engine::Stats;

pub use agent::AgentLevels;
pub use metered::Metered;

/// The media type of what [`Metrics::text`] gives.
pub const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    route: String,
    method: &'static str,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Dropped {
    component: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Errors {
    operation: &'static str,
    error: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Incidents {
    state: &'static str,
    severity: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Transitions {
    transition: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct What {
    what: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct State {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Build {
    version: &'static str,
}

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;
type Fraction = Gauge<f64, AtomicU64>;

/// What others count, as it stands now.
#[derive(Clone, Debug, Default)]
pub struct Levels {
    /// The engine's counts.
    pub engine: Stats,
    /// Objects, relations, and evidence in the window, of the engine.
    pub size: (usize, usize, usize),
    /// Last position of the log.
    pub log_position: u64,
    /// Position up to which the engine has read.
    pub engine_position: u64,
    /// Seconds between the newest time that the engine has seen and now.
    pub lag_secs: f64,
    /// Incidents by state and severity.
    pub incidents: BTreeMap<(&'static str, &'static str), u64>,
    /// Drops by component and reason, beside the engine's own.
    pub dropped: Vec<(&'static str, &'static str, u64)>,
    /// What the collector counted.
    pub collector: Vec<(&'static str, u64)>,
    /// Kinds that are watched, by how they stand.
    pub kinds: BTreeMap<&'static str, u64>,
    /// Events that agents brought, by what became of them; empty where there are none.
    pub ingest: Vec<(&'static str, u64)>,
    /// Agents that have brought any.
    pub agents: u64,
}

/// All metrics of the process; clones are the same.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    registry: Registry,
    requests: Family<Request, Counter>,
    seconds: Histograms<Route>,
    in_flight: Gauge,
    connections: Gauge,
    refused: Family<Reason, Counter>,
    streams: Gauge,
    streams_dropped: Family<Reason, Counter>,
    reloads: Family<Errors, Counter>,
    questions: Gauge,
    evidence: Family<Outcome, Counter>,
    dropped: Family<Dropped, Counter>,
    objects: Gauge,
    relations: Gauge,
    window: Gauge,
    looks: Counter,
    fenced: Counter,
    log_position: Gauge,
    engine_position: Gauge,
    lag_records: Gauge,
    lag_secs: Fraction,
    incidents: Family<Incidents, Gauge>,
    transitions: Family<Transitions, Counter>,
    detection: Histogram,
    writes: Histogram,
    changes: Counter,
    queries: Histogram,
    graph_errors: Family<Errors, Counter>,
    collector: Family<What, Counter>,
    kinds: Family<State, Gauge>,
    ingest: Family<Outcome, Counter>,
    agents: Gauge,
    agent: agent::Group,
}

fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.5, 12))
}

/// Sets a counter that somebody else counts.
fn at(counter: &Counter, n: u64) {
    counter.inner().store(n, Ordering::Relaxed);
}

fn level(n: impl TryInto<i64>) -> i64 {
    n.try_into().unwrap_or(i64::MAX)
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    /// Those of a process with an engine, all at zero.
    pub fn new() -> Self {
        Self::registered(false)
    }

    /// Those of an agent, all at zero.
    pub fn of_agent() -> Self {
        Self::registered(true)
    }

    fn registered(of_agent: bool) -> Self {
        // What a process does not have stands in a registry that nobody reads.
        let (mut shown, mut unused) = (Registry::with_prefix("tapio"), Registry::default());
        let r = &mut shown;
        r.register("build", "The running program", Info::new(Build { version: env!("CARGO_PKG_VERSION") }));
        let (requests, seconds_by_route, in_flight, connections, refused, streams, streams_dropped, reloads) = registered!(r,
            "http_requests", "Requests by route, method and status" => Family::<Request, Counter>::default();
            "http_request_duration_seconds", "Time to a response" => Histograms::<Route>::new_with_constructor(seconds);
            "http_requests_in_flight", "Requests at work" => <Gauge>::default();
            "http_connections", "Connections" => <Gauge>::default();
            "http_refused", "Requests and connections that were turned away" => Family::<Reason, Counter>::default();
            "stream_clients", "Streams of incidents" => <Gauge>::default();
            "stream_dropped", "Streams that were ended from here" => Family::<Reason, Counter>::default();
            "reload_errors", "Changed files that could not be used; the old ones stay" => Family::<Errors, Counter>::default();
        );
        let (dropped, collector) = registered!(r,
            "dropped", "What was dropped, by component and reason" => Family::<Dropped, Counter>::default();
            "collector_events", "What the collectors counted" => Family::<What, Counter>::default();
        );
        let agent = agent::Group::registered(if of_agent { &mut shown } else { &mut unused });
        let r = if of_agent { &mut unused } else { &mut shown };
        let (questions, evidence, objects, relations, window, looks, fenced) = registered!(r,
            "engine_questions_waiting", "Questions of the API that wait for the engine" => <Gauge>::default();
            "engine_evidence", "Evidence by what became of it" => Family::<Outcome, Counter>::default();
            "engine_objects", "Objects in the live graph" => <Gauge>::default();
            "engine_relations", "Relations in the live graph" => <Gauge>::default();
            "engine_window_events", "Evidence that waits in the lateness window" => <Gauge>::default();
            "engine_looks", "Looks at the whole" => <Counter>::default();
            "engine_fenced", "Families of mechanisms that had to be fenced" => <Counter>::default();
        );
        let (log_position, engine_position, lag_records, lag_secs) = registered!(r,
            "log_position", "Last position of the event log" => <Gauge>::default();
            "engine_position", "Position of the log up to which the engine has read" => <Gauge>::default();
            "engine_lag_records", "Records of the log that wait for the engine" => <Gauge>::default();
            "engine_lag_seconds", "Between the newest time that the engine has seen and now" => Fraction::default();
        );
        let (incidents, transitions, detection) = registered!(r,
            "incidents", "Incidents that are remembered" => Family::<Incidents, Gauge>::default();
            "incident_transitions", "What happened to incidents in this run" => Family::<Transitions, Counter>::default();
            "detection_duration_seconds", "From the time of the decisive evidence to the opened incident" => seconds();
        );
        let (writes, changes, queries, graph_errors, kinds, ingest, agents) = registered!(r,
            "graph_write_duration_seconds", "Time of a batch into the graph" => seconds();
            "graph_changes", "Changes written to the graph" => <Counter>::default();
            "graph_query_duration_seconds", "Time of a query of the graph" => seconds();
            "graph_errors", "Failures of the graph, by what was tried" => Family::<Errors, Counter>::default();
            "collector_kinds", "Kinds that are watched, by how they stand" => Family::<State, Gauge>::default();
            "ingest_events", "Events that agents brought, by what became of them" => Family::<Outcome, Counter>::default();
            "agents", "Agents that have brought events" => <Gauge>::default();
        );
        Metrics(Arc::new(Inner {
            registry: shown,
            requests,
            seconds: seconds_by_route,
            in_flight,
            connections,
            refused,
            streams,
            streams_dropped,
            reloads,
            questions,
            evidence,
            dropped,
            objects,
            relations,
            window,
            looks,
            fenced,
            log_position,
            engine_position,
            lag_records,
            lag_secs,
            incidents,
            transitions,
            detection,
            writes,
            changes,
            queries,
            graph_errors,
            collector,
            kinds,
            ingest,
            agents,
            agent,
        }))
    }

    /// Everything as text.
    pub fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a text cannot fail.
        let _ = encode(&mut out, &self.0.registry);
        out
    }

    /// Takes in what others count.
    pub fn set(&self, l: &Levels) {
        let m = &*self.0;
        let e = &l.engine;
        let outcomes = [
            ("taken", e.raw),
            ("duplicate", e.duplicates),
            ("late", e.late),
            ("unknown_type", e.unknown_types),
            ("dead_letter", e.dead),
            ("stale", e.stale),
            ("understood", e.events),
            ("parked", e.parked),
            ("unresolved", e.unresolved),
        ];
        for (outcome, n) in outcomes {
            at(&m.evidence.get_or_create(&Outcome { outcome }), n);
        }
        at(&m.dropped.get_or_create(&Dropped { component: "engine", reason: "bound" }), e.dropped);
        for (component, reason, n) in &l.dropped {
            at(&m.dropped.get_or_create(&Dropped { component, reason }), *n);
        }
        at(&m.looks, e.looks);
        at(&m.fenced, e.fenced);
        m.objects.set(level(l.size.0));
        m.relations.set(level(l.size.1));
        m.window.set(level(l.size.2));
        m.log_position.set(level(l.log_position));
        m.engine_position.set(level(l.engine_position));
        m.lag_records.set(level(l.log_position.saturating_sub(l.engine_position)));
        m.lag_secs.set(l.lag_secs);
        for state in ["open", "resolved"] {
            for severity in ["info", "low", "medium", "high", "critical"] {
                let n = l.incidents.get(&(state, severity)).copied().unwrap_or_default();
                m.incidents.get_or_create(&Incidents { state, severity }).set(level(n));
            }
        }
        for (what, n) in &l.collector {
            at(&m.collector.get_or_create(&What { what }), *n);
        }
        for state in ["waiting", "listing", "watching", "forbidden", "not_served", "failing"] {
            let n = l.kinds.get(state).copied().unwrap_or_default();
            m.kinds.get_or_create(&State { state }).set(level(n));
        }
        for (outcome, n) in &l.ingest {
            at(&m.ingest.get_or_create(&Outcome { outcome }), *n);
        }
        m.agents.set(level(l.agents));
    }

    /// Something happened to an incident; `detection`: how long after the decisive evidence, where it was opened.
    pub fn happened(&self, transition: &'static str, detection: Option<Duration>) {
        self.0.transitions.get_or_create(&Transitions { transition }).inc();
        if let Some(d) = detection {
            self.0.detection.observe(d.as_secs_f64());
        }
    }

    pub(crate) fn answered(&self, route: &str, method: &http::Method, status: u16, took: Duration) {
        // Anything may stand for a method on the wire.
        let known = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"];
        let method = known.into_iter().find(|m| *m == method.as_str()).unwrap_or("other");
        self.0.requests.get_or_create(&Request { route: route.to_owned(), method, status }).inc();
        self.0.seconds.get_or_create(&Route { route: route.to_owned() }).observe(took.as_secs_f64());
    }

    pub(crate) fn refused(&self, reason: &'static str) {
        self.0.refused.get_or_create(&Reason { reason }).inc();
    }

    pub(crate) fn stream_dropped(&self, reason: &'static str) {
        self.0.streams_dropped.get_or_create(&Reason { reason }).inc();
    }

    pub(crate) fn reload_failed(&self, operation: &'static str) {
        self.0.reloads.get_or_create(&Errors { operation, error: "unusable" }).inc();
    }

    pub(crate) fn questions(&self, waiting: usize) {
        self.0.questions.set(level(waiting));
    }

    pub(crate) fn in_flight(&self) -> Held {
        Held::of(&self.0.in_flight)
    }

    pub(crate) fn connection(&self) -> Held {
        Held::of(&self.0.connections)
    }

    pub(crate) fn stream(&self) -> Held {
        Held::of(&self.0.streams)
    }
}

/// One more for as long as it is held.
pub(crate) struct Held(Gauge);

impl Held {
    fn of(gauge: &Gauge) -> Self {
        gauge.inc();
        Held(gauge.clone())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.dec();
    }
}
