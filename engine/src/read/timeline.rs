//! What happened to an object and around it, in order.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use tapio_core::answer::IncidentState;
use tapio_core::id::Id;
use tapio_core::object::ObjectRef;
use tapio_core::ontology::Relation;
use tapio_core::time::{MINUTE, SECOND, Time};
use tapio_core::unified::{EventKind, Severity};

use crate::diagnosis::view::View;
use crate::processor::EventProcessor;

/// Pods of a workload that are looked at.
const MAX_PODS: usize = 50;
/// How long before the object's own first happening those of its surroundings begin.
const BEFORE: i64 = 10 * MINUTE;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Item {
    /// When; of a repeated one the newest time.
    pub at: Time,
    /// First time, where it was repeated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<Time>,
    /// To which object.
    pub object: ObjectRef,
    /// `change`, `event`, `note` (a Kubernetes Event), `exit`, `incident`.
    pub kind: String,
    /// The event's own type (`pod_restart`, `FailedScheduling`, …).
    pub what: String,
    /// How bad.
    pub severity: Severity,
    /// One sentence.
    pub says: String,
    /// How often, where more than once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// The event in the graph, where it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<Id>,
}

/// What happened to an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeline {
    /// The object.
    pub object: ObjectRef,
    /// Oldest first.
    pub items: Vec<Item>,
    /// Older ones that the limit left out.
    pub left_out: usize,
}

/// What of it is wanted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Span {
    /// Not before; none: all that is remembered.
    pub since: Option<Time>,
    /// Also what happened to owners, pods, and what they read.
    pub related: bool,
    /// At most so many, the newest; 0: all.
    pub limit: usize,
}

/// What happened to an object.
pub fn timeline(engine: &EventProcessor, object: &ObjectRef, span: Span) -> Timeline {
    let view = View::new(engine.world(), engine.newest());
    let objects = if span.related { related(&view, object) } else { BTreeSet::from([object.clone()]) };
    let mut items: BTreeSet<Item> = BTreeSet::new();
    let (mut near, mut far) = (BTreeSet::new(), BTreeSet::new());
    for o in &objects {
        // Of a node that a pod runs on, and of what it reads, only what may matter to it.
        let shared =
            o != object && matches!(o.kind.as_str(), "Node" | "ConfigMap" | "Secret" | "PersistentVolumeClaim");
        of_object(&view, o, shared, if shared { &mut far } else { &mut near });
    }
    let begin = near.first().map(|i: &Item| i.at.plus(-BEFORE));
    items.extend(far.into_iter().filter(|i| begin.is_none_or(|b| i.at >= b)));
    items.append(&mut near);
    for i in engine.answer().incidents {
        let cause = i.root_cause.as_ref();
        let about = cause.map(|c| c.object.clone()).or_else(|| i.symptoms.first().map(|s| s.object.clone()));
        let ours = cause.is_some_and(|c| c.object == *object || c.impact.contains(object))
            || i.symptoms.iter().any(|s| s.object == *object || (span.related && objects.contains(&s.object)));
        let (true, Some(about)) = (ours, about) else { continue };
        let what = cause.map_or("unknown", |c| c.mechanism.as_str());
        let mut add = |at: Time, says: String, severity: Severity| {
            items.insert(Item {
                at,
                first: None,
                object: about.clone(),
                kind: "incident".to_owned(),
                what: what.to_owned(),
                severity,
                says,
                count: None,
                event: None,
            });
        };
        let id: String = i.id.to_string().chars().take(8).collect();
        add(
            i.opened_at,
            format!("incident {id} opened: {}", cause.map_or("cause unknown", |c| c.summary.as_str())),
            i.severity,
        );
        if let (IncidentState::Resolved, Some(at)) = (i.state, i.resolved_at) {
            add(at, format!("incident {id} resolved"), Severity::Info);
        }
    }
    let mut list: Vec<Item> = items.into_iter().filter(|i| span.since.is_none_or(|s| i.at >= s)).collect();
    let over = match span.limit {
        0 => 0,
        n => list.len().saturating_sub(n),
    };
    list.drain(..over);
    for i in &mut list {
        // The object stands beside it already.
        if let Some(rest) = i.says.strip_prefix(&format!("{}: ", i.object)) {
            i.says = rest.to_owned();
        }
    }
    Timeline { object: object.clone(), items: list, left_out: over }
}

/// The object, its owners, its pods, and what its pods read.
fn related(view: &View, object: &ObjectRef) -> BTreeSet<ObjectRef> {
    let world = view.world;
    let mut all = BTreeSet::from([object.clone()]);
    all.extend(world.owners(object));
    let mut pods: Vec<ObjectRef> = view
        .pods
        .values()
        .filter(|p| p.workload == *object || world.owners(p.key()).contains(object))
        .map(|p| p.key().clone())
        .collect();
    if let Some(s) = view.services.get(object) {
        pods.extend(s.pods.iter().cloned());
    }
    pods.truncate(MAX_PODS);
    for p in &pods {
        all.extend(world.owners(p));
    }
    if object.kind == "Pod" {
        pods.push(object.clone());
    }
    for p in &pods {
        for r in [Relation::Mounts, Relation::UsesSecret, Relation::Claims, Relation::RunsOn] {
            all.extend(world.out(p, r).into_iter().map(|e| e.key.clone()));
        }
    }
    all.extend(pods);
    all
}

fn of_object(view: &View, o: &ObjectRef, neighbour: bool, out: &mut BTreeSet<Item>) {
    let Some(entry) = view.world.entry(o) else { return };
    let h = &entry.history;
    let mut item = |at, first, kind: &str, what: &str, severity, says: String, count, event| {
        let (kind, what) = (kind.to_owned(), what.to_owned());
        out.insert(Item { at, first, object: o.clone(), kind, what, severity, says, count, event });
    };
    let mut changes: BTreeMap<Id, ()> = BTreeMap::new();
    for c in &h.changes {
        changes.insert(c.id, ());
        let says = view.changed(o, &c.change, None).says;
        item(c.at, None, "change", c.kind.as_str(), Severity::Info, says, None, Some(c.id));
    }
    for n in h.notes.iter().filter(|n| !neighbour || n.warning) {
        let severity = if n.warning { Severity::Medium } else { Severity::Info };
        let (first, count) = if n.count > 1 { (Some(n.first), Some(n.count)) } else { (None, None) };
        item(n.last, first, "note", &n.reason, severity, n.message.clone(), count, Some(n.id));
    }
    for e in h.events.iter().filter(|e| !changes.contains_key(&e.id)) {
        if !neighbour || e.severity >= Severity::Medium {
            item(e.at, None, "event", e.kind.as_str(), e.severity, e.message.clone(), None, Some(e.id));
        }
    }
    for (container, exits) in &h.exits {
        for x in exits {
            let Some(at) = x.finished else { continue };
            let told = |e: &crate::world::history::Seen| {
                e.kind == EventKind::ContainerTerminated && e.at.since(at).abs() <= SECOND
            };
            if h.events.iter().any(told) {
                continue;
            }
            let severity = if x.code == 0 { Severity::Info } else { Severity::Medium };
            let says = format!("{container} ended with code {} ({})", x.code, x.reason);
            item(at, None, "exit", "exit", severity, says, None, None);
        }
    }
}
