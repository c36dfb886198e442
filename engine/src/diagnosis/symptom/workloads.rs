//! Controllers, and what drives them: creates that are refused, Jobs that failed, runs that are missed, autoscalers that
//! cannot act, releases that failed.

use tapio_core::object::{Body, ObjectRef};
use tapio_core::ontology::Relation;
use tapio_core::time::{SECOND, Time};

use super::{Symptom, Trouble, hold};
use crate::diagnosis::releases;
use crate::diagnosis::view::{PodFacts, View, shorten};
use crate::world::history::Note;

pub(super) fn of_workloads(view: &View, out: &mut Vec<Symptom>) {
    for kind in ["ReplicaSet", "StatefulSet", "DaemonSet", "Job", "ReplicationController"] {
        for entry in view.world.entries(kind) {
            let Some(o) = entry.live() else { continue };
            let short = match &o.body {
                Body::Workload(w) => {
                    let have = if kind == "DaemonSet" { w.status.current_number_scheduled } else { w.status.replicas };
                    w.desired(kind) > have
                }
                Body::Job(j) => j.status.active + j.status.succeeded + j.status.failed == 0 && !j.spec.suspend,
                _ => false,
            };
            let notes = |reason: &'static str| entry.history.notes.iter().filter(move |n| n.reason == reason);
            // Where some are created and others refused, both come together. One that is created later says that it is
            // over, whatever becomes of the pods then.
            let made = notes("SuccessfulCreate").map(|n| n.last.plus(-2 * SECOND)).max();
            let refused = notes("FailedCreate").next_back().filter(|n| made.is_none_or(|m| m <= n.last));
            if let Some(n) = refused.filter(|n| short && view.age(n.last) < 1_800) {
                out.push(Symptom {
                    object: o.key.clone(),
                    trouble: Trouble::FailedCreate,
                    container: None,
                    says: format!("{} cannot create pods: {}", o.key, shorten(&n.message, 300)),
                    since: n.first,
                    counts_from: n.first.plus(2 * SECOND),
                });
            }
            if let Body::Job(j) = &o.body
                && let Some(c) = j.status.conditions.iter().find(|c| c.is("Failed", "True"))
            {
                let since = c.last_transition_time.unwrap_or(entry.updated);
                if view.age(since) < 3_600 {
                    out.push(Symptom {
                        object: o.key.clone(),
                        trouble: Trouble::JobFailed,
                        container: None,
                        says: format!("{} failed: {}", o.key, shorten(&c.message, 200)),
                        since,
                        counts_from: since,
                    });
                }
            }
        }
    }
}

/// Events of the CronJob controller that say a run did not begin, of several Kubernetes versions.
const MISSED: &[&str] = &[
    "MissSchedule",
    "TooManyMissedTimes",
    "FailedNeedsStart",
    "UnparseableSchedule",
    "UnParseableCronJobSchedule",
    "InvalidSchedule",
    "UnknownTimeZone",
];

pub(super) fn of_schedules(view: &View, out: &mut Vec<Symptom>) {
    for entry in view.world.entries("CronJob") {
        let Some(o) = entry.live() else { continue };
        let Body::CronJob(c) = &o.body else { continue };
        if c.spec.suspend {
            continue;
        }
        let jobs = view.world.out(&o.key, Relation::Owns);
        let made = jobs.iter().filter_map(|j| j.object.as_ref()).filter_map(|j| *j.meta.creation_timestamp).max();
        let began = made.max(*c.status.last_schedule_time);
        // A run that began since says that it goes on; the controller warns and starts in the same second.
        let open = |n: &&Note| began.is_none_or(|b| b.plus(5 * SECOND) < n.last) && view.age(n.last) < 6 * 3_600;
        let mut add = |trouble, n: &Note, says: String, hold: i64| {
            let counts_from = n.first.plus(hold * SECOND);
            out.push(Symptom { object: o.key.clone(), trouble, container: None, says, since: n.first, counts_from });
        };
        if let Some(n) = entry.history.notes.iter().rfind(|n| n.reason == "FailedCreate").filter(open) {
            let says = format!("{} cannot create its Job: {}", o.key, shorten(&n.message, 300));
            add(Trouble::FailedCreate, n, says, 2);
        }
        let missed: Vec<&Note> =
            entry.history.notes.iter().filter(|n| MISSED.contains(&n.reason.as_str())).filter(open).collect();
        let Some(newest) = missed.last() else { continue };
        // One run that was too late comes after a pause of the control plane. Two are a rule, and so is a deadline below
        // the ten seconds at which the controller looks.
        let late = missed.iter().filter(|n| n.reason == "MissSchedule").count();
        let hasty = c.spec.starting_deadline_seconds.is_some_and(|s| s < 10);
        if late == missed.len() && late < 2 && !hasty {
            continue;
        }
        let says = format!("{} does not start its runs: {}", o.key, shorten(&newest.message, 300));
        add(Trouble::RunsMissed, missed[0], says, hold::SCHEDULE);
    }
}

pub(super) fn of_autoscalers(view: &View, out: &mut Vec<Symptom>) {
    for entry in view.world.entries("HorizontalPodAutoscaler") {
        let Some(o) = entry.live() else { continue };
        let Body::Autoscaler(h) = &o.body else { continue };
        let active = h.status.conditions.iter().find(|c| c.is("ScalingActive", "False"));
        // Scaling is switched off, not broken, while the target is at zero.
        let Some(c) = active.filter(|c| c.reason != "ScalingDisabled") else { continue };
        let created = o.meta.creation_timestamp.unwrap_or(view.now);
        let since = c.last_transition_time.unwrap_or(created);
        if view.is_old_news(entry, since) {
            continue;
        }
        // Metrics follow readiness: as long as no pod of the target is ready there is nothing to measure.
        let t = &h.spec.scale_target_ref;
        let target = ObjectRef::new(&t.kind, o.key.ns(), &t.name);
        let ready =
            |p: &PodFacts| p.pod.condition("Ready").filter(|c| c.status == "True").map(|c| *c.last_transition_time);
        let mut any = false;
        let newest = view.pods_of(&target).inspect(|_| any = true).filter_map(ready).map(|t| t.unwrap_or(since)).max();
        let counts_from = match newest {
            Some(t) => since.max(created).max(t).plus(hold::METRICS * SECOND),
            None if any => Time::MAX,
            None => since.max(created).plus(hold::METRICS * SECOND),
        };
        out.push(Symptom {
            object: o.key.clone(),
            trouble: Trouble::AutoscalerStuck,
            container: None,
            says: format!("{} cannot scale: {} {}", o.key, c.reason, shorten(&c.message, 240)),
            since,
            counts_from,
        });
    }
}

pub(super) fn of_releases(view: &View, out: &mut Vec<Symptom>) {
    for kind in releases::KINDS {
        for entry in view.world.entries(kind) {
            let Some((o, other)) = entry.live().and_then(|o| o.as_other().map(|x| (o, x))) else { continue };
            let Some((since, why)) = releases::failed(other) else { continue };
            let since = since.unwrap_or(entry.updated);
            if view.is_old_news(entry, since) {
                continue;
            }
            let stalled = other.condition("Stalled").is_some_and(|c| c.status == "True");
            out.push(Symptom {
                object: o.key.clone(),
                trouble: Trouble::ReleaseFailed,
                container: None,
                says: format!("{} was not applied: {}", o.key, shorten(&why, 300)),
                since,
                counts_from: since.plus(if stalled { 0 } else { hold::RELEASE } * SECOND),
            });
        }
    }
}
