//! Known calls that NetworkPolicies would cut.

use tapio_core::object::{Body, ObjectRef, StringMap};
use tapio_core::unified::Severity;

use crate::evaluate::policy::{Denied, End, Flow, PodEnd, Policy, decide};
use crate::read::whatif::state::{Runner, State};
use crate::read::whatif::{Between, Problem};

/// Calls that passed before and do not afterwards.
pub(super) fn find(b: &Between, out: &mut Vec<Problem>) {
    // Policies, labels and ports decide; without a change of any of them nothing is cut.
    let decides = |k: &&ObjectRef| {
        matches!(k.kind.as_str(), "NetworkPolicy" | "Namespace" | "Service" | "Pod")
            || b.touched.get(*k).is_some_and(|s| s.rolls())
    };
    if !b.touched.keys().any(decides) {
        return;
    }
    for ((from, to, port), place) in &b.calls {
        if cut(b.before, from, to, *port).is_some() {
            continue;
        }
        let Some((denied, number, on_host)) = cut(b.after, from, to, *port) else { continue };
        let names: Vec<String> = denied.by.iter().map(ToString::to_string).collect();
        let says = format!(
            "{from} {} call {to}: {} allows no {} on port {number}",
            if b.before.runner(from).is_some() { "can no longer" } else { "cannot" },
            names.join(", "),
            denied.direction.as_str().to_lowercase()
        );
        let p = Problem::new(
            if on_host { Severity::Medium } else { Severity::High },
            "policy-cuts-call",
            &denied.by[0],
            says,
        );
        let p = denied.by.iter().skip(1).fold(p, Problem::because).because(from).because(to);
        let p = p.detail(format!("{from} {to} {port:?}")).hitting([from.clone(), to.clone()]);
        let p = p
            .seen(from, place.as_str())
            .seen(&denied.by[0], format!("by evaluation denies {from} -> {to} port {number}"));
        out.push(match on_host {
            true => p.seen(from, "one end is on its node's network, where many network plugins enforce nothing"),
            false => p,
        });
    }
}

/// The decision that cuts a call off from everybody behind a Service, and the port; none if anybody is reached or nobody
/// is there anyway.
fn cut(state: &State, from: &ObjectRef, to: &ObjectRef, port: Option<i64>) -> Option<(Denied, i64, bool)> {
    let caller = state.runner(from)?;
    let service = state.service(to)?;
    let ports = || service.spec.ports.iter().filter(move |p| port.is_none_or(|n| p.port == n));
    let (here, there) = (state.space(from.ns()), state.space(to.ns()));
    let policies: Vec<Policy> = [from.ns(), to.ns()]
        .iter()
        .enumerate()
        .filter(|(i, ns)| *i == 0 || **ns != from.ns())
        .flat_map(|(_, ns)| state.world.in_namespace("NetworkPolicy", ns))
        .filter_map(|o| match &o.body {
            Body::NetworkPolicy(n) => Some(Policy { key: &o.key, spec: &n.spec }),
            _ => None,
        })
        .collect();
    let mut first = None;
    for r in state.behind(to, service).filter(|r| r.replicas > 0) {
        for p in ports() {
            let Some(number) = r.target(p) else { continue };
            let flow =
                Flow { from: end(caller, &here)?, to: end(r, &there)?, port: number, protocol: Some(p.transport()) };
            let decision = decide(policies.iter().copied(), &flow);
            // A pod that calls its own Service finds itself behind it.
            match decision.denied {
                Some(d) if r.workload != *from => first = first.or(Some((d, number, decision.on_host))),
                _ => return None,
            }
        }
    }
    first
}

/// A workload's pods as one end. After a template's change it is the template's labels that count.
fn end<'a>(r: &'a Runner, namespace_labels: &'a StringMap) -> Option<End<'a>> {
    let labels = r.labels.last()?;
    let pod = PodEnd { namespace: r.workload.ns(), namespace_labels, labels, spec: r.spec };
    Some(End { pod: Some(pod), ip: r.ip })
}
