//! Pods without a node: the scheduler's own count of reasons, checked against pod and nodes.

use std::sync::LazyLock;

use regex::Regex;
use tapio_core::object::{Node, Object, ObjectRef, PodSpec, Taint, Toleration, is_subset, quantity};
use tapio_core::time::MINUTE;

use super::{kubectl, manual};
use crate::diagnosis::hypothesis::{Hypothesis, Proof};
use crate::diagnosis::symptom::{Symptom, Trouble};
use crate::diagnosis::view::{PodFacts, View};
use crate::evaluate::scheduling::{affinity_matches, request, required_affinity, selector_matches, tolerated};

manual! {
    /// No feasible node has the CPU that the pod requests.
    ///
    /// Required: a pod that the scheduler calls unschedulable for "Insufficient cpu" on the nodes that nothing else rules out.
    /// Supports: the request is larger than any node's allocatable CPU; the request was raised in this revision.
    /// Refuted by: another reason rules out every node.
    /// Do: lower the request, or add a node.
    "insufficient-cpu": Recorded [Unscheduled];
    /// No feasible node has the memory that the pod requests.
    ///
    /// Required: a pod that the scheduler calls unschedulable for "Insufficient memory" on the nodes that nothing else rules out.
    /// Supports: the request is larger than any node's allocatable memory; the request was raised in this revision.
    /// Refuted by: another reason rules out every node.
    /// Do: lower the request, or add a node.
    "insufficient-memory": Recorded [Unscheduled];
    /// No feasible node has the pod slots, ephemeral storage or extended resource.
    ///
    /// Required: "Too many pods", "Insufficient ephemeral-storage" or another "Insufficient …" on the remaining nodes.
    /// Refuted by: another reason rules out every node.
    /// Do: lower the request, or add a node that has the resource.
    "insufficient-other-resource": CapturedText [Unscheduled];
    /// Every feasible node is marked unschedulable.
    ///
    /// Required: "were unschedulable" for the nodes that the pod could use, and such nodes cordoned.
    /// Supports: the cordon is younger than the pod's wait.
    /// Refuted by: only nodes that the pod could not use anyway are cordoned.
    /// Do: uncordon the node.
    "node-cordoned": Recorded [Unscheduled];
    /// A taint on the feasible nodes is not tolerated by the pod.
    ///
    /// Required: "had untolerated taint" for the nodes that the pod could use.
    /// Supports: the taint is younger than the pod's wait.
    /// Refuted by: only control-plane nodes are tainted, and another reason rules out the rest.
    /// Do: remove the taint, or add a toleration.
    "node-taint-not-tolerated": Recorded [Unscheduled];
    /// No node has the labels of the pod's nodeSelector.
    ///
    /// Required: "didn't match Pod's node affinity/selector", and a nodeSelector that no node satisfies.
    /// Supports: the selector or the nodes' labels changed.
    /// Refuted by: a node has the labels.
    /// Do: correct the nodeSelector, or label a node.
    "node-selector-unsatisfied": Recorded [Unscheduled];
    /// No node satisfies the required node affinity.
    ///
    /// Required: "didn't match Pod's node affinity", and a required node affinity that no node satisfies.
    /// Refuted by: a node satisfies it.
    /// Do: correct the affinity, or label a node.
    "node-affinity-unsatisfied": Recorded [Unscheduled];
    /// Required pod anti-affinity leaves no node.
    ///
    /// Required: "didn't match pod anti-affinity rules" (or "existing pods anti-affinity") for the remaining nodes.
    /// Refuted by: another reason rules out every node.
    /// Do: fewer replicas than nodes, or preferred instead of required anti-affinity.
    "pod-anti-affinity-unsatisfied": Recorded [Unscheduled];
    /// A topology spread constraint leaves no node.
    ///
    /// Required: "didn't match pod topology spread constraints" for the remaining nodes.
    /// Refuted by: another reason rules out every node.
    /// Do: relax the constraint, or add a node in the missing zone.
    "topology-spread-unsatisfied": CapturedText [Unscheduled];
    /// The hostPort is taken on every feasible node.
    ///
    /// Required: "didn't have free ports for the requested pod ports".
    /// Refuted by: another reason rules out every node.
    /// Do: drop the hostPort, or run fewer replicas than nodes.
    "host-port-conflict": Recorded [Unscheduled];
    /// A pod of higher priority took the place.
    ///
    /// Required: a "Preempted" Event on the pod that is gone or waits.
    /// Refuted by: the pod runs again.
    /// Do: give the workload a priority of its own, or add capacity.
    "pod-preempted": CapturedText [Unscheduled];
}

/// One reason of a scheduling failure, with the number of nodes it rules out.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Reason {
    nodes: i64,
    text: String,
}

static HEAD: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"\d+/(\d+) nodes are available:\s*(.*)").ok());

/// The reasons of "0/4 nodes are available: 1 …, 3 …. preemption: …".
fn reasons(message: &str) -> Vec<Reason> {
    let Some(c) = HEAD.as_ref().and_then(|r| r.captures(message)) else { return Vec::new() };
    let all: i64 = c[1].parse().unwrap_or(0);
    // A full stop ends the reasons; then come preemption and, since 1.34, what became of devices.
    let body = c[2].split(". ").next().unwrap_or("").trim_end_matches('.');
    let mut out: Vec<Reason> = Vec::new();
    // Commas separate reasons, and stand inside `taint {a: b}` too.
    let mut depth = 0;
    let mut part = String::new();
    for ch in body.chars().chain([',']) {
        match ch {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if ch == ',' && depth <= 0 {
            let p = part.trim();
            let (n, text) = p.split_once(' ').map_or((None, p), |(n, t)| (n.parse().ok(), t));
            if !p.is_empty() {
                let text = if n.is_some() { text } else { p };
                out.push(Reason { nodes: n.unwrap_or(all), text: text.to_owned() });
            }
            part.clear();
        } else {
            part.push(ch);
        }
    }
    out
}

/// The mechanism of a reason's text; none for volume reasons, which other families read.
fn mechanism(text: &str) -> Option<&'static str> {
    let has = |w: &str| text.contains(w);
    Some(if has("Insufficient cpu") {
        "insufficient-cpu"
    } else if has("Insufficient memory") {
        "insufficient-memory"
    } else if has("Insufficient ") || has("Too many pods") {
        "insufficient-other-resource"
    } else if has("untolerated taint") || has("had taint") {
        "node-taint-not-tolerated"
    } else if has("were unschedulable") {
        "node-cordoned"
    } else if has("node affinity") || has("node selector") {
        "node-affinity-unsatisfied"
    } else if has("anti-affinity") || has("pod affinity") {
        "pod-anti-affinity-unsatisfied"
    } else if has("topology spread") {
        "topology-spread-unsatisfied"
    } else if has("free ports") {
        "host-port-conflict"
    } else {
        return None;
    })
}

/// Pods that the scheduler cannot place.
pub fn find(view: &View, symptoms: &[Symptom], out: &mut Vec<Hypothesis>) {
    for s in symptoms.iter().filter(|s| s.trouble == Trouble::Unscheduled) {
        let Some(p) = view.pods.get(&s.object) else { continue };
        let Some(condition) = p.pod.condition("PodScheduled") else { continue };
        let note = p.notes(&["FailedScheduling"]).next_back();
        let mut said = reasons(&condition.message);
        if said.is_empty() {
            said = note.map(|n| reasons(&n.message)).unwrap_or_default();
        }
        if said.iter().any(|r| {
            r.text.contains("persistentvolume")
                || r.text.contains("PersistentVolume")
                || r.text.contains("persistent volumes")
                || r.text.contains("volume node affinity")
        }) {
            continue;
        }
        let nodes: Vec<&Object> = view.world.all("Node").collect();
        let Some((id, why)) = decide(view, p, &said, &nodes) else { continue };
        if id.starts_with("insufficient")
            && let Some(h) = preempted(view, p, s)
        {
            out.push(h);
            continue;
        }
        let (root, mut changes) = root_of(view, p, id, &nodes);
        let asked = asked(&p.pod.spec, id);
        let summary = format!("{} has no node: {why}{asked}", p.workload);
        let mut h = Hypothesis::new(id, root.clone(), s.since, Proof::Stated, summary)
            .explaining([s.object.clone()])
            .counting_from(s.counts_from)
            .via(if id.starts_with("insufficient") { "capacity" } else { "placement" })
            .with([view.state(&s.object, Some(s.since), format!("PodScheduled=False: {}", condition.message))]);
        if root.kind == "Node" {
            // What runs there runs on.
            h = h.explaining_only([s.object.clone(), p.workload.clone()]);
        }
        if let Some(n) = note {
            h = h.with([view.noted(&s.object, n)]);
        }
        if let Some((_, diff)) = view.last_template_change(&p.workload) {
            let words: &[&str] = match id {
                "insufficient-cpu" | "insufficient-memory" | "insufficient-other-resource" => &["resources"],
                "host-port-conflict" => &["ports", "hostNetwork"],
                "node-taint-not-tolerated" => &["tolerations"],
                _ => &["nodeSelector", "affinity", "topologySpread", "nodeName"],
            };
            changes.extend(diff.into_iter().filter(|c| words.iter().any(|w| c.field.contains(w))));
        }
        if !changes.is_empty() {
            h = h.supported(1).changed(changes);
        }
        let fits = nodes.iter().find(|n| feasible(p, n, &nodes, view));
        h = h.doubted(u32::from(
            fits.is_some()
                && id != "pod-anti-affinity-unsatisfied"
                && id != "topology-spread-unsatisfied"
                && id != "host-port-conflict",
        ));
        h = h.unless("a node without any of these obstacles exists", false);
        let next = if root.kind == "Node" && id == "node-cordoned" {
            format!("kubectl uncordon {}", root.name)
        } else {
            kubectl("describe", &s.object)
        };
        out.push(h.next(next));
    }
}

/// A pod that follows one which had to make way, and finds no place itself: who took the place is the cause.
fn preempted(view: &View, p: &PodFacts, s: &Symptom) -> Option<Hypothesis> {
    let (victim, note) = view
        .world
        .entries("Pod")
        .filter_map(|e| Some((&e.key, e.history.notes.iter().rfind(|n| n.reason == "Preempted")?)))
        .filter(|(key, n)| {
            view.age(n.last) < 1_800
                && n.last <= s.since.plus(MINUTE)
                && (*key == p.key() || view.world.workload_of(key) == p.workload)
        })
        .max_by_key(|(_, n)| n.last)?;
    let by = preemptor(&note.message)?;
    let taker = view.pods.values().find(|o| o.object.meta.uid == by || o.key().path() == by);
    let root = taker.map_or_else(|| p.workload.clone(), |t| t.workload.clone());
    let who = taker.map_or_else(|| format!("pod {by}"), |t| t.workload.to_string());
    let mut h = Hypothesis::new(
        "pod-preempted",
        root,
        note.first.min(s.since),
        Proof::Stated,
        format!("{who} has the higher priority and took the place of {victim}; {} finds no other", p.workload),
    )
    .explaining([s.object.clone(), p.workload.clone()])
    .counting_from(s.counts_from)
    .via("capacity")
    .supported(u32::from(taker.is_some()))
    .with([view.noted(victim, note), view.state(&s.object, Some(s.since), s.says.clone())])
    .unless("the pod runs again", false)
    .next(kubectl("describe", &s.object));
    if let Some(t) = taker {
        let priority = |o: &PodFacts| o.pod.spec.priority;
        let text = format!("priority {} against {} of {}", priority(t), priority(p), p.workload);
        h = h.with([view.state(t.key(), None, text)]);
    }
    Some(h)
}

/// Who took the place, by the scheduler's words: the pod's uid, before 1.27 its namespace and name.
fn preemptor(text: &str) -> Option<&str> {
    let rest = text.strip_prefix("Preempted by ")?;
    let rest = rest.strip_prefix("pod ").or_else(|| rest.strip_prefix("a pod")).unwrap_or(rest);
    rest.split_whitespace().next().filter(|w| *w != "on")
}

/// Which of the reasons is the one to act on: obstacles that stand for other pods too (a control-plane taint, a node
/// cordoned long ago) rule out their nodes; what rules out the rest decides.
fn decide(view: &View, p: &PodFacts, said: &[Reason], nodes: &[&Object]) -> Option<(&'static str, String)> {
    let known: Vec<(&'static str, &Reason)> = said.iter().filter_map(|r| mechanism(&r.text).map(|m| (m, r))).collect();
    if known.is_empty() {
        return None;
    }
    let standing = |id: &str, r: &Reason| match id {
        "node-taint-not-tolerated" => {
            r.text.contains("node-role.kubernetes.io/") || only_control_plane_tainted(nodes, &p.pod.spec.tolerations)
        }
        "node-cordoned" => cordoned_before(view, p, nodes).is_none(),
        // A node that satisfies what the pod asks for: the selector only narrows the choice.
        "node-affinity-unsatisfied" => nodes.iter().any(|n| selector_matches(&p.pod.spec, n)),
        _ => false,
    };
    let mut acting: Vec<&(&'static str, &Reason)> = known.iter().filter(|(id, r)| !standing(id, r)).collect();
    if acting.is_empty() {
        acting = known.iter().collect();
    }
    // What rules out most nodes; for equal counts what the pod itself asks for before what the nodes lack.
    let weight = |id: &str| match id {
        "node-affinity-unsatisfied" => 5,
        "node-cordoned" | "node-taint-not-tolerated" => 4,
        "host-port-conflict" => 3,
        "pod-anti-affinity-unsatisfied" | "topology-spread-unsatisfied" => 2,
        _ => 1,
    };
    let (id, r) = acting.into_iter().max_by_key(|(id, r)| (r.nodes, weight(id)))?;
    let id = if *id == "node-affinity-unsatisfied" { selector_or_affinity(&p.pod.spec, nodes) } else { id };
    Some((id, r.text.clone()))
}

fn only_control_plane_tainted(nodes: &[&Object], tolerations: &[Toleration]) -> bool {
    nodes.iter().filter_map(|o| o.as_node().map(|n| (o, n))).all(|(o, n)| {
        n.spec
            .taints
            .iter()
            .filter(|t| t.effect != "PreferNoSchedule")
            .all(|t| tolerated(t, tolerations) || is_control_plane(o) || t.key == "node.kubernetes.io/unschedulable")
    })
}

fn is_control_plane(o: &Object) -> bool {
    o.meta.labels.keys().any(|k| k == "node-role.kubernetes.io/control-plane" || k == "node-role.kubernetes.io/master")
        || o.meta.labels.get("kubernetes.io/role").is_some_and(|r| r == "master")
}

/// A cordoned node on which the pod could otherwise run and that is no control-plane node; none if there is no such.
fn cordoned_before(view: &View, p: &PodFacts, nodes: &[&Object]) -> Option<ObjectRef> {
    let cordoned: Vec<&&Object> = nodes.iter().filter(|o| o.as_node().is_some_and(|n| n.spec.unschedulable)).collect();
    let changed = cordoned.iter().find(|o| view.changes(&o.key).iter().any(|c| c.change.field == "spec.unschedulable"));
    let worker = cordoned.iter().find(|o| !is_control_plane(o) && selector_matches(&p.pod.spec, o));
    changed.or(worker).map(|o| o.key.clone())
}

fn selector_or_affinity(spec: &PodSpec, nodes: &[&Object]) -> &'static str {
    let selector =
        !spec.node_selector.is_empty() && !nodes.iter().any(|n| is_subset(&spec.node_selector, &n.meta.labels));
    let affinity = required_affinity(spec).is_some_and(|a| !nodes.iter().any(|n| affinity_matches(a, n)));
    match (selector, affinity) {
        (true, _) => "node-selector-unsatisfied",
        (_, true) => "node-affinity-unsatisfied",
        _ if spec.node_selector.is_empty() => "node-affinity-unsatisfied",
        _ => "node-selector-unsatisfied",
    }
}

/// Whether our own filter finds the node feasible: selector, affinity, cordon, taints, CPU, memory.
fn feasible(p: &PodFacts, node: &Object, _all: &[&Object], view: &View) -> bool {
    let Some(n) = node.as_node() else { return false };
    let hard = |t: &Taint| t.effect == "NoSchedule" || t.effect == "NoExecute";
    if n.spec.unschedulable
        || !selector_matches(&p.pod.spec, node)
        || n.spec.taints.iter().any(|t| hard(t) && !tolerated(t, &p.pod.spec.tolerations))
    {
        return false;
    }
    ["cpu", "memory"].iter().all(|r| free(view, node, n, r).is_none_or(|free| request(&p.pod.spec, r) <= free))
}

fn free(view: &View, node: &Object, n: &Node, resource: &str) -> Option<f64> {
    let allocatable = n.status.allocatable.get(resource).and_then(|q| quantity::parse(q))?;
    let used: f64 = view
        .pods
        .values()
        .filter(|p| p.pod.spec.node_name == node.key.name && !p.pod.is_finished())
        .map(|p| request(&p.pod.spec, resource))
        .sum();
    Some(allocatable - used)
}

fn asked(spec: &PodSpec, id: &str) -> String {
    match id {
        "insufficient-cpu" => format!(" (it requests {} cores)", (request(spec, "cpu") * 1000.0).round() / 1000.0),
        "insufficient-memory" => format!(" (it requests {} MiB)", (request(spec, "memory") / 1_048_576.0).round()),
        "node-selector-unsatisfied" => {
            let pairs: Vec<String> = spec.node_selector.iter().map(|(k, v)| format!("{k}={v}")).collect();
            format!(" (it wants {})", pairs.join(","))
        }
        _ => String::new(),
    }
}

/// The node, if it was the node that changed; else the waiting workload.
fn root_of(
    view: &View,
    p: &PodFacts,
    id: &str,
    nodes: &[&Object],
) -> (ObjectRef, Vec<tapio_core::answer::FieldChange>) {
    let field = match id {
        "node-cordoned" => "spec.unschedulable",
        "node-taint-not-tolerated" => "spec.taints",
        _ => return (p.workload.clone(), Vec::new()),
    };
    for n in nodes {
        let changes: Vec<_> = view
            .changes(&n.key)
            .iter()
            .filter(|c| c.change.field.starts_with(field))
            .map(|c| c.change.clone())
            .collect();
        if !changes.is_empty() {
            return (n.key.clone(), changes);
        }
    }
    if id == "node-cordoned"
        && let Some(n) = cordoned_before(view, p, nodes)
    {
        return (n, Vec::new());
    }
    (p.workload.clone(), Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheduler_says_who_took_the_place() {
        for (text, want) in [
            (
                "Preempted by pod 1d891e09-6a0f-4a3b-b4d2-7f3f0f5c2a11 on node node-a",
                Some("1d891e09-6a0f-4a3b-b4d2-7f3f0f5c2a11"),
            ),
            ("Preempted by shop/risk-7c9 on node node-a", Some("shop/risk-7c9")),
            // For pods of other users nobody is named.
            ("Preempted by a pod on node node-a", None),
            ("Preemption is not helpful for scheduling", None),
        ] {
            assert_eq!(preemptor(text), want, "{text}");
        }
    }

    #[test]
    fn reasons_are_split_with_their_node_counts() {
        let said = reasons(
            "0/4 nodes are available: 1 node(s) had untolerated taint {a: b, c}, 3 Insufficient cpu. preemption: 0/4 nodes are available: 1 Preemption is not helpful for scheduling, 3 No preemption victims found for incoming pod.",
        );
        assert_eq!(
            said,
            [
                Reason { nodes: 1, text: "node(s) had untolerated taint {a: b, c}".into() },
                Reason { nodes: 3, text: "Insufficient cpu".into() }
            ]
        );
        // 1.34.
        let said = reasons(
            "0/1 nodes are available: 1 node(s) were unschedulable. no new claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.",
        );
        assert_eq!(said, [Reason { nodes: 1, text: "node(s) were unschedulable".into() }]);
        assert_eq!(reasons("0/1 nodes are available: persistentvolumeclaim \"x\" not found.")[0].nodes, 1);
    }
}
