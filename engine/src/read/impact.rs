//! What a change of an object hits: who reads it, how, when a change takes effect, and what stands behind.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use tapio_core::object::{Body, ObjectRef, PodSpec};
use tapio_core::ontology::Relation;

use crate::diagnosis::view::View;
use crate::processor::EventProcessor;
use crate::world::uses::{Way, uses};

/// Names of pods kept per reader.
const MAX_PODS: usize = 200;

/// When a change takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// As soon as it is written.
    AtOnce,
    /// New pods take the place of the old ones, at the pace of the update strategy.
    Rollout,
    /// Within about two minutes, when the kubelet has synced the volume.
    KubeletSync,
    /// When a container is started the next time; running ones do not notice.
    NextStart,
    /// When a pod is made the next time; a container that starts anew in its old pod does not notice.
    NextPod,
    /// Not at all: it must be made anew, under the same or another name.
    Never,
}

impl Effect {
    /// In words.
    pub fn says(self) -> &'static str {
        match self {
            Effect::AtOnce => "at once",
            Effect::Rollout => "by a rollout",
            Effect::KubeletSync => "kubelet sync, 1 to 2 minutes",
            Effect::NextStart => "next start of the container",
            Effect::NextPod => "next creation of a pod",
            Effect::Never => "never (immutable)",
        }
    }
}

/// Somebody who depends on the object directly.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Reader {
    /// The workload, or whatever else it is.
    pub object: ObjectRef,
    /// The container, where one is meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// `env`, `envFrom`, `volume`, `subPath`, `projected`, `owns`, `selects`, `claims`, …
    pub how: String,
    /// The keys that it reads; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<String>,
    /// Whether it lives without it.
    pub optional: bool,
    /// When a change reaches it.
    pub effect: Effect,
    /// Its pods now.
    pub pods: Vec<String>,
}

/// What a change hits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Impact {
    /// The object.
    pub object: ObjectRef,
    /// Whether it is there; one that is only referred to can be asked about, too.
    pub exists: bool,
    /// Who depends on it directly.
    pub readers: Vec<Reader>,
    /// Workloads that are hit.
    pub workloads: Vec<ObjectRef>,
    /// Pods that are hit.
    pub pods: Vec<ObjectRef>,
    /// Services behind which such pods stand.
    pub services: Vec<ObjectRef>,
    /// Ingresses that lead to them.
    pub ingresses: Vec<ObjectRef>,
    /// Workloads that call those Services, as far as calls are known.
    pub callers: Vec<ObjectRef>,
}

/// What a change of an object hits.
pub fn impact(engine: &EventProcessor, object: &ObjectRef) -> Impact {
    let view = View::new(engine.world(), engine.newest());
    behind(&view, object, readers(&view, object))
}

/// Who depends on an object directly, in any world.
pub(super) fn readers(view: &View, object: &ObjectRef) -> Vec<Reader> {
    let mut readers = match object.kind.as_str() {
        "ConfigMap" | "Secret" => of_config(view, object),
        "Namespace" => of_namespace(view, object),
        _ => of_relations(view, object),
    };
    readers.sort();
    readers.dedup();
    readers
}

/// Who reads a ConfigMap or Secret: by the pods that are there, and by templates that have none at the moment.
fn of_config(view: &View, object: &ObjectRef) -> Vec<Reader> {
    let world = view.world;
    let immutable = match world.live(object).map(|o| &o.body) {
        Some(Body::ConfigMap(c)) => c.immutable,
        Some(Body::Secret(s)) => s.immutable,
        _ => false,
    };
    type Key = (ObjectRef, Option<String>, Way, Vec<String>, bool);
    let mut found: BTreeMap<Key, BTreeSet<String>> = BTreeMap::new();
    let mut add = |spec: &PodSpec, reader: &ObjectRef, pod: Option<&str>| {
        for u in uses(spec).into_iter().filter(|u| u.kind == object.kind && u.name == object.name) {
            let mut keys = u.keys.clone();
            keys.sort();
            let pods = found.entry((reader.clone(), u.container, u.way, keys, u.optional)).or_default();
            pods.extend(pod.map(str::to_owned));
        }
    };
    for (key, p) in view.pods.iter().filter(|(k, p)| k.ns() == object.ns() && !p.pod.is_finished()) {
        add(&p.pod.spec, &p.workload, Some(&key.name));
    }
    for kind in ["Deployment", "StatefulSet", "DaemonSet", "CronJob", "Job", "ReplicaSet", "ReplicationController"] {
        for o in world.in_namespace(kind, object.ns()).filter(|o| world.workload_of(&o.key) == o.key) {
            if let Some(t) = o.template() {
                add(&t.spec, &o.key, None);
            }
        }
    }
    type Use = (ObjectRef, Option<String>, Way, bool);
    // One line a way, whatever the keys: what people ask is who, how and when.
    let mut merged: BTreeMap<Use, (BTreeSet<String>, BTreeSet<String>)> = BTreeMap::new();
    for ((reader, container, way, keys, optional), pods) in found {
        let slot = merged.entry((reader, container, way, optional)).or_default();
        slot.0.extend(keys);
        slot.1.extend(pods);
    }
    let mut out: Vec<Reader> = merged
        .into_iter()
        .map(|((reader, container, way, optional), (keys, pods))| {
            let rolls = rolls_with_checksum(view, &reader);
            let effect = match way {
                _ if immutable => Effect::Never,
                w if w.follows_changes() => Effect::KubeletSync,
                _ if rolls => Effect::Rollout,
                _ => Effect::NextStart,
            };
            Reader {
                object: reader,
                container,
                how: way.as_str().to_owned(),
                keys: keys.into_iter().collect(),
                optional,
                effect,
                pods: pods.into_iter().take(MAX_PODS).collect(),
            }
        })
        .collect();
    for i in world.into(object, Relation::UsesSecret).iter().filter(|e| e.key.kind == "Ingress" && e.is_live()) {
        out.push(plain(&i.key, "tls", Effect::AtOnce));
    }
    out
}

/// Whether the template carries a checksum of its configuration, so that a release rolls it out.
fn rolls_with_checksum(view: &View, workload: &ObjectRef) -> bool {
    view.world
        .live(workload)
        .and_then(|o| o.template())
        .is_some_and(|t| t.metadata.annotations.keys().any(|k| k.starts_with("checksum/")))
}

fn of_namespace(view: &View, object: &ObjectRef) -> Vec<Reader> {
    let here = view.members.keys().filter(|w| w.ns() == object.name);
    here.map(|w| Reader { pods: pods_of(view, w), ..plain(w, "contains", Effect::AtOnce) }).collect()
}

fn pods_of(view: &View, workload: &ObjectRef) -> Vec<String> {
    view.pods_of(workload).map(|p| p.key().name.clone()).take(MAX_PODS).collect()
}

fn plain(object: &ObjectRef, how: &str, effect: Effect) -> Reader {
    Reader {
        object: object.clone(),
        container: None,
        how: how.to_owned(),
        keys: Vec::new(),
        optional: false,
        effect,
        pods: Vec::new(),
    }
}

/// Who depends on any other object, by the relations of the live graph.
fn of_relations(view: &View, object: &ObjectRef) -> Vec<Reader> {
    let world = view.world;
    let mut out = Vec::new();
    let mut by_pods = |pods: Vec<ObjectRef>, how: &str, effect: Effect| {
        let mut groups: BTreeMap<ObjectRef, Vec<String>> = BTreeMap::new();
        for p in pods.iter().filter_map(|k| view.pods.get(k)).filter(|p| !p.pod.is_finished()) {
            groups.entry(p.workload.clone()).or_default().push(p.key().name.clone());
        }
        for (workload, mut pods) in groups {
            pods.truncate(MAX_PODS);
            out.push(Reader { pods, ..plain(&workload, how, effect) });
        }
    };
    let near = |r: Relation| world.into(object, r).iter().map(|e| e.key.clone()).collect::<Vec<_>>();
    let far = |r: Relation| world.out(object, r).iter().map(|e| e.key.clone()).collect::<Vec<_>>();
    match object.kind.as_str() {
        "Pod" => by_pods(vec![object.clone()], "is", Effect::AtOnce),
        "Node" => by_pods(near(Relation::RunsOn), "runs on", Effect::AtOnce),
        "PersistentVolumeClaim" => by_pods(near(Relation::Claims), "claims", Effect::AtOnce),
        "PersistentVolume" => {
            let claims = near(Relation::BoundTo);
            let pods = claims.iter().flat_map(|c| world.into(c, Relation::Claims)).map(|e| e.key.clone()).collect();
            by_pods(pods, "claims", Effect::AtOnce);
        }
        "StorageClass" => {
            let of_class = |o: &&tapio_core::object::Object| matches!(&o.body, Body::Claim(c) if c.spec.storage_class_name.as_deref() == Some(&object.name));
            let claims: Vec<ObjectRef> =
                world.all("PersistentVolumeClaim").filter(of_class).map(|o| o.key.clone()).collect();
            let pods = claims.iter().flat_map(|c| world.into(c, Relation::Claims)).map(|e| e.key.clone()).collect();
            by_pods(pods, "claims of this class", Effect::NextPod);
        }
        "ServiceAccount" => by_pods(near(Relation::UsesAccount), "runs as", Effect::NextPod),
        "NetworkPolicy" => by_pods(far(Relation::AppliesTo), "is limited by", Effect::AtOnce),
        "Service" => by_pods(far(Relation::Selects), "is selected by", Effect::AtOnce),
        "Ingress" => {
            let services = far(Relation::RoutesTo);
            let pods = services.iter().flat_map(|s| world.out(s, Relation::Selects)).map(|e| e.key.clone()).collect();
            by_pods(pods, "is reached by", Effect::AtOnce);
        }
        "HorizontalPodAutoscaler" => {
            for w in far(Relation::Scales) {
                out.push(Reader { pods: pods_of(view, &w), ..plain(&w, "is scaled by", Effect::AtOnce) });
            }
        }
        "ResourceQuota" | "LimitRange" => {
            for w in view.members.keys().filter(|w| w.ns() == object.ns()) {
                out.push(Reader { pods: pods_of(view, w), ..plain(w, "is bounded by", Effect::NextPod) });
            }
        }
        "Deployment" | "StatefulSet" | "DaemonSet" => {
            out.push(Reader { pods: pods_of(view, object), ..plain(object, "template", Effect::Rollout) });
        }
        "ReplicaSet" | "Job" | "CronJob" | "ReplicationController" => {
            let pods: Vec<ObjectRef> =
                view.pods.keys().filter(|k| world.owners(k).contains(object)).map(|k| (*k).clone()).collect();
            by_pods(pods, "template", Effect::NextPod);
        }
        _ => {
            for e in world.out(object, Relation::Owns).iter().filter(|e| e.is_live()) {
                out.push(Reader { pods: pods_of(view, &e.key), ..plain(&e.key, "is owned by", Effect::AtOnce) });
            }
        }
    }
    out
}

/// What stands behind the readers: pods, their Services, the Ingresses in front, and who calls.
fn behind(view: &View, object: &ObjectRef, readers: Vec<Reader>) -> Impact {
    let world = view.world;
    let makes_pods = |k: &str| {
        matches!(
            k,
            "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" | "Job" | "CronJob" | "ReplicationController"
        )
    };
    let mut pods: BTreeSet<ObjectRef> = BTreeSet::new();
    let mut workloads: BTreeSet<ObjectRef> = BTreeSet::new();
    let mut services: BTreeSet<ObjectRef> = BTreeSet::new();
    let mut ingresses: BTreeSet<ObjectRef> = BTreeSet::new();
    for r in &readers {
        if makes_pods(&r.object.kind) {
            workloads.insert(r.object.clone());
        }
        if r.object.kind == "Ingress" {
            ingresses.insert(r.object.clone());
        }
        pods.extend(r.pods.iter().map(|p| ObjectRef::new("Pod", r.object.ns(), p)));
    }
    let hit: Vec<ObjectRef> = pods.iter().cloned().collect();
    services.extend(view.services_over(&hit));
    // A workload without pods still has Services that would select them.
    for w in &workloads {
        if let Some(t) = world.live(w).and_then(|o| o.template()) {
            let of = |s: &&tapio_core::object::Object| {
                s.as_service().is_some_and(|s| crate::world::selects(s, &t.metadata.labels))
            };
            services.extend(world.in_namespace("Service", w.ns()).filter(of).map(|s| s.key.clone()));
        }
    }
    if object.kind == "Service" {
        services.insert(object.clone());
    }
    for s in &services {
        ingresses.extend(world.into(s, Relation::RoutesTo).iter().filter(|e| e.is_live()).map(|e| e.key.clone()));
    }
    let mut callers: BTreeSet<ObjectRef> = BTreeSet::new();
    for s in &services {
        callers.extend(world.into(s, Relation::Calls).iter().map(|e| world.workload_of(&e.key)));
    }
    for p in view.pods.values().filter(|p| !p.pod.is_finished()) {
        if crate::diagnosis::endpoints::named_by(view, p).iter().any(|o| services.contains(o)) {
            callers.insert(p.workload.clone());
        }
    }
    callers.retain(|c| !workloads.contains(c));
    ingresses.remove(object);
    let list = |s: BTreeSet<ObjectRef>| s.into_iter().collect::<Vec<_>>();
    Impact {
        object: object.clone(),
        exists: world.live(object).is_some(),
        readers,
        workloads: list(workloads),
        pods: list(pods),
        services: list(services),
        ingresses: list(ingresses),
        callers: list(callers),
    }
}
