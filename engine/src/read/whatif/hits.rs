//! Whom a changed object hits, through which mechanism, and when.

use std::collections::BTreeSet;

use tapio_core::object::{Body, ObjectRef};
use tapio_core::ontology::Relation;

use super::set::Step;
use super::state::{MAKERS, State};
use super::{Action, Between, Hit, ObjectChange};
use crate::read::impact::{Effect, Reader, readers};

/// Pods named of one workload.
const MAX_PODS: usize = 200;

/// One manifest as it is told.
pub(super) fn told(s: &Step, b: &Between) -> ObjectChange {
    let (before, after) = (b.before, b.after);
    // Values of a Secret are not seen, so one that looks the same may have changed.
    let unseen = s.object.kind == "Secret" && s.action == Action::Unchanged;
    let quiet = matches!(s.action, Action::Unchanged | Action::Absent) && !unseen;
    let mut not_compared = s.not_compared.clone();
    if s.object.kind == "Secret" && matches!(s.action, Action::Unchanged | Action::Changed) {
        let keys = s.before.as_ref().is_some_and(|o| matches!(&o.body, Body::Secret(x) if x.data.is_empty()));
        not_compared.push(if keys { "the keys under data" } else { "the values under data" }.to_owned());
    }
    let mut out = ObjectChange {
        object: s.object.clone(),
        place: s.place.clone(),
        action: s.action,
        known: s.known(),
        fields: s.fields.clone(),
        not_compared,
        left: s.left.clone(),
        hits: Vec::new(),
        services: Vec::new(),
        ingresses: Vec::new(),
        callers: Vec::new(),
    };
    if quiet || !s.known() {
        return out;
    }
    out.hits = match MAKERS.contains(&s.object.kind.as_str()) {
        true => of_maker(s, before),
        false => both(s, before, after).iter().filter(|r| concerns(s, r)).map(|r| of_reader(s, r)).collect(),
    };
    out.hits.sort();
    out.hits.dedup();
    let workloads: BTreeSet<ObjectRef> = out.hits.iter().map(|h| h.object.clone()).collect();
    let (services, ingresses) = in_front(b, &s.object, &workloads);
    let mut callers: BTreeSet<ObjectRef> = services.iter().flat_map(|x| b.callers(x)).collect();
    callers.retain(|c| !workloads.contains(c));
    (out.services, out.ingresses, out.callers) = (services, ingresses, callers.into_iter().collect());
    out
}

/// Services over these workloads, before or after, and the Ingresses that lead there.
fn in_front(b: &Between, object: &ObjectRef, workloads: &BTreeSet<ObjectRef>) -> (Vec<ObjectRef>, Vec<ObjectRef>) {
    let mut services = BTreeSet::new();
    let mut ingresses = BTreeSet::new();
    for state in [b.before, b.after] {
        match object.kind.as_str() {
            "Service" => drop(services.insert(object.clone())),
            "Ingress" => services.extend(state.world.out(object, Relation::RoutesTo).iter().map(|e| e.key.clone())),
            _ => {}
        }
        for r in workloads.iter().filter_map(|w| state.runner(w)) {
            let over = state.world.in_namespace("Service", r.workload.ns());
            let over = over.filter(|o| o.as_service().is_some_and(|s| r.selected_by(s)));
            services.extend(over.map(|o| o.key.clone()));
        }
        for s in &services {
            let live = state.world.into(s, Relation::RoutesTo).into_iter().filter(|e| e.is_live());
            ingresses.extend(live.map(|e| e.key.clone()));
        }
    }
    ingresses.remove(object);
    (services.into_iter().collect(), ingresses.into_iter().collect())
}

/// The readers in both worlds: who is hit may be whom it leaves.
fn both(s: &Step, before: &State, after: &State) -> Vec<Reader> {
    let mut all = readers(&after.view, &s.object);
    if s.before.is_some() {
        let known: BTreeSet<(ObjectRef, String)> = all.iter().map(|r| (r.object.clone(), r.how.clone())).collect();
        let old = readers(&before.view, &s.object);
        all.extend(old.into_iter().filter(|r| !known.contains(&(r.object.clone(), r.how.clone()))));
    }
    all
}

/// Whether a reader reads what changes.
fn concerns(s: &Step, r: &Reader) -> bool {
    let config = matches!(s.object.kind.as_str(), "ConfigMap" | "Secret");
    if !config || s.action != Action::Changed || r.keys.is_empty() {
        return s.action != Action::Changed || !config || s.changes("data") || s.changes("binaryData");
    }
    r.keys.iter().any(|k| s.changes(&format!("data.{k}")) || s.changes(&format!("binaryData.{k}")))
}

fn of_reader(s: &Step, r: &Reader) -> Hit {
    let kind = s.object.kind.as_str();
    let gone = s.action == Action::Deleted;
    let (mechanism, effect) = match (kind, r.how.as_str()) {
        ("ConfigMap" | "Secret", "env" | "envFrom") => ("config-env", config_effect(s, r)),
        ("ConfigMap" | "Secret", "subPath") => ("config-subpath", config_effect(s, r)),
        ("ConfigMap" | "Secret", "volume" | "projected") if gone => ("config-volume", Effect::NextPod),
        ("ConfigMap" | "Secret", "volume" | "projected") => ("config-volume", config_effect(s, r)),
        ("Secret", "imagePullSecret") => ("image-pull", Effect::NextPod),
        ("Secret", "tls") => ("route", Effect::AtOnce),
        ("Service", _) if s.changes("spec.selector") => ("selector", Effect::AtOnce),
        ("Service", _) if s.changes("spec.ports") => ("port", Effect::AtOnce),
        ("Service", _) => ("service", Effect::AtOnce),
        ("NetworkPolicy", _) => ("policy", Effect::AtOnce),
        ("ResourceQuota" | "LimitRange", _) => ("quota", Effect::NextPod),
        ("PersistentVolumeClaim" | "PersistentVolume" | "StorageClass", _) => ("volume", Effect::NextPod),
        ("ServiceAccount", _) => ("account", Effect::NextPod),
        ("Node", _) if evicts(s) || gone => ("placement", Effect::AtOnce),
        ("Node", _) => ("placement", Effect::NextPod),
        ("Ingress", _) => ("route", Effect::AtOnce),
        ("HorizontalPodAutoscaler", _) => ("scale", Effect::AtOnce),
        ("Namespace", _) if gone => ("deletion", Effect::AtOnce),
        _ => ("other", r.effect),
    };
    Hit {
        object: r.object.clone(),
        mechanism: mechanism.to_owned(),
        effect,
        container: r.container.clone(),
        keys: r.keys.clone(),
        optional: r.optional,
        pods: r.pods.clone(),
    }
}

/// An immutable one that is made for the first time, or goes, still has its effect.
fn config_effect(s: &Step, r: &Reader) -> Effect {
    match (s.action, r.effect) {
        (Action::Changed, effect) => effect,
        (_, Effect::Never) if matches!(r.how.as_str(), "volume" | "projected") => Effect::KubeletSync,
        (_, Effect::Never) => Effect::NextStart,
        (_, effect) => effect,
    }
}

/// Whether a node gets a taint that drives pods away.
fn evicts(s: &Step) -> bool {
    let drives = |o: &Option<tapio_core::object::Object>| {
        o.as_ref()
            .and_then(|o| o.as_node())
            .map_or(0, |n| n.spec.taints.iter().filter(|t| t.effect == "NoExecute").count())
    };
    s.changes("spec.taints") && drives(&s.after) > drives(&s.before)
}

/// What a change of a workload does to its own pods.
fn of_maker(s: &Step, before: &State) -> Vec<Hit> {
    let pods: Vec<String> = before
        .view
        .pods_of(&s.object)
        .filter(|p| !p.pod.is_finished())
        .map(|p| p.key().name.clone())
        .take(MAX_PODS)
        .collect();
    let hit = |mechanism: &str, effect: Effect| Hit {
        object: s.object.clone(),
        mechanism: mechanism.to_owned(),
        effect,
        container: None,
        keys: Vec::new(),
        optional: false,
        pods: pods.clone(),
    };
    let on_delete = matches!(s.after.as_ref().map(|o| &o.body), Some(Body::Workload(w))
        if w.spec.update_strategy.as_ref().is_some_and(|u| u.r#type == "OnDelete"));
    let mut out = Vec::new();
    match s.action {
        Action::New => out.push(hit("new", Effect::AtOnce)),
        Action::Deleted => out.push(hit("deletion", Effect::AtOnce)),
        _ => {}
    }
    if s.action == Action::Changed && s.rolls() {
        out.push(match s.object.kind.as_str() {
            "Deployment" | "StatefulSet" | "DaemonSet" if !on_delete => hit("template-rollout", Effect::Rollout),
            _ => hit("template-rollout", Effect::NextPod),
        });
    }
    if s.changes("spec.replicas") || s.changes("spec.parallelism") || s.changes("spec.suspend") {
        out.push(hit("scale", Effect::AtOnce));
    }
    out
}
