//! The small ports between the parts. Boxed futures, and no runtime type in a signature.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;

use serde::{Deserialize, Serialize};

use crate::alert::Alert;
use crate::change::{GraphChange, NodeRef};
use crate::ontology::Label;
use crate::raw::{DeadLetter, RawEvent};
use crate::time::Time;

/// A boxed future that can move between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Place of a record in the log: positions grow by one a record, from 1. As a cursor: all up to and with it is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position(pub u64);

/// A record of the log.
#[derive(Clone, Debug)]
pub struct Record {
    /// Its place.
    pub position: Position,
    /// When the log took it.
    pub appended_at: Time,
    /// What was appended.
    pub event: RawEvent,
}

/// How much of the log is kept; what no consumer has committed yet is never dropped for age or size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retention {
    /// Records older than this many seconds (by append time) may go; 0: no bound.
    pub max_age_secs: u64,
    /// Payload bytes above which the oldest records may go; 0: no bound.
    pub max_bytes: u64,
}

/// What a log holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogStats {
    /// First position still there; 0 when empty.
    pub first: Position,
    /// Last position; 0 when nothing was ever appended.
    pub last: Position,
    /// Payload bytes.
    pub bytes: u64,
    /// Dead letters kept.
    pub dead_letters: u64,
}

/// Why the event log could not do it; each variant is what the caller must do.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Try again soon.
    #[error("event log {place} is busy: {why}")]
    Busy {
        /// File or address.
        place: String,
        /// Detail.
        why: String,
    },
    /// No space: stop acknowledging, tell people, try again slowly.
    #[error(
        "event log {place} is full: {why}; free space or lower the retention, nothing that was acknowledged is lost"
    )]
    Full {
        /// File or address.
        place: String,
        /// Detail.
        why: String,
    },
    /// Cannot be written: give up, tell people.
    #[error("event log {place} is read-only: {why}; check owner and mount options")]
    ReadOnly {
        /// File or address.
        place: String,
        /// Detail.
        why: String,
    },
    /// Damaged: give up, keep the file.
    #[error("event log {place} is corrupt: {why}; move the file away to start a new one, or restore a backup")]
    Corrupt {
        /// File or address.
        place: String,
        /// Detail.
        why: String,
    },
    /// Written by a newer Tapio: give up, do not touch it.
    #[error(
        "event log {place} has format {found}, this version reads up to {known}; use the newer tapio that wrote it"
    )]
    NewerVersion {
        /// File or address.
        place: String,
        /// Format found.
        found: u32,
        /// Newest format known.
        known: u32,
    },
    /// Another process owns it.
    #[error("event log {place} is in use by another process: {why}")]
    InUse {
        /// File or address.
        place: String,
        /// Detail.
        why: String,
    },
    /// The position asked for was dropped by retention: start from a checkpoint or from the first position.
    #[error("event log {place} begins at {first}, {asked} was dropped by retention")]
    Gone {
        /// File or address.
        place: String,
        /// Asked for.
        asked: u64,
        /// First one there.
        first: u64,
    },
    /// Anything else.
    #[error("event log {place}: {why}")]
    Other {
        /// File or address.
        place: String,
        /// Detail.
        why: String,
    },
}

/// The durable, ordered carrier of RawEvents.
pub trait EventLog: Send + Sync {
    /// Appends the records and returns the position of the last, when all are durable.
    fn append(&self, events: Vec<RawEvent>) -> BoxFuture<'_, Result<Position, LogError>>;
    /// Reads at most `max` records after `cursor`; empty when there are no more.
    fn read(&self, cursor: Position, max: usize) -> BoxFuture<'_, Result<Vec<Record>, LogError>>;
    /// Stores how far `consumer` has come. Never moves backwards.
    fn commit<'a>(&'a self, consumer: &'a str, cursor: Position) -> BoxFuture<'a, Result<(), LogError>>;
    /// How far `consumer` has come; position 0 for one that never committed.
    fn committed<'a>(&'a self, consumer: &'a str) -> BoxFuture<'a, Result<Position, LogError>>;
    /// Keeps input that could not be used.
    fn bury(&self, letters: Vec<DeadLetter>) -> BoxFuture<'_, Result<(), LogError>>;
    /// The newest `max` dead letters, oldest of them first.
    fn dead_letters(&self, max: usize) -> BoxFuture<'_, Result<Vec<DeadLetter>, LogError>>;
    /// Stores a consumer's checkpoint together with the cursor that it stands for, in one step.
    fn save_checkpoint<'a>(
        &'a self,
        consumer: &'a str,
        cursor: Position,
        version: u32,
        state: Vec<u8>,
    ) -> BoxFuture<'a, Result<(), LogError>>;
    /// The newest checkpoint of `consumer`: cursor, version, state.
    #[allow(clippy::type_complexity, reason = "a triple that is unpacked at once")]
    fn load_checkpoint<'a>(
        &'a self,
        consumer: &'a str,
    ) -> BoxFuture<'a, Result<Option<(Position, u32, Vec<u8>)>, LogError>>;
    /// Drops what `retention` allows to drop, seen from `now`; returns how many records went.
    fn retain(&self, retention: Retention, now: Time) -> BoxFuture<'_, Result<u64, LogError>>;
    /// What it holds.
    fn stats(&self) -> BoxFuture<'_, Result<LogStats, LogError>>;
}

/// A value in a query's result or parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Cell {
    /// Nothing.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// A point in time.
    Time(Time),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Cell>),
    /// A map, a node or a relation. Nodes carry `_labels`, relations `_type`, beside their properties.
    Map(BTreeMap<String, Cell>),
}

/// A user's read-only query with its bounds.
#[derive(Clone, Debug)]
pub struct Query {
    /// Cypher as typed.
    pub text: String,
    /// `$name` → value.
    pub params: BTreeMap<String, Cell>,
    /// What zero-argument `datetime()` and `timestamp()` stand for.
    pub at: Time,
    /// Bounds.
    pub limits: Limits,
}

/// Bounds of one query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Milliseconds after which it is stopped.
    pub timeout_millis: u64,
    /// Rows after which the result is cut (and says so).
    pub max_rows: usize,
    /// Steps of the executor after which it is stopped.
    pub max_expansions: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { timeout_millis: 10_000, max_rows: 10_000, max_expansions: 20_000_000 }
    }
}

/// A query's result.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rows {
    /// Column names as written or aliased.
    pub columns: Vec<String>,
    /// One list of cells a row.
    pub rows: Vec<Vec<Cell>>,
    /// Whether rows beyond the limit were cut off.
    pub truncated: bool,
}

/// Why the graph store could not do it; each variant is what the caller must do.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The user's query is wrong or not allowed: show it, do not retry.
    #[error("{0}")]
    Refused(String),
    /// The query hit a bound: show it, do not retry.
    #[error("query stopped: {0}")]
    Limit(String),
    /// Try again soon.
    #[error("graph {place} is busy: {why}")]
    Busy {
        /// Folder or address.
        place: String,
        /// Detail.
        why: String,
    },
    /// Cannot be reached or opened: not ready, try again slowly.
    #[error("graph {place} cannot be reached: {why}")]
    Unavailable {
        /// Folder or address.
        place: String,
        /// Detail.
        why: String,
    },
    /// Another process owns it.
    #[error("graph {place} is in use by another process: {why}")]
    InUse {
        /// Folder or address.
        place: String,
        /// Detail.
        why: String,
    },
    /// Cannot be written for lack of space or rights.
    #[error("graph {place} cannot be written: {why}")]
    NotWritable {
        /// Folder or address.
        place: String,
        /// Detail.
        why: String,
    },
    /// Damaged or of another format.
    #[error("graph {place} is unusable: {why}; rebuild it from the event log with `tapio replay --data-dir`")]
    Corrupt {
        /// Folder or address.
        place: String,
        /// Detail.
        why: String,
    },
    /// Written by a newer Tapio: give up, do not touch it.
    #[error("graph {place} has format {found}, this version reads up to {known}; use the newer tapio that wrote it")]
    NewerVersion {
        /// Folder or address.
        place: String,
        /// Format found.
        found: i64,
        /// Newest format known.
        known: i64,
    },
    /// Anything else.
    #[error("graph {place}: {why}")]
    Other {
        /// Folder or address.
        place: String,
        /// Detail.
        why: String,
    },
}

/// What a graph holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GraphStats {
    /// Nodes per label (a node with two labels counts under both).
    pub nodes: BTreeMap<String, u64>,
    /// Relations per type.
    pub relations: BTreeMap<String, u64>,
}

/// A node as it stands in a graph.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredNode {
    /// Which one.
    pub node: NodeRef,
    /// Its other labels, sorted.
    pub also: Vec<String>,
    /// Its properties without the key.
    pub props: BTreeMap<String, Cell>,
}

/// A relation as it stands in a graph.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredRelation {
    /// Start.
    pub from: NodeRef,
    /// Its type; on a server somebody else may have added one that is no word of the ontology.
    pub relation: String,
    /// End.
    pub to: NodeRef,
    /// Its properties.
    pub props: BTreeMap<String, Cell>,
}

/// What a store says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreAbout {
    /// Kind and version of the store, for people.
    pub store: String,
    /// Format of the graph.
    pub format: i64,
    /// Bytes on disk, where the store tells.
    pub bytes: Option<u64>,
}

/// The durable, queryable projection: one writer, any number of readers.
pub trait GraphStore: Send + Sync {
    /// Creates constraints and indexes; harmless when they are there.
    fn ensure_schema(&self) -> BoxFuture<'_, Result<(), StoreError>>;
    /// Writes all changes in one step, durably, in their order. Writing them again changes nothing.
    fn apply(&self, changes: Vec<GraphChange>) -> BoxFuture<'_, Result<(), StoreError>>;
    /// Runs a user's query. Writes are refused, bounds are kept.
    fn query(&self, query: Query) -> BoxFuture<'_, Result<Rows, StoreError>>;
    /// Removes events that happened before `before`, with their relations, and objects deleted before it.
    /// Returns how many nodes went.
    fn retain(&self, before: Time) -> BoxFuture<'_, Result<u64, StoreError>>;
    /// What it holds.
    fn stats(&self) -> BoxFuture<'_, Result<GraphStats, StoreError>>;
    /// A hash over all nodes, relations and properties; equal graphs have equal hashes on every store.
    fn graph_hash(&self) -> BoxFuture<'_, Result<String, StoreError>>;
    /// At most `most` nodes of a label in the order of their keys, behind the key `after`; fewer: there are no more.
    fn nodes<'a>(
        &'a self,
        label: Label,
        after: &'a str,
        most: usize,
    ) -> BoxFuture<'a, Result<Vec<StoredNode>, StoreError>>;
    /// The relations that start at nodes of a label with a key above `after` up to and with `last`.
    fn relations<'a>(
        &'a self,
        label: Label,
        after: &'a str,
        last: &'a str,
    ) -> BoxFuture<'a, Result<Vec<StoredRelation>, StoreError>>;
    /// What is missing or unusable of constraints and indexes, and what else says that the graph is not whole; one
    /// sentence each.
    fn schema_faults(&self) -> BoxFuture<'_, Result<Vec<String>, StoreError>>;
    /// What the store says of itself.
    fn about(&self) -> BoxFuture<'_, Result<StoreAbout, StoreError>>;
    /// Writes a copy that can be opened like the original.
    fn backup<'a>(&'a self, to: &'a Path) -> BoxFuture<'a, Result<(), StoreError>>;
}

/// Why a sink did not take alerts; each variant is what the caller must do. No address and no token stands in a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SinkError {
    /// It may have them or not: send them again, later and later.
    #[error("{why}; tried again")]
    Retry {
        /// What happened.
        why: String,
    },
    /// It says itself when to come back.
    #[error("{why}; tried again in {secs} s")]
    RetryAfter {
        /// What happened.
        why: String,
        /// Seconds that it asks for.
        secs: u64,
    },
    /// It will never take these: they are dead letters.
    #[error("{why}; kept as a dead letter")]
    Refused {
        /// What it says.
        why: String,
    },
    /// It takes nothing as it is set up: leave it alone, tell people.
    #[error("{why}; switched off until that is put right")]
    Off {
        /// What is wrong, and what to do.
        why: String,
    },
}

/// Where people are told. An alert may come twice (with the same key), never silently not at all.
pub trait AlertSink: Send + Sync {
    /// Which kind of sink, as the settings name it.
    fn kind(&self) -> &'static str;
    /// Sends alerts, in their order: all, or none that would not be sent again. One where the sink knows no groups.
    fn send<'a>(&'a self, alerts: &'a [Alert], now: Time) -> BoxFuture<'a, Result<(), SinkError>>;
    /// Whether several alerts can go as one message.
    fn takes_groups(&self) -> bool {
        false
    }
    /// Seconds after which open alerts must be told again, where the sink forgets them otherwise.
    fn refresh_secs(&self) -> Option<u32> {
        None
    }
    /// Tells it once more of alerts that are open.
    fn refresh<'a>(&'a self, _open: &'a [Alert], _now: Time) -> BoxFuture<'a, Result<(), SinkError>> {
        Box::pin(async { Ok(()) })
    }
}
