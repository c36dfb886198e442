//! How the collector stands: per kind whether it is watched, whether the API server can be reached, what was counted.
//!
//! Whoever shows or serves it (`tapio up`, a readiness probe, metrics) reads it from here at any time.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use serde::Serialize;
use tapio_cluster::Connection;
use tapio_core::ports::Position;
use tokio::sync::Notify;

use super::reach::Reach;
use crate::remarks::Remarks;

/// How a kind is watched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum ScopeState {
    /// Not begun.
    Waiting,
    /// The list runs.
    Listing,
    /// All is known, and the watch stands.
    Watching,
    /// Not allowed: evidence of this kind is missing.
    Forbidden {
        /// The server's words.
        why: String,
    },
    /// The server does not have it.
    NotServed,
    /// It fails; tried again with growing pauses.
    Failing {
        /// Why.
        why: String,
    },
}

/// What was counted; each grows only.
#[derive(Debug, Default)]
pub struct Counts {
    /// Events in the log.
    pub events: AtomicU64,
    /// Input that could not be used.
    pub dead_letters: AtomicU64,
    /// Lists that were begun again because the server had forgotten where a watch or a page stood.
    pub relists: AtomicU64,
    /// Watches that were opened.
    pub watches: AtomicU64,
    /// Watches that brought no line for too long.
    pub half_dead: AtomicU64,
    /// Renewals of leases that were left out.
    pub thinned: AtomicU64,
    /// Logs that were read.
    pub logs: AtomicU64,
    /// Logs that were not read because too many failed at once.
    pub logs_dropped: AtomicU64,
}

/// How the collector stands.
pub struct State {
    /// The API server.
    pub connection: Arc<Connection>,
    /// Whether it can be reached.
    pub reach: Reach,
    /// What was counted.
    pub counts: Counts,
    scopes: Mutex<BTreeMap<String, ScopeState>>,
    notes: Remarks,
    last: AtomicU64,
    begun: Instant,
    synced: AtomicU64,
    stirred: Notify,
}

impl State {
    pub(crate) fn new(connection: Arc<Connection>, last: Position) -> Self {
        State {
            connection,
            reach: Reach::new(),
            counts: Counts::default(),
            scopes: Mutex::default(),
            notes: Remarks::default(),
            last: AtomicU64::new(last.0),
            begun: Instant::now(),
            synced: AtomicU64::new(0),
            stirred: Notify::new(),
        }
    }

    /// Notes how a kind is watched; what people should know becomes a remark.
    pub(crate) fn set(&self, scope: &str, new: ScopeState) {
        let mut scopes = self.scopes.lock().unwrap_or_else(PoisonError::into_inner);
        let old = scopes.insert(scope.to_owned(), new.clone());
        drop(scopes);
        if old.as_ref() == Some(&new) {
            return;
        }
        let was_ill = matches!(old, Some(ScopeState::Forbidden { .. } | ScopeState::Failing { .. }));
        match new {
            ScopeState::Forbidden { why } => self.note(format!("{scope} may not be watched, going on without: {why}")),
            ScopeState::Failing { why } if !matches!(old, Some(ScopeState::Failing { .. })) => {
                self.note(format!("{scope} cannot be watched for now: {why}"));
            }
            ScopeState::Watching if was_ill => self.note(format!("{scope} is watched again")),
            _ => {}
        }
    }

    /// Every kind with how it is watched, by name.
    pub fn scopes(&self) -> BTreeMap<String, ScopeState> {
        self.scopes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A remark for people.
    pub(crate) fn note(&self, text: String) {
        self.notes.add(text);
    }

    /// Takes the remarks since the last time.
    pub fn take_notes(&self) -> Vec<String> {
        self.notes.take()
    }

    pub(crate) fn appended(&self, at: Position, n: u64) {
        self.last.store(at.0, Ordering::Relaxed);
        self.counts.events.fetch_add(n, Ordering::Relaxed);
    }

    /// Somebody else has appended to the same log: time is moved on soon, so that what it means is decided.
    pub fn stir(&self) {
        self.stirred.notify_one();
    }

    pub(crate) async fn stirred(&self) {
        self.stirred.notified().await;
    }

    /// The last position that was written.
    pub fn last(&self) -> Position {
        Position(self.last.load(Ordering::Relaxed))
    }

    /// The first lists are in the sink.
    pub(crate) fn set_synced(&self) {
        let millis = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.synced.store(millis.max(1), Ordering::Relaxed);
    }

    /// Milliseconds until the first lists were in the sink; none while they run.
    pub fn synced_after_millis(&self) -> Option<u64> {
        Some(self.synced.load(Ordering::Relaxed)).filter(|n| *n > 0)
    }
}
