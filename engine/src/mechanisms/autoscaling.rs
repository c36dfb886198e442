//! Autoscalers: those that cannot work out what is needed, and those that never come to rest.

use tapio_core::object::{Body, Object, ObjectRef};
use tapio_core::time::{MINUTE, Time};
use tapio_core::unified::EventKind;

use super::{kubectl, manual};
use crate::diagnosis::hypothesis::{Hypothesis, Proof};
use crate::diagnosis::symptom::{Symptom, Trouble};
use crate::diagnosis::view::{View, shorten};
use crate::world::Entry;
use crate::world::history::Note;

manual! {
    /// The autoscaler cannot compute how many replicas are needed: no requests, or no metrics.
    ///
    /// Required: condition ScalingActive=False of the autoscaler for another reason than ScalingDisabled, for longer than
    /// metrics need after a pod of the target became ready.
    /// Supports: a container of the target without the request that the text names; FailedGetResourceMetric events.
    /// Refuted by: no pod of the target is ready (then the pods); the target is at zero; the server of the metrics is
    /// itself in trouble (then that).
    /// Lag: two to three minutes after the target's start.
    /// Do: give every container of the target a request, or mend the server of the metrics.
    "autoscaler-metrics-missing": CapturedText [AutoscalerStuck];
    /// The autoscaler turns up and down again and again.
    ///
    /// Required: four or more turns of the desired replicas, up to down or back, within an hour.
    /// Supports: SuccessfulRescale events that say why.
    /// Refuted by: its own settings were changed in between.
    /// Lag: minutes: a turn down waits for the stabilization window.
    /// Do: raise the target or the stabilization window, and check that the metric follows the load.
    "autoscaler-thrashing": Documented [];
}

/// Autoscalers that cannot act, and autoscalers that act too much.
pub fn find(view: &View, symptoms: &[Symptom], out: &mut Vec<Hypothesis>) {
    for s in symptoms.iter().filter(|s| s.trouble == Trouble::AutoscalerStuck) {
        out.extend(stuck(view, s));
    }
    for entry in view.world.entries("HorizontalPodAutoscaler") {
        if let Some(o) = entry.live() {
            out.extend(thrashing(view, entry, o));
        }
    }
}

/// The object whose replicas an autoscaler sets.
fn target(o: &Object) -> Option<ObjectRef> {
    let Body::Autoscaler(h) = &o.body else { return None };
    let t = &h.spec.scale_target_ref;
    Some(ObjectRef::new(&t.kind, o.key.ns(), &t.name))
}

/// The resource for which the text misses a request: `missing request for cpu in container app of Pod cart-1`.
fn missing_request(text: &str) -> Option<&str> {
    text.split_once("missing request for ")?.1.split([' ', ',', ';']).next().filter(|w| !w.is_empty())
}

/// Whether the text says that the API of the metrics itself cannot be had.
fn is_without_api(text: &str) -> bool {
    text.contains("unable to fetch metrics from")
        || text.contains("the server could not find the requested resource")
        || text.contains("the server is currently unable to handle the request")
        || text.contains("no matches for kind")
}

/// Whether an autoscaler waits for an API of metrics that does not answer.
pub(crate) fn lacks_metrics_api(s: &Symptom) -> bool {
    s.trouble == Trouble::AutoscalerStuck && is_without_api(&s.says)
}

/// Whether a Service stands behind the API of pod metrics: by its APIService, else by the name that it has as a rule.
pub(crate) fn serves_metrics(view: &View, service: &ObjectRef) -> bool {
    let api = ObjectRef::cluster_scoped("APIService", "v1beta1.metrics.k8s.io");
    match view.world.live(&api).and_then(Object::as_other) {
        Some(a) => a.fact("spec.service.name") == service.name && a.fact("spec.service.namespace") == service.ns(),
        None => service.ns() == "kube-system" && service.name.contains("metrics-server"),
    }
}

fn stuck(view: &View, s: &Symptom) -> Option<Hypothesis> {
    let entry = view.world.entry(&s.object)?;
    let o = entry.live()?;
    let target = target(o)?;
    let Body::Autoscaler(h) = &o.body else { return None };
    let c = h.status.conditions.iter().find(|c| c.is("ScalingActive", "False"))?;
    let resource = missing_request(&c.message);
    let lacking: Vec<String> = match (resource, view.world.live(&target).and_then(Object::template)) {
        (Some(r), Some(t)) => {
            let none = t.spec.containers.iter().filter(|c| !c.resources.requests.contains_key(r));
            none.map(|c| c.name.clone()).collect()
        }
        _ => Vec::new(),
    };
    let why = match resource {
        Some(r) if !lacking.is_empty() => format!("container {} has no {r} request", lacking.join(", ")),
        Some(r) => format!("a container has no {r} request"),
        None if is_without_api(&c.message) => "the API of the metrics does not answer".to_owned(),
        None => "it gets no metrics".to_owned(),
    };
    let mut h = Hypothesis::new(
        "autoscaler-metrics-missing",
        s.object.clone(),
        s.since,
        Proof::Stated,
        format!("{} cannot scale {target}: {why}", s.object),
    )
    .counting_from(s.counts_from)
    .via("autoscaling")
    .supported(u32::from(!lacking.is_empty()))
    .with([view.state(
        &s.object,
        Some(s.since),
        format!("ScalingActive=False: {} {}", c.reason, shorten(&c.message, 300)),
    )])
    .unless("no pod of its target is ready", s.counts_from == Time::MAX)
    .next(kubectl("describe", &s.object));
    if let Some(n) = entry.history.notes.iter().rfind(|n| n.reason.starts_with("FailedGet") && n.last >= s.since) {
        h = h.supported(1).with([view.noted(&s.object, n)]);
    }
    for name in lacking.iter().take(2) {
        h = h.with([view.state(&target, None, format!("container {name} has no such request"))]);
    }
    Some(h.next(kubectl("get", &target)))
}

/// How far back turns count.
const WINDOW: i64 = 60 * MINUTE;
/// Turns that are no rest any more. A load that comes and goes makes one.
const TURNS: usize = 4;

/// What a rescale made of the replicas, and when; for reasons of the metrics only: `New size: 5; reason: cpu resource
/// utilization (percentage of request) above target`.
fn new_size(message: &str) -> Option<i64> {
    let (size, reason) = message.strip_prefix("New size: ")?.split_once("; reason: ")?;
    // A bound that was moved is somebody's doing.
    let bound = reason.contains("Spec.MinReplicas") || reason.contains("Spec.MaxReplicas");
    if bound { None } else { size.trim().parse().ok() }
}

/// The moments at which a series changes its direction.
fn turns(sizes: &[(Time, i64)]) -> Vec<Time> {
    let mut found = Vec::new();
    let mut up = None;
    for w in sizes.windows(2) {
        let (a, b) = (w[0].1, w[1]);
        if b.1 == a {
            continue;
        }
        let rises = b.1 > a;
        if up.is_some_and(|u| u != rises) {
            found.push(b.0);
        }
        up = Some(rises);
    }
    found
}

/// Turns within an hour that a text repeated `count` times between two moments stands for: what arrives at the same size
/// from the same side again has turned twice in between.
fn implied(count: u64, first: Time, last: Time) -> usize {
    let turns = 2 * i64::try_from(count.saturating_sub(1)).unwrap_or(0);
    usize::try_from(turns * WINDOW / WINDOW.max(last.since(first))).unwrap_or(0)
}

fn thrashing(view: &View, entry: &Entry, o: &Object) -> Option<Hypothesis> {
    let from = view.now.plus(-WINDOW);
    let changes = &entry.history.changes;
    // Seen changes are complete; events keep the first and the last time of a text.
    let sizes: Vec<(Time, i64)> = changes
        .iter()
        .filter(|c| c.kind == EventKind::HpaScaled && c.at >= from)
        .filter_map(|c| Some((c.at, c.change.after.as_ref()?.parse().ok()?)))
        .collect();
    let notes: Vec<&Note> = entry
        .history
        .notes
        .iter()
        .filter(|n| n.reason == "SuccessfulRescale" && n.last >= from && new_size(&n.message).is_some())
        .collect();
    let seen = turns(&sizes);
    let most = notes.iter().max_by_key(|n| implied(n.count, n.first, n.last));
    let repeated = most.map_or(0, |n| implied(n.count, n.first, n.last));
    let (first, at) = match (seen.get(TURNS - 1), most) {
        (Some(at), _) => (seen[0], *at),
        (None, Some(n)) if repeated >= TURNS => (n.first, n.last),
        _ => return None,
    };
    let edited = changes.iter().any(|c| c.change.field.starts_with("spec") && c.at >= first);
    let list: Vec<String> = sizes.iter().map(|(t, n)| format!("{} {n}", t.clock())).collect();
    let target = target(o)?;
    let times = seen.len().max(repeated);
    let mut h = Hypothesis::new(
        "autoscaler-thrashing",
        o.key.clone(),
        first,
        Proof::Stated,
        format!("{} turns {target} up and down again and again: {times} turns within an hour", o.key),
    )
    .counting_from(at)
    .via("autoscaling")
    .unless("its own settings were changed in between", edited)
    .next(kubectl("describe", &o.key));
    if !list.is_empty() {
        h = h.with([view.state(&o.key, Some(at), format!("desired replicas: {}", shorten(&list.join(", "), 300)))]);
    }
    for n in notes.iter().rev().take(2) {
        h = h.supported(1).with([view.noted(&o.key, n)]);
    }
    Some(h)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_missing_request_is_named_in_both_wordings() {
        for (text, want) in [
            // Up to 1.26, and since.
            (
                "the HPA was unable to compute the replica count: failed to get cpu utilization: missing request for cpu",
                Some("cpu"),
            ),
            (
                "the HPA was unable to compute the replica count: failed to get memory utilization: missing request for memory in container app of Pod cart-7d9f8c6b5-x2x2x",
                Some("memory"),
            ),
            ("failed to get cpu utilization: did not receive metrics for targeted pods (pods might be unready)", None),
            ("the HPA was able to successfully calculate a replica count from cpu resource utilization", None),
        ] {
            assert_eq!(missing_request(text), want, "{text}");
        }
    }

    #[test]
    fn an_absent_api_is_told_from_absent_samples() {
        for (text, want) in [
            (
                "failed to get cpu utilization: unable to get metrics for resource cpu: unable to fetch metrics from resource metrics API: the server could not find the requested resource (get pods.metrics.k8s.io)",
                true,
            ),
            (
                "unable to get metrics for resource cpu: unable to fetch metrics from resource metrics API: the server is currently unable to handle the request (get pods.metrics.k8s.io)",
                true,
            ),
            ("unable to get metrics for resource cpu: no metrics returned from resource metrics API", false),
            ("missing request for cpu", false),
        ] {
            assert_eq!(is_without_api(text), want, "{text}");
        }
    }

    #[test]
    fn sizes_are_read_where_the_metrics_set_them() {
        for (text, want) in [
            ("New size: 5; reason: cpu resource utilization (percentage of request) above target", Some(5)),
            ("New size: 2; reason: All metrics below target", Some(2)),
            ("New size: 3; reason: Current number of replicas below Spec.MinReplicas", None),
            ("Scaled up replica set cart-1 from 1 to 2", None),
        ] {
            assert_eq!(new_size(text), want, "{text}");
        }
    }

    #[test]
    fn a_size_that_comes_back_was_left_in_between() {
        let at = |minutes: i64| Time::from_micros(minutes * MINUTE);
        assert_eq!(implied(1, at(0), at(0)), 0);
        assert_eq!(implied(3, at(0), at(12)), 4);
        // Once a day for ten days.
        assert_eq!(implied(10, at(0), at(9 * 24 * 60)), 0);
    }

    #[test]
    fn a_load_that_comes_and_goes_makes_one_turn() {
        let at = |list: &[i64]| -> usize {
            let sizes: Vec<(Time, i64)> =
                list.iter().enumerate().map(|(i, n)| (Time::from_micros(i as i64), *n)).collect();
            turns(&sizes).len()
        };
        assert_eq!(at(&[1, 2, 4, 8, 6, 3, 1]), 1);
        assert_eq!(at(&[2, 5, 2, 5, 2, 5]), 4);
        assert_eq!(at(&[2, 2, 2]), 0);
    }
}
