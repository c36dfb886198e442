//! Nodes that run out of disk or memory: conditions, evictions, and who takes what is missing.

use std::sync::LazyLock;

use regex::Regex;
use tapio_core::object::{Object, ObjectRef, quantity};
use tapio_core::time::{SECOND, Time};

use super::{kubectl, manual};
use crate::diagnosis::hypothesis::{Hypothesis, Proof};
use crate::diagnosis::symptom::{Symptom, Trouble};
use crate::diagnosis::view::{PodFacts, View};
use crate::world::Entry;

manual! {
    /// A node runs out of disk and evicts pods.
    ///
    /// Required: condition DiskPressure=True since less than an hour or with evictions; or pods that were evicted because
    /// the node was low on ephemeral-storage, nodefs, imagefs or inodes.
    /// Supports: EvictionThresholdMet; pods that find no node because of the taint.
    /// Refuted by: the eviction was for the pod's own limit (then that).
    /// Lag: seconds; the condition stays five minutes longer than the lack.
    /// Do: free the disk, give the pod that fills it a limit, or move it. The root is that pod's workload where the text
    /// says that it uses a large part of the node, else the node.
    "node-disk-pressure": CapturedText [NodePressure, Evicted, Unscheduled];
    /// A node runs out of memory, evicts pods or kills processes.
    ///
    /// Required: condition MemoryPressure=True since less than an hour or with evictions; or pods that were evicted because
    /// the node was low on memory; or SystemOOM twice, or beside a pod without a memory limit that was killed.
    /// Supports: EvictionThresholdMet; pods that find no node because of the taint.
    /// Refuted by: a container that was killed at its own limit in the same moment (then that).
    /// Lag: seconds; the condition stays five minutes longer than the lack.
    /// Do: give the pod that grew a request and a limit. The root is that pod's workload where the text says that it uses a
    /// large part of the node, else the node.
    "node-memory-pressure": CapturedText [NodePressure, Evicted, Unscheduled, OomKilled];
}

static LOW: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"(?i)the node (?:was low on resource: |had condition: \[)([\w-]+)").ok());
static USAGE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"Container (\S+) was using ([\w.]+), (?:request is|which exceeds its request of) ([\w.]+?)[,.]? ").ok()
});

/// What a node lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lack {
    Disk,
    Memory,
}

impl Lack {
    /// By the name of a resource, a file system or a condition; none for what has no mechanism of its own, as pids.
    fn of(name: &str) -> Option<Lack> {
        match name.to_lowercase().as_str() {
            "memory" | "memorypressure" | "allocatablememory" => Some(Lack::Memory),
            "ephemeral-storage" | "nodefs" | "imagefs" | "containerfs" | "inodes" | "diskpressure" => Some(Lack::Disk),
            _ => None,
        }
    }

    /// By the text of an eviction.
    fn of_eviction(text: &str) -> Option<Lack> {
        Lack::of(&LOW.as_ref()?.captures(text)?[1])
    }

    fn condition(self) -> &'static str {
        if self == Lack::Disk { "DiskPressure" } else { "MemoryPressure" }
    }

    fn taint(self) -> &'static str {
        if self == Lack::Disk { "node.kubernetes.io/disk-pressure" } else { "node.kubernetes.io/memory-pressure" }
    }

    fn resource(self) -> &'static str {
        if self == Lack::Disk { "ephemeral-storage" } else { "memory" }
    }

    fn id(self) -> &'static str {
        if self == Lack::Disk { "node-disk-pressure" } else { "node-memory-pressure" }
    }
}

/// Bytes that an evicted pod used beyond its requests, by the eviction's text.
fn overuse(text: &str) -> f64 {
    let Some(re) = USAGE.as_ref() else { return 0.0 };
    // The text may end with the request.
    let text = format!("{text} ");
    re.captures_iter(&text)
        .filter_map(|c| Some(quantity::parse(&c[2])? - quantity::parse(&c[3]).unwrap_or(0.0)))
        .filter(|d| *d > 0.0)
        .sum()
}

/// Nodes under pressure, and what they sent away.
pub fn find(view: &View, symptoms: &[Symptom], out: &mut Vec<Hypothesis>) {
    for entry in view.world.entries("Node") {
        let Some(o) = entry.live() else { continue };
        for lack in [Lack::Disk, Lack::Memory] {
            out.extend(pressure(view, symptoms, entry, o, lack));
        }
    }
}

/// The text of an eviction: of the pod's status, else of its event.
fn eviction_text<'a>(p: &PodFacts<'a>) -> &'a str {
    let status = p.pod.status.message.as_str();
    if !status.is_empty() {
        return status;
    }
    p.entry.history.notes.iter().rfind(|n| n.reason == "Evicted").map_or("", |n| n.message.as_str())
}

fn pressure(view: &View, symptoms: &[Symptom], entry: &Entry, o: &Object, lack: Lack) -> Option<Hypothesis> {
    let node = o.as_node()?;
    let condition = node.condition(lack.condition()).filter(|c| c.status == "True");
    let shown = symptoms
        .iter()
        .find(|s| s.object == o.key && s.trouble == Trouble::NodePressure && s.says.contains(lack.condition()));
    let evicted: Vec<(&Symptom, &PodFacts)> = symptoms
        .iter()
        .filter(|s| s.trouble == Trouble::Evicted)
        .filter_map(|s| view.pods.get(&s.object).map(|p| (s, p)))
        .filter(|(_, p)| p.pod.spec.node_name == o.key.name && Lack::of_eviction(eviction_text(p)) == Some(lack))
        .collect();
    let killed = if lack == Lack::Memory { system_oom(view, entry, o) } else { None };
    let since = [shown.map(|s| s.since), evicted.iter().map(|(s, _)| s.since).min(), killed.as_ref().map(|k| k.0)]
        .into_iter()
        .flatten()
        .min()?;
    let counts = [
        shown.map(|s| s.counts_from),
        evicted.iter().map(|(s, _)| s.counts_from).min(),
        killed.as_ref().map(|k| k.0.plus(5 * SECOND)),
    ];
    let waiting: Vec<&Symptom> = symptoms
        .iter()
        .filter(|s| s.trouble == Trouble::Unscheduled && condition.is_some() && s.says.contains(lack.taint()))
        .collect();
    let capacity = node.status.capacity.get(lack.resource()).and_then(|c| quantity::parse(c));
    let hog = hog(&evicted, capacity);
    let root = hog.map_or_else(|| o.key.clone(), |p| p.workload.clone());
    let what = lack.resource();
    let summary = match hog {
        Some(p) => format!("{} takes the {what} of {}: {} pods were evicted", p.workload, o.key, evicted.len()),
        None => format!("{} runs out of {what}: {} pods were evicted", o.key, evicted.len()),
    };
    let mut h = Hypothesis::new(lack.id(), root, since, Proof::Stated, summary)
        .explaining_only(evicted.iter().map(|(s, _)| s.object.clone()))
        .explaining(waiting.iter().map(|s| s.object.clone()))
        .explaining(killed.iter().flat_map(|k| k.1.clone()))
        // Only what the node shows itself: most of its pods run as they did.
        .explaining(shown.filter(|s| s.counts(view.now)).map(|s| s.object.clone()))
        .counting_from(counts.into_iter().flatten().min().unwrap_or(since))
        .via("pressure")
        .supported(u32::from(condition.is_some()) + u32::from(hog.is_some()) + u32::from(!waiting.is_empty()))
        .unless("a container was killed or evicted at its own limit", false)
        .next(kubectl("describe", &o.key));
    if let Some(c) = condition {
        h = h.with([view.state(
            &o.key,
            *c.last_transition_time,
            format!("{}=True: {} {}", c.r#type, c.reason, c.message),
        )]);
    }
    // The pod that takes most comes first.
    let mut order = evicted.clone();
    order.sort_by(|a, b| overuse(eviction_text(b.1)).total_cmp(&overuse(eviction_text(a.1))));
    h = h.with(order.iter().take(3).map(|(s, p)| view.state(&s.object, Some(s.since), eviction_text(p).trim())));
    let fresh = entry.history.notes.iter().filter(|n| n.last >= since.plus(-600 * SECOND));
    let told = |reason: &str, message: &str| match reason {
        "EvictionThresholdMet" => message.rsplit(' ').next().and_then(Lack::of) == Some(lack),
        "SystemOOM" => lack == Lack::Memory,
        "FreeDiskSpaceFailed" | "ImageGCFailed" => lack == Lack::Disk,
        _ => false,
    };
    for n in fresh.filter(|n| told(&n.reason, &n.message)).take(3) {
        h = h.supported(1).with([view.noted(&o.key, n)]);
    }
    Some(h)
}

/// The evicted pod that used a large part of the node, and much more than any other.
fn hog<'a, 'b>(evicted: &[(&'b Symptom, &'b PodFacts<'a>)], capacity: Option<f64>) -> Option<&'b PodFacts<'a>> {
    let enough = capacity.map_or(f64::from(1 << 30), |c| c * 0.1);
    let mut list: Vec<(f64, &PodFacts)> = evicted.iter().map(|(_, p)| (overuse(eviction_text(p)), *p)).collect();
    list.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.key().cmp(b.1.key())));
    let (most, p) = *list.first()?;
    let next = list.iter().find(|(_, x)| x.workload != p.workload).map_or(0.0, |(n, _)| *n);
    (most >= enough && most >= 2.0 * next).then_some(p)
}

/// Kills for the memory of the whole node: since when, and the pods without a limit of their own that were killed.
fn system_oom(view: &View, entry: &Entry, o: &Object) -> Option<(Time, Vec<ObjectRef>)> {
    let notes: Vec<_> =
        entry.history.notes.iter().filter(|n| n.reason == "SystemOOM" && view.age(n.last) < 1_800).collect();
    let (first, last) = (notes.iter().map(|n| n.first).min()?, notes.iter().map(|n| n.last).max()?);
    let mut unlimited = Vec::new();
    for p in view.pods.values().filter(|p| p.pod.spec.node_name == o.key.name) {
        for c in &p.containers {
            let Some(at) = c.last_exit().filter(|t| t.reason == "OOMKilled").and_then(|t| *t.finished_at) else {
                continue;
            };
            if at < first.plus(-15 * SECOND) || at > last.plus(15 * SECOND) {
                continue;
            }
            if c.spec.is_some_and(|s| s.resources.limits.contains_key("memory")) {
                // The kubelet reports kills at a container's own limit in the same words.
                return None;
            }
            unlimited.push(p.key().clone());
        }
    }
    let times: u64 = notes.iter().map(|n| n.count.max(1)).sum();
    (times >= 2 || !unlimited.is_empty()).then_some((first, unlimited))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evictions_say_what_was_low_and_who_took_it() {
        let gi = f64::from(1 << 30);
        for (text, lack, over) in [
            // Up to 1.26.
            (
                "The node was low on resource: memory. Container app was using 3Gi, which exceeds its request of 1Gi. ",
                Some(Lack::Memory),
                2.0 * gi,
            ),
            // Since 1.27.
            (
                "The node was low on resource: memory. Threshold quantity: 750Mi, available: 225800Ki. Container nginx was using 4194304Ki, request is 0, has larger consumption of memory. ",
                Some(Lack::Memory),
                4.0 * gi,
            ),
            (
                "The node was low on resource: ephemeral-storage. Threshold quantity: 16015370671, available: 13389604Ki. Container push was using 60Ki, request is 0, has larger consumption of ephemeral-storage. ",
                Some(Lack::Disk),
                61_440.0,
            ),
            ("The node had condition: [DiskPressure]. ", Some(Lack::Disk), 0.0),
            ("The node was low on resource: pids. ", None, 0.0),
            // Limits of the pod itself.
            ("Pod ephemeral local storage usage exceeds the total limit of containers 2Gi. ", None, 0.0),
            ("Usage of EmptyDir volume \"cache\" exceeds the limit \"1Gi\". ", None, 0.0),
        ] {
            assert_eq!(Lack::of_eviction(text), lack, "{text}");
            assert!((overuse(text) - over).abs() < 1.0, "{text}: {}", overuse(text));
        }
    }
}
