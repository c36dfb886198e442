//! What should go and cannot: pods that a budget keeps on a node that is being emptied, objects that a finalizer keeps.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use regex::Regex;
use tapio_core::answer::Evidence;
use tapio_core::object::{Body, Node, Object, ObjectRef};
use tapio_core::time::{MINUTE, Time};

use super::{kubectl, manual};
use crate::diagnosis::hypothesis::{Hypothesis, Proof};
use crate::diagnosis::logs;
use crate::diagnosis::symptom::{Symptom, Trouble};
use crate::diagnosis::view::{PodFacts, View};

manual! {
    /// A PodDisruptionBudget blocks eviction, drain or rollout.
    ///
    /// Required: a node that is being emptied (cordoned, being deleted, or tainted for removal), a pod on it whose budget
    /// allows no disruption although all its pods are healthy; and somebody who tries: a drainer that says so, or other
    /// pods that left this node since while only such pods are left.
    /// Supports: the budget demands as many pods as there are.
    /// Refuted by: pods of the budget are not healthy (then they are the cause, or they are just being replaced).
    /// Lag: a minute: a replaced pod needs to become ready before the next may go.
    /// Do: let the budget allow one pod to go, or run one pod more.
    "disruption-budget-blocks": CapturedText [];
    /// An object stays in deletion because a finalizer is not removed.
    ///
    /// Required: a deletion whose grace period is over, and finalizers on the object.
    /// Refuted by: its node does not answer.
    /// Do: mend the controller that owns the finalizer; remove the finalizer only if it is gone for good.
    "finalizer-blocks-deletion": Recorded [Terminating];
}

/// Nodes that do not get empty, and objects that cannot go.
pub fn find(view: &View, symptoms: &[Symptom], out: &mut Vec<Hypothesis>) {
    for o in view.world.all("Node") {
        if let Some(n) = o.as_node() {
            budgets(view, o, n, out);
        }
    }
    finalizers(view, symptoms, out);
}

/// Taints by which tools mark a node that they are about to remove.
const REMOVAL: &[&str] = &["karpenter.sh/disrupted", "karpenter.sh/disruption", "ToBeDeletedByClusterAutoscaler"];

/// Since when a node is being emptied, where that is known; none if nobody marked it.
fn emptied(view: &View, o: &Object, n: &Node) -> Option<Option<Time>> {
    let taint = n.spec.taints.iter().find(|t| REMOVAL.contains(&t.key.as_str()));
    if !n.spec.unschedulable && taint.is_none() && o.meta.deletion_timestamp.is_none() {
        return None;
    }
    let cordon = n.spec.taints.iter().find(|t| t.key == "node.kubernetes.io/unschedulable");
    let seen = view.changes(&o.key).iter().rfind(|c| c.change.field == "spec.unschedulable").map(|c| c.at);
    let tainted = taint.or(cordon).and_then(|t| *t.time_added);
    Some(seen.or(tainted).or(*o.meta.deletion_timestamp))
}

static NAMED: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r#"(?i)(?:poddisruptionbudget=\[?|pdb \\?"?)([a-z0-9.-]+)/([a-z0-9.-]+?)\\?"?[\]) ]"#).ok()
});

/// Whether a text says that a pod is not let go, and which budget it names.
fn refusal(text: &str) -> Option<Option<(String, String)>> {
    let low = text.to_lowercase();
    let says = low.contains("prevents pod evictions")
        || low.contains("violate the pod's disruption budget")
        || low.contains("eviction blocked by too many requests")
        || (low.contains("failed to drain node") && low.contains("waiting to be evicted"));
    let named = || NAMED.as_ref().and_then(|r| r.captures(text)).map(|c| (c[1].to_owned(), c[2].to_owned()));
    says.then(named)
}

/// Whether a pod goes with its node, so that nobody evicts it.
fn stays(p: &PodFacts) -> bool {
    p.pod.is_finished()
        || p.workload.kind == "DaemonSet"
        || p.object.meta.annotations.contains_key("kubernetes.io/config.mirror")
}

fn budgets(view: &View, o: &Object, n: &Node, out: &mut Vec<Hypothesis>) {
    let Some(since) = emptied(view, o, n) else { return };
    let here: Vec<&PodFacts> =
        view.pods.values().filter(|p| p.pod.spec.node_name == o.key.name && !stays(p) && !p.is_leaving()).collect();
    let (kept, free): (Vec<_>, Vec<_>) = here.iter().map(|p| (*p, budget_of(view, p))).partition(|(_, b)| b.is_some());
    let Some(budget) = kept.first().and_then(|(_, b)| *b) else { return };
    let Body::Budget(b) = &budget.body else { return };
    let mut said = attempts(view, o, budget, &here, since);
    said.sort_by_key(|(t, _)| *t);
    let left = since.is_some_and(|t| somebody_left(view, o, t)) && free.is_empty();
    if said.is_empty() && !left {
        return;
    }
    let Some(begin) = since.or(said.first().map(|(t, _)| *t)) else { return };
    let st = &b.status;
    let unhealthy = st.current_healthy < st.expected_pods || st.current_healthy < st.desired_healthy;
    let pods: BTreeSet<&ObjectRef> = kept.iter().map(|(p, _)| p.key()).collect();
    let first = pods.iter().next().map(|k| k.to_string()).unwrap_or_default();
    let proof = if said.is_empty() { Proof::Inferred } else { Proof::Stated };
    out.push(
        Hypothesis::new(
            "disruption-budget-blocks",
            budget.key.clone(),
            begin,
            proof,
            format!(
                "{} lets no pod go ({} healthy of {}, {} demanded), so {} cannot be emptied: {first} stays",
                budget.key, st.current_healthy, st.expected_pods, st.desired_healthy, o.key
            ),
        )
        .counting_from(begin.plus(MINUTE))
        .via("disruption")
        .supported(u32::from(st.desired_healthy >= st.expected_pods) + u32::from(left))
        .with([
            view.state(&budget.key, None, "disruptionsAllowed is 0"),
            view.state(&o.key, since, format!("{} is being emptied", o.key)),
        ])
        .with(said.into_iter().map(|(_, e)| e).take(3))
        .unless("pods of the budget are not healthy", unhealthy)
        .next(kubectl("describe", &budget.key)),
    );
}

/// The budget that lets this pod not go.
fn budget_of<'a>(view: &View<'a>, p: &PodFacts) -> Option<&'a Object> {
    view.world.in_namespace("PodDisruptionBudget", p.key().ns()).find(|o| {
        let Body::Budget(b) = &o.body else { return false };
        let selects = b.spec.selector.as_ref().is_some_and(|s| s.matches(&p.object.meta.labels));
        selects && b.status.disruptions_allowed == 0 && b.status.expected_pods > 0
    })
}

/// Who tried to evict and was refused, since the node was marked: events on the node or its pods, lines of a drainer.
fn attempts(
    view: &View,
    node: &Object,
    budget: &Object,
    here: &[&PodFacts],
    since: Option<Time>,
) -> Vec<(Time, Evidence)> {
    let fresh = |t: Time| since.is_none_or(|s| t >= s) && view.age(t) < 1_800;
    let this = |named: Option<(String, String)>| {
        named.is_none_or(|(ns, name)| ns == budget.key.ns() && name == budget.key.name)
    };
    let mut out = Vec::new();
    let objects = std::iter::once(&node.key).chain(here.iter().map(|p| p.key()));
    for key in objects {
        let notes = view.world.entry(key).map_or(&[][..], |e| e.history.notes.as_slice());
        for n in notes.iter().filter(|n| fresh(n.last) && refusal(&n.message).is_some_and(this)) {
            out.push((n.first, view.noted(key, n)));
        }
    }
    for p in view.pods.values() {
        let lines = logs::errors(p, None, 40);
        let line = lines.iter().find(|l| {
            fresh(l.at)
                && refusal(l.text).is_some_and(this)
                && here.iter().any(|h| logs::names_word(l.text, &h.key().name))
        });
        if let Some(l) = line {
            out.push((l.at, view.logged(p.key(), Some(l.at), l.container, l.text)));
        }
    }
    out
}

/// Whether a pod that would not have gone by itself left the node since.
fn somebody_left(view: &View, node: &Object, since: Time) -> bool {
    view.world.entries("Pod").any(|e| {
        let Some(p) = e.object.as_ref().and_then(|o| o.as_pod()) else { return false };
        let gone = e.deleted_at.or(e.live().and_then(|o| *o.meta.deletion_timestamp));
        p.spec.node_name == node.key.name
            && gone.is_some_and(|t| t >= since)
            && view.world.workload_of(&e.key).kind != "DaemonSet"
    })
}

fn finalizers(view: &View, symptoms: &[Symptom], out: &mut Vec<Hypothesis>) {
    for s in symptoms.iter().filter(|s| s.trouble == Trouble::Terminating) {
        let Some(o) = view.world.live(&s.object) else { continue };
        if o.meta.finalizers.is_empty() {
            continue;
        }
        let node_gone = view.pods.get(&s.object).is_some_and(|p| {
            let node = ObjectRef::cluster_scoped("Node", &p.pod.spec.node_name);
            view.world.live(&node).and_then(|n| n.as_node()).is_some_and(|n| !n.is_ready())
        });
        let owner = view.world.owners(&s.object).first().cloned();
        out.push(
            Hypothesis::new(
                "finalizer-blocks-deletion",
                s.object.clone(),
                s.since,
                Proof::Stated,
                format!(
                    "{} is being deleted since {} and finalizer {} keeps it",
                    s.object,
                    s.since.clock(),
                    o.meta.finalizers.join(", ")
                ),
            )
            .explaining(owner)
            .counting_from(s.counts_from)
            .with([view.state(
                &s.object,
                Some(s.since),
                format!("deletionTimestamp is over, finalizers: {}", o.meta.finalizers.join(", ")),
            )])
            .unless("its node does not answer", node_gone)
            .next(kubectl("describe", &s.object)),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_of_several_drainers_are_read_and_other_texts_are_not() {
        let named = |ns: &str, name: &str| Some(Some((ns.to_owned(), name.to_owned())));
        for (text, want) in [
            ("Pdb prevents pod evictions (PodDisruptionBudget=[shop/cart])", named("shop", "cart")),
            ("Pdb prevents pod evictions (PodDisruptionBudget=kube-system/coredns)", named("kube-system", "coredns")),
            ("pdb default/inflate-pdb prevents pod evictions", named("default", "inflate-pdb")),
            (r#"Cannot disrupt Node: PDB "shop/cart" prevents pod evictions"#, named("shop", "cart")),
            (
                "error when evicting pods/\"cart-1\" -n \"shop\" (will retry after 5s): Cannot evict pod as it would violate the pod's disruption budget.",
                Some(None),
            ),
            ("Eviction blocked by Too Many Requests (usually a pdb): cart-1", Some(None)),
            ("Failed to drain node, 3 pods are waiting to be evicted", Some(None)),
            ("No matching pods found", None),
            ("SpotToSpotConsolidation is disabled, can't replace a spot node with a spot node", None),
            ("the server has received too many requests and has asked us to try again later", None),
        ] {
            assert_eq!(refusal(text), want, "{text}");
        }
    }
}
