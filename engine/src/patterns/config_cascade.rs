//! `config_cascade`: a changed ConfigMap or Secret, whom it hits, how and when; and whether it did.

use std::collections::BTreeMap;

use tapio_core::answer::PatternFinding;
use tapio_core::id::Id;
use tapio_core::object::{Body, ObjectRef};
use tapio_core::ontology::Relation;
use tapio_core::time::{MINUTE, SECOND, Time};
use tapio_core::unified::Severity;

use crate::diagnosis::symptom::{Trouble, symptoms};
use crate::diagnosis::view::{PodFacts, View};
use crate::world::uses::{Way, uses};

/// Manual page.
pub(super) const MANUAL: &str = "\
A ConfigMap or Secret changed. At that moment the pattern predicts which pods are hit, how and when, by the way each
consumes it: env, envFrom and subPath at the next start of the container only; a volume after the kubelet's sync (up to
about 2 minutes); a checksum annotation by the rollout that it makes; an immutable object or an optional missing key,
nothing. It confirms when a consumer restarts badly, fails probes or logs errors after it could have read the change,
and never before; it withdraws after 10 minutes without any of that. A ConfigMap change restarts no pod by itself.
Confidence 0.8.";

/// Time after which a prediction that did not come true is withdrawn.
pub(super) const WITHDRAWN_AFTER: i64 = 10 * MINUTE;

/// New, confirmed and withdrawn findings.
pub(super) fn look(view: &View, known: &BTreeMap<Id, PatternFinding>) -> Vec<PatternFinding> {
    let mut out = Vec::new();
    for kind in ["ConfigMap", "Secret"] {
        for entry in view.world.entries(kind) {
            let data = |f: &str| f.starts_with("data") || f.starts_with("binaryData");
            let Some(change) = entry.history.changes.iter().rfind(|c| data(&c.change.field)) else { continue };
            let id = Id::of("pattern", &["config_cascade", &entry.key.to_string(), &change.id.to_string()]);
            match known.get(&id) {
                Some(f) if f.state == "predicted" => out.extend(decide(view, f, change.at)),
                Some(_) => {}
                None if view.now.since(change.at) > WITHDRAWN_AFTER => {}
                None => {
                    let affects = predict(view, &entry.key);
                    if affects.is_empty() {
                        continue;
                    }
                    let f = PatternFinding {
                        id,
                        pattern: "config_cascade".to_owned(),
                        state: "predicted".to_owned(),
                        object: entry.key.clone(),
                        confidence: 0.8,
                        severity: Severity::Low,
                        message: format!(
                            "change of {} ({}) will reach {} pods",
                            entry.key,
                            change.change.field,
                            affects.len()
                        ),
                        opened_at: view.now,
                        updated_at: view.now,
                        affects,
                    };
                    out.push(decide(view, &f, change.at).unwrap_or(f));
                }
            }
        }
    }
    out
}

/// Per consumer, how and when the change reaches it.
fn predict(view: &View, key: &ObjectRef) -> BTreeMap<String, String> {
    consumers(view, key)
        .into_iter()
        .filter(|(p, _)| !p.pod.is_finished())
        .map(|(p, way)| {
            let how = if way.follows_changes() {
                format!("{}: after the kubelet's sync, within about 2 minutes", way.as_str())
            } else {
                format!("{}: at the next start of the container", way.as_str())
            };
            (p.key().path(), how)
        })
        .collect()
}

/// Pods that use the object, with the way that is quickest to see a change.
fn consumers<'v, 'a>(view: &'v View<'a>, key: &ObjectRef) -> Vec<(&'v PodFacts<'a>, Way)> {
    let immutable = match view.world.live(key).map(|o| &o.body) {
        Some(Body::ConfigMap(c)) => c.immutable,
        Some(Body::Secret(s)) => s.immutable,
        _ => false,
    };
    if immutable {
        return Vec::new();
    }
    let relation = if key.kind == "ConfigMap" { Relation::Mounts } else { Relation::UsesSecret };
    view.world
        .into(key, relation)
        .into_iter()
        .filter_map(|e| view.pods.get(&e.key))
        .filter_map(|p| {
            let ways = uses(&p.pod.spec)
                .into_iter()
                .filter(|u| u.kind == key.kind && u.name == key.name && u.way != Way::PullSecret);
            ways.map(|u| u.way).max_by_key(|w| w.follows_changes()).map(|w| (p, w))
        })
        .collect()
}

/// Confirms or withdraws a prediction; none while it is open.
fn decide(view: &View, f: &PatternFinding, changed: Time) -> Option<PatternFinding> {
    let hit: Vec<String> = symptoms(view)
        .iter()
        .filter(|s| s.counts(view.now) && s.since.plus(2 * SECOND) >= changed)
        .filter(|s| {
            matches!(
                s.trouble,
                Trouble::Crashing | Trouble::Unready | Trouble::ProbeKilled | Trouble::ConfigError | Trouble::LogErrors
            )
        })
        .filter_map(|s| view.pods.get(&s.object).map(|p| (s, p)))
        .filter(|(s, p)| {
            consumers(view, &f.object).iter().any(|(c, way)| {
                let started = s.container.as_deref().and_then(|n| p.container(n));
                let began = started.and_then(|c| c.running_since().or(c.last_exit().and_then(|t| *t.started_at)));
                let after =
                    began.is_some_and(|t| t.plus(2 * SECOND) >= changed) || p.created().plus(2 * SECOND) >= changed;
                c.key() == p.key() && (way.follows_changes() || after)
            })
        })
        .map(|(s, _)| s.says.clone())
        .collect();
    if let Some(first) = hit.first() {
        return Some(PatternFinding {
            state: "confirmed".to_owned(),
            severity: Severity::High,
            message: format!("change of {} reached its consumers, and {first}", f.object),
            updated_at: view.now,
            ..f.clone()
        });
    }
    (view.now.since(f.opened_at) >= WITHDRAWN_AFTER).then(|| PatternFinding {
        state: "withdrawn".to_owned(),
        message: format!("change of {} harmed nobody within 10 minutes", f.object),
        updated_at: view.now,
        ..f.clone()
    })
}
