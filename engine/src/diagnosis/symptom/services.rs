//! Services without a ready pod or without an answer, and claims without a volume.

use tapio_core::object::{Body, is_subset};
use tapio_core::ontology::Relation;
use tapio_core::time::{SECOND, Time};

use super::{Symptom, Trouble, hold};
use crate::diagnosis::view::{PodFacts, ServiceFacts, View, shorten};

pub(super) fn of_services(view: &View, out: &mut Vec<Symptom>) {
    for s in view.services.values() {
        let entry = view.world.entry(&s.object.key);
        if s.ready == 0 {
            // Since the last of its pods was ready or began to go, or since it exists.
            let pods = s.pods.iter().filter_map(|k| view.pods.get(k)).filter_map(PodFacts::unready_since).max();
            let changed = view.changes(&s.object.key).last().map(|c| c.at);
            let created = s.object.meta.creation_timestamp.unwrap_or(view.now);
            let since = pods.max(changed).max(last_gone(view, s)).unwrap_or(created);
            let says = match s.pods.len() {
                0 => format!("{} selects no pod", s.object.key),
                n => format!("{} has no ready pod ({n} unready)", s.object.key),
            };
            out.push(Symptom {
                object: s.object.key.clone(),
                trouble: Trouble::NoEndpoints,
                container: None,
                says,
                since,
                counts_from: since.plus(hold::SERVICE * SECOND),
            });
        }
        for r in entry.into_iter().flat_map(|e| e.history.probes.values()).filter(|r| !r.ok) {
            out.push(Symptom {
                object: s.object.key.clone(),
                trouble: Trouble::Unreachable,
                container: None,
                says: format!("{} port {} does not answer: {}", s.object.key, r.port, shorten(&r.says, 160)),
                since: r.at,
                counts_from: r.at,
            });
        }
    }
}

/// When the last of the pods that a Service had began to go.
fn last_gone(view: &View, s: &ServiceFacts) -> Option<Time> {
    view.world
        .entries("Pod")
        .filter(|e| e.key.ns() == s.object.key.ns())
        .filter_map(|e| {
            let o = e.object.as_ref().filter(|o| is_subset(&s.service.spec.selector, &o.meta.labels))?;
            let grace = o.as_pod()?.spec.termination_grace_period_seconds.unwrap_or(30);
            // The API says when a pod's time is over.
            let began = o.meta.deletion_timestamp.map(|t| t.plus(-grace * SECOND));
            began.into_iter().chain(e.deleted_at).min()
        })
        .filter(|t| *t <= view.now)
        .max()
}

pub(super) fn of_claims(view: &View, out: &mut Vec<Symptom>) {
    for entry in view.world.entries("PersistentVolumeClaim") {
        let Some(o) = entry.live() else { continue };
        let Body::Claim(c) = &o.body else { continue };
        if c.status.phase != "Pending" {
            continue;
        }
        // A claim that waits for its first consumer, and has none, is at rest.
        let users = view.world.into(&o.key, Relation::Claims).iter().filter(|e| e.is_live()).count();
        let waits = entry.history.notes.iter().any(|n| n.reason == "WaitForFirstConsumer");
        let bad =
            entry.history.notes.iter().any(|n| matches!(n.reason.as_str(), "FailedBinding" | "ProvisioningFailed"));
        if users == 0 && waits && !bad {
            continue;
        }
        let since = o.meta.creation_timestamp.unwrap_or(entry.first_seen);
        out.push(Symptom {
            object: o.key.clone(),
            trouble: Trouble::ClaimPending,
            container: None,
            says: format!("{} is not bound", o.key),
            since,
            counts_from: since.plus(hold::CLAIM * SECOND),
        });
    }
}
