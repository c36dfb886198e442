//! On which nodes a pod could run, and why not on the others: the scheduler's filters, as far as objects tell.
//!
//! Looked at: cordon, nodeSelector, required node affinity, taints, host ports, pod slots, and every resource that is
//! requested against what is allocatable and what runs there. Not looked at: pod affinity, spread, volumes' topology.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use tapio_core::object::{
    Container, Node, NodeSelector, Object, PodSpec, StringMap, Taint, Toleration, is_subset, quantity,
};

/// Why a pod cannot run on a node.
#[derive(Clone, Debug, PartialEq)]
pub enum Reason {
    /// The node is marked unschedulable.
    Cordoned,
    /// The node lacks labels of the nodeSelector; here are those.
    Selector(Vec<String>),
    /// No term of the required node affinity holds.
    Affinity,
    /// A taint that the pod does not tolerate.
    Taint(String),
    /// More is requested than the node has at all.
    TooLarge {
        /// Which resource.
        resource: String,
        /// Requested, in base units.
        asked: f64,
        /// Allocatable, in base units.
        allocatable: f64,
    },
    /// More is requested than is left.
    Insufficient {
        /// Which resource.
        resource: String,
        /// Requested, in base units.
        asked: f64,
        /// Left, in base units.
        free: f64,
    },
    /// The node has all the pods that it may have.
    TooManyPods,
    /// A pod there has the port of the host.
    HostPort(i64),
}

impl Reason {
    /// Whether it depends on what runs there now, so that it may pass by itself.
    pub fn passes(&self) -> bool {
        matches!(self, Reason::Insufficient { .. } | Reason::TooManyPods | Reason::HostPort(_) | Reason::Cordoned)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Cordoned => f.write_str("is cordoned"),
            Reason::Selector(missing) => write!(f, "lacks the label {}", missing.join(", ")),
            Reason::Affinity => f.write_str("does not satisfy the required node affinity"),
            Reason::Taint(t) => write!(f, "has the taint {t}, which is not tolerated"),
            Reason::TooLarge { resource, asked, allocatable } => {
                let (a, b) = (amount(resource, *asked), amount(resource, *allocatable));
                write!(f, "has {b} {resource} in all, {a} requested")
            }
            Reason::Insufficient { resource, asked, free } => {
                let (a, b) = (amount(resource, *asked), amount(resource, free.max(0.0)));
                write!(f, "has {b} {resource} left, {a} requested")
            }
            Reason::TooManyPods => f.write_str("has no pod slot left"),
            Reason::HostPort(p) => write!(f, "has host port {p} taken"),
        }
    }
}

/// An amount of a resource as people write it.
pub fn amount(resource: &str, base: f64) -> String {
    let bytes = resource.contains("memory") || resource.contains("storage") || resource.starts_with("hugepages-");
    if resource.ends_with("cpu") {
        return match base {
            b if (b - b.round()).abs() < 1e-9 => format!("{b:.0}"),
            b => format!("{:.0}m", b * 1000.0),
        };
    }
    if bytes {
        let (mib, gib) = (base / 1_048_576.0, base / 1_073_741_824.0);
        return if gib >= 10.0 || (gib >= 1.0 && (gib - gib.round()).abs() < 1e-9) {
            format!("{gib:.0}Gi")
        } else {
            format!("{mib:.0}Mi")
        };
    }
    format!("{base:.0}")
}

/// What was found out about one node.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// Name of the node.
    pub node: String,
    /// Why not; empty: the pod can run there.
    pub reasons: Vec<Reason>,
}

impl Verdict {
    /// Whether the pod can run there.
    pub fn fits(&self) -> bool {
        self.reasons.is_empty()
    }
}

/// Judges every node for a pod, in the order given. `running`: pods that hold resources, by the name of their node.
pub fn feasible<'a>(
    spec: &PodSpec,
    nodes: impl IntoIterator<Item = &'a Object>,
    running: &BTreeMap<String, Vec<&PodSpec>>,
) -> Vec<Verdict> {
    let wanted = requests(spec);
    let ports = host_ports(spec);
    nodes
        .into_iter()
        .filter_map(|o| o.as_node().map(|n| (o, n)))
        .map(|(o, n)| {
            let there = running.get(&o.key.name).map(Vec::as_slice).unwrap_or_default();
            let mut reasons = standing(spec, o, n);
            reasons.extend(ports.iter().find_map(|p| {
                there.iter().any(|s| host_ports(s).iter().any(|q| collide(p, q))).then_some(Reason::HostPort(p.2))
            }));
            reasons.extend(room(&wanted, n, there));
            Verdict { node: o.key.name.clone(), reasons }
        })
        .collect()
}

/// What speaks against a node whatever runs there.
fn standing(spec: &PodSpec, o: &Object, n: &Node) -> Vec<Reason> {
    let mut out = Vec::new();
    // The cordon is a taint, too, and can be tolerated as one.
    let cordon = Taint {
        key: "node.kubernetes.io/unschedulable".to_owned(),
        effect: "NoSchedule".to_owned(),
        ..Taint::default()
    };
    if n.spec.unschedulable && !tolerated(&cordon, &spec.tolerations) {
        out.push(Reason::Cordoned);
    }
    let missing: Vec<String> = spec
        .node_selector
        .iter()
        .filter(|(k, v)| o.meta.labels.get(*k) != Some(v))
        .map(|(k, v)| format!("{k}={v}"))
        .collect();
    if !missing.is_empty() {
        out.push(Reason::Selector(missing));
    }
    if required_affinity(spec).is_some_and(|a| !affinity_matches(a, o)) {
        out.push(Reason::Affinity);
    }
    let hard = |t: &&Taint| t.effect == "NoSchedule" || t.effect == "NoExecute";
    let taints = n.spec.taints.iter().filter(hard).filter(|t| t.key != cordon.key);
    out.extend(taints.filter(|t| !tolerated(t, &spec.tolerations)).map(|t| {
        let value = if t.value.is_empty() { String::new() } else { format!("={}", t.value) };
        Reason::Taint(format!("{}{value}:{}", t.key, t.effect))
    }));
    out
}

/// Resources and pod slots. What a node does not report is not held against the pod, but for extended resources.
fn room(wanted: &BTreeMap<String, f64>, n: &Node, there: &[&PodSpec]) -> Vec<Reason> {
    let mut out = Vec::new();
    let slots = n.status.allocatable.get("pods").and_then(|q| quantity::parse(q));
    if slots.is_some_and(|s| there.len() as f64 + 1.0 > s) {
        out.push(Reason::TooManyPods);
    }
    // A node without any figures was not reported in full.
    if n.status.allocatable.is_empty() {
        return out;
    }
    for (resource, asked) in wanted.iter().filter(|(_, a)| **a > 0.0) {
        let reported = n.status.allocatable.get(resource).and_then(|q| quantity::parse(q));
        let extended = resource.contains('/') || resource.starts_with("hugepages-");
        let Some(allocatable) = reported.or(extended.then_some(0.0)) else { continue };
        let used: f64 = there.iter().map(|s| request(s, resource)).sum();
        let slack = allocatable.abs() * 1e-9;
        if *asked > allocatable + slack {
            out.push(Reason::TooLarge { resource: resource.clone(), asked: *asked, allocatable });
        } else if *asked > allocatable - used + slack {
            out.push(Reason::Insufficient { resource: resource.clone(), asked: *asked, free: allocatable - used });
        }
    }
    out
}

/// Address, protocol and number of every host port; on the host's network every port is one.
fn host_ports(spec: &PodSpec) -> BTreeSet<(String, String, i64)> {
    let of = |c: &Container| {
        let ports = c.ports.iter().map(|p| {
            let number = if spec.host_network && p.host_port == 0 { p.container_port } else { p.host_port };
            let protocol = if p.protocol.is_empty() { "TCP" } else { &p.protocol };
            (p.host_ip.clone(), protocol.to_owned(), number)
        });
        ports.filter(|p| p.2 > 0).collect::<Vec<_>>()
    };
    let sidecars = spec.init_containers.iter().filter(|c| c.restart_policy == "Always");
    spec.containers.iter().chain(sidecars).flat_map(of).collect()
}

fn collide(a: &(String, String, i64), b: &(String, String, i64)) -> bool {
    let every = |ip: &str| matches!(ip, "" | "0.0.0.0" | "::");
    a.1 == b.1 && a.2 == b.2 && (a.0 == b.0 || every(&a.0) || every(&b.0))
}

/// Whether a node has the labels of the nodeSelector and satisfies the required affinity.
pub fn selector_matches(spec: &PodSpec, node: &Object) -> bool {
    is_subset(&spec.node_selector, &node.meta.labels)
        && required_affinity(spec).is_none_or(|a| affinity_matches(a, node))
}

/// The node affinity that must hold.
pub fn required_affinity(spec: &PodSpec) -> Option<&NodeSelector> {
    spec.affinity.as_ref()?.node_affinity.as_ref()?.required_during_scheduling_ignored_during_execution.as_ref()
}

/// Whether a node satisfies one of the terms. An empty term matches no node.
pub fn affinity_matches(selector: &NodeSelector, node: &Object) -> bool {
    let fields: StringMap = [("metadata.name".to_owned(), node.key.name.clone())].into();
    selector.node_selector_terms.iter().any(|t| {
        !(t.match_expressions.is_empty() && t.match_fields.is_empty())
            && t.match_expressions.iter().all(|e| e.matches(&node.meta.labels))
            && t.match_fields.iter().all(|e| e.matches(&fields))
    })
}

/// Whether a taint is tolerated.
pub fn tolerated(t: &Taint, tolerations: &[Toleration]) -> bool {
    tolerations.iter().any(|x| {
        let key = x.key.is_empty() && x.operator == "Exists" || x.key == t.key;
        let effect = x.effect.is_empty() || x.effect == t.effect;
        let value = x.operator == "Exists" || x.value == t.value;
        key && effect && value
    })
}

/// Everything that a pod requests, in base units.
pub fn requests(spec: &PodSpec) -> BTreeMap<String, f64> {
    let of = |c: &Container| c.resources.requests.keys().chain(c.resources.limits.keys()).cloned().collect::<Vec<_>>();
    let names: BTreeSet<String> = spec.containers.iter().chain(&spec.init_containers).flat_map(of).collect();
    names.into_iter().chain(spec.overhead.keys().cloned()).map(|r| (r.clone(), request(spec, &r))).collect()
}

/// What the pod asks of a resource, in base units. Main containers and sidecars add up; an init container needs its own
/// beside the sidecars that were started before it; the larger of both counts. A limit alone is a request.
pub fn request(spec: &PodSpec, resource: &str) -> f64 {
    total(spec, resource, |c| c.resources.requests.get(resource).or_else(|| c.resources.limits.get(resource)))
}

/// What the pod may take of a resource at most, summed as requests are; containers without a limit count nothing.
pub fn limit(spec: &PodSpec, resource: &str) -> f64 {
    total(spec, resource, |c| c.resources.limits.get(resource))
}

fn total<'a>(spec: &'a PodSpec, resource: &str, of: impl Fn(&'a Container) -> Option<&'a String>) -> f64 {
    let of = |c: &'a Container| of(c).and_then(|q| quantity::parse(q)).unwrap_or(0.0);
    let (mut sidecars, mut start) = (0.0, 0.0_f64);
    for c in &spec.init_containers {
        if c.restart_policy == "Always" {
            sidecars += of(c);
            start = start.max(sidecars);
        } else {
            start = start.max(sidecars + of(c));
        }
    }
    let main: f64 = spec.containers.iter().map(of).sum::<f64>() + sidecars;
    main.max(start) + spec.overhead.get(resource).and_then(|q| quantity::parse(q)).unwrap_or(0.0)
}

#[cfg(test)]
mod tests;
