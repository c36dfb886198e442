//! What one dump holds, and the moment it was taken.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};
use tapio_core::object::Object;
use tapio_core::raw::{RawEvent, source};
use tapio_core::time::Time;

use super::{newer, shape};
use crate::reader::{Output, Stopped};

/// Redacted bytes that are held while the moment is not known.
const MAX_HELD: usize = 4 << 30;

/// A list that was asked for: in which folder it lay, what it held.
struct Asked {
    folder: String,
    kind: String,
    namespaces: BTreeSet<String>,
    empty: bool,
}

/// An event that waits for the moment.
struct Held {
    event: RawEvent,
    newest: Option<Time>,
}

/// One dump.
pub(super) struct Moment {
    /// How it is called in messages.
    pub(super) origin: String,
    /// When it was taken, once known.
    pub(super) now: Option<Time>,
    /// Whether to wait for the end even when `now` is known.
    hold: bool,
    held: Vec<Held>,
    held_bytes: usize,
    newest: Option<Time>,
    asked: Vec<Asked>,
    used: bool,
    full: bool,
    /// Versions of the single objects seen, to tell a watch from a dump.
    seen: HashMap<String, String>,
    /// The time of the last event, once the input turned out to be a watch.
    watch: Option<Option<Time>>,
}

impl Moment {
    pub(super) fn new(origin: &str, now: Option<Time>) -> Self {
        Moment {
            origin: origin.to_owned(),
            now,
            hold: false,
            held: Vec::new(),
            held_bytes: 0,
            newest: None,
            asked: Vec::new(),
            used: now.is_some(),
            full: false,
            seen: HashMap::new(),
            watch: None,
        }
    }

    /// A dump of which nothing goes out before its end.
    pub(super) fn held(origin: &str) -> Self {
        Moment { hold: true, ..Moment::new(origin, None) }
    }

    /// Takes over what `other`, a folder of the same dump, holds. `home`: this dump's own folder.
    pub(super) fn join(&mut self, other: Moment, home: &str) {
        self.now = self.now.or(other.now);
        self.newest = newer(self.newest, other.newest);
        self.held.extend(other.held);
        self.used |= other.used;
        self.asked.extend(other.asked.into_iter().map(|a| {
            let folder = a.folder.strip_prefix(home).unwrap_or(&a.folder).trim_start_matches('/').to_owned();
            Asked { folder, ..a }
        }));
    }

    /// Takes something in: gives it out at once, or keeps it until the moment is known.
    pub(super) fn add(
        &mut self,
        out: &Output,
        kind: &str,
        metadata: BTreeMap<String, String>,
        data: Box<RawValue>,
    ) -> Result<(), Stopped> {
        self.used = true;
        let mut event = RawEvent {
            timestamp: self.now.unwrap_or(Time::MIN),
            observed_at: None,
            kind: kind.to_owned(),
            source: source::DUMP.to_owned(),
            metadata,
            data,
        };
        if self.now.is_some() && !self.hold {
            return out.event(event);
        }
        let newest = if self.now.is_some() { None } else { newest_in(kind, event.data.get()) };
        if let Some(last) = &mut self.watch {
            *last = newer(*last, newest);
            return match *last {
                Some(at) => {
                    event.timestamp = at;
                    out.event(event)
                }
                None => Ok(()),
            };
        }
        self.newest = newer(self.newest, newest);
        self.held_bytes += event.data.get().len() + 200;
        if self.held_bytes > MAX_HELD {
            if !self.full {
                self.full = true;
                let why = "the dump is too large to be held until its end; put a meta.json with collected_at beside it, so that it need not be";
                out.dead(&self.origin, None, why.to_owned(), b"")?;
            }
            return Ok(());
        }
        self.held.push(Held { event, newest });
        Ok(())
    }

    /// Notes a document that is one object. When an object comes again in another version the input is a watch
    /// (`kubectl get -w -o json`): from then on every object has its own time.
    pub(super) fn single(&mut self, out: &Output, key: String, version: String) -> Result<(), Stopped> {
        if self.now.is_some() || self.hold || self.watch.is_some() || self.seen.len() > 1_000_000 {
            return Ok(());
        }
        let another = |before: &String| !version.is_empty() && *before != version;
        if !self.seen.get(&key).is_some_and(another) {
            self.seen.insert(key, version);
            return Ok(());
        }
        self.seen.clear();
        let mut last = None;
        for Held { mut event, newest } in std::mem::take(&mut self.held) {
            last = newer(last, newest);
            if let Some(at) = last {
                event.timestamp = at;
                out.event(event)?;
            }
        }
        self.watch = Some(last);
        Ok(())
    }

    /// Notes that all objects of a kind were asked for.
    pub(super) fn asked(&mut self, folder: &str, kind: &str, namespaces: BTreeSet<String>, empty: bool) {
        self.used = true;
        if self.asked.len() < 1_000_000 {
            self.asked.push(Asked { folder: folder.to_owned(), kind: kind.to_owned(), namespaces, empty });
        }
    }

    /// Gives out what waits, and says when the dump was taken.
    pub(super) fn finish(mut self, out: &Output) -> Result<(), Stopped> {
        if !self.used {
            return Ok(());
        }
        let Some(now) = self.now.or(self.newest) else {
            if self.watch.is_some() {
                return Ok(());
            }
            let why = format!(
                "no time found in any of its {} objects, so their age cannot be told; put a meta.json {{\"collected_at\": \"2024-01-15T10:30:00Z\"}} with the time of the dump beside it",
                self.held.len()
            );
            return out.dead(&self.origin, None, why, b"");
        };
        if self.watch.is_some() {
            return Ok(());
        }
        for Held { mut event, .. } in std::mem::take(&mut self.held) {
            event.timestamp = now;
            out.event(event)?;
        }
        let data = to_raw_value(&json!({ "collected_at": now, "kinds": self.kinds() }));
        let Ok(data) = data else { return Ok(()) };
        out.event(RawEvent {
            timestamp: now,
            observed_at: None,
            kind: "SnapshotTaken".to_owned(),
            source: source::DUMP.to_owned(),
            metadata: BTreeMap::new(),
            data,
        })
    }

    /// The (namespace, kind) pairs that were asked for, each once, in order.
    fn kinds(&self) -> Vec<serde_json::Value> {
        let mut pairs: BTreeSet<(Option<&str>, &str)> = BTreeSet::new();
        for a in &self.asked {
            if tapio_core::object::is_cluster_scoped(&a.kind) {
                pairs.insert((None, &a.kind));
            } else if !a.namespaces.is_empty() {
                pairs.extend(a.namespaces.iter().map(|n| (Some(n.as_str()), a.kind.as_str())));
            } else {
                // Objects without a namespace, or none at all: the folder's name is the namespace.
                let folder = a.folder.rsplit('/').next().unwrap_or("");
                match (a.empty, folder) {
                    (false, "") => _ = pairs.insert((None, &a.kind)),
                    (true, "") => {} // nobody says where it was looked for
                    (_, ns) => _ = pairs.insert((Some(ns), &a.kind)),
                }
            }
        }
        pairs.into_iter().map(|(namespace, kind)| json!({ "namespace": namespace, "kind": kind })).collect()
    }
}

/// The newest time in an object or a Kubernetes Event.
pub(crate) fn newest_in(kind: &str, json: &str) -> Option<Time> {
    match kind {
        "Event" => shape::event_time(json),
        "ContainerLog" | "NodeServiceState" | "ServiceProbe" => None,
        "Alert" => shape::alert_time(json),
        _ => Object::parse(json).ok().and_then(|o| o.newest_time()),
    }
}
