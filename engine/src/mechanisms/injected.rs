//! Faults on purpose: objects of chaos tools that name their target.

use std::collections::BTreeSet;

use tapio_core::object::{Object, ObjectRef, Other, is_subset};
use tapio_core::time::{SECOND, Time};

use super::{kubectl, manual};
use crate::diagnosis::endpoints;
use crate::diagnosis::hypothesis::{Hypothesis, Proof};
use crate::diagnosis::symptom::Symptom;
use crate::diagnosis::view::{PodFacts, View};

manual! {
    /// An object of a chaos tool names the target: the fault is on purpose.
    ///
    /// Required: an object of Chaos Mesh, LitmusChaos or ChaosBlade whose experiment is under way; and a target of it, or a
    /// caller of a target, that is in trouble since the experiment began.
    /// Supports: the tool says that the fault is injected.
    /// Refuted by: the experiment is over, paused or being removed; the trouble began before it. An experiment that hurts
    /// nobody is none.
    /// Lag: seconds after the injection.
    /// Do: ask whose experiment it is; delete the object to end it.
    "fault-injection-active": Documented [Crashing, Unready, OomKilled, ProbeKilled, InitStuck];
}

/// Experiments that hurt somebody.
pub fn find(view: &View, symptoms: &[Symptom], out: &mut Vec<Hypothesis>) {
    let kinds: Vec<&str> = view.world.kinds().filter(|k| k.ends_with("Chaos") || CRDS.contains(k)).collect();
    for o in kinds.iter().flat_map(|k| view.world.all(k)) {
        let Some(x) = o.as_other() else { continue };
        let Some(since) = under_way(o, x).map(|t| t.unwrap_or_else(|| o.meta.creation_timestamp.unwrap_or(view.now)))
        else {
            continue;
        };
        out.extend(hurts(view, symptoms, o, x, since));
    }
}

const CRDS: &[&str] = &["ChaosEngine", "ChaosBlade"];

/// Since when the fault is injected, where the tool says it; none if the experiment is not under way.
#[allow(clippy::option_option, reason = "whether, and since when if that is known")]
fn under_way(o: &Object, x: &Other) -> Option<Option<Time>> {
    if o.meta.deletion_timestamp.is_some() {
        return None;
    }
    let holds = |t: &str| x.condition(t).is_some_and(|c| c.status == "True");
    match o.key.kind.as_str() {
        "ChaosEngine" => {
            let active = x.fact("spec.engineState") != "stop";
            (active && x.fact("status.engineStatus") == "initialized").then_some(None)
        }
        "ChaosBlade" => (x.fact("status.phase") == "Running").then_some(None),
        _ => {
            let runs = x.fact("status.experiment.desiredPhase") == "Run";
            let over = holds("AllRecovered") || holds("Paused");
            let injected = x.condition("AllInjected").filter(|c| c.status == "True");
            (runs && !over).then(|| injected.and_then(|c| *c.last_transition_time))
        }
    }
}

/// Whether an experiment means this pod.
fn means(o: &Object, x: &Other, p: &PodFacts) -> bool {
    match o.key.kind.as_str() {
        "ChaosEngine" => {
            let label = x.fact("spec.appinfo.applabel");
            let ns = x.fact("spec.appinfo.appns");
            let ns = if ns.is_empty() { o.key.ns() } else { ns };
            let Some((k, v)) = label.split_once('=') else { return false };
            ns == p.key().ns() && p.object.meta.labels.get(k).is_some_and(|has| has == v)
        }
        "ChaosBlade" => blade(x, p),
        _ => injected(x, p).unwrap_or_else(|| selected(o, x, p)),
    }
}

/// Chaos Mesh: whether the pod is among those into which it was injected; none if no such list is there yet.
fn injected(x: &Other, p: &PodFacts) -> Option<bool> {
    let path = "status.experiment.containerRecords";
    let ids: Vec<&str> = x.below(path).filter(|(k, _)| k.ends_with(".id")).map(|(_, v)| v).collect();
    // `namespace/pod` or `namespace/pod/container`.
    let own = format!("{}/{}", p.key().ns(), p.key().name);
    (!ids.is_empty()).then(|| ids.iter().any(|id| *id == own || id.starts_with(&format!("{own}/"))))
}

/// Chaos Mesh: whether the selector means the pod.
fn selected(o: &Object, x: &Other, p: &PodFacts) -> bool {
    let namespaces: Vec<&str> = x.below("spec.selector.namespaces").map(|(_, v)| v).collect();
    let labels = x.labels("spec.selector.labelSelectors");
    let pods: Vec<&str> = x.below(&format!("spec.selector.pods.{}", p.key().ns())).map(|(_, v)| v).collect();
    let near = if namespaces.is_empty() { o.key.ns() == p.key().ns() } else { namespaces.contains(&p.key().ns()) };
    if !pods.is_empty() {
        return pods.contains(&p.key().name.as_str());
    }
    near && !labels.is_empty() && is_subset(&labels, &p.object.meta.labels)
}

/// ChaosBlade: matchers `names`, `namespace`, `labels` of an experiment on pods or containers, or `names` of one on nodes.
fn blade(x: &Other, p: &PodFacts) -> bool {
    (0..8).any(|i| {
        let base = format!("spec.experiments.{i}");
        let scope = x.fact(&format!("{base}.scope"));
        let values = |name: &str| -> Vec<String> {
            (0..12)
                .filter(|m| x.fact(&format!("{base}.matchers.{m}.name")) == name)
                .flat_map(|m| {
                    let path = format!("{base}.matchers.{m}.value");
                    let list: Vec<String> = x.below(&path).map(|(_, v)| v.to_owned()).collect();
                    list
                })
                .flat_map(|v| v.split(',').map(str::to_owned).collect::<Vec<_>>())
                .collect()
        };
        let (names, labels, namespaces) = (values("names"), values("labels"), values("namespace"));
        match scope {
            "node" => names.contains(&p.pod.spec.node_name),
            "pod" | "container" => {
                let near = namespaces.iter().any(|n| n == p.key().ns());
                let named = names.contains(&p.key().name);
                let labelled = labels
                    .iter()
                    .filter_map(|l| l.split_once('='))
                    .any(|(k, v)| p.object.meta.labels.get(k).is_some_and(|has| has == v));
                near && (named || labelled)
            }
            _ => false,
        }
    })
}

fn hurts(view: &View, symptoms: &[Symptom], o: &Object, x: &Other, since: Time) -> Option<Hypothesis> {
    let targets: BTreeSet<&ObjectRef> = view.pods.values().filter(|p| means(o, x, p)).map(PodFacts::key).collect();
    // A time in a condition is of whole seconds.
    let after = |s: &&Symptom| s.counts_from < Time::MAX && s.since >= since.plus(-2 * SECOND);
    let sick: Vec<&Symptom> = symptoms.iter().filter(after).filter(|s| targets.contains(&s.object)).collect();
    let keys: Vec<ObjectRef> = targets.iter().map(|k| (*k).clone()).collect();
    let services = view.services_over(&keys);
    let calls = |s: &&Symptom| {
        s.is_failing_container()
            && view
                .pods
                .get(&s.object)
                .is_some_and(|p| endpoints::named_by(view, p).iter().any(|k| services.contains(k)))
    };
    let callers: Vec<&Symptom> =
        symptoms.iter().filter(after).filter(|s| !targets.contains(&s.object)).filter(calls).collect();
    let hurt: Vec<&Symptom> = sick.iter().chain(&callers).copied().collect();
    let counts = hurt.iter().map(|s| s.counts_from).min()?;
    let kind = &o.key.kind;
    let action = x.fact("spec.action");
    let action = if action.is_empty() { String::new() } else { format!(" ({action})") };
    Some(
        Hypothesis::new(
            "fault-injection-active",
            o.key.clone(),
            since,
            if sick.is_empty() { Proof::Inferred } else { Proof::Stated },
            format!("{}{action} injects a fault on purpose: {} of its targets are in trouble since", o.key, sick.len()),
        )
        .explaining(hurt.iter().map(|s| s.object.clone()))
        .counting_from(counts)
        .via("injection")
        .supported(u32::from(x.condition("AllInjected").is_some_and(|c| c.status == "True")))
        .with([view.state(&o.key, Some(since), format!("an experiment of kind {kind} is under way"))])
        .with(hurt.iter().take(3).map(|s| view.state(&s.object, Some(s.since), s.says.clone())))
        .unless("the experiment is over", false)
        .next(kubectl("describe", &o.key)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn experiments_that_are_over_or_paused_are_not_under_way() {
        let chaos = |api: &str, kind: &str, spec: &str, status: &str| {
            let json = format!(
                r#"{{"apiVersion":"{api}","kind":"{kind}","metadata":{{"name":"c","namespace":"n"}},"spec":{spec},"status":{status}}}"#
            );
            let o = Object::parse(&json).unwrap();
            under_way(&o, o.as_other().unwrap()).is_some()
        };
        let mesh = |phase: &str, t: &str| {
            format!(r#"{{"conditions":[{{"type":"{t}","status":"True"}}],"experiment":{{"desiredPhase":"{phase}"}}}}"#)
        };
        let m = "chaos-mesh.org/v1alpha1";
        assert!(chaos(m, "NetworkChaos", "{}", &mesh("Run", "AllInjected")));
        assert!(!chaos(m, "NetworkChaos", "{}", &mesh("Stop", "AllRecovered")));
        assert!(!chaos(m, "StressChaos", "{}", &mesh("Run", "Paused")));
        let l = "litmuschaos.io/v1alpha1";
        assert!(chaos(l, "ChaosEngine", r#"{"engineState":"active"}"#, r#"{"engineStatus":"initialized"}"#));
        assert!(!chaos(l, "ChaosEngine", r#"{"engineState":"active"}"#, r#"{"engineStatus":"completed"}"#));
        assert!(!chaos(l, "ChaosEngine", r#"{"engineState":"stop"}"#, r#"{"engineStatus":"stopped"}"#));
        let b = "chaosblade.io/v1alpha1";
        assert!(chaos(b, "ChaosBlade", "{}", r#"{"phase":"Running"}"#));
        assert!(!chaos(b, "ChaosBlade", "{}", r#"{"phase":"Destroyed"}"#));
    }
}
