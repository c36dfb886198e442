//! What is remembered about an object besides its last version: events, exits, log tails, node services, probes.
//!
//! Every list is bounded; what falls out is counted by whoever adds.

use std::collections::{BTreeMap, VecDeque};
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};
use tapio_core::id::Id;
use tapio_core::time::Time;
use tapio_core::unified::{EventKind, Severity, UnifiedEvent};

use crate::diagnosis::logs::{Class, class_of};

/// Kubernetes Events kept per object.
pub const MAX_NOTES: usize = 64;
/// Other events kept per object.
pub const MAX_EVENTS: usize = 96;
/// Changes kept per object.
pub const MAX_CHANGES: usize = 64;
/// Exits kept per container.
pub const MAX_EXITS: usize = 16;

/// A Kubernetes Event with all its repetitions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Note {
    /// Id of the newest occurrence.
    pub id: Id,
    /// What kind of event it was normalised to.
    pub kind: EventKind,
    /// `Unhealthy`, `FailedScheduling`, …
    pub reason: String,
    /// Whether its type is Warning.
    pub warning: bool,
    /// Its text, without the aggregation prefix.
    pub message: String,
    /// The container in its field path.
    pub container: Option<String>,
    /// Who reported it.
    pub component: String,
    /// First occurrence.
    pub first: Time,
    /// Newest occurrence.
    pub last: Time,
    /// Occurrences.
    pub count: u64,
}

/// Any other event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// Its id.
    pub id: Id,
    /// What happened.
    pub kind: EventKind,
    /// When.
    pub at: Time,
    /// How bad.
    pub severity: Severity,
    /// One sentence.
    pub message: String,
    /// The container, if one is meant.
    pub container: Option<String>,
    /// Who said so.
    pub source: String,
    /// Short facts of the normaliser.
    pub notes: BTreeMap<String, String>,
}

/// A change of a field, with the event that stands for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Changed {
    /// Id of the change event.
    pub id: Id,
    /// Its kind.
    pub kind: EventKind,
    /// The change.
    pub change: tapio_core::answer::FieldChange,
    /// When.
    pub at: Time,
}

/// An end of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The restart count that the container had while it ran.
    pub run: i64,
    /// Exit code.
    pub code: i64,
    /// Reason in the status (`Error`, `OOMKilled`, `Completed`, `StartError`).
    pub reason: String,
    /// Message in the status.
    pub message: String,
    /// Start of that run.
    pub started: Option<Time>,
    /// Its end.
    pub finished: Option<Time>,
}

/// The last lines of a container's log.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LogTail {
    /// Oldest first.
    pub lines: Vec<String>,
    /// When they were read.
    pub at: Time,
    /// Made when it is first asked for: most logs belong to containers that nobody asks about.
    #[serde(skip)]
    classes: OnceLock<Vec<Option<Class>>>,
}

impl LogTail {
    /// Lines, oldest first, and when they were read.
    pub fn new(lines: Vec<String>, at: Time) -> Self {
        LogTail { lines, at, classes: OnceLock::new() }
    }

    /// The lines that speak of an error, newest first, each with its class.
    pub fn errors(&self) -> impl Iterator<Item = (&str, Class)> {
        let classes = self.classes.get_or_init(|| self.lines.iter().map(|l| class_of(l)).collect());
        self.lines.iter().zip(classes).rev().filter_map(|(text, class)| Some((text.as_str(), (*class)?)))
    }
}

/// A service of a node, as the node's service manager says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeService {
    /// Id of the event that said so.
    pub id: Id,
    /// Whether it runs.
    pub running: bool,
    /// What was said.
    pub says: String,
    /// When.
    pub at: Time,
}

/// Result of probing a Service's address.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProbeResult {
    /// Id of the event that said so.
    pub id: Id,
    /// Port of the Service.
    pub port: i64,
    /// Node it was tried from, where known.
    pub from: Option<String>,
    /// Whether it connected.
    pub ok: bool,
    /// `open`, `refused`, `timeout`, …
    pub outcome: String,
    /// What was said.
    pub says: String,
    /// When.
    pub at: Time,
}

/// Everything remembered about one object.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// Kubernetes Events, oldest newest-occurrence first.
    pub notes: Vec<Note>,
    /// Other events, oldest first.
    pub events: VecDeque<Seen>,
    /// Changes, oldest first.
    pub changes: Vec<Changed>,
    /// Exits by container, oldest first.
    pub exits: BTreeMap<String, Vec<Exit>>,
    /// Log tails by container and whether of the previous run.
    pub logs: BTreeMap<(String, bool), LogTail>,
    /// Services of a node.
    pub services: BTreeMap<String, NodeService>,
    /// Probes of a Service, by port and origin.
    pub probes: BTreeMap<(i64, String), ProbeResult>,
}

impl History {
    /// Remembers a Kubernetes Event; a repetition raises the one that is there. Returns how many fell out.
    pub fn add_note(&mut self, e: &UnifiedEvent) -> u64 {
        let count = e.note("count").and_then(|c| c.parse().ok()).unwrap_or(1);
        let first = e.note("first").and_then(|t| Time::parse(t).ok()).unwrap_or(e.timestamp).min(e.timestamp);
        let container = e.k8s.as_ref().and_then(|k| k.container.clone());
        let reason = e.note("reason").unwrap_or_default();
        // The sentence names its object first; here that is known.
        let about = e.object().map(|o| format!("{o}: ")).unwrap_or_default();
        let message = e.message.strip_prefix(&about).unwrap_or(&e.message);
        if let Some(n) =
            self.notes.iter_mut().find(|n| n.reason == reason && n.message == message && n.container == container)
        {
            n.first = n.first.min(first);
            if e.timestamp >= n.last {
                (n.last, n.id) = (e.timestamp, e.id);
            }
            n.count = n.count.max(count);
        } else {
            self.notes.push(Note {
                id: e.id,
                kind: e.kind,
                reason: reason.to_owned(),
                warning: e.note("type") == Some("Warning"),
                message: message.to_owned(),
                container,
                component: e.note("component").unwrap_or_default().to_owned(),
                first,
                last: e.timestamp,
                count,
            });
        }
        self.notes.sort_by(|a, b| (a.last, &a.reason, &a.message).cmp(&(b.last, &b.reason, &b.message)));
        trim(&mut self.notes, MAX_NOTES)
    }

    /// Remembers another event. Returns how many fell out.
    pub fn add_event(&mut self, e: UnifiedEvent) -> u64 {
        if self.events.iter().rev().any(|s| s.id == e.id) {
            return 0;
        }
        let in_order = self.events.back().is_none_or(|last| last.at <= e.timestamp);
        self.events.push_back(Seen {
            id: e.id,
            kind: e.kind,
            at: e.timestamp,
            severity: e.severity,
            message: e.message,
            container: e.k8s.and_then(|k| k.container),
            source: e.source,
            notes: e.annotations,
        });
        if !in_order {
            self.events.make_contiguous().sort_by_key(|s| (s.at, s.id));
        }
        let over = self.events.len().saturating_sub(MAX_EVENTS);
        self.events.drain(..over);
        over as u64
    }

    /// Remembers a change. Returns how many fell out.
    pub fn add_change(&mut self, c: Changed) -> u64 {
        if self.changes.iter().any(|x| x.id == c.id) {
            return 0;
        }
        let place = self.changes.partition_point(|x| (x.at, x.id) <= (c.at, c.id));
        self.changes.insert(place, c);
        trim(&mut self.changes, MAX_CHANGES)
    }

    /// Remembers the end of a container's run, once.
    pub fn add_exit(&mut self, container: &str, exit: Exit) {
        let list = self.exits.entry(container.to_owned()).or_default();
        if let Some(known) = list.iter_mut().find(|x| x.run == exit.run) {
            *known = exit;
        } else {
            list.push(exit);
            list.sort_by_key(|x| (x.run, x.finished));
        }
        trim(list, MAX_EXITS);
    }
}

fn trim<T>(list: &mut Vec<T>, max: usize) -> u64 {
    let over = list.len().saturating_sub(max);
    list.drain(..over);
    over as u64
}
