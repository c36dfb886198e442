//! The machine below a node: what its kernel and its clock say.

use std::sync::LazyLock;

use regex::Regex;
use tapio_core::object::{Body, Object, ObjectRef};
use tapio_core::time::{SECOND, Time, span};

use super::{kubectl, manual};
use crate::diagnosis::hypothesis::{Hypothesis, Proof};
use crate::diagnosis::logs::{self, Class};
use crate::diagnosis::symptom::Symptom;
use crate::diagnosis::view::{PodFacts, View, shorten};
use crate::world::Entry;

manual! {
    /// Connection tracking, ephemeral ports or file descriptors of a node are used up.
    ///
    /// Required: the kernel's "nf_conntrack: table full, dropping packet" or a watcher's "Conntrack table full" as an event
    /// or condition of the node; or pods of two workloads on this node, and on no other, that cannot get a local address
    /// or a file of the system's.
    /// Supports: failing pods on this node that time out.
    /// Refuted by: the last such message is older than ten minutes; pods of the same workloads fail so on other nodes.
    /// Lag: none.
    /// Do: raise the limit (net.netfilter.nf_conntrack_max, fs.file-max), or find who opens so many.
    "node-connection-table-full": CapturedText [];
    /// The clock of a node is off.
    ///
    /// Required: the kubelet's own time in its lease differs by more than 30 s from the time at which the API server wrote
    /// the same version.
    /// Supports: condition NTPProblem of the node; pods on it that take certificates for expired or not yet valid.
    /// Refuted by: all nodes differ alike (then it is the API server's clock); the time of the write is minutes old (then it
    /// is that of an earlier one).
    /// Lag: none.
    /// Do: start time synchronisation on the node.
    "node-clock-skew": Documented [];
}

/// Nodes whose kernel or clock tells of a fault.
pub fn find(view: &View, symptoms: &[Symptom], out: &mut Vec<Hypothesis>) {
    let skews: Vec<(&Entry, i64, Time)> = view.world.entries("Node").filter_map(|e| skew(view, e)).collect();
    let measured = skews.len();
    let off: Vec<_> = skews.into_iter().filter(|(_, by, _)| by.abs() > ALLOWED).collect();
    let all_alike =
        measured > 1 && off.len() == measured && off.iter().all(|(_, by, _)| (by - off[0].1).abs() < 10 * SECOND);
    for (entry, by, at) in off {
        out.push(clock(view, entry, by, at, all_alike));
    }
    for entry in view.world.entries("Node") {
        if let Some(o) = entry.live() {
            out.extend(table_full(view, symptoms, entry, o).or_else(|| used_up(view, symptoms, o)));
        }
    }
}

/// A clock may differ by this much: a renewal that is tried again for ten seconds is well.
const ALLOWED: i64 = 30 * SECOND;

/// By how much a node's clock is ahead of the API server's, when it renewed its lease last.
fn skew<'a>(view: &View, entry: &'a Entry) -> Option<(&'a Entry, i64, Time)> {
    entry.live()?;
    let lease = view.world.live(&ObjectRef::new("Lease", "kube-node-lease", &entry.key.name))?;
    let Body::Lease(l) = &lease.body else { return None };
    let renewed = (*l.spec.renew_time)?;
    // The kubelet gives the time in the lease, the API server the one of the write.
    let wrote = lease.meta.managed_fields.iter().filter(|m| m.manager == "kubelet").filter_map(|m| *m.time).max()?;
    // Some versions keep the time of the first write; then it says nothing about this one.
    (view.age(wrote).abs() < 300).then(|| (entry, renewed.since(wrote), wrote))
}

/// Whether the clock of the node of that name is off.
pub(crate) fn is_off(view: &View, node: &str) -> bool {
    let entry = view.world.entry(&ObjectRef::cluster_scoped("Node", node));
    entry.and_then(|e| skew(view, e)).is_some_and(|(_, by, _)| by.abs() > ALLOWED)
}

fn clock(view: &View, entry: &Entry, by: i64, at: Time, all_alike: bool) -> Hypothesis {
    let node = &entry.key;
    let way = if by > 0 { "ahead of" } else { "behind" };
    let here = view.pods.values().filter(|p| p.pod.spec.node_name == node.name);
    let harmed: Vec<(ObjectRef, String)> = here
        .filter_map(|p| logs::newest_of(p, None, &[Class::Certificate]).map(|l| (p.key().clone(), l.text.to_owned())))
        .filter(|(_, text)| super::certificates::is_out_of_time(text))
        .collect();
    let told =
        entry.live().and_then(Object::as_node).and_then(|n| n.condition("NTPProblem")).filter(|c| c.status == "True");
    let mut h = Hypothesis::new(
        "node-clock-skew",
        node.clone(),
        at,
        Proof::Stated,
        format!("the clock of {node} is {} {way} that of the API server", span(by.abs())),
    )
    .explaining_only(harmed.iter().map(|(k, _)| k.clone()))
    .via("clock")
    .supported(u32::from(!harmed.is_empty()) + u32::from(told.is_some()))
    .with([view.state(node, Some(at), format!("its lease says {}, written at {}", at.plus(by).clock(), at.clock()))])
    .with(harmed.iter().take(2).map(|(k, text)| view.logged(k, None, "log", text)))
    .unless("all nodes differ alike", all_alike)
    .next(format!("ssh {} timedatectl", node.name));
    if let Some(c) = told {
        h = h.with([view.state(
            node,
            *c.last_transition_time,
            format!("NTPProblem=True: {}", shorten(&c.message, 160)),
        )]);
    }
    h
}

static TABLE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"(?i)conntrack: (?:nf_conntrack: )?table full|conntrack table (?:is )?full|file-max limit \d+ reached")
        .ok()
});

fn says_full(text: &str) -> bool {
    TABLE.as_ref().is_some_and(|r| r.is_match(text))
}

/// Failing pods of a node.
fn failing<'a, 'b>(view: &'b View<'a>, symptoms: &[Symptom], node: &ObjectRef) -> Vec<&'b PodFacts<'a>> {
    view.pods
        .values()
        .filter(|p| p.pod.spec.node_name == node.name)
        .filter(|p| symptoms.iter().any(|s| s.object == *p.key() && s.is_failing_container() && s.counts(view.now)))
        .collect()
}

fn table_full(view: &View, symptoms: &[Symptom], entry: &Entry, o: &Object) -> Option<Hypothesis> {
    let note = entry.history.notes.iter().rfind(|n| says_full(&n.message));
    let condition =
        o.as_node().and_then(|n| n.status.conditions.iter().find(|c| c.status == "True" && says_full(&c.message)));
    let (since, last) = match (note, condition) {
        (_, Some(c)) => (c.last_transition_time.unwrap_or(entry.updated), view.now),
        (Some(n), None) => (n.first, n.last),
        (None, None) => return None,
    };
    let network = [Class::Timeout, Class::Network, Class::Dns];
    let harmed: Vec<ObjectRef> = failing(view, symptoms, &o.key)
        .into_iter()
        .filter(|p| logs::newest_of(p, None, &network).is_some())
        .map(|p| p.key().clone())
        .collect();
    let mut h = Hypothesis::new(
        "node-connection-table-full",
        o.key.clone(),
        since,
        Proof::Stated,
        format!("{} drops connections: a table of its kernel is full", o.key),
    )
    .supported(u32::from(!harmed.is_empty()))
    .explaining_only(harmed)
    .counting_from(since.plus(5 * SECOND))
    .via("machine")
    .unless("the last such message is older than ten minutes", view.age(last) > 600)
    .next(format!(
        "ssh {} sysctl net.netfilter.nf_conntrack_count net.netfilter.nf_conntrack_max fs.file-nr",
        o.key.name
    ));
    if let Some(n) = note {
        h = h.with([view.noted(&o.key, n)]);
    }
    if let Some(c) = condition {
        h = h.with([view.state(&o.key, Some(since), format!("{}=True: {}", c.r#type, shorten(&c.message, 200)))]);
    }
    Some(h)
}

/// Whether a line says that the node has no port or file left. A server that cannot bind an address is another thing.
fn has_none_left(line: &str) -> bool {
    let low = line.to_lowercase();
    let no_port = low.contains("cannot assign requested address") || low.contains("eaddrnotavail");
    no_port && !low.contains("bind") && !low.contains("listen") || low.contains("too many open files in system")
}

fn used_up(view: &View, symptoms: &[Symptom], o: &Object) -> Option<Hypothesis> {
    let mut lines: Vec<(&PodFacts, logs::ErrorLine)> = Vec::new();
    let mut elsewhere = false;
    for p in view.pods.values() {
        let Some(l) = logs::errors(p, None, 40).into_iter().find(|l| has_none_left(l.text)) else { continue };
        if p.pod.spec.node_name == o.key.name {
            lines.push((p, l));
        } else {
            elsewhere = true;
        }
    }
    let sick = failing(view, symptoms, &o.key);
    lines.retain(|(p, _)| sick.iter().any(|s| s.key() == p.key()));
    let first = lines.first()?.0;
    if lines.iter().all(|(p, _)| p.workload == first.workload) {
        return None;
    }
    let since = lines.iter().map(|(_, l)| l.at).min()?;
    Some(
        Hypothesis::new(
            "node-connection-table-full",
            o.key.clone(),
            since,
            Proof::Inferred,
            format!("{} has no ports or files left: pods of several workloads get none", o.key),
        )
        .explaining_only(lines.iter().map(|(p, _)| p.key().clone()))
        .via("machine")
        .with(lines.iter().take(3).map(|(p, l)| view.logged(p.key(), Some(l.at), l.container, l.text)))
        .unless("pods on other nodes fail so too", elsewhere)
        .next(kubectl("describe", &o.key)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_words_and_a_watchers_are_read() {
        for (text, want) in [
            // Kernels up to 5.x, and since.
            ("nf_conntrack: table full, dropping packet", true),
            ("kernel: nf_conntrack: nf_conntrack: table full, dropping packet", true),
            ("ip_conntrack: table full, dropping packet.", true),
            ("Conntrack table full", true),
            ("VFS: file-max limit 9223372 reached", true),
            ("Conntrack table available", false),
            ("Conntrack table usage over 90%: 240000 out of 262144", false),
            ("nf_conntrack: default automatic helper assignment has been turned off", false),
        ] {
            assert_eq!(says_full(text), want, "{text}");
        }
    }

    #[test]
    fn a_port_that_cannot_be_had_is_told_from_one_that_cannot_be_bound() {
        for (text, want) in [
            ("dial tcp 10.96.4.5:6379: connect: cannot assign requested address", true),
            ("java.net.NoRouteToHostException: Cannot assign requested address (Address not available)", true),
            ("accept4: too many open files in system", true),
            ("listen tcp 10.0.0.9:80: bind: cannot assign requested address", false),
            ("accept tcp [::]:8080: accept4: too many open files", false),
        ] {
            assert_eq!(has_none_left(text), want, "{text}");
        }
    }
}
