//! Services without pods, ports without containers, workloads that leave their Service.

use std::collections::BTreeSet;

use tapio_core::object::{IntOrString, Object, ObjectRef, Service};
use tapio_core::ontology::Relation;
use tapio_core::unified::Severity;

use crate::read::impact::Effect;
use crate::read::whatif::state::{Runner, State, protocol};
use crate::read::whatif::{Between, Problem};

/// Services that reach nobody.
pub(super) fn find(state: &State, out: &mut Vec<Problem>) {
    for o in state.world.all("Service") {
        let Some(s) = o.as_service() else { continue };
        if s.spec.selector.is_empty() || s.spec.r#type == "ExternalName" {
            continue;
        }
        let behind: Vec<&Runner> = state.behind(&o.key, s).collect();
        let routes =
            || state.world.into(&o.key, Relation::RoutesTo).into_iter().filter(|e| e.is_live()).map(|e| e.key.clone());
        let pairs: Vec<String> = s.spec.selector.iter().map(|(k, v)| format!("{k}={v}")).collect();
        if behind.is_empty() {
            let says = format!("{} selects {}, and no pod or template has these labels", o.key, pairs.join(","));
            let mut p = Problem::new(Severity::High, "service-selects-nothing", &o.key, says)
                .hitting(routes())
                .with_callers_of(&o.key);
            if let Some((near, label)) = nearest(state, o, s) {
                p = p.because(&near).seen(&near, label);
            }
            out.push(p);
        } else if behind.iter().all(|r| r.replicas == 0) {
            let names: Vec<String> = behind.iter().map(|r| r.workload.to_string()).collect();
            let says = format!("{} has no pod left: {} wants none", o.key, names.join(", "));
            let p = Problem::new(Severity::High, "service-scaled-to-zero", &o.key, says)
                .hitting(routes())
                .with_callers_of(&o.key);
            let workloads: Vec<ObjectRef> = behind.iter().map(|r| r.workload.clone()).collect();
            out.push(workloads.iter().fold(p, |p, w| p.because(w).seen(w, "wants 0 pods")));
        } else {
            ports(o, s, &behind, out);
        }
    }
}

/// The workload whose labels come nearest to a selector, and how they differ.
fn nearest(state: &State, o: &Object, s: &Service) -> Option<(ObjectRef, String)> {
    let mut best: Option<(usize, ObjectRef, String)> = None;
    for r in state.runners(o.key.ns()) {
        let Some(labels) = r.labels.first() else { continue };
        // Of several alike the one of the same name is meant most likely.
        let alike = s.spec.selector.iter().filter(|(k, v)| labels.get(*k) == Some(v)).count();
        let hits = 2 * alike + usize::from(r.workload.name == o.key.name);
        let same_key = s.spec.selector.keys().filter(|k| labels.contains_key(*k)).count();
        if same_key > 0 && best.as_ref().is_none_or(|(n, ..)| hits > *n) {
            let differs: Vec<String> = s
                .spec
                .selector
                .iter()
                .filter(|(k, v)| labels.get(*k) != Some(v))
                .map(|(k, _)| labels.get(k).map_or(format!("no {k}"), |v| format!("{k}={v}")))
                .collect();
            best =
                Some((hits, r.workload.clone(), format!("the nearest is {}, with {}", r.workload, differs.join(","))));
        }
    }
    best.map(|(_, w, text)| (w, text))
}

/// Ports on which nobody listens, as far as containers declare them.
fn ports(o: &Object, s: &Service, behind: &[&Runner], out: &mut Vec<Problem>) {
    for port in &s.spec.ports {
        let told = port.target_port.as_ref().map_or_else(|| port.port.to_string(), ToString::to_string);
        let workloads = behind.iter().map(|r| r.workload.clone());
        let detail = format!("{} {told} {}", port.port, port.transport());
        if let Some(IntOrString::Str(name)) = &port.target_port {
            let lacking: Vec<&&Runner> = behind.iter().filter(|r| r.target(port).is_none()).collect();
            for r in &lacking {
                let all =
                    if lacking.len() == behind.len() { "nobody answers there" } else { "its pods get no traffic" };
                let says = format!(
                    "{} port {} leads to port `{name}`, which no container of {} has: {all}",
                    o.key, port.port, r.workload
                );
                out.push(
                    Problem::new(Severity::High, "target-port-missing", &o.key, says)
                        .because(&r.workload)
                        .detail(format!("{detail} {}", r.workload))
                        .hitting([r.workload.clone()])
                        .seen(&r.workload, declared(r)),
                );
            }
            continue;
        }
        let declares = |r: &&Runner| r.spec.all_containers().any(|c| !c.ports.is_empty());
        let has = |r: &&Runner| {
            let number = r.target(port);
            r.spec
                .all_containers()
                .flat_map(|c| &c.ports)
                .any(|c| Some(c.container_port) == number && protocol(&c.protocol) == port.transport())
        };
        // Containers need not declare their ports; one that declares others only is worth a look.
        if behind.iter().all(declares) && !behind.iter().any(has) {
            let says = format!(
                "{} port {} leads to {} port {told}, which no container behind it declares",
                o.key,
                port.port,
                port.transport()
            );
            let p = Problem::new(Severity::Medium, "target-port-undeclared", &o.key, says)
                .detail(detail)
                .hitting(workloads);
            out.push(behind.iter().fold(p, |p, r| p.because(&r.workload).seen(&r.workload, declared(r))));
        }
    }
}

fn declared(r: &Runner) -> String {
    let all: Vec<String> = r
        .spec
        .all_containers()
        .flat_map(|c| &c.ports)
        .map(|p| {
            format!(
                "{}{}/{}",
                if p.name.is_empty() { String::new() } else { format!("{}=", p.name) },
                p.container_port,
                protocol(&p.protocol)
            )
        })
        .collect();
    if all.is_empty() { "declares no port".to_owned() } else { format!("declares {}", all.join(", ")) }
}

/// Workloads that a Service loses while others stay behind it, and calls that lead nowhere any more.
pub(super) fn lost(b: &Between, out: &mut Vec<Problem>) {
    for o in b.before.world.all("Service") {
        let Some(old) = o.as_service() else { continue };
        let Some(new) = b.after.service(&o.key) else { continue };
        let left: BTreeSet<&ObjectRef> = b.after.behind(&o.key, new).map(|r| &r.workload).collect();
        for r in b.before.behind(&o.key, old) {
            // One that goes as a whole is meant to; an empty Service is told of by itself.
            if left.is_empty() || left.contains(&r.workload) || b.after.runner(&r.workload).is_none() {
                continue;
            }
            let others: Vec<String> = left.iter().map(ToString::to_string).collect();
            let says =
                format!("{} no longer selects {}; its traffic goes to {} alone", o.key, r.workload, others.join(", "));
            out.push(
                Problem::new(Severity::High, "service-loses-workload", &r.workload, says)
                    .because(&o.key)
                    .detail(o.key.to_string())
                    .hitting([o.key.clone()])
                    .when(if b.touched.contains_key(&o.key) { Effect::AtOnce } else { Effect::Rollout }),
            );
        }
    }
    if !b.touched.keys().any(|k| matches!(k.kind.as_str(), "Service" | "Namespace")) {
        return;
    }
    for ((from, to, port), place) in &b.calls {
        let (old, new) = (b.before.service(to), b.after.service(to));
        let p = match (old, new) {
            (Some(_), None) => {
                Problem::new(Severity::High, "call-without-service", to, format!("{from} calls {to}, which goes"))
            }
            (Some(old), Some(new)) => {
                let has = |s: &Service| port.is_none_or(|p| s.spec.ports.iter().any(|x| x.port == p));
                let says = format!("{from} calls {to} on port {}, which goes", port.unwrap_or_default());
                if !has(old) || has(new) {
                    continue;
                }
                Problem::new(Severity::High, "call-without-port", to, says)
            }
            _ => continue,
        };
        out.push(p.detail(format!("{from} {port:?}")).hitting([from.clone()]).seen(from, place.as_str()));
    }
}
