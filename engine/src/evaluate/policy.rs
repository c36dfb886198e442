//! NetworkPolicies: whether they let traffic from one end pass to another. The semantics of the API, whatever the CNI.
//!
//! A pod is isolated in a direction by any policy that selects it and names the direction; then it allows what any rule
//! of any such policy allows. Traffic passes if the sender's egress and the receiver's ingress both allow it.

use std::net::IpAddr;

use tapio_core::object::{IntOrString, NetworkPolicySpec, ObjectRef, PodSpec, PolicyPeer, PolicyRule, StringMap};

/// Which way traffic goes, seen from the pod that a policy selects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// To the pod.
    Ingress,
    /// From the pod.
    Egress,
}

impl Direction {
    /// The word of `policyTypes`.
    pub fn as_str(self) -> &'static str {
        match self {
            Direction::Ingress => "Ingress",
            Direction::Egress => "Egress",
        }
    }
}

/// A policy with its name.
#[derive(Clone, Copy, Debug)]
pub struct Policy<'a> {
    /// Its name; the namespace is the one in which it selects pods.
    pub key: &'a ObjectRef,
    /// Its specification.
    pub spec: &'a NetworkPolicySpec,
}

/// What policies can see of a pod.
#[derive(Clone, Copy, Debug)]
pub struct PodEnd<'a> {
    /// Namespace of the pod.
    pub namespace: &'a str,
    /// Labels of that namespace; the one with its name is known without them.
    pub namespace_labels: &'a StringMap,
    /// Labels of the pod.
    pub labels: &'a StringMap,
    /// Its specification, for named ports and the host's network.
    pub spec: &'a PodSpec,
}

/// One end of a connection.
#[derive(Clone, Copy, Debug)]
pub struct End<'a> {
    /// The pod; none for an address outside of the cluster.
    pub pod: Option<PodEnd<'a>>,
    /// The address; empty where it is not known.
    pub ip: &'a str,
}

impl End<'_> {
    /// Whether policies do not bind it as they bind other pods: it has the address of its node.
    fn on_host(&self) -> bool {
        self.pod.is_some_and(|p| p.spec.host_network)
    }
}

/// Traffic to one port.
#[derive(Clone, Copy, Debug)]
pub struct Flow<'a> {
    /// Who sends.
    pub from: End<'a>,
    /// Who receives.
    pub to: End<'a>,
    /// The receiver's port.
    pub port: i64,
    /// `TCP`, `UDP`, `SCTP`; none where it is not known: then any will do.
    pub protocol: Option<&'a str>,
}

/// What the policies make of a [`Flow`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// The policies that isolate an end without allowing the flow; none if it may pass.
    pub denied: Option<Denied>,
    /// Whether an end uses its node's network, where most CNIs enforce nothing.
    pub on_host: bool,
}

/// Who denies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// In which direction.
    pub direction: Direction,
    /// All policies that isolate the end in that direction, in the order given.
    pub by: Vec<ObjectRef>,
}

/// Whether policies let a flow pass. Only those count that select one of its ends.
pub fn decide<'a>(policies: impl IntoIterator<Item = Policy<'a>>, flow: &Flow) -> Decision {
    let all: Vec<Policy> = policies.into_iter().collect();
    let on_host = flow.from.on_host() || flow.to.on_host();
    // A pod always reaches itself.
    let itself = !flow.from.ip.is_empty() && flow.from.ip == flow.to.ip && flow.from.pod.is_some();
    if itself {
        return Decision { denied: None, on_host };
    }
    let one_way = |direction: Direction| {
        let (subject, other) = match direction {
            Direction::Ingress => (&flow.to, &flow.from),
            Direction::Egress => (&flow.from, &flow.to),
        };
        let isolating: Vec<&Policy> =
            all.iter().filter(|p| applies(p, subject) && isolates(p.spec, direction)).collect();
        let allowed = isolating.iter().any(|p| {
            rules(p.spec, direction).iter().any(|r| {
                let peers = if direction == Direction::Ingress { &r.from } else { &r.to };
                (peers.is_empty() || peers.iter().any(|x| peer_matches(p.key.ns(), x, other))) && port_matches(r, flow)
            })
        });
        let denied = !isolating.is_empty() && !allowed;
        denied.then(|| Denied { direction, by: isolating.iter().map(|p| p.key.clone()).collect() })
    };
    Decision { denied: one_way(Direction::Ingress).or_else(|| one_way(Direction::Egress)), on_host }
}

/// Whether a policy selects the pod of an end. Pods on the host's network are nodes to it.
pub fn applies(policy: &Policy, end: &End) -> bool {
    end.pod.is_some_and(|p| {
        !p.spec.host_network && p.namespace == policy.key.ns() && policy.spec.pod_selector.matches(p.labels)
    })
}

/// Whether a policy isolates the pods that it selects in a direction.
pub fn isolates(spec: &NetworkPolicySpec, direction: Direction) -> bool {
    if spec.policy_types.is_empty() {
        // Without types: Ingress always, Egress where egress rules stand.
        return direction == Direction::Ingress || spec.egress.as_ref().is_some_and(|e| !e.is_empty());
    }
    spec.policy_types.iter().any(|t| t == direction.as_str())
}

fn rules(spec: &NetworkPolicySpec, direction: Direction) -> &[PolicyRule] {
    let rules = if direction == Direction::Ingress { &spec.ingress } else { &spec.egress };
    rules.as_deref().unwrap_or_default()
}

/// Whether a peer of a policy of this namespace means an end.
fn peer_matches(namespace: &str, peer: &PolicyPeer, other: &End) -> bool {
    if let Some(block) = &peer.ip_block {
        return in_cidr(other.ip, &block.cidr) && !block.except.iter().any(|e| in_cidr(other.ip, e));
    }
    let Some(pod) = other.pod.filter(|p| !p.spec.host_network) else { return false };
    let space = match &peer.namespace_selector {
        // A peer that says nothing at all is refused by the API and means nobody.
        None => peer.pod_selector.is_some() && pod.namespace == namespace,
        Some(s) => {
            let mut labels = pod.namespace_labels.clone();
            labels.entry("kubernetes.io/metadata.name".to_owned()).or_insert_with(|| pod.namespace.to_owned());
            s.matches(&labels)
        }
    };
    space && peer.pod_selector.as_ref().is_none_or(|s| s.matches(pod.labels))
}

/// Whether the ports of a rule include the flow's; none said: all.
fn port_matches(rule: &PolicyRule, flow: &Flow) -> bool {
    rule.ports.is_empty()
        || rule.ports.iter().any(|x| {
            let transport = or_tcp(&x.protocol);
            flow.protocol.is_none_or(|p| p == transport)
                && match &x.port {
                    None => true,
                    Some(IntOrString::Int(n)) => x.end_port.map_or(*n == flow.port, |e| (*n..=e).contains(&flow.port)),
                    // Always a port of the receiver, also in egress rules.
                    Some(IntOrString::Str(name)) => flow.to.pod.is_some_and(|pod| {
                        pod.spec.all_containers().flat_map(|c| &c.ports).any(|c| {
                            c.name == *name && c.container_port == flow.port && or_tcp(&c.protocol) == transport
                        })
                    }),
                }
        })
}

/// The protocol, TCP where nothing is said.
fn or_tcp(protocol: &str) -> &str {
    if protocol.is_empty() { "TCP" } else { protocol }
}

/// Whether an address lies in a block; false for anything unreadable.
pub fn in_cidr(ip: &str, cidr: &str) -> bool {
    let Some((net, bits)) = cidr.split_once('/') else { return !ip.is_empty() && ip == cidr };
    let (Ok(ip), Ok(net), Ok(bits)) = (ip.parse::<IpAddr>(), net.parse::<IpAddr>(), bits.parse::<u32>()) else {
        return false;
    };
    match (ip, net) {
        (IpAddr::V4(a), IpAddr::V4(b)) if bits <= 32 => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            u32::from(a) & mask == u32::from(b) & mask
        }
        (IpAddr::V6(a), IpAddr::V6(b)) if bits <= 128 => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            u128::from(a) & mask == u128::from(b) & mask
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests;
