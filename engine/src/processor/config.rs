//! Settings of the engine, and what it counts.

use serde::{Deserialize, Serialize};

/// Settings of the engine. The defaults are right for a cluster of some thousand pods.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EngineConfig {
    /// Milliseconds by which evidence may arrive out of order. Larger: answers come later; smaller: sources with slow
    /// paths count as late.
    pub lateness_millis: u64,
    /// Evidence that may wait in the window. Above it the oldest goes on early, which is counted.
    pub max_buffered: usize,
    /// Seconds for which an event waits for its pod to become known.
    pub park_secs: u64,
    /// Events that may wait for their pod.
    pub max_parked: usize,
    /// Seconds for which events and changes of an object are remembered.
    pub history_secs: u64,
    /// Seconds for which a deleted object is remembered.
    pub tombstone_secs: u64,
    /// Objects that may be known at once; above it evidence about new ones goes to the dead letters.
    pub max_objects: usize,
    /// Whether changes for a graph store are handed out.
    pub project: bool,
}

impl Default for EngineConfig {
    fn default() -> Self {
        EngineConfig {
            lateness_millis: 5_000,
            max_buffered: 500_000,
            park_secs: 60,
            max_parked: 20_000,
            history_secs: 6 * 3_600,
            tombstone_secs: 3_600,
            max_objects: 500_000,
            project: true,
        }
    }
}

/// Counts of what the engine did; each grows only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Evidence taken in.
    pub raw: u64,
    /// Of it, seen twice inside the window.
    pub duplicates: u64,
    /// Of it, of a type that nobody knows.
    pub unknown_types: u64,
    /// Of it, unusable.
    pub dead: u64,
    /// Of it, later than the window.
    pub late: u64,
    /// Events that it meant.
    pub events: u64,
    /// Events that waited for their pod.
    pub parked: u64,
    /// Of them, those whose pod never came.
    pub unresolved: u64,
    /// Versions of objects that were older than the one known.
    pub stale: u64,
    /// Looks at the whole.
    pub looks: u64,
    /// Families of mechanisms that had to be fenced.
    pub fenced: u64,
    /// What was dropped because a bound was reached.
    pub dropped: u64,
}
