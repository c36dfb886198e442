//! Traffic that is dropped, and names that are not resolved.

use tapio_core::object::{IntOrString, ObjectRef, StringMap};
use tapio_core::ontology::Relation;
use tapio_core::time::SECOND;

use super::{kubectl, manual, undo};
use crate::diagnosis::endpoints;
use crate::diagnosis::hypothesis::{Hypothesis, Proof};
use crate::diagnosis::logs::{self, Class};
use crate::diagnosis::symptom::Symptom;
use crate::diagnosis::view::{PodFacts, View};
use crate::evaluate::policy::{End, Flow, PodEnd, Policy, decide};

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

/// A policy that denies traffic from one pod to a port of another; none if it is allowed. Of several the newest: it is
/// the one that came between.
pub(crate) fn denying(view: &View, from: &PodFacts, to: &PodFacts, port: i64) -> Option<ObjectRef> {
    let spaces = [from, to].map(|p| {
        let key = ObjectRef::cluster_scoped("Namespace", p.key().ns());
        view.world.live(&key).map(|o| o.meta.labels.clone()).unwrap_or_default()
    });
    let mut near: Vec<&ObjectRef> = Vec::new();
    for e in [to, from].iter().flat_map(|p| view.world.into(p.key(), Relation::AppliesTo)) {
        if !near.contains(&&e.key) {
            near.push(&e.key);
        }
    }
    let policies = near.into_iter().filter_map(|key| match view.world.live(key).map(|o| &o.body) {
        Some(tapio_core::object::Body::NetworkPolicy(n)) => Some(Policy { key, spec: &n.spec }),
        _ => None,
    });
    // The protocol of a call that a log names is not known.
    let denied =
        decide(policies, &Flow { from: end(from, &spaces[0]), to: end(to, &spaces[1]), port, protocol: None }).denied?;
    denied.by.into_iter().reduce(|old, new| if created(view, &old) >= created(view, &new) { old } else { new })
}

fn end<'a>(p: &PodFacts<'a>, namespace_labels: &'a StringMap) -> End<'a> {
    let namespace = p.object.key.ns();
    let pod = PodEnd { namespace, namespace_labels, labels: &p.object.meta.labels, spec: &p.pod.spec };
    End { pod: Some(pod), ip: &p.pod.status.pod_ip }
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
