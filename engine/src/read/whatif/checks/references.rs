//! What pods need and is not there: ConfigMaps, Secrets, keys of them, accounts, claims, priority classes.

use std::collections::BTreeSet;

use tapio_core::object::{Body, ObjectRef};
use tapio_core::unified::Severity;

use crate::read::impact::Effect;
use crate::read::whatif::state::{Runner, State};
use crate::read::whatif::{Between, Problem};
use crate::world::links::claims;
use crate::world::uses::{Use, Way, uses};

/// What a workload lacks, and a claim its class.
pub(super) fn find(b: &Between, state: &State, out: &mut Vec<Problem>) {
    for r in state.all_runners() {
        if let Some(Body::Job(j)) = state.world.live(&r.workload).map(|o| &o.body)
            && crate::read::whatif::state::is_done(j)
        {
            continue;
        }
        let rolls = b.touched.get(&r.workload).is_some_and(|s| s.rolls());
        for u in uses(r.spec) {
            config(b, state, r, &u, rolls, out);
        }
        others(b, state, r, rolls, out);
        mounts(r, out);
    }
    for o in state.world.all("PersistentVolumeClaim") {
        let Body::Claim(c) = &o.body else { continue };
        let Some(class) = c.spec.storage_class_name.as_deref().filter(|n| !n.is_empty()) else { continue };
        let key = ObjectRef::cluster_scoped("StorageClass", class);
        let served =
            |v: &tapio_core::object::Object| matches!(&v.body, Body::Volume(v) if v.spec.storage_class_name == class);
        if c.spec.volume_name.is_empty()
            && state.world.is_missing(&key)
            && !state.world.all("PersistentVolume").any(served)
        {
            let users = state.world.into(&o.key, tapio_core::ontology::Relation::Claims);
            let says = format!("{} wants storage class {class}, which does not exist: it stays Pending", o.key);
            out.push(
                Problem::new(Severity::High, "storage-class-missing", &o.key, says)
                    .because(&key)
                    .detail(class)
                    .hitting(users.iter().map(|e| state.world.workload_of(&e.key)))
                    .seen(&key, format!("{key} is not there")),
            );
        }
    }
    for o in state.world.all("HorizontalPodAutoscaler") {
        let Body::Autoscaler(h) = &o.body else { continue };
        let t = &h.spec.scale_target_ref;
        let target = ObjectRef::new(&t.kind, o.key.ns(), &t.name);
        if state.world.is_missing(&target) {
            let says = format!("{} scales {target}, which does not exist", o.key);
            out.push(
                Problem::new(Severity::Medium, "scale-target-missing", &o.key, says)
                    .because(&target)
                    .detail(target.to_string()),
            );
        }
    }
}

/// One use of a ConfigMap or Secret.
fn config(b: &Between, state: &State, r: &Runner, u: &Use, rolls: bool, out: &mut Vec<Problem>) {
    let target = u.target(r.workload.ns());
    let who = match &u.container {
        Some(c) => format!("container {c} of {}", r.workload),
        None => r.workload.to_string(),
    };
    let effect = match u.way {
        _ if rolls => Effect::Rollout,
        Way::Volume | Way::Projected | Way::PullSecret => Effect::NextPod,
        _ => Effect::NextStart,
    };
    let told = |p: Problem| {
        // A workload that stays as it is has lost what it reads.
        let p = if rolls { p.because(&target) } else { p.rather(&target) };
        p.when(effect).seen(&r.workload, format!("{who} takes {target} as {}", u.way.as_str()))
    };
    let missing = state.world.is_missing(&target);
    if u.way == Way::PullSecret {
        if missing {
            let says = format!("{} pulls images with {target}, which does not exist", r.workload);
            out.push(told(
                Problem::new(Severity::Medium, "pull-secret-missing", &r.workload, says).detail(target.to_string()),
            ));
        }
        return;
    }
    if u.optional {
        return;
    }
    if missing {
        let then = if matches!(u.way, Way::Volume | Way::Projected) {
            "its volume cannot be mounted"
        } else {
            "it cannot start"
        };
        let says = format!("{who} needs {target}, which does not exist: {then}");
        out.push(
            told(Problem::new(Severity::High, "config-missing", &r.workload, says).detail(format!("{target} {who}")))
                .seen(&target, format!("{target} is not there")),
        );
        return;
    }
    let Some(object) = state.world.live(&target) else {
        // Its kind was never listed, so nobody can tell; that is worth a word only of what is about to be applied.
        if b.touched.contains_key(&r.workload) {
            let says = format!("{who} needs {target}, which is not in the input; check that it exists");
            out.push(told(
                Problem::new(Severity::Low, "config-not-seen", &r.workload, says).detail(target.to_string()),
            ));
        }
        return;
    };
    let has = |k: &String| match &object.body {
        Body::ConfigMap(c) => c.has_key(k),
        // Where only metadata of Secrets is read, their keys are not known.
        Body::Secret(s) => s.data.contains_key(k) || (s.data.is_empty() && !b.touched.contains_key(&target)),
        _ => true,
    };
    let lacking: BTreeSet<&String> = u.keys.iter().filter(|k| !has(k)).collect();
    for k in lacking {
        let then = if u.way == Way::Env { "it cannot start" } else { "its volume cannot be mounted" };
        let says = format!("{who} needs key {k} of {target}, which has none: {then}");
        out.push(
            told(Problem::new(Severity::High, "key-missing", &r.workload, says).detail(format!("{target} {k} {who}")))
                .seen(&target, format!("{target} has no key {k}")),
        );
    }
}

/// Account, claims and priority class.
fn others(b: &Between, state: &State, r: &Runner, rolls: bool, out: &mut Vec<Problem>) {
    let ns = r.workload.ns();
    let effect = if rolls { Effect::Rollout } else { Effect::NextPod };
    let mut lacks = |key: ObjectRef, check: &'static str, then: &str| {
        let says = format!("{} needs {key}, which does not exist: {then}", r.workload);
        if state.world.is_missing(&key) {
            out.push(
                Problem::new(Severity::High, check, &r.workload, says)
                    .because(&key)
                    .detail(key.to_string())
                    .when(effect)
                    .seen(&key, format!("{key} is not there")),
            );
        }
    };
    let account = r.spec.service_account_name.as_str();
    if !account.is_empty() && account != "default" {
        lacks(ObjectRef::new("ServiceAccount", ns, account), "account-missing", "no pod can be made");
    }
    for c in claims(r.spec, "").iter().filter(|c| !c.starts_with('-')) {
        lacks(ObjectRef::new("PersistentVolumeClaim", ns, c), "claim-missing", "its pods stay Pending");
    }
    let class = r.spec.priority_class_name.as_str();
    if !class.is_empty() && !class.starts_with("system-") {
        lacks(ObjectRef::cluster_scoped("PriorityClass", class), "priority-class-missing", "no pod can be made");
    }
    // The Service that gives the pods of a set their names.
    if let Some(Body::Workload(w)) = state.world.live(&r.workload).map(|o| &o.body)
        && r.workload.kind == "StatefulSet"
        && !w.spec.service_name.is_empty()
        && b.touched.keys().any(|k| **k == r.workload || (k.kind == "Service" && k.name == w.spec.service_name))
    {
        let key = ObjectRef::new("Service", ns, &w.spec.service_name);
        if state.world.is_missing(&key) {
            let says = format!("the pods of {} have no names of their own, for its {key} does not exist", r.workload);
            let p = Problem::new(Severity::Medium, "set-service-missing", &r.workload, says);
            out.push(p.because(&key).detail(key.to_string()).when(Effect::AtOnce));
        }
    }
}

/// Mounts of volumes that the template does not have: the API refuses it. A StatefulSet gets volumes from its claims.
fn mounts(r: &Runner, out: &mut Vec<Problem>) {
    if r.workload.kind == "StatefulSet" || r.workload.kind == "Pod" {
        return;
    }
    for c in r.spec.all_containers() {
        for m in c.volume_mounts.iter().filter(|m| !r.spec.volumes.iter().any(|v| v.name == m.name)) {
            let says = format!(
                "container {} of {} mounts volume {}, which its template does not have: the API server refuses it",
                c.name, r.workload, m.name
            );
            out.push(
                Problem::new(Severity::High, "volume-missing", &r.workload, says)
                    .detail(format!("{} {}", c.name, m.name)),
            );
        }
    }
}
