//! Pods for which there is no node.

use std::collections::BTreeMap;

use tapio_core::object::{Object, PodSpec, Toleration};
use tapio_core::unified::Severity;

use crate::evaluate::scheduling::{Verdict, feasible};
use crate::read::impact::Effect;
use crate::read::whatif::state::{Runner, State};
use crate::read::whatif::{Between, Problem};

/// Nodes named in one finding.
const MAX_NODES: usize = 8;
/// Pods that are placed one by one.
const MAX_PLACED: i64 = 200;

/// Workloads of the change set whose pods fit nowhere, or not all of them.
pub(super) fn find(b: &Between, state: &State, out: &mut Vec<Problem>) {
    let nodes: Vec<&Object> = state.world.all("Node").collect();
    if nodes.is_empty() {
        return;
    }
    let new_nodes = b.touched.keys().any(|k| k.kind == "Node");
    for r in state.all_runners().filter(|r| r.replicas > 0 && r.spec.node_name.is_empty()) {
        let step = b.touched.get(&r.workload);
        if step.is_none() && !new_nodes {
            continue;
        }
        let own_scheduler = !matches!(r.spec.scheduler_name.as_str(), "" | "default-scheduler");
        if own_scheduler || !r.spec.scheduling_gates.is_empty() {
            continue;
        }
        let spec = with_controller(r);
        // Its own pods make room for the new ones, or are counted among those that it wants.
        let running = running(state, r);
        let found = feasible(&spec, nodes.iter().copied(), &running);
        let effect = if step.is_some() { Effect::Rollout } else { Effect::NextPod };
        let because = |p: Problem| {
            nodes.iter().filter(|n| b.touched.contains_key(&n.key)).fold(p, |p, n| p.because(&n.key)).when(effect)
        };
        if found.iter().any(Verdict::fits) {
            if r.workload.kind != "DaemonSet" {
                let room = placed(&spec, &nodes, running, r.replicas.min(MAX_PLACED));
                if room < r.replicas.min(MAX_PLACED) {
                    let says = format!("there is room for {room} of the {} pods of {}", r.replicas, r.workload);
                    let p = Problem::new(Severity::Medium, "too-little-room", &r.workload, says);
                    out.push(because(p).seen(&r.workload, "what runs on the nodes now stays there"));
                }
            }
            continue;
        }
        let passing = found.iter().any(|v| v.reasons.iter().all(crate::evaluate::scheduling::Reason::passes));
        let says = match passing {
            true => format!("no node has room for a pod of {} now", r.workload),
            false => format!("no node can ever run a pod of {}: it stays Pending", r.workload),
        };
        let mut p = because(Problem::new(Severity::High, "unschedulable", &r.workload, says));
        for v in found.iter().take(MAX_NODES) {
            let why: Vec<String> = v.reasons.iter().map(ToString::to_string).collect();
            let node = tapio_core::object::ObjectRef::cluster_scoped("Node", &v.node);
            p = p.seen(&node, format!("{} {}", v.node, why.join("; ")));
        }
        if found.len() > MAX_NODES {
            p = p.seen(&r.workload, format!("and {} more nodes", found.len() - MAX_NODES));
        }
        out.push(p);
    }
}

/// The template with what its controller adds.
fn with_controller(r: &Runner) -> PodSpec {
    let mut spec = r.spec.clone();
    if r.workload.kind == "DaemonSet" {
        for key in [
            "not-ready",
            "unreachable",
            "disk-pressure",
            "memory-pressure",
            "pid-pressure",
            "unschedulable",
            "network-unavailable",
        ] {
            let key = format!("node.kubernetes.io/{key}");
            spec.tolerations.push(Toleration { key, operator: "Exists".to_owned(), ..Toleration::default() });
        }
    }
    spec
}

/// What runs on which node, without the pods of a workload.
fn running<'s>(state: &'s State, r: &Runner) -> BTreeMap<String, Vec<&'s PodSpec>> {
    let mut out: BTreeMap<String, Vec<&PodSpec>> = BTreeMap::new();
    for p in state.view.pods.values().filter(|p| p.workload != r.workload && !p.pod.is_finished()) {
        if !p.pod.spec.node_name.is_empty() {
            out.entry(p.pod.spec.node_name.clone()).or_default().push(&p.pod.spec);
        }
    }
    out
}

/// How many of so many pods find a node, each in turn the first that fits.
fn placed<'s>(spec: &'s PodSpec, nodes: &[&Object], mut running: BTreeMap<String, Vec<&'s PodSpec>>, most: i64) -> i64 {
    for n in 0..most {
        let found = feasible(spec, nodes.iter().copied(), &running);
        let Some(v) = found.into_iter().find(Verdict::fits) else { return n };
        running.entry(v.node).or_default().push(spec);
    }
    most
}
