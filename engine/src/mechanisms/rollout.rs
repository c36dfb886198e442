//! Revisions and replica counts: what a rollout or a scale does.

use tapio_core::object::{Body, ObjectRef};
use tapio_core::time::SECOND;

use super::{kubectl, manual, undo};
use crate::diagnosis::hypothesis::{Hypothesis, Proof};
use crate::diagnosis::logs;
use crate::diagnosis::symptom::{Symptom, Trouble};
use crate::diagnosis::view::{PodFacts, View};
use crate::diagnosis::{endpoints, view::shorten};
use crate::world::selects;

manual! {
    /// Pods of the new revision fail while the old one worked.
    ///
    /// Required: a template change between the two newest revisions, failing pods in the newest one only, and no other
    /// mechanism that explains them.
    /// Supports: pods of the former revision still serve.
    /// Refuted by: pods of the former revision fail too (then it is the environment).
    /// Lag: until the progress deadline.
    /// Do: take the rollout back.
    "rollout-broke-workload": Recorded [Crashing, Unready, RolloutStuck, ProbeKilled];
    /// The workload has zero desired replicas, and others need it.
    ///
    /// Required: replicas 0; a Service that selects its template and has no pod; and somebody who fails for it, or the
    /// count seen to change.
    /// Supports: who changed the count.
    /// Refuted by: nobody needs it; it was always at zero.
    /// Do: scale it up.
    "workload-scaled-to-zero": Recorded [NoEndpoints, Unreachable];
    /// An unready ordinal holds up the rest of the set.
    ///
    /// Required: a StatefulSet with OrderedReady whose template was changed, and an unready pod of an older revision, for
    /// which the set waits instead of replacing it.
    /// Refuted by: podManagementPolicy Parallel; a partition or OnDelete that keeps the pod.
    /// Do: delete the blocking pod.
    "stateful-ordinal-blocked": Documented [Crashing, Unready, ImagePull, ConfigError, StartError, ProbeKilled, OomKilled];
}

/// Zero replicas that somebody needs, and sets that wait for a pod that they should replace.
pub fn find(view: &View, symptoms: &[Symptom], out: &mut Vec<Hypothesis>) {
    let in_pods = symptoms.iter().filter(|s| {
        matches!(
            s.trouble,
            Trouble::Crashing
                | Trouble::Unready
                | Trouble::ImagePull
                | Trouble::ConfigError
                | Trouble::StartError
                | Trouble::ProbeKilled
                | Trouble::OomKilled
        )
    });
    out.extend(in_pods.filter_map(|s| blocked(view, s)));
    for kind in ["Deployment", "StatefulSet", "ReplicaSet"] {
        for o in view.world.all(kind) {
            let Some(w) = o.as_workload() else { continue };
            if w.spec.replicas != Some(0) || (kind == "ReplicaSet" && o.meta.controller().is_some()) {
                continue;
            }
            out.extend(zero(view, symptoms, &o.key, &w.spec.template.metadata.labels));
        }
    }
}

/// A set that waits for an unready pod of a revision that nobody wants any more: the template was changed or put back, and
/// the controller replaces nothing before that pod is ready, which it never becomes.
fn blocked(view: &View, s: &Symptom) -> Option<Hypothesis> {
    let p = view.pods.get(&s.object).filter(|p| p.workload.kind == "StatefulSet" && !p.pod.is_ready())?;
    let o = view.world.live(&p.workload)?;
    let set = o.as_workload()?;
    let seen = set.status.observed_generation >= o.meta.generation && !set.status.update_revision.is_empty();
    let revision = p.object.meta.labels.get("controller-revision-hash")?;
    if !seen || *revision == set.status.update_revision {
        return None;
    }
    let strategy = set.spec.update_strategy.as_ref();
    let on_delete = strategy.is_some_and(|s| s.r#type == "OnDelete");
    let partition = strategy.and_then(|s| s.rolling_update.as_ref()).and_then(|r| r.partition).unwrap_or(0);
    let ordinal = s.object.name.rsplit('-').next().and_then(|n| n.parse::<i64>().ok())?;
    let edits = || view.changes(&p.workload).iter().filter(|c| c.change.field.starts_with("spec.template"));
    let at = edits().map(|c| c.at).filter(|t| *t >= p.created()).max().unwrap_or(s.since);
    let latest: Vec<_> = edits().filter(|c| c.at == at).map(|c| c.change.clone()).collect();
    let h = Hypothesis::new(
        "stateful-ordinal-blocked",
        p.workload.clone(),
        at.max(s.since),
        Proof::Stated,
        format!("{} waits for {}, which is of an older revision and never becomes ready", p.workload, s.object),
    )
    .explaining([s.object.clone()])
    // A pod that may be replaced is replaced at once.
    .counting_from(s.counts_from.max(at.plus(5 * SECOND)))
    .via("template-rollout")
    .supported(2 + u32::from(!latest.is_empty()))
    .changed(latest)
    .with([
        view.state(&s.object, Some(s.since), s.says.clone()),
        view.state(
            &p.workload,
            Some(at),
            format!("its update revision is {}, {} is of {revision}", set.status.update_revision, s.object),
        ),
    ])
    .unless("podManagementPolicy is Parallel", set.spec.pod_management_policy == "Parallel")
    .unless("updateStrategy or a partition keeps the pod as it is", on_delete || ordinal < partition)
    .next(kubectl("delete", &s.object));
    Some(h)
}

fn zero(
    view: &View,
    symptoms: &[Symptom],
    workload: &ObjectRef,
    labels: &tapio_core::object::StringMap,
) -> Option<Hypothesis> {
    let services: Vec<&ObjectRef> = view
        .services
        .iter()
        .filter(|(k, s)| k.ns() == workload.ns() && s.pods.is_empty() && selects(s.service, labels))
        .map(|(k, _)| *k)
        .collect();
    if services.is_empty() {
        return None;
    }
    let change = view.changes(workload).iter().rfind(|c| c.change.field == "spec.replicas");
    let unreachable: Vec<&Symptom> =
        symptoms.iter().filter(|s| s.trouble == Trouble::Unreachable && services.contains(&&s.object)).collect();
    let callers = callers(view, &services);
    if change.is_none() && unreachable.is_empty() && callers.is_empty() {
        return None;
    }
    let o = view.world.live(workload)?;
    let written = o.meta.writer_of(&["f:spec", "f:replicas"]);
    let since =
        change.map(|c| c.at).or(written.and_then(|(_, t)| t)).or(*o.meta.creation_timestamp).unwrap_or(view.now);
    let by = written.map(|(m, _)| format!(" (last written by {m})")).unwrap_or_default();
    let names: Vec<String> = services.iter().map(|s| s.to_string()).collect();
    let mut h = Hypothesis::new(
        "workload-scaled-to-zero",
        workload.clone(),
        since,
        Proof::Stated,
        format!("{workload} is scaled to zero{by}, so {} has no pod", names.join(", ")),
    )
    .explaining(services.iter().map(|s| (*s).clone()))
    .counting_from(since.plus(6 * SECOND))
    .supported(u32::from(change.is_some()) + u32::from(!unreachable.is_empty()) + u32::from(!callers.is_empty()))
    .with([view.state(workload, Some(since), "spec.replicas is 0")])
    .changed(change.map(|c| c.change.clone()))
    .unless("nobody needs it", false)
    .next(format!("{} --replicas=1", kubectl("scale", workload)));
    for s in unreachable.iter().take(2) {
        h = h.with([view.state(&s.object, Some(s.since), s.says.clone())]);
    }
    for (pod, line) in callers.iter().take(2) {
        h = h.with([view.logged(pod, None, "log", line)]);
    }
    Some(h)
}

/// Pods whose errors name one of the Services, with the line.
fn callers(view: &View, services: &[&ObjectRef]) -> Vec<(ObjectRef, String)> {
    let mut out = Vec::new();
    for p in view.pods.values() {
        for e in logs::errors(p, None, 40) {
            let named = endpoints::mentioned(e.text)
                .iter()
                .filter_map(|x| endpoints::resolve(view, p.key().ns(), &x.host))
                .any(|o| services.contains(&&o));
            if named {
                out.push((p.key().clone(), shorten(e.text, 300)));
                break;
            }
        }
    }
    out
}

/// Failing pods of the newest revision that nothing else explains.
pub fn residual(view: &View, left: &[Symptom], out: &mut Vec<Hypothesis>) {
    for s in left.iter().filter(|s| {
        matches!(s.trouble, Trouble::Crashing | Trouble::Unready | Trouble::ProbeKilled | Trouble::StartError)
    }) {
        let Some(p) = view.pods.get(&s.object) else { continue };
        let Some((at, diff)) = revision(view, p) else { continue };
        let others: Vec<&PodFacts> = view.pods_of(&p.workload).filter(|o| !view.is_newest(o)).collect();
        let old_fail = others.iter().any(|o| left.iter().any(|x| x.object == *o.key() && x.trouble == s.trouble));
        let old_serves = others.iter().any(|o| o.pod.is_ready());
        // A pod of this revision that was well for long: the rollout is not to blame.
        let lived = s.since.since(p.created()) > 600 * SECOND && s.since.since(at) > 1_800 * SECOND;
        if lived {
            continue;
        }
        let fields: Vec<String> =
            diff.iter().map(|c| c.field.rsplit('.').next().unwrap_or("").to_owned()).take(4).collect();
        let mut h = Hypothesis::new(
            "rollout-broke-workload",
            p.workload.clone(),
            at,
            Proof::Residual,
            format!("revision of {} from {} ({}) fails: {}", p.workload, at.clock(), fields.join(", "), s.says),
        )
        .explaining([s.object.clone()])
        .counting_from(s.counts_from.max(view.may_start_until(p)))
        .via("template-rollout")
        .supported(1 + u32::from(old_serves) + u32::from(diff.iter().any(|c| c.field.ends_with("image"))))
        .changed(diff.clone())
        .with(diff.iter().take(4).map(|c| view.changed(&p.workload, c, None)))
        .with([view.state(&s.object, Some(s.since), s.says.clone())])
        .unless("pods of the former revision fail too", old_fail)
        .next(undo(&p.workload));
        if let Some(l) = logs::telling(p, s.container.as_deref()) {
            h = h.with([view.logged(&s.object, Some(l.at), l.container, l.text)]);
        }
        out.push(h);
    }
    for s in left.iter().filter(|s| s.trouble == Trouble::RolloutStuck) {
        let Some(Body::Workload(_)) = view.world.live(&s.object).map(|o| &o.body) else { continue };
        out.push(
            Hypothesis::new("rollout-broke-workload", s.object.clone(), s.since, Proof::Residual, s.says.clone())
                .via("template-rollout")
                .with([view.state(&s.object, Some(s.since), s.says.clone())])
                .unless("pods of the former revision fail too", false)
                .next(undo(&s.object)),
        );
    }
}

/// When the newest revision began and what it changed besides restart annotations; for pods of that revision only.
fn revision(view: &View, p: &PodFacts) -> Option<(tapio_core::time::Time, Vec<tapio_core::answer::FieldChange>)> {
    let (at, diff) = view.last_template_change(&p.workload)?;
    let real: Vec<_> = diff.into_iter().filter(|c| !c.field.contains("annotations")).collect();
    (!real.is_empty() && view.is_newest(p)).then_some((at, real))
}
