//! `death_spiral`: a container that dies faster than it can live.

use std::collections::BTreeMap;

use tapio_core::answer::PatternFinding;
use tapio_core::id::Id;
use tapio_core::object::ObjectRef;
use tapio_core::time::{MINUTE, Time};
use tapio_core::unified::{EventKind, Severity};

use crate::diagnosis::view::{PodFacts, View};

/// Manual page.
pub(super) const MANUAL: &str = "\
A container dies again and again: more than 3 restarts within 5 minutes of stream time, counted per container from
differences of restartCount. The kubelet's back-off (10 s doubling to 300 s) makes the restarts rarer although the pod
still dies, so the pattern also holds while the container waits in CrashLoopBackOff with a count that has grown past 3.
It ends when the container has run for longer than the back-off reset (10 minutes) or its pod is gone. One finding per
workload; Jobs, which are allowed to retry, are none. Confidence 0.9.";

/// How long a container must run to be well again: the kubelet's back-off reset.
pub(super) const ENDED_AFTER: i64 = 10 * MINUTE;
const WINDOW: i64 = 5 * MINUTE;
const MORE_THAN: i64 = 3;

/// New, continued and ended findings.
pub(super) fn look(view: &View, known: &BTreeMap<Id, PatternFinding>) -> Vec<PatternFinding> {
    let mut spirals: BTreeMap<ObjectRef, BTreeMap<String, String>> = BTreeMap::new();
    for p in view.pods.values() {
        if matches!(p.workload.kind.as_str(), "Job" | "CronJob") || p.is_leaving() || p.pod.is_finished() {
            continue;
        }
        for c in &p.containers {
            if let Some(how) = spiral(view, p, c.name()) {
                spirals.entry(p.workload.clone()).or_default().insert(format!("{}/{}", p.key().path(), c.name()), how);
            }
        }
    }
    let mut out = Vec::new();
    for (workload, affects) in &spirals {
        let open = known.values().find(|f| f.pattern == "death_spiral" && f.object == *workload && f.state == "open");
        let opened_at = open.map_or(view.now, |f| f.opened_at);
        let updated_at = match open {
            Some(f) if f.affects.keys().eq(affects.keys()) && view.now.since(f.updated_at) < MINUTE => f.updated_at,
            _ => view.now,
        };
        out.push(PatternFinding {
            id: Id::of("pattern", &["death_spiral", &workload.to_string(), &opened_at.to_string()]),
            pattern: "death_spiral".to_owned(),
            state: "open".to_owned(),
            object: workload.clone(),
            confidence: 0.9,
            severity: Severity::High,
            message: format!("{workload} is crash-looping: {}", affects.values().next().map_or("", String::as_str)),
            opened_at,
            updated_at,
            affects: match open {
                Some(f) if f.updated_at == updated_at => f.affects.clone(),
                _ => affects.clone(),
            },
        });
    }
    for f in
        known.values().filter(|f| f.pattern == "death_spiral" && f.state == "open" && !spirals.contains_key(&f.object))
    {
        if over(view, f, view.now) {
            out.push(PatternFinding { state: "ended".to_owned(), updated_at: view.now, ..f.clone() });
        }
    }
    out
}

/// How a container spirals, if it does.
fn spiral(view: &View, p: &PodFacts, name: &str) -> Option<String> {
    let c = p.container(name)?;
    let recent = p
        .history()
        .events
        .iter()
        .filter(|e| e.kind == EventKind::PodRestart && e.container.as_deref() == Some(name))
        .filter(|e| view.now.since(e.at) <= WINDOW && e.at <= view.now)
        .count();
    let recent = i64::try_from(recent).unwrap_or(i64::MAX);
    if recent > MORE_THAN {
        return Some(format!("container {name} restarted {recent} times within 5 minutes"));
    }
    let waits = c.waiting() == "CrashLoopBackOff";
    // A count from long ago is history; one that grew lately is a spiral that the back-off slows down.
    let grew = c.last_exit().and_then(|t| *t.finished_at).is_some_and(|t| view.now.since(t) <= ENDED_AFTER);
    (waits && grew && c.status.restart_count > MORE_THAN)
        .then(|| format!("container {name} waits in CrashLoopBackOff after {} restarts", c.status.restart_count))
}

/// Whether the containers have run long enough, or are gone.
fn over(view: &View, f: &PatternFinding, now: Time) -> bool {
    let mut pods = view.pods_of(&f.object).peekable();
    if pods.peek().is_none() {
        return true;
    }
    pods.all(|p| {
        f.affects
            .keys()
            .filter_map(|k| k.strip_prefix(&format!("{}/", p.key().path())))
            .all(|name| p.container(name).and_then(|c| c.running_since()).is_some_and(|s| now.since(s) >= ENDED_AFTER))
    })
}
