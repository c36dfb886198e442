//! Traffic that is dropped, and names that are not resolved.

use tapio_core::object::{IntOrString, NetworkPolicy, ObjectRef, PolicyPeer, PolicyRule};
use tapio_core::ontology::Relation;
use tapio_core::time::SECOND;

use super::{kubectl, manual, undo};
use crate::diagnosis::endpoints;
use crate::diagnosis::hypothesis::{Hypothesis, Proof};
use crate::diagnosis::logs::{self, Class};
use crate::diagnosis::symptom::Symptom;
use crate::diagnosis::view::{PodFacts, View};

manual! {
    /// A NetworkPolicy drops the traffic.
    ///
    /// Required: a caller that times out towards a Service or pod that is ready, and a policy that by evaluation denies
    /// exactly that traffic.
    /// Supports: the policy is new or was changed.
    /// Refuted by: the connection is refused (the packet arrived).
    /// Lag: 1 to 10 seconds.
    /// Do: allow the traffic in the policy.
    "network-policy-blocks": Recorded [Unready, Crashing, LogErrors, ProbeKilled, InitStuck];
    /// dnsPolicy or dnsConfig of the pod asks a server that does not serve cluster names.
    ///
    /// Required: a failing container that cannot resolve a cluster name, and a pod whose dnsPolicy does not ask the
    /// cluster's DNS.
    /// Supports: other pods resolve; this revision changed the setting.
    /// Refuted by: the nameserver is the cluster DNS's address.
    /// Do: use dnsPolicy ClusterFirst.
    "pod-dns-config-wrong": Recorded [Unready, Crashing, LogErrors, ProbeKilled, InitStuck];
    /// The cluster's DNS does not answer, or is misconfigured.
    ///
    /// Required: the DNS Service of kube-system without ready pods, or its pods failing.
    /// Supports: look-ups of several workloads fail; its ConfigMap was changed.
    /// Refuted by: look-ups succeed from other pods.
    /// Do: mend the DNS pods or their Corefile.
    "cluster-dns-down": Recorded [Crashing, Unready, NoEndpoints];
    /// A pod cannot resolve names; where the fault lies is not known.
    ///
    /// Required: a failing container whose last errors are failed look-ups, and nothing else that explains it.
    /// Refuted by: the name is that of no Service (then the address is wrong).
    /// Do: resolve the name from inside the pod.
    "dns-resolution-failed": CapturedText [Unready, Crashing, LogErrors, ProbeKilled, InitStuck];
}

/// Policies, resolver settings, the cluster's DNS.
pub fn find(view: &View, symptoms: &[Symptom], out: &mut Vec<Hypothesis>) {
    for s in symptoms.iter().filter(|s| s.is_failing_container()) {
        let Some(p) = view.pods.get(&s.object) else { continue };
        out.extend(dropped(view, p, s));
        out.extend(resolver(view, p, s));
    }
    cluster_dns(view, symptoms, out);
}

/// Whether a policy isolates pods in a direction.
fn isolates(n: &NetworkPolicy, direction: &str) -> bool {
    let types = &n.spec.policy_types;
    if types.is_empty() {
        // Without types: Ingress always, Egress where egress rules stand.
        return direction == "Ingress" || n.spec.egress.is_some();
    }
    types.iter().any(|t| t == direction)
}

fn peer_matches(view: &View, policy: &ObjectRef, peer: &PolicyPeer, other: &PodFacts) -> bool {
    if let Some(block) = &peer.ip_block {
        let ip = &other.pod.status.pod_ip;
        return in_cidr(ip, &block.cidr) && !block.except.iter().any(|e| in_cidr(ip, e));
    }
    let same_namespace = other.key().ns() == policy.ns();
    let namespace = match &peer.namespace_selector {
        None => same_namespace,
        Some(sel) => {
            let ns = ObjectRef::cluster_scoped("Namespace", other.key().ns());
            let mut labels = view.world.live(&ns).map(|o| o.meta.labels.clone()).unwrap_or_default();
            labels.entry("kubernetes.io/metadata.name".to_owned()).or_insert_with(|| ns.name.clone());
            sel.matches(&labels)
        }
    };
    namespace && peer.pod_selector.as_ref().is_none_or(|s| s.matches(&other.object.meta.labels))
}

/// Whether an address lies in a block; false for anything unreadable.
fn in_cidr(ip: &str, cidr: &str) -> bool {
    let Some((net, bits)) = cidr.split_once('/') else { return ip == cidr };
    let (Ok(ip), Ok(net), Ok(bits)) =
        (ip.parse::<std::net::IpAddr>(), net.parse::<std::net::IpAddr>(), bits.parse::<u32>())
    else {
        return false;
    };
    match (ip, net) {
        (std::net::IpAddr::V4(a), std::net::IpAddr::V4(b)) if bits <= 32 => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            u32::from(a) & mask == u32::from(b) & mask
        }
        (std::net::IpAddr::V6(a), std::net::IpAddr::V6(b)) if bits <= 128 => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            u128::from(a) & mask == u128::from(b) & mask
        }
        _ => false,
    }
}

fn rule_allows(
    view: &View,
    policy: &ObjectRef,
    rule: &PolicyRule,
    peers: &[PolicyPeer],
    other: &PodFacts,
    at: &PodFacts,
    port: i64,
) -> bool {
    let peer = peers.is_empty() || peers.iter().any(|p| peer_matches(view, policy, p, other));
    let ports = rule.ports.is_empty()
        || rule.ports.iter().any(|x| match &x.port {
            None => true,
            Some(IntOrString::Int(n)) => x.end_port.map_or(*n == port, |e| (*n..=e).contains(&port)),
            Some(IntOrString::Str(name)) => at
                .pod
                .spec
                .containers
                .iter()
                .flat_map(|c| &c.ports)
                .any(|c| c.name == *name && c.container_port == port),
        });
    peer && ports
}

/// A policy that denies traffic from one pod to a port of another; none if it is allowed. Pure evaluation of the API's
/// semantics: isolated in a direction by any policy, allowed by any rule of any policy of that direction.
pub(crate) fn denying(view: &View, from: &PodFacts, to: &PodFacts, port: i64) -> Option<ObjectRef> {
    for (direction, subject, other) in [("Ingress", to, from), ("Egress", from, to)] {
        let mut isolating: Option<ObjectRef> = None;
        let mut allowed = false;
        for e in view.world.into(subject.key(), Relation::AppliesTo) {
            let Some(tapio_core::object::Body::NetworkPolicy(n)) = e.live().map(|o| &o.body) else { continue };
            if !isolates(n, direction) {
                continue;
            }
            // The newest one is the one that came between.
            isolating = Some(match isolating {
                Some(old) if created(view, &old) >= created(view, &e.key) => old,
                _ => e.key.clone(),
            });
            let rules = if direction == "Ingress" { &n.spec.ingress } else { &n.spec.egress };
            for r in rules.iter().flatten() {
                let peers = if direction == "Ingress" { &r.from } else { &r.to };
                allowed |= rule_allows(view, &e.key, r, peers, other, to, port);
            }
        }
        if let Some(policy) = isolating.filter(|_| !allowed) {
            return Some(policy);
        }
    }
    None
}

fn created(view: &View, key: &ObjectRef) -> Option<tapio_core::time::Time> {
    view.world.live(key).and_then(|o| *o.meta.creation_timestamp)
}

fn dropped(view: &View, p: &PodFacts, s: &Symptom) -> Option<Hypothesis> {
    let errors = logs::errors(p, None, 40);
    let ns = p.key().ns();
    for e in errors
        .iter()
        .filter(|e| matches!(e.class, Class::Timeout | Class::Dns | Class::Network | Class::Other | Class::Panic))
    {
        let lower = e.text.to_lowercase();
        if lower.contains("refused") {
            continue;
        }
        let mut named = endpoints::mentioned(e.text);
        if e.class == Class::Dns {
            // A look-up that times out: the traffic to the cluster's DNS.
            if !(lower.contains("timeout")
                || lower.contains("timed out")
                || lower.contains("temporary failure")
                || lower.contains("eai_again"))
            {
                continue;
            }
            if let Some(ip) = view
                .world
                .live(&ObjectRef::new("Service", "kube-system", "kube-dns"))
                .and_then(|o| o.as_service())
                .map(|x| x.spec.cluster_ip.clone())
            {
                named.push(endpoints::Endpoint { host: ip, port: Some(53) });
            }
        }
        for n in &named {
            let Some(target) = endpoints::resolve(view, ns, &n.host) else { continue };
            let pods: Vec<&PodFacts> = match target.kind.as_str() {
                "Service" => view
                    .services
                    .get(&target)
                    .map(|f| f.pods.iter().filter_map(|k| view.pods.get(k)).collect())
                    .unwrap_or_default(),
                _ => view.pods.get(&target).into_iter().collect(),
            };
            let ready: Vec<&&PodFacts> = pods.iter().filter(|x| x.pod.is_ready()).collect();
            let Some(to) = ready.first() else { continue };
            let port = target_port(view, &target, n.port, to);
            let Some(policy) = denying(view, p, to, port) else { continue };
            let changes: Vec<_> = view.changes(&policy).iter().map(|c| c.change.clone()).collect();
            let since = changes.iter().filter_map(|c| c.at).max().or_else(|| created(view, &policy)).unwrap_or(s.since);
            // A policy from long before that nobody suffered from is not enforced, or allows it otherwise.
            let old = s.since.since(since) > 1_800 * SECOND;
            return Some(
                Hypothesis::new(
                    "network-policy-blocks",
                    policy.clone(),
                    since,
                    Proof::Inferred,
                    format!("{policy} denies traffic from {} to {target} port {port}", p.workload),
                )
                .explaining([s.object.clone()])
                .counting_from(s.counts_from)
                .via("policy")
                .supported(1 + u32::from(!old))
                .doubted(u32::from(old))
                .changed(changes)
                .with([
                    view.logged(&s.object, Some(e.at), e.container, e.text),
                    view.state(
                        &policy,
                        created(view, &policy),
                        format!("by evaluation {policy} does not allow {} -> {} port {port}", p.key(), to.key()),
                    ),
                    view.state(to.key(), None, format!("{} is ready", to.key())),
                ])
                .unless("the connection is refused", false)
                .next(kubectl("describe", &policy)),
            );
        }
    }
    None
}

fn target_port(view: &View, target: &ObjectRef, named: Option<i64>, to: &PodFacts) -> i64 {
    let service = view.services.get(target).map(|f| f.service);
    let port =
        service.and_then(|s| s.spec.ports.iter().find(|x| Some(x.port) == named).or_else(|| s.spec.ports.first()));
    match port.and_then(|x| x.target_port.clone()) {
        Some(IntOrString::Int(n)) => n,
        Some(IntOrString::Str(name)) => to
            .pod
            .spec
            .containers
            .iter()
            .flat_map(|c| &c.ports)
            .find(|c| c.name == name)
            .map_or(0, |c| c.container_port),
        None => port.map(|x| x.port).or(named).unwrap_or(0),
    }
}

fn resolver(view: &View, p: &PodFacts, s: &Symptom) -> Option<Hypothesis> {
    let spec = &p.pod.spec;
    let off = match spec.dns_policy.as_str() {
        "None" => true,
        "Default" => !spec.host_network,
        "ClusterFirst" => spec.host_network,
        _ => false,
    };
    let cluster_dns = view
        .world
        .live(&ObjectRef::new("Service", "kube-system", "kube-dns"))
        .and_then(|o| o.as_service())
        .map(|x| x.spec.cluster_ip.clone());
    let servers = spec.dns_config.as_ref().map(|d| d.nameservers.clone()).unwrap_or_default();
    let asks_cluster = cluster_dns.as_ref().is_some_and(|ip| servers.contains(ip));
    let extra = !servers.is_empty() && !asks_cluster;
    if !(off || extra) {
        return None;
    }
    let line = logs::newest_of(p, None, &[Class::Dns])?;
    let changes: Vec<_> = view
        .last_template_change(&p.workload)
        .filter(|_| view.is_newest(p))
        .map(|(_, d)| d.into_iter().filter(|c| c.field.contains("dns")).collect::<Vec<_>>())
        .unwrap_or_default();
    let asked = if servers.is_empty() { "the node's resolver".to_owned() } else { servers.join(", ") };
    Some(
        Hypothesis::new(
            "pod-dns-config-wrong",
            p.workload.clone(),
            s.since,
            Proof::Inferred,
            format!(
                "{} has dnsPolicy {} and asks {asked}, which does not serve cluster names",
                p.workload, spec.dns_policy
            ),
        )
        .explaining([s.object.clone()])
        // The settings and the failed look-up agree already; no need to wait until the pod is given up.
        .counting_from(s.counts_from.min(line.at.plus(4 * SECOND)))
        .via("dns")
        .supported(1 + u32::from(!changes.is_empty()))
        .changed(changes)
        .with([
            view.state(&s.object, Some(s.since), format!("dnsPolicy {}, nameservers {servers:?}", spec.dns_policy)),
            view.logged(&s.object, Some(line.at), line.container, line.text),
        ])
        .unless("the nameserver is the cluster DNS's address", asks_cluster && off)
        .next(undo(&p.workload)),
    )
}

/// The DNS Service of the cluster without ready pods.
fn cluster_dns(view: &View, symptoms: &[Symptom], out: &mut Vec<Hypothesis>) {
    for name in ["kube-dns", "coredns", "rke2-coredns-rke2-coredns"] {
        let key = ObjectRef::new("Service", "kube-system", name);
        let Some(f) = view.services.get(&key) else { continue };
        if f.ready > 0 || f.pods.is_empty() {
            continue;
        }
        let sick: Vec<&Symptom> = symptoms.iter().filter(|s| f.pods.contains(&s.object)).collect();
        let Some(first) = sick.first() else { continue };
        let Some(p) = view.pods.get(&first.object) else { continue };
        let since = sick.iter().map(|s| s.since).min().unwrap_or(view.now);
        let node = ObjectRef::cluster_scoped("Node", &p.pod.spec.node_name);
        let node_down = view.world.live(&node).and_then(|o| o.as_node()).is_some_and(|n| !n.is_ready());
        let failing: Vec<ObjectRef> = symptoms
            .iter()
            .filter(|s| s.is_failing_container())
            .filter(|s| {
                view.pods
                    .get(&s.object)
                    .is_some_and(|x| logs::errors(x, None, 30).iter().any(|e| e.class == Class::Dns))
            })
            .map(|s| s.object.clone())
            .collect();
        let config = ObjectRef::new("ConfigMap", "kube-system", "coredns");
        let changes: Vec<_> = view.changes(&config).iter().map(|c| c.change.clone()).collect();
        let line = logs::telling(p, first.container.as_deref());
        let root = if changes.is_empty() { p.workload.clone() } else { config };
        let mut h = Hypothesis::new(
            "cluster-dns-down",
            root,
            since,
            Proof::Stated,
            format!("the cluster's DNS has no ready pod: {}", first.says),
        )
        .explaining(sick.iter().map(|s| s.object.clone()).chain([key.clone(), p.workload.clone()]).chain(failing))
        .counting_from(first.counts_from)
        .via("dns")
        .supported(u32::from(!changes.is_empty()) + u32::from(line.is_some()))
        .changed(changes)
        .with([
            view.state(&key, Some(since), format!("{key} has no ready pod")),
            view.state(&first.object, Some(first.since), first.says.clone()),
        ])
        .unless("the nodes of its pods are not ready", node_down)
        .next(kubectl("describe", &p.workload));
        if let Some(l) = line {
            h = h.with([view.logged(&first.object, Some(l.at), l.container, l.text)]);
        }
        out.push(h);
    }
}

/// Failed look-ups that nothing explains.
pub fn residual(view: &View, left: &[Symptom], out: &mut Vec<Hypothesis>) {
    for s in left.iter().filter(|s| s.is_failing_container()) {
        let Some(p) = view.pods.get(&s.object) else { continue };
        let Some(l) = logs::telling(p, s.container.as_deref()).filter(|l| l.class == Class::Dns) else { continue };
        out.push(
            Hypothesis::new(
                "dns-resolution-failed",
                p.workload.clone(),
                s.since,
                Proof::Residual,
                format!("{} cannot resolve names", p.workload),
            )
            .explaining([s.object.clone()])
            .counting_from(s.counts_from)
            .via("dns")
            .with([view.logged(&s.object, Some(l.at), l.container, l.text)])
            .unless("the name is that of no Service", false)
            .next(kubectl("describe", &s.object)),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::in_cidr;

    #[test]
    fn blocks_hold_their_addresses() {
        for (ip, cidr, want) in [
            ("10.1.2.3", "10.1.0.0/16", true),
            ("10.2.2.3", "10.1.0.0/16", false),
            ("10.1.2.3", "0.0.0.0/0", true),
            ("fd00::1", "fd00::/8", true),
            ("10.1.2.3", "nonsense", false),
            ("", "10.0.0.0/8", false),
        ] {
            assert_eq!(in_cidr(ip, cidr), want, "{ip} {cidr}");
        }
    }
}
