//! Quotas that would be exceeded, and limits of a namespace that a template breaks.

use std::collections::BTreeMap;

use tapio_core::object::{Body, Container, LimitItem, Object, ObjectRef, PodSpec, quantity};
use tapio_core::unified::Severity;

use crate::evaluate::scheduling::{amount, limit, request};
use crate::read::impact::Effect;
use crate::read::whatif::set::Step;
use crate::read::whatif::state::desired;
use crate::read::whatif::{Action, Between, Problem};

/// Resources of which a pod's sum counts.
const COMPUTE: &[&str] = &["cpu", "memory", "ephemeral-storage"];

/// What admission would refuse.
pub(super) fn find(b: &Between, out: &mut Vec<Problem>) {
    quotas(b, out);
    for s in b.touched.values() {
        let Some(o) = &s.after else { continue };
        for range in b.after.world.in_namespace("LimitRange", s.object.ns()) {
            let Body::LimitRange(l) = &range.body else { continue };
            for item in &l.spec.limits {
                // A template that was not touched is not admitted anew.
                if let Some(t) = o.template().filter(|_| s.rolls()) {
                    let spec = &t.spec;
                    limits(s, &range.key, item, spec, out);
                } else if let Some(p) = o.as_pod().filter(|_| s.action == Action::New) {
                    limits(s, &range.key, item, &p.spec, out);
                } else if let Body::Claim(c) = &o.body
                    && item.r#type == "PersistentVolumeClaim"
                {
                    let storage = c.spec.resources.requests.get("storage").and_then(|q| quantity::parse(q));
                    bounds(s, &range.key, item, "the claim", "storage", storage, storage, out);
                }
            }
        }
    }
}

/// What one object counts in a quota: by the names of `hard`.
fn counted(o: &Object) -> BTreeMap<String, f64> {
    let mut out = BTreeMap::new();
    let mut add = |name: &str, n: f64| *out.entry(name.to_owned()).or_insert(0.0) += n;
    let pods = match o.kind() {
        "CronJob" => 0,
        "Pod" => 1,
        _ => desired(o),
    } as f64;
    let spec = o.template().map(|t| &t.spec).or(o.as_pod().map(|p| &p.spec));
    if let Some(spec) = spec {
        add("pods", pods);
        add("count/pods", pods);
        for r in COMPUTE {
            add(&format!("requests.{r}"), pods * request(spec, r));
            add(r, pods * request(spec, r));
            add(&format!("limits.{r}"), pods * limit(spec, r));
        }
        let extended = spec.all_containers().flat_map(|c| c.resources.requests.keys()).filter(|k| k.contains('/'));
        for r in extended.collect::<std::collections::BTreeSet<_>>() {
            add(&format!("requests.{r}"), pods * request(spec, r));
        }
    }
    let plural = match o.kind() {
        "NetworkPolicy" => "networkpolicies".to_owned(),
        "Ingress" => "ingresses".to_owned(),
        kind => format!("{}s", kind.to_lowercase()),
    };
    let group = match o.kind() {
        "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" => ".apps",
        "Job" | "CronJob" => ".batch",
        "Ingress" | "NetworkPolicy" => ".networking.k8s.io",
        _ => "",
    };
    if o.kind() != "Pod" {
        add(&format!("count/{plural}{group}"), 1.0);
        add(&plural, 1.0);
    }
    match &o.body {
        Body::Service(s) if s.spec.r#type == "LoadBalancer" => add("services.loadbalancers", 1.0),
        Body::Service(s) if s.spec.r#type == "NodePort" => add("services.nodeports", s.spec.ports.len() as f64),
        Body::Claim(c) => {
            let storage = c.spec.resources.requests.get("storage").and_then(|q| quantity::parse(q)).unwrap_or(0.0);
            add("requests.storage", storage);
            if let Some(class) = &c.spec.storage_class_name {
                add(&format!("{class}.storageclass.storage.k8s.io/requests.storage"), storage);
                add(&format!("{class}.storageclass.storage.k8s.io/persistentvolumeclaims"), 1.0);
            }
        }
        _ => {}
    }
    out
}

fn quotas(b: &Between, out: &mut Vec<Problem>) {
    for q in b.after.world.all("ResourceQuota") {
        let Body::Quota(quota) = &q.body else { continue };
        // What a scope takes in depends on priorities and classes of service; nothing is claimed about it.
        if !quota.spec.scopes.is_empty() {
            continue;
        }
        let here: Vec<&&Step> = b.touched.values().filter(|s| s.object.ns() == q.key.ns()).collect();
        let mut more: BTreeMap<String, f64> = BTreeMap::new();
        for s in &here {
            for (o, sign) in [(&s.after, 1.0), (&s.before, -1.0)] {
                for (k, v) in o.as_ref().map(counted).unwrap_or_default() {
                    *more.entry(k).or_insert(0.0) += sign * v;
                }
            }
        }
        let hard = if quota.spec.hard.is_empty() { &quota.status.hard } else { &quota.spec.hard };
        for (name, hard) in hard {
            let resource =
                name.rsplit_once("requests.").or(name.rsplit_once("limits.")).map_or(name.as_str(), |(_, r)| r);
            let told = |v: f64| amount(resource, v);
            let Some(limit) = quantity::parse(hard) else { continue };
            let delta = more.get(name).copied().unwrap_or(0.0);
            let Some(used) = quota.status.used.get(name).and_then(|u| quantity::parse(u)) else { continue };
            if b.touched.contains_key(&q.key) && used > limit * (1.0 + 1e-9) {
                let says = format!(
                    "{} would allow {} {name}, and {} is used: what runs stays, nothing new is admitted",
                    q.key,
                    told(limit),
                    told(used)
                );
                let p = Problem::new(Severity::Medium, "quota-below-use", &q.key, says).detail(name.as_str());
                out.push(p.when(Effect::NextPod).seen(&q.key, format!("{name}: used {}", told(used))));
            }
            let mut blamed: Vec<&ObjectRef> = Vec::new();
            for s in &here {
                let one =
                    |o: &Option<Object>| o.as_ref().map(counted).and_then(|c| c.get(name).copied()).unwrap_or(0.0);
                if one(&s.after) > one(&s.before) {
                    blamed.push(&s.object);
                }
            }
            let (Some(first), true) = (blamed.first(), delta > 0.0 && used + delta > limit * (1.0 + 1e-9)) else {
                continue;
            };
            let says = format!(
                "{} allows {} {name}, {} is used, and {} more is asked for: admission refuses what goes over",
                q.key,
                told(limit),
                told(used),
                told(delta)
            );
            let p = Problem::new(Severity::High, "quota-exceeded", first, says)
                .because(&q.key)
                .detail(format!("{} {name}", q.key));
            out.push(
                p.hitting(blamed.iter().map(|o| (*o).clone()))
                    .when(Effect::NextPod)
                    .seen(&q.key, format!("{name}: used {} of {}", told(used), told(limit))),
            );
        }
        for s in here.iter().filter(|s| s.rolls()) {
            demanded(b, s, q, hard, out);
        }
    }
}

/// A quota on requests or limits demands that every container says them; a LimitRange may say them for it.
fn demanded(b: &Between, s: &Step, q: &Object, hard: &BTreeMap<String, String>, out: &mut Vec<Problem>) {
    let Some(t) = s.after.as_ref().and_then(Object::template) else { return };
    let ranges: Vec<&LimitItem> = b
        .after
        .world
        .in_namespace("LimitRange", s.object.ns())
        .filter_map(|o| if let Body::LimitRange(l) = &o.body { Some(&l.spec.limits) } else { None })
        .flatten()
        .filter(|i| i.r#type == "Container")
        .collect();
    for name in hard.keys() {
        let (limits, resource) = match name.split_once('.') {
            Some(("limits", r)) => (true, r),
            Some(("requests", r)) => (false, r),
            _ => (false, name.as_str()),
        };
        if !matches!(resource, "cpu" | "memory") {
            continue;
        }
        let given = ranges
            .iter()
            .any(|i| i.default.contains_key(resource) || (!limits && i.default_request.contains_key(resource)));
        let says_it = |c: &&Container| {
            let r = &c.resources;
            r.limits.contains_key(resource) || (!limits && r.requests.contains_key(resource))
        };
        let silent: Vec<&str> = t
            .spec
            .init_containers
            .iter()
            .chain(&t.spec.containers)
            .filter(|c| !says_it(c))
            .map(|c| c.name.as_str())
            .collect();
        if !given && !silent.is_empty() {
            let says = format!(
                "{} demands {name} of every container, and {} of {} says none: no pod can be made",
                q.key,
                silent.join(", "),
                s.object
            );
            out.push(
                Problem::new(Severity::High, "quota-demands", &s.object, says)
                    .because(&q.key)
                    .detail(format!("{} {name}", q.key))
                    .when(Effect::NextPod)
                    .seen(&q.key, format!("limits {name}")),
            );
        }
    }
}

/// One entry of a LimitRange against a pod's template.
fn limits(s: &Step, range: &ObjectRef, item: &LimitItem, spec: &PodSpec, out: &mut Vec<Problem>) {
    let names = item.max.keys().chain(item.min.keys()).collect::<std::collections::BTreeSet<_>>();
    match item.r#type.as_str() {
        "Container" => {
            for c in spec.init_containers.iter().chain(&spec.containers) {
                for r in &names {
                    let own = |of: &BTreeMap<String, String>| of.get(*r).and_then(|q| quantity::parse(q));
                    // As the API fills it in: a limit from the range, a request from the limit.
                    let limit = own(&c.resources.limits).or_else(|| own(&item.default));
                    let stated = own(&c.resources.requests).or_else(|| own(&c.resources.limits));
                    let request = stated.or_else(|| own(&item.default_request)).or(limit);
                    bounds(s, range, item, &format!("container {}", c.name), r, request, limit, out);
                }
            }
        }
        "Pod" => {
            for r in &names {
                bounds(s, range, item, "the pod", r, Some(request(spec, r)), Some(limit(spec, r)), out);
            }
        }
        _ => {}
    }
}

#[allow(clippy::too_many_arguments, reason = "one place, two bounds and two values")]
fn bounds(
    s: &Step,
    range: &ObjectRef,
    item: &LimitItem,
    who: &str,
    resource: &str,
    request: Option<f64>,
    limit: Option<f64>,
    out: &mut Vec<Problem>,
) {
    let bound = |of: &BTreeMap<String, String>| of.get(resource).and_then(|q| quantity::parse(q));
    let told = |v: f64| amount(resource, v);
    let mut broken = |says: String| {
        out.push(
            Problem::new(Severity::High, "limit-range", &s.object, format!("{says}: admission refuses it"))
                .because(range)
                .detail(format!("{range} {who} {resource}"))
                .when(Effect::NextPod)
                .seen(range, format!("{} of {}", item.r#type, resource)),
        );
    };
    if let Some(max) = bound(&item.max) {
        let asked = limit.into_iter().chain(request).fold(0.0, f64::max);
        if asked > max * (1.0 + 1e-9) {
            broken(format!(
                "{range} allows at most {} {resource}, and {who} of {} takes {}",
                told(max),
                s.object,
                told(asked)
            ));
        }
    }
    if let (Some(min), Some(asked)) = (bound(&item.min), request)
        && asked < min * (1.0 - 1e-9)
    {
        broken(format!(
            "{range} demands at least {} {resource}, and {who} of {} asks for {}",
            told(min),
            s.object,
            told(asked)
        ));
    }
}
