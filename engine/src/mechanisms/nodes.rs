//! Nodes and the control plane: what runs on them, told by conditions, leases and the node's own service manager.

use std::collections::BTreeMap;

use tapio_core::event::cni::words;
use tapio_core::object::{Body, Object, ObjectRef};
use tapio_core::time::{SECOND, Time};

use super::{kubectl, manual};
use crate::diagnosis::hypothesis::{Hypothesis, Proof};
use crate::diagnosis::symptom::{Symptom, Trouble};
use crate::diagnosis::view::{PodFacts, View, shorten};
use crate::world::Entry;

manual! {
    /// The container runtime of a node does not answer.
    ///
    /// Required: the runtime's service is not running, or Ready=False with "container runtime is down" or "PLEG is not healthy".
    /// Supports: FailedCreatePodSandBox and GC events with the runtime's socket.
    /// Refuted by: the whole node is silent (then kubelet or node).
    /// Lag: about 30 seconds.
    /// Do: restart the runtime on that node and read its journal.
    "container-runtime-down": Recorded [NodeNotReady, NodeService];
    /// The kubelet of a node stopped posting its status.
    ///
    /// Required: Ready=Unknown with NodeStatusUnknown, or the kubelet's service is not running.
    /// Supports: the node's lease is not renewed; its pods still answer.
    /// Refuted by: the runtime's and proxy's services are gone too (then the node).
    /// Lag: about 45 seconds.
    /// Do: restart the kubelet on that node and read its journal.
    "kubelet-down": Recorded [NodeNotReady, NodeService];
    /// kube-proxy does not run on a node: service addresses do not work from there.
    ///
    /// Required: the kube-proxy service or pod of the node does not run.
    /// Supports: Services fail from that node only.
    /// Refuted by: another Service proxy (eBPF) is in use; no pod of kube-proxy is ready on any node, or its
    /// DaemonSet was just changed.
    /// Do: restart kube-proxy on that node.
    "kube-proxy-down": Recorded [NodeService, Unreachable, Crashing, OomKilled, ProbeKilled];
    /// The whole machine is gone, hangs or was restarted.
    ///
    /// Required: Ready=Unknown, and every service of the node unreachable or not running.
    /// Refuted by: some service of the node runs.
    /// Do: look at the machine.
    "node-down": Documented [NodeNotReady];
    /// The pod network of a node is not set up.
    ///
    /// Required: Ready=False with "cni plugin not initialized" or "network plugin is not ready"; or condition
    /// NetworkUnavailable; or pods that cannot be set up, in words of the network plugin about the node: no
    /// configuration, no program, an agent that does not answer, no access to the API server.
    /// Supports: the CNI's pod on that node fails; several pods of the node fail alike.
    /// Refuted by: the runtime is down.
    /// Do: look at the CNI's pod on that node and at its configuration folder.
    "cni-not-ready": CapturedText [NodeNotReady, SandboxFailed];
    /// The address range for pods is used up.
    ///
    /// Required: a pod that cannot be set up, and a text of its network plugin that says no address is free.
    /// Supports: several pods of the node wait for the same.
    /// Refuted by: the text asks for one certain address; the pod got its address since.
    /// Lag: seconds after the pod came to the node.
    /// Do: enlarge the range or the pool, remove addresses that nobody uses any more, or run fewer pods on the node.
    "pod-ip-exhausted": CapturedText [SandboxFailed];
    /// No scheduler places pods: they stay Pending without a scheduling event.
    ///
    /// Required: the scheduler's service does not run; or pods that nobody looked at, and a scheduler lease that is
    /// stale or without holder.
    /// Refuted by: a scheduling event younger than those pods.
    /// Lag: 15 to 60 seconds.
    /// Do: restart the scheduler.
    "scheduler-down": Recorded [NotLookedAt, NodeService];
    /// Controllers do not react to changes.
    ///
    /// Required: the controller-manager's service does not run; or its lease is stale while generations are ahead of
    /// observedGeneration.
    /// Refuted by: a controller's reaction younger than the lease.
    /// Lag: 15 to 60 seconds.
    /// Do: restart the controller-manager.
    "controller-manager-down": CapturedText [NodeService];
}

/// Nodes that are not ready, services that do not run, leases that nobody renews.
pub fn find(view: &View, symptoms: &[Symptom], out: &mut Vec<Hypothesis>) {
    for entry in view.world.entries("Node") {
        let Some(o) = entry.live() else { continue };
        services(view, entry, out);
        if let Some(s) = symptoms.iter().find(|s| s.object == o.key && s.trouble == Trouble::NodeNotReady) {
            out.extend(condition(view, entry, o, s).or_else(|| unavailable(view, o, s)));
        }
    }
    leases(view, symptoms, out);
    addresses(view, symptoms, out);
}

/// The mechanism of a service of a node.
fn mechanism(service: &str) -> Option<&'static str> {
    let s = service.trim_end_matches(".service");
    Some(match s {
        "kubelet" => "kubelet-down",
        "containerd" | "docker" | "crio" | "cri-o" | "cri-dockerd" => "container-runtime-down",
        "kube-proxy" => "kube-proxy-down",
        "kube-scheduler" => "scheduler-down",
        "kube-controller-manager" => "controller-manager-down",
        _ => return None,
    })
}

fn services(view: &View, entry: &Entry, out: &mut Vec<Hypothesis>) {
    let all = &entry.history.services;
    let down: Vec<(&String, &crate::world::history::NodeService)> = all.iter().filter(|(_, s)| !s.running).collect();
    if down.is_empty() {
        return;
    }
    let key = &entry.key;
    if down.len() == all.len() && all.len() > 1 {
        let since = down.iter().map(|(_, s)| s.at).min().unwrap_or(view.now);
        out.push(
            Hypothesis::new("node-down", key.clone(), since, Proof::Stated, format!("no service of {key} runs"))
                .with(down.iter().map(|(n, s)| view.state(key, Some(s.at), format!("{n}: {}", s.says))))
                .via("node")
                .unless("some service of the node runs", false),
        );
        return;
    }
    for (name, s) in down {
        let Some(id) = mechanism(name) else { continue };
        let mut e = view.state(key, Some(s.at), format!("{name}: {}", shorten(&s.says, 200)));
        e.event = Some(s.id);
        "kubelet".clone_into(&mut e.source);
        let waiting = (id == "scheduler-down").then(|| {
            view.pods
                .values()
                .filter(|p| p.pod.spec.node_name.is_empty() && p.pod.condition("PodScheduled").is_none())
                .map(|p| p.key().clone())
                .collect::<Vec<_>>()
        });
        let cut = if id == "kube-proxy-down" { cut_off(view, &key.name) } else { Vec::default() };
        out.push(
            Hypothesis::new(id, key.clone(), s.at, Proof::Stated, format!("{name} does not run on {key}"))
                .explaining(waiting.unwrap_or_default())
                .explaining(cut)
                .with([e])
                .via(if id.ends_with("scheduler-down") || id.starts_with("controller") {
                    "control-plane"
                } else {
                    "node"
                })
                .supported(1)
                .unless(format!("{name} runs again"), false)
                .next(format!("ssh {} systemctl status {name}", key.name))
                .next(format!("kubectl describe node/{}", key.name)),
        );
    }
}

/// Services with ready pods that do not answer from one node, and from no other that does not.
fn cut_off(view: &View, node: &str) -> Vec<ObjectRef> {
    let from_here = |r: &crate::world::history::ProbeResult| r.from.as_deref() == Some(node);
    let failed = |key: &ObjectRef| {
        let probes = view.world.entry(key).into_iter().flat_map(|e| e.history.probes.values());
        let mut failed = probes.filter(|r| !r.ok).peekable();
        failed.peek().is_some() && failed.all(from_here)
    };
    view.services.iter().filter(|(k, s)| s.ready > 0 && failed(k)).map(|(k, _)| (*k).clone()).collect()
}

/// Whether a pod is a node's kube-proxy: by the label of the installers, or by its DaemonSet.
fn is_proxy(p: &PodFacts) -> bool {
    let labelled = |k: &str| p.object.meta.labels.get(k).is_some_and(|v| v == "kube-proxy");
    p.key().ns() == "kube-system"
        && (labelled("k8s-app")
            || labelled("component")
            || (p.workload.kind == "DaemonSet" && p.workload.name == "kube-proxy"))
}

/// A kube-proxy that ends again and again on some of the nodes, for a reason that nothing else tells.
pub fn residual(view: &View, left: &[Symptom], out: &mut Vec<Hypothesis>) {
    network(view, left, out);
    let proxies: Vec<&PodFacts> = view.pods.values().filter(|p| is_proxy(p) && !p.is_leaving()).collect();
    // All of them at once have one cause, and it is no node's.
    if proxies.len() > 1 && !proxies.iter().any(|p| p.pod.is_ready()) {
        return;
    }
    for s in left {
        if !matches!(s.trouble, Trouble::Crashing | Trouble::OomKilled | Trouble::ProbeKilled) {
            continue;
        }
        let Some(p) = proxies.iter().find(|p| *p.key() == s.object) else { continue };
        let node = ObjectRef::cluster_scoped("Node", &p.pod.spec.node_name);
        let changed = view.last_template_change(&p.workload).map(|(at, _)| at);
        let rolled = changed.is_some_and(|at| s.since.since(at) < 600 * SECOND) && view.is_newest(p);
        let summary = format!("kube-proxy does not run on {node}");
        out.push(
            Hypothesis::new("kube-proxy-down", node.clone(), s.since, Proof::Inferred, summary)
                .explaining_only([s.object.clone()].into_iter().chain(cut_off(view, &node.name)))
                .counting_from(s.counts_from)
                .via("node")
                .with([view.state(&s.object, Some(s.since), s.says.clone())])
                .unless("this revision of its DaemonSet brought it", rolled)
                .next(format!("kubectl -n kube-system logs {} --previous", s.object.name)),
        );
    }
}

/// Condition NetworkUnavailable of a node that is ready otherwise.
fn unavailable(view: &View, o: &Object, s: &Symptom) -> Option<Hypothesis> {
    let n = o.as_node()?;
    let c = n.condition("NetworkUnavailable").filter(|c| c.status == "True" && n.is_ready())?;
    let says = format!("NetworkUnavailable={}: {} {}", c.status, c.reason, shorten(&c.message, 200));
    Some(
        Hypothesis::new(
            "cni-not-ready",
            o.key.clone(),
            s.since,
            Proof::Stated,
            format!("the pod network of {} is not set up: {}", o.key, c.reason),
        )
        .counting_from(s.counts_from)
        .via("node")
        .with([view.state(&o.key, Some(s.since), says)])
        .unless("another service of the node is down too", false)
        .next(kubectl("describe", &o.key)),
    )
}

/// Pods that cannot be set up for what their node's network lacks, by the words of its plugin.
fn network(view: &View, left: &[Symptom], out: &mut Vec<Hypothesis>) {
    let mut by_node: BTreeMap<ObjectRef, Vec<(&Symptom, &PodFacts, words::Trouble)>> = BTreeMap::new();
    for s in left.iter().filter(|s| s.trouble == Trouble::SandboxFailed) {
        let Some(p) = view.pods.get(&s.object) else { continue };
        let notes = p.notes(&["FailedCreatePodSandBox", "NetworkNotReady"]);
        let Some(trouble) = notes.last().and_then(|n| words::trouble(&n.message)).filter(|t| t.is_of_node()) else {
            continue;
        };
        let node = ObjectRef::cluster_scoped("Node", &p.pod.spec.node_name);
        by_node.entry(node).or_default().push((s, p, trouble));
    }
    for (node, found) in by_node {
        let Some((first, pod, trouble)) = found.iter().min_by_key(|(s, ..)| s.since) else { continue };
        let Some(note) = pod.notes(&["FailedCreatePodSandBox", "NetworkNotReady"]).last() else { continue };
        let summary = format!("pods on {node} cannot be set up: {}", trouble.sentence());
        out.push(
            Hypothesis::new("cni-not-ready", node.clone(), first.since, Proof::Stated, summary)
                .explaining_only(found.iter().map(|(s, ..)| s.object.clone()))
                .counting_from(first.counts_from)
                .via("node")
                .supported(u32::from(found.len() > 1))
                .with([view.noted(&first.object, note)])
                .unless("the pod got its address", !pod.pod.status.pod_ip.is_empty())
                .next(kubectl("describe", &node)),
        );
    }
}

/// Pods that get no address.
fn addresses(view: &View, symptoms: &[Symptom], out: &mut Vec<Hypothesis>) {
    for s in symptoms.iter().filter(|s| s.trouble == Trouble::SandboxFailed) {
        let Some(p) = view.pods.get(&s.object) else { continue };
        let notes: Vec<_> = p
            .notes(&["FailedCreatePodSandBox"])
            .filter(|n| words::trouble(&n.message) == Some(words::Trouble::NoAddress))
            .collect();
        let Some(n) = notes.last() else { continue };
        let node = ObjectRef::cluster_scoped("Node", &p.pod.spec.node_name);
        let running = view.world.into(&node, tapio_core::ontology::Relation::RunsOn).len();
        out.push(
            Hypothesis::new(
                "pod-ip-exhausted",
                node.clone(),
                s.since,
                Proof::Stated,
                format!("no address is left for pods on {node}, where {running} are placed"),
            )
            .explaining_only([s.object.clone()])
            .counting_from(s.counts_from)
            .via("address")
            .supported(u32::from(n.count > 1))
            .with([view.noted(&s.object, n)])
            .unless("the pod got its address", !p.pod.status.pod_ip.is_empty())
            .next(kubectl("describe", &node)),
        );
    }
}

fn condition(view: &View, entry: &Entry, o: &Object, s: &Symptom) -> Option<Hypothesis> {
    let n = o.as_node()?;
    let c = n.condition("Ready")?;
    let text = format!("{} {}", c.reason, c.message);
    let any = |words: &[&str]| words.iter().any(|w| text.contains(w));
    let lease = ObjectRef::new("Lease", "kube-node-lease", &o.key.name);
    let renewed = match view.world.live(&lease).map(|l| &l.body) {
        Some(Body::Lease(l)) => *l.spec.renew_time,
        _ => None,
    };
    let silent = renewed.is_some_and(|t| view.now.since(t) > 40 * SECOND);
    let running = entry.history.services.values().any(|x| x.running);
    let (id, why) = if c.status == "Unknown" || c.reason == "NodeStatusUnknown" {
        let others = entry.history.services.iter().filter(|(n, _)| *n != "kubelet").any(|(_, s)| !s.running);
        if others && !running {
            ("node-down", "the machine does not answer")
        } else {
            ("kubelet-down", "its kubelet stopped posting status")
        }
    } else if any(&[
        "container runtime is down",
        "PLEG is not healthy",
        "container runtime not ready",
        "runtime not ready: runtime is down",
    ]) {
        ("container-runtime-down", "its container runtime does not answer")
    } else if any(&[
        "cni plugin not initialized",
        "network plugin is not ready",
        "NetworkReady=false",
        "NetworkPluginNotReady",
    ]) {
        ("cni-not-ready", "its pod network is not set up")
    } else if any(&["containerd.sock", "crio.sock", "dockershim", "rpc error: code = Unavailable"]) {
        ("container-runtime-down", "its container runtime does not answer")
    } else {
        return None;
    };
    let mut h = Hypothesis::new(id, o.key.clone(), s.since, Proof::Stated, format!("{} is not ready: {why}", o.key))
        .counting_from(s.counts_from)
        .via("node")
        .supported(u32::from(silent))
        .with([view.state(
            &o.key,
            Some(s.since),
            format!("Ready={}: {} {}", c.status, c.reason, shorten(&c.message, 200)),
        )])
        .unless("another service of the node is down too", false)
        .next(format!("kubectl describe node/{}", o.key.name));
    if let Some(t) = renewed.filter(|_| silent) {
        h = h.with([view.state(&lease, Some(t), format!("lease of {} was last renewed {}", o.key, t.clock()))]);
    }
    for note in entry.history.notes.iter().rev().filter(|n| n.reason == "NodeNotReady").take(1) {
        h = h.with([view.noted(&o.key, note)]);
    }
    Some(h)
}

/// Leader leases of control-plane parts: nobody renews them, and somebody waits for what they do.
fn leases(view: &View, symptoms: &[Symptom], out: &mut Vec<Hypothesis>) {
    let waiting: Vec<&Symptom> = symptoms.iter().filter(|s| s.trouble == Trouble::NotLookedAt).collect();
    let stale = |name: &str| -> Option<(ObjectRef, Time, String)> {
        let key = ObjectRef::new("Lease", "kube-system", name);
        let Some(Body::Lease(l)) = view.world.live(&key).map(|o| &o.body) else { return None };
        let renewed = l.spec.renew_time.or(*l.spec.acquire_time)?;
        let free = l.spec.holder_identity.is_empty();
        // A renewal that nobody could see may have been made.
        let seen = view.world.blind_until.map_or(renewed, |t| t.max(renewed));
        let old = view.now.since(seen) > l.spec.lease_duration_seconds.max(15) * SECOND;
        (free || old).then(|| (key, renewed, l.spec.holder_identity.clone()))
    };
    if let (Some(first), Some((lease, renewed, holder))) = (waiting.first(), stale("kube-scheduler")) {
        let node = control_plane_node(view, &holder);
        let root = node.unwrap_or_else(|| lease.clone());
        let placed_since = view.pods.values().any(|p| {
            p.notes(&["Scheduled", "FailedScheduling"])
                .any(|n| n.last > first.since.plus(5 * SECOND) && n.component.contains("scheduler"))
        });
        out.push(
            Hypothesis::new(
                "scheduler-down",
                root,
                first.since.min(renewed),
                Proof::Inferred,
                format!(
                    "no scheduler looks at pods: {} wait, and its lease was last renewed {}",
                    waiting.len(),
                    renewed.clock()
                ),
            )
            .explaining(waiting.iter().map(|s| s.object.clone()))
            .counting_from(first.counts_from)
            .via("control-plane")
            .supported(1)
            .with([
                view.state(
                    &lease,
                    Some(renewed),
                    if holder.is_empty() {
                        "lease has no holder".to_owned()
                    } else {
                        format!("lease of {holder} is not renewed")
                    },
                ),
                view.state(&first.object, Some(first.since), first.says.clone()),
            ])
            .unless("a scheduling event is younger than the waiting pods", placed_since)
            .next("kubectl -n kube-system get pods,leases".to_owned()),
        );
    }
    if let Some((lease, renewed, holder)) = stale("kube-controller-manager") {
        let behind: Vec<ObjectRef> = ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"]
            .iter()
            .flat_map(|k| view.world.all(k))
            .filter(|o| o.as_workload().is_some_and(|w| w.status.observed_generation < o.meta.generation))
            .map(|o| o.key.clone())
            .collect();
        let Some(first) = behind.first().cloned() else { return };
        let root = control_plane_node(view, &holder).unwrap_or_else(|| lease.clone());
        let reacted = reacted_since(view, renewed.plus(10 * SECOND));
        let summary = format!(
            "controllers do not react: {first} is not observed, and the controller-manager's lease was last renewed {}",
            renewed.clock()
        );
        out.push(
            Hypothesis::new("controller-manager-down", root, renewed, Proof::Inferred, summary)
                .explaining(behind)
                .counting_from(renewed.plus(20 * SECOND))
                .via("control-plane")
                .with([
                    view.state(&lease, Some(renewed), "lease is not renewed"),
                    view.state(&first, None, "observedGeneration is behind generation"),
                ])
                .unless("a controller reacted since", reacted)
                .next("kubectl -n kube-system get pods,leases".to_owned()),
        );
    }
}

/// Whether a controller did anything since then: made a ReplicaSet or a pod, or told an Event of a workload.
fn reacted_since(view: &View, since: Time) -> bool {
    let made = |o: &Object| o.meta.controller().is_some() && o.meta.creation_timestamp.is_some_and(|t| t > since);
    let told = |kind: &str| {
        let mut notes = view.world.entries(kind).flat_map(|e| &e.history.notes);
        notes.any(|n| n.last > since && n.component.ends_with("-controller"))
    };
    ["ReplicaSet", "Pod", "Job"].iter().any(|k| view.world.all(k).any(made))
        || ["Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "Job", "CronJob"].iter().any(|k| told(k))
}

/// The node that runs a holder of a leader lease: by the holder's name, else the only control-plane node.
fn control_plane_node(view: &View, holder: &str) -> Option<ObjectRef> {
    let nodes: Vec<&Object> = view.world.all("Node").collect();
    let host = holder.split('_').next().unwrap_or("");
    let named = nodes.iter().find(|n| !host.is_empty() && n.key.name == host);
    let mut planes =
        nodes.iter().filter(|n| n.meta.labels.keys().any(|k| k.ends_with("/control-plane") || k.ends_with("/master")));
    let plane = match (planes.next(), planes.next()) {
        (Some(one), None) => Some(one),
        _ => None,
    };
    let only = if nodes.len() == 1 { nodes.first() } else { None };
    named.or(plane).or(only).map(|n| n.key.clone())
}
