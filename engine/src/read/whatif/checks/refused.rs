//! What the API server would refuse, deletions that take others along, and manifests for somewhere else.

use serde_json::Value;
use tapio_core::object::{Body, Object, ObjectRef, PodSpec, is_subset, quantity};
use tapio_core::ontology::Relation;
use tapio_core::unified::Severity;

use crate::read::impact::Effect;
use crate::read::whatif::set::Step;
use crate::read::whatif::state::MAKERS;
use crate::read::whatif::{Action, Between, Problem};

/// Objects named of a namespace that goes.
const MAX_NAMED: usize = 20;

/// Whatever concerns one manifest alone.
pub(super) fn find(b: &Between, out: &mut Vec<Problem>) {
    for s in b.steps {
        match s.action {
            Action::Changed => immutable(s, out),
            Action::Deleted => deleted(b, s, out),
            Action::Absent => {
                let says = format!("{} is not there, so nothing is deleted", s.object);
                out.push(Problem::new(Severity::Low, "not-there", &s.object, says));
            }
            Action::New | Action::Unchanged => {}
        }
        if matches!(s.action, Action::New | Action::Changed) {
            selector(s, out);
        }
        if matches!(s.action, Action::New | Action::Absent) {
            elsewhere(b, s, out);
        }
    }
}

/// Fields that cannot be changed.
fn immutable(s: &Step, out: &mut Vec<Problem>) {
    let mut refuse = |field: &str, then: &str| {
        let says = format!("{field} of {} cannot be changed: the API server refuses it; {then}", s.object);
        let fields = s.fields.iter().filter(|f| f.field.starts_with(field));
        let told = fields.map(|f| {
            let shown = |v: &Option<String>| v.clone().unwrap_or_else(|| "nothing".to_owned());
            format!("{}: {} -> {}", f.field, shown(&f.before), shown(&f.after))
        });
        let p = Problem::new(Severity::High, "immutable-field", &s.object, says).detail(field);
        out.push(told.fold(p, |p, t| p.seen(&s.object, t)));
    };
    let anew = "delete the object and make it anew";
    let (Some(before), Some(after)) = (&s.before, &s.after) else { return };
    let kind = s.object.kind.as_str();
    if matches!(kind, "Deployment" | "DaemonSet" | "StatefulSet" | "ReplicaSet") && s.changes("spec.selector") {
        refuse("spec.selector", "keep the labels that select, or make it anew under another name");
    }
    if kind == "StatefulSet" {
        for f in ["spec.serviceName", "spec.podManagementPolicy"].iter().filter(|f| s.changes(f)) {
            refuse(f, "delete it with --cascade=orphan and make it anew");
        }
    }
    match (&before.body, &after.body) {
        (Body::Service(old), Body::Service(new)) => {
            let (o, n) = (old.spec.cluster_ip.as_str(), new.spec.cluster_ip.as_str());
            if s.changes("spec.clusterIP") && !o.is_empty() && new.spec.r#type != "ExternalName" && o != n {
                refuse("spec.clusterIP", "leave the field out, or delete the Service and make it anew");
            }
        }
        (Body::ConfigMap(old), _) if old.immutable => {
            for f in ["data", "binaryData", "immutable"].iter().filter(|f| s.changes(f)) {
                refuse(f, "make one under another name, and have its readers take that");
            }
        }
        (Body::Secret(old), _) if old.immutable => {
            for f in ["data", "immutable"].iter().filter(|f| s.changes(f)) {
                refuse(f, "make one under another name, and have its readers take that");
            }
        }
        (Body::Claim(old), Body::Claim(new)) => {
            for f in ["accessModes", "storageClassName", "volumeMode", "selector", "volumeName"] {
                let path = format!("spec.{f}");
                // A volume may be named while there is none.
                if s.changes(&path) && !(f == "volumeName" && old.spec.volume_name.is_empty()) {
                    refuse(&path, anew);
                }
            }
            let size = |c: &tapio_core::object::Claim| {
                c.spec.resources.requests.get("storage").and_then(|q| quantity::parse(q))
            };
            if size(old).zip(size(new)).is_some_and(|(o, n)| n < o) {
                refuse("spec.resources.requests.storage", "a claim can grow, not shrink");
            }
        }
        (Body::Job(_), _) => {
            for f in ["spec.template", "spec.completions"].iter().filter(|f| s.changes(f)) {
                refuse(f, "make a Job under another name");
            }
        }
        (Body::Pod(old), Body::Pod(new)) => {
            let fixed = |p: &PodSpec| {
                let mut p = p.clone();
                p.tolerations.clear();
                p.active_deadline_seconds = None;
                p.termination_grace_period_seconds = None;
                p.scheduling_gates.clear();
                p.containers.iter_mut().chain(&mut p.init_containers).for_each(|c| c.image.clear());
                p
            };
            if s.changes("spec") && fixed(&old.spec) != fixed(&new.spec) {
                refuse("spec", "change the workload that makes the pod, or make the pod anew");
            }
        }
        _ => {}
    }
    let fixed: &[&str] = match kind {
        "Secret" => &["type"],
        "StorageClass" => &["provisioner", "reclaimPolicy", "volumeBindingMode", "parameters"],
        "RoleBinding" | "ClusterRoleBinding" => &["roleRef"],
        "IngressClass" => &["spec.controller"],
        "PriorityClass" => &["value"],
        _ => &[],
    };
    for f in fixed.iter().filter(|f| s.changes(f)) {
        refuse(f, anew);
    }
}

/// A selector that does not take the template's own labels.
fn selector(s: &Step, out: &mut Vec<Problem>) {
    let Some(Body::Workload(w)) = s.after.as_ref().map(|o| &o.body) else { return };
    // Without a selector an old one gets its labels from the template.
    if s.object.kind == "ReplicationController" || w.spec.selector.matches(&w.spec.template.metadata.labels) {
        return;
    }
    let lacking = !is_subset(&w.spec.selector.match_labels, &w.spec.template.metadata.labels);
    let says = format!(
        "the selector of {} does not match the labels of its own template: the API server refuses it",
        s.object
    );
    let p = Problem::new(Severity::High, "selector-not-own", &s.object, says);
    let pairs: Vec<String> = w.spec.selector.match_labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
    out.push(if lacking { p.seen(&s.object, format!("selects {}", pairs.join(","))) } else { p });
}

/// What a deletion takes along beside what checks of references find.
fn deleted(b: &Between, s: &Step, out: &mut Vec<Problem>) {
    let world = b.before.world;
    match s.object.kind.as_str() {
        "PersistentVolumeClaim" => {
            let users: Vec<ObjectRef> = world
                .into(&s.object, Relation::Claims)
                .iter()
                .filter(|e| e.live().and_then(Object::as_pod).is_some_and(|p| !p.is_finished()))
                .map(|e| world.workload_of(&e.key))
                .collect();
            if let Some(first) = users.first() {
                let says = format!(
                    "{} is in use by {first}: it stays Terminating until its pods are gone, and then its data may be, too",
                    s.object
                );
                out.push(Problem::new(Severity::High, "claim-in-use", &s.object, says).hitting(users.clone()));
            }
        }
        "Namespace" => {
            let here: Vec<ObjectRef> = MAKERS
                .iter()
                .chain(&["Service", "PersistentVolumeClaim"])
                .flat_map(|k| world.in_namespace(k, &s.object.name))
                .filter(|o| world.workload_of(&o.key) == o.key)
                .map(|o| o.key.clone())
                .collect();
            if !here.is_empty() {
                let says =
                    format!("{} goes with all that is in it: {} workloads, Services and claims", s.object, here.len());
                out.push(
                    Problem::new(Severity::High, "namespace-in-use", &s.object, says)
                        .hitting(here.into_iter().take(MAX_NAMED)),
                );
            }
        }
        "Node" => {
            let pods: Vec<ObjectRef> = b
                .before
                .view
                .pods
                .values()
                .filter(|p| p.pod.spec.node_name == s.object.name && !p.pod.is_finished())
                .map(|p| p.workload.clone())
                .collect();
            if !pods.is_empty() {
                let says = format!("{} runs {} pods, which are lost with it", s.object, pods.len());
                let mut hit = pods;
                hit.dedup();
                out.push(
                    Problem::new(Severity::High, "node-in-use", &s.object, says)
                        .hitting(hit.into_iter().take(MAX_NAMED)),
                );
            }
        }
        _ => {}
    }
}

/// A manifest for a namespace that the input does not have: perhaps it is of another cluster.
fn elsewhere(b: &Between, s: &Step, out: &mut Vec<Problem>) {
    let Some(ns) = &s.object.namespace else { return };
    let key = ObjectRef::cluster_scoped("Namespace", ns);
    let world = b.after.world;
    let lives = |k: &str| b.before.world.in_namespace(k, ns).next().is_some();
    let kinds: Vec<&str> = b.before.world.kinds().collect();
    if world.live(&key).is_some() || kinds.iter().any(|k| lives(k)) {
        return;
    }
    let given = s.manifest.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or_default();
    let says = format!(
        "namespace {given} is not in the input: the manifest may be meant for another cluster, or the namespace has to be made first; -n gives the namespace of manifests that name none"
    );
    out.push(Problem::new(Severity::Medium, "namespace-missing", &s.object, says).because(&key).when(Effect::AtOnce));
}
