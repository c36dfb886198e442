//! Slow answers: a CPU limit, a delayed workload, a node whose network delays or loses. What is slow comes from alerts;
//! whose fault it is, from who calls whom and what runs where.
//!
//! A callee that is slow makes its callers slow, not the other way. So those count that are slow without a slow callee.

mod retries;

use std::collections::{BTreeMap, BTreeSet};

use tapio_core::answer::Evidence;
use tapio_core::object::ObjectRef;
use tapio_core::ontology::Relation;
use tapio_core::time::Time;

use super::{kubectl, manual, routes};
use crate::diagnosis::endpoints;
use crate::diagnosis::hypothesis::{Hypothesis, Proof};
use crate::diagnosis::symptom::{Symptom, Trouble};
use crate::diagnosis::view::{View, shorten};
use crate::world::alerts::{Firing, Signal};

manual! {
    /// The container runs at its CPU limit and is throttled.
    ///
    /// Required: an alert on throttling of its workload; and the workload, or one that calls it, is slow.
    /// Supports: its CPU time rose; a limit is set.
    /// Refuted by: nobody is slow.
    /// Do: raise the CPU limit, or find what costs the time.
    "cpu-throttled": Recorded [Alert];
    /// The pod uses all the CPU that it can get.
    ///
    /// Required: an alert on the CPU time of the workload, which at least doubled, and the workload itself is slow.
    /// Refuted by: it is throttled at its limit (then the limit is the cause); it is not slow.
    /// Do: find what costs the time; give it more CPU or more replicas.
    "cpu-saturated": Documented [Alert];
    /// Retries keep a workload overloaded, after what began it has gone.
    ///
    /// Required: nothing else explains the alerts; an alert that the requests of the workload at least doubled, and one that
    /// it is slow or fails; and several lines in its callers' logs that they try again to reach it.
    /// Supports: several callers; four times its requests.
    /// Refuted by: the requests of those who call it rose, too (then there is more demand).
    /// Do: make callers wait longer between attempts, with fewer of them and a budget; shed load until the queue is empty.
    "retry-storm": Documented [Alert];
    /// The traffic of one workload is delayed, that of its node is not.
    ///
    /// Required: one workload is slow while nothing that it calls is; or its packets rise while its requests do not,
    /// which means that they are sent again.
    /// Supports: half of its requests are slow; its callers are slow too; its requests fall.
    /// Refuted by: its CPU is throttled or used up; its node delays the traffic of most that runs there; a node loses
    /// packets.
    /// Do: look at the network of that pod: traffic control, its interface, a proxy beside it.
    "pod-network-latency": Recorded [Alert];
    /// The traffic of a whole node is delayed.
    ///
    /// Required: at least two workloads of the node are slow without a slow callee, more than on all other nodes
    /// together, and most of the node's workloads show trouble.
    /// Refuted by: a node loses packets; only one workload is slow by itself.
    /// Do: look at the node's network: interface, traffic control, its link.
    "node-network-latency": Recorded [Alert];
    /// A whole node loses packets, and TCP sends again.
    ///
    /// Required: an alert on retransmissions of a node, several a second, three times as many as on any other node.
    /// Supports: workloads are slow, or their traffic falls.
    /// Refuted by: other nodes retransmit about as much.
    /// Do: look at the node's interface and link.
    "node-network-packet-loss": Recorded [Alert];
}

/// Retransmissions a second that a healthy node does not have.
const LOSSY: f64 = 2.0;
/// How many times the next node's a lossy node's retransmissions are.
const FAR_MORE: f64 = 3.0;

/// What alerts say of one workload.
#[derive(Default)]
struct Signs<'a> {
    alerts: Vec<(&'a ObjectRef, &'a Firing)>,
    slow: bool,
    /// How many times its usual the median is; 1 where only higher quantiles rose.
    median: f64,
    /// How many times its usual any quantile is.
    worst: f64,
    throttled: bool,
    cpu_rise: f64,
    requests_fall: bool,
    requests_rise: bool,
    packets_rise: bool,
}

impl<'a> Signs<'a> {
    fn add(&mut self, about: &'a ObjectRef, f: &'a Firing) {
        self.alerts.push((about, f));
        match f.signal {
            Signal::Latency if f.went_up() != Some(false) => {
                self.slow = true;
                for m in &f.measures {
                    let Some(t) = m.times() else { continue };
                    if m.quantile == Some(50) {
                        self.median = self.median.max(t);
                    }
                    self.worst = self.worst.max(t);
                }
            }
            Signal::Throttling => self.throttled = true,
            Signal::Cpu => self.cpu_rise = self.cpu_rise.max(f.rise().unwrap_or(0.0)),
            Signal::Requests => match f.went_up() {
                Some(true) => self.requests_rise = true,
                Some(false) => self.requests_fall = true,
                None => {}
            },
            Signal::Packets => self.packets_rise |= f.went_up() == Some(true),
            _ => {}
        }
    }

    fn since(&self) -> Option<Time> {
        self.alerts.iter().map(|(_, f)| f.since).min()
    }

    fn evidence(&self, view: &View) -> Vec<Evidence> {
        // What is slow before what only follows from it.
        let mut list: Vec<_> = self.alerts.iter().collect();
        list.sort_by_key(|(o, f)| (f.signal, *o, f.id));
        list.into_iter().take(5).map(|(o, f)| alerted(view, o, f)).collect()
    }
}

fn alerted(view: &View, o: &ObjectRef, f: &Firing) -> Evidence {
    let mut e = view.state(o, Some(f.since), format!("alert {}: {}", f.name, shorten(&f.says, 240)));
    e.event = Some(f.id);
    "alert".clone_into(&mut e.source);
    e
}

/// The alerts of the moment, by workload and by node.
struct Load<'a> {
    by: BTreeMap<ObjectRef, Signs<'a>>,
    nodes: BTreeMap<&'a ObjectRef, Vec<&'a Firing>>,
}

impl<'a> Load<'a> {
    fn of(view: &View<'a>) -> Self {
        let mut load = Load { by: BTreeMap::new(), nodes: BTreeMap::new() };
        for (about, f) in &view.alerts {
            if about.kind == "Node" {
                load.nodes.entry(about).or_default().push(f);
            } else if let Some(w) = workload_behind(view, about) {
                load.by.entry(w).or_default().add(about, f);
            }
        }
        load
    }

    fn slow(&self) -> impl Iterator<Item = (&ObjectRef, &Signs<'a>)> {
        self.by.iter().filter(|(_, s)| s.slow)
    }

    /// Everything that the alerts of a namespace are about.
    fn about(&self, ns: &str) -> Vec<ObjectRef> {
        let all = self.by.values().flat_map(|s| &s.alerts).map(|(o, _)| (*o).clone());
        let mut list: Vec<ObjectRef> = all.filter(|o| o.ns() == ns).collect();
        list.sort();
        list.dedup();
        list
    }
}

/// The workload that an alert on an object is about: monitoring often calls a workload by its Service, or by its name.
fn workload_behind(view: &View, o: &ObjectRef) -> Option<ObjectRef> {
    match o.kind.as_str() {
        "Service" => {
            let first = view.services.get(o).and_then(|f| f.pods.first()).and_then(|p| view.pods.get(p));
            first.map(|p| p.workload.clone()).or_else(|| {
                let named = |kind: &str| ObjectRef::new(kind, o.ns(), &o.name);
                ["Deployment", "StatefulSet", "DaemonSet"].map(named).into_iter().find(|w| view.world.live(w).is_some())
            })
        }
        "Pod" | "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" => Some(view.world.workload_of(o)),
        _ => None,
    }
}

/// Slow or lossy parts behind alerts that nothing explains.
pub fn residual(view: &View, left: &[Symptom], out: &mut Vec<Hypothesis>) {
    if !left.iter().any(|s| s.trouble == Trouble::Alert) {
        return;
    }
    let load = Load::of(view);
    let calls = calls(view, &load);
    let storms = retries::storms(view, &load);
    // What is slow because it is asked again and again has no trouble of its own.
    let again: BTreeSet<ObjectRef> = storms.iter().filter(|h| !h.is_refuted()).map(|h| h.root.clone()).collect();
    out.extend(storms);
    let from = out.len();
    let lossy = packet_loss(view, &load, out);
    let busy = busy(view, &load, &calls, out);
    delays(view, &load, &calls, &busy, lossy, out);
    for h in &mut out[from..] {
        let storm = again.contains(&h.root);
        *h = h.clone().unless("its callers try again and again", storm);
    }
}

/// Whom each workload with alerts calls: by addresses in its environment and errors, and by the routes that it reads.
fn calls(view: &View, load: &Load) -> BTreeMap<ObjectRef, BTreeSet<ObjectRef>> {
    let mut out: BTreeMap<ObjectRef, BTreeSet<ObjectRef>> = BTreeMap::new();
    for w in load.by.keys() {
        let Some(p) = view.pods_of(w).next() else { continue };
        let mut callees: BTreeSet<ObjectRef> =
            endpoints::named_by(view, p).iter().filter_map(|o| workload_behind(view, o)).collect();
        for table in view.world.out(p.key(), Relation::Mounts) {
            let table_routes = view.world.routes().filter(|(k, _)| **k == table.key).flat_map(|(_, t)| t);
            let targets = table_routes.filter_map(|r| routes::target(view, &table.key, r));
            callees.extend(targets.filter_map(|o| workload_behind(view, &o)));
        }
        callees.remove(w);
        out.insert(w.clone(), callees);
    }
    out
}

/// A node that loses packets. Returns whether one does.
fn packet_loss(view: &View, load: &Load, out: &mut Vec<Hypothesis>) -> bool {
    let rate = |list: &[&Firing]| {
        let lossy = list.iter().filter(|f| f.signal == Signal::Retransmissions && f.went_up() != Some(false));
        lossy.flat_map(|f| &f.measures).map(|m| m.after).max_by(f64::total_cmp)
    };
    let mut rates: Vec<(f64, &ObjectRef)> = load.nodes.iter().filter_map(|(n, l)| Some((rate(l)?, *n))).collect();
    rates.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
    let Some((most, node)) = rates.first().copied() else { return false };
    let next = rates.get(1).map_or(0.0, |r| r.0);
    if most < LOSSY {
        return false;
    }
    let everywhere = most < FAR_MORE * next;
    let list = load.nodes.get(node).map(Vec::as_slice).unwrap_or_default();
    let since = list.iter().map(|f| f.since).min().unwrap_or(view.now);
    let hit: Vec<ObjectRef> = load.by.values().flat_map(|s| &s.alerts).map(|(o, _)| (*o).clone()).collect();
    let slow = load.slow().count();
    out.push(
        Hypothesis::new(
            "node-network-packet-loss",
            node.clone(),
            since,
            Proof::Inferred,
            format!("{node} loses packets: TCP sends {most:.1} segments a second again, {next:.1} on the next node"),
        )
        .explaining(hit)
        .explaining(rates.iter().map(|(_, n)| (*n).clone()))
        .via("node")
        .supported(u32::from(slow > 0) + u32::from(next > 0.0))
        .with(list.iter().map(|f| alerted(view, node, f)))
        .with(load.slow().take(3).flat_map(|(_, s)| s.evidence(view).into_iter().take(1)))
        .unless("other nodes send about as many again", everywhere)
        .next(kubectl("describe", node)),
    );
    !everywhere
}

/// Workloads that are short of CPU. Returns them.
fn busy(
    view: &View,
    load: &Load,
    calls: &BTreeMap<ObjectRef, BTreeSet<ObjectRef>>,
    out: &mut Vec<Hypothesis>,
) -> BTreeSet<ObjectRef> {
    let mut found = BTreeSet::new();
    for (w, s) in &load.by {
        let callers: Vec<&ObjectRef> =
            load.slow().map(|(c, _)| c).filter(|c| calls.get(*c).is_some_and(|list| list.contains(w))).collect();
        if !s.throttled && s.cpu_rise < 2.0 {
            continue;
        }
        let limit = view
            .pods_of(w)
            .next()
            .is_some_and(|p| p.pod.spec.containers.iter().any(|c| c.resources.limits.contains_key("cpu")));
        let (id, what, refuter, calm) = if s.throttled {
            ("cpu-throttled", "is throttled at its CPU limit", "nobody is slow", !s.slow && callers.is_empty())
        } else {
            ("cpu-saturated", "uses up the CPU that it gets", "it is not slow", !s.slow)
        };
        if !calm {
            found.insert(w.clone());
        }
        out.push(
            Hypothesis::new(
                id,
                w.clone(),
                s.since().unwrap_or(view.now),
                Proof::Inferred,
                format!("{w} {what} and is slow"),
            )
            .explaining(load.about(w.ns()))
            .via("resources")
            .supported(u32::from(s.cpu_rise > 1.2) + u32::from(s.slow) + u32::from(limit))
            .doubted(u32::from(!s.slow))
            .with(s.evidence(view))
            .unless(refuter, calm)
            .next(kubectl("describe", w)),
        );
    }
    found
}

/// Delays of a node's network, or of one workload's.
fn delays(
    view: &View,
    load: &Load,
    calls: &BTreeMap<ObjectRef, BTreeSet<ObjectRef>>,
    busy: &BTreeSet<ObjectRef>,
    lossy: bool,
    out: &mut Vec<Hypothesis>,
) {
    let none = BTreeSet::new();
    let first: Vec<(&ObjectRef, &Signs)> = load
        .slow()
        .filter(|(w, _)| !busy.contains(*w))
        .filter(|(w, _)| {
            let callees = calls.get(*w).unwrap_or(&none);
            !callees.iter().any(|c| load.by.get(c).is_some_and(|s| s.slow) || busy.contains(c))
        })
        .collect();
    if !busy.is_empty() && first.is_empty() {
        return;
    }
    let node = node_delay(view, load, &first, lossy, out);
    let refuted = |h: Hypothesis| {
        h.unless("its node delays the traffic of most that runs there", node).unless("a node loses packets", lossy)
    };
    // Half of the requests are slow at the one whose own traffic is delayed; at its callers only those that go through it.
    let key = |s: &Signs| (s.median, s.worst);
    let mut by_weight = first.clone();
    by_weight.sort_by(|a, b| {
        let (a1, a2) = key(a.1);
        let (b1, b2) = key(b.1);
        b1.total_cmp(&a1).then(b2.total_cmp(&a2)).then_with(|| a.0.cmp(b.0))
    });
    if let Some((w, s)) = by_weight.first().copied() {
        let rivals = by_weight.len() - 1;
        let callers = load.slow().filter(|(c, _)| calls.get(*c).is_some_and(|list| list.contains(w))).count();
        out.push(
            refuted(delayed(view, load, w, s, format!("{w} answers slowly, and nothing that it calls does")))
                .supported(u32::from(s.median > 2.0) + u32::from(callers > 0) + u32::from(s.requests_fall))
                .doubted(u32::from(rivals > 0)),
        );
        return;
    }
    if load.slow().next().is_some() {
        return;
    }
    // Packets that rise without requests are sent again.
    let again: Vec<(&ObjectRef, &Signs)> =
        load.by.iter().filter(|(_, s)| s.packets_rise && !s.requests_rise && !s.throttled).collect();
    if let [(w, s)] = again.as_slice() {
        let why = format!("{w} sends more packets while its requests do not rise: they are sent again");
        out.push(refuted(delayed(view, load, w, s, why)).doubted(1));
    }
}

fn delayed(view: &View, load: &Load, w: &ObjectRef, s: &Signs, summary: String) -> Hypothesis {
    let p = view.pods_of(w).next();
    let restarts: i64 = p.map_or(0, |p| p.containers.iter().map(|c| c.status.restart_count).sum());
    Hypothesis::new("pod-network-latency", w.clone(), s.since().unwrap_or(view.now), Proof::Inferred, summary)
        .explaining(load.about(w.ns()))
        .via("network")
        .doubted(u32::from(restarts > 3))
        .with(s.evidence(view))
        .unless("its CPU is throttled or used up", s.throttled && s.slow)
        .next(kubectl("describe", w))
}

/// A node on which workloads are slow by themselves, more than elsewhere. Returns whether there is one.
fn node_delay(
    view: &View,
    load: &Load,
    first: &[(&ObjectRef, &Signs)],
    lossy: bool,
    out: &mut Vec<Hypothesis>,
) -> bool {
    let node_of = |w: &ObjectRef| {
        let mut nodes: Vec<&str> = view.pods_of(w).map(|p| p.pod.spec.node_name.as_str()).collect();
        nodes.sort_unstable();
        nodes.dedup();
        // Spread over nodes it says nothing of one.
        <[&str; 1]>::try_from(nodes).ok().map(|[n]| n)
    };
    let mut by: BTreeMap<&str, Vec<&ObjectRef>> = BTreeMap::new();
    for (w, _) in first {
        if let Some(n) = node_of(w) {
            by.entry(n).or_default().push(w);
        }
    }
    let Some((node, slow)) = by.iter().max_by(|a, b| a.1.len().cmp(&b.1.len()).then_with(|| b.0.cmp(a.0))) else {
        return false;
    };
    if slow.len() * 2 <= first.len() {
        return false;
    }
    let alone = slow.len() < 2;
    // Most of what talks on that node must be in trouble; a few slow workloads among many are no node's fault.
    let spaces: BTreeSet<&str> = slow.iter().map(|w| w.ns()).collect();
    let there: BTreeSet<&ObjectRef> = view
        .pods
        .values()
        .filter(|p| p.pod.spec.node_name == **node && spaces.contains(p.key().ns()) && !p.pod.is_finished())
        .map(|p| &p.workload)
        .collect();
    let troubled = there.iter().filter(|w| load.by.contains_key(**w)).count();
    if troubled * 2 <= there.len() {
        return false;
    }
    let key = ObjectRef::cluster_scoped("Node", node);
    let names: Vec<&str> = slow.iter().map(|w| w.name.as_str()).collect();
    let since = slow.iter().filter_map(|w| load.by.get(*w)?.since()).min().unwrap_or(view.now);
    let hit: Vec<ObjectRef> = load.by.values().flat_map(|s| &s.alerts).map(|(o, _)| (*o).clone()).collect();
    out.push(
        Hypothesis::new(
            "node-network-latency",
            key.clone(),
            since,
            Proof::Inferred,
            format!(
                "{} on {key} are slow by themselves, and {troubled} of its {} workloads show trouble",
                names.join(", "),
                there.len()
            ),
        )
        .explaining(hit)
        .via("node")
        .supported(u32::from(slow.len() == first.len()) + u32::from(troubled == there.len()))
        .doubted(u32::from(slow.len() < first.len()))
        .with(slow.iter().filter_map(|w| load.by.get(*w)).flat_map(|s| s.evidence(view).into_iter().take(2)))
        .unless("only one workload is slow by itself", alone)
        .unless("a node loses packets", lossy)
        .next(kubectl("describe", &key)),
    );
    !alone && !lossy
}
