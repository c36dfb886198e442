//! From symptoms and hypotheses to the small set of roots that explains all symptoms.
//!
//! A hypothesis *reaches* what it explains by itself and what depends on that: pods of a workload, Services without a
//! ready pod, pods of a node, pods that wait for a claim, and callers whose errors name something reached. A root is a
//! hypothesis that no other one reaches; residual mechanisms are asked only for what no other reaches.

use std::collections::{BTreeMap, BTreeSet};

use tapio_core::answer::PathStep;
use tapio_core::object::ObjectRef;
use tapio_core::ontology::Relation;

use super::endpoints;
use super::hypothesis::{Hypothesis, Proof};
use super::releases;
use super::symptom::{Symptom, Trouble};
use super::view::View;
use crate::mechanisms::autoscaling;

/// A chosen cause with what it reaches.
#[derive(Clone, Debug, PartialEq)]
pub struct Root {
    /// The cause.
    pub hypothesis: Hypothesis,
    /// The symptoms that it explains, in object order.
    pub symptoms: Vec<Symptom>,
    /// Everything that it reaches, with the step that led there.
    pub reach: BTreeMap<ObjectRef, Option<PathStep>>,
}

/// The explanation of a moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Explanation {
    /// Roots, strongest first.
    pub roots: Vec<Root>,
    /// Hypotheses that have their evidence and are not needed, strongest first.
    pub others: Vec<Hypothesis>,
    /// Symptoms that nothing explains.
    pub unexplained: Vec<Symptom>,
}

/// Chooses the roots among direct hypotheses; `residual` makes hypotheses for symptoms that are left.
pub fn explain(
    view: &View,
    symptoms: &[Symptom],
    direct: Vec<Hypothesis>,
    residual: impl Fn(&[Symptom]) -> Vec<Hypothesis>,
) -> Explanation {
    let counting: Vec<&Symptom> = symptoms.iter().filter(|s| s.counts(view.now)).collect();
    let mut out = Explanation::default();
    choose(view, &counting, merge(view, direct), &mut out);
    let left = uncovered(&counting, &out.roots);
    if !left.is_empty() {
        choose(view, &counting, merge(view, residual(&left)), &mut out);
    }
    // Residual causes may reach each other: a caller's crash because of a callee's crash.
    out.unexplained = uncovered(&counting, &out.roots);
    for root in &mut out.roots {
        root.symptoms = counting.iter().filter(|s| root.reach.contains_key(&s.object)).map(|s| (*s).clone()).collect();
    }
    out.roots.sort_by(|a, b| {
        strength(&b.hypothesis).total_cmp(&strength(&a.hypothesis)).then_with(|| order(a).cmp(&order(b)))
    });
    out.others.sort_by(|a, b| {
        strength(b).total_cmp(&strength(a)).then_with(|| (&a.root, a.mechanism).cmp(&(&b.root, b.mechanism)))
    });
    out
}

fn order(r: &Root) -> (tapio_core::time::Time, &ObjectRef, &str) {
    (r.hypothesis.since, &r.hypothesis.root, r.hypothesis.mechanism)
}

fn strength(h: &Hypothesis) -> f64 {
    h.confidence()
}

fn uncovered(counting: &[&Symptom], roots: &[Root]) -> Vec<Symptom> {
    counting.iter().filter(|s| !roots.iter().any(|r| covers(r, s))).map(|s| (*s).clone()).collect()
}

/// Whether a root leaves nothing of a symptom to explain. An alert tells of effects that are further away than the known
/// relations lead; a fault in the same namespace, or of the cluster, is enough for it.
fn covers(r: &Root, s: &Symptom) -> bool {
    let home = &r.hypothesis.root.namespace;
    r.reach.contains_key(&s.object) || (s.trouble == Trouble::Alert && (home.is_none() || *home == s.object.namespace))
}

/// One hypothesis per mechanism and workload: the same finding on three pods is one.
fn merge(view: &View, list: Vec<Hypothesis>) -> Vec<Hypothesis> {
    let mut by: BTreeMap<(ObjectRef, &'static str), Hypothesis> = BTreeMap::new();
    for h in list.into_iter().filter(|h| !h.is_refuted()) {
        match by.entry((view.world.workload_of(&h.root), h.mechanism)) {
            std::collections::btree_map::Entry::Vacant(v) => {
                v.insert(h);
            }
            std::collections::btree_map::Entry::Occupied(mut o) => {
                let kept = o.get_mut();
                let mut h = h;
                // Who knows what was changed, when and by whom, tells more than who only knows that it is wrong.
                if kept.changes.is_empty() && !h.changes.is_empty() {
                    std::mem::swap(kept, &mut h);
                }
                kept.explains.extend(h.explains);
                kept.explains.sort();
                kept.explains.dedup();
                if h.since < kept.since {
                    kept.since = h.since;
                }
                kept.counts_from = kept.counts_from.min(h.counts_from);
                for e in h.evidence {
                    if kept.evidence.len() < 12 && !kept.evidence.contains(&e) {
                        kept.evidence.push(e);
                    }
                }
                kept.support = kept.support.max(h.support);
                kept.doubts = kept.doubts.min(h.doubts);
            }
        }
    }
    by.into_values().filter(|h| h.counts_from <= view.now).collect()
}

fn choose(view: &View, counting: &[&Symptom], list: Vec<Hypothesis>, out: &mut Explanation) {
    let reaches: Vec<BTreeMap<ObjectRef, Option<PathStep>>> = list.iter().map(|h| reach(view, h, counting)).collect();
    let home: Vec<ObjectRef> = list.iter().map(|h| view.world.workload_of(&h.root)).collect();
    // Who is explained by whom: another hypothesis reaches everything that this one explains, and not the other way.
    let reaches_all =
        |i: usize, j: usize| list[j].explains.iter().all(|o| reaches[i].contains_key(o)) && home[i] != home[j];
    let mut rank: Vec<usize> = (0..list.len()).collect();
    let upstream = |j: usize| (0..list.len()).filter(|i| *i != j && reaches_all(*i, j) && !reaches_all(j, *i)).count();
    let ups: Vec<usize> = (0..list.len()).map(upstream).collect();
    rank.sort_by(|a, b| {
        ups[*a]
            .cmp(&ups[*b])
            .then_with(|| list[*b].proof.cmp(&list[*a].proof))
            .then_with(|| strength(&list[*b]).total_cmp(&strength(&list[*a])))
            .then_with(|| reaches[*b].len().cmp(&reaches[*a].len()))
            .then_with(|| {
                (list[*a].since, &list[*a].root, list[*a].mechanism).cmp(&(
                    list[*b].since,
                    &list[*b].root,
                    list[*b].mechanism,
                ))
            })
    });
    let mut slots: Vec<Option<Hypothesis>> = list.into_iter().map(Some).collect();
    for i in rank {
        let Some(h) = slots[i].take() else { continue };
        let taken: BTreeSet<&ObjectRef> = out.roots.iter().flat_map(|r| r.reach.keys()).collect();
        let own_new = h.explains.iter().any(|o| !taken.contains(o) && has_symptom(counting, o));
        let silent = !h.explains.iter().any(|o| has_symptom(counting, o));
        // A fault without any symptom is still a fault, if the objects state it and nothing chosen covers it.
        let stated_alone = silent && h.proof != Proof::Residual && !h.explains.iter().any(|o| taken.contains(o));
        if own_new || stated_alone {
            out.roots.push(Root { hypothesis: h, symptoms: Vec::new(), reach: reaches[i].clone() });
        } else {
            out.others.push(h);
        }
    }
}

fn has_symptom(counting: &[&Symptom], o: &ObjectRef) -> bool {
    counting.iter().any(|s| s.object == *o)
}

/// Whether a node is short of something and else well: its pods run as they did.
fn is_only_short(counting: &[&Symptom], node: &ObjectRef) -> bool {
    let mut troubles = counting.iter().filter(|s| s.object == *node).map(|s| s.trouble).peekable();
    troubles.peek().is_some() && troubles.all(|t| t == Trouble::NodePressure)
}

/// Everything that depends on what the hypothesis explains, breadth first, with the step that led there.
fn reach(view: &View, h: &Hypothesis, counting: &[&Symptom]) -> BTreeMap<ObjectRef, Option<PathStep>> {
    let mut found: BTreeMap<ObjectRef, Option<PathStep>> = BTreeMap::new();
    let mut queue: Vec<ObjectRef> = Vec::new();
    let add = |found: &mut BTreeMap<ObjectRef, Option<PathStep>>,
               queue: &mut Vec<ObjectRef>,
               o: ObjectRef,
               step: Option<PathStep>| {
        if !found.contains_key(&o) {
            found.insert(o.clone(), step);
            queue.push(o);
        }
    };
    add(&mut found, &mut queue, h.root.clone(), None);
    for o in &h.explains {
        let step = (*o != h.root).then(|| PathStep {
            from: h.root.clone(),
            edge: "TRIGGERED".to_owned(),
            to: o.clone(),
            via: h.via.to_owned(),
        });
        add(&mut found, &mut queue, o.clone(), step);
    }
    let explained: BTreeSet<&ObjectRef> = h.explains.iter().collect();
    // Who is in trouble and names whom in its errors or addresses.
    let callers: Vec<(&ObjectRef, Vec<ObjectRef>)> = counting
        .iter()
        .filter(|s| s.object.kind == "Pod" && s.since >= h.since.plus(-10 * tapio_core::time::SECOND))
        .filter(|s| {
            matches!(
                s.trouble,
                Trouble::Unready | Trouble::Crashing | Trouble::ProbeKilled | Trouble::LogErrors | Trouble::InitStuck
            )
        })
        .filter_map(|s| view.pods.get(&s.object).map(|p| (&s.object, endpoints::named_by(view, p))))
        .filter(|(_, names)| !names.is_empty())
        .collect();
    while let Some(o) = queue.pop() {
        let step = |to: &ObjectRef, edge: Relation, via: &str| {
            Some(PathStep { from: o.clone(), edge: edge.as_str().to_owned(), to: to.clone(), via: via.to_owned() })
        };
        match o.kind.as_str() {
            "Pod" => {
                // Its controllers show the same trouble; a shared workload is not reached from one evicted pod's node.
                for owner in view.world.owners(&o) {
                    let s = step(&owner, Relation::Owns, "ownership");
                    add(&mut found, &mut queue, owner, s);
                }
                for s in view.world.into(&o, Relation::Selects) {
                    if view.services.get(&s.key).is_some_and(|f| {
                        // A pod that dies again and again is ready in between; its callers are not yet.
                        f.ready == 0 || h.root == o || f.pods.iter().all(|p| has_symptom(counting, p))
                    }) {
                        let st = step(&s.key, Relation::Selects, "endpoint");
                        add(&mut found, &mut queue, s.key.clone(), st);
                    }
                }
            }
            "Service" => {
                for (caller, names) in &callers {
                    if names.contains(&o) {
                        let s = step(caller, Relation::Calls, "dependency");
                        add(&mut found, &mut queue, (*caller).clone(), s);
                    }
                }
                // Autoscalers wait for the metrics that it serves.
                if autoscaling::serves_metrics(view, &o) {
                    for s in counting.iter().filter(|s| autoscaling::lacks_metrics_api(s)) {
                        let st = step(&s.object, Relation::Calls, "dependency");
                        add(&mut found, &mut queue, s.object.clone(), st);
                    }
                }
                for i in view.world.into(&o, Relation::RoutesTo) {
                    let s = step(&i.key, Relation::RoutesTo, "dependency");
                    add(&mut found, &mut queue, i.key.clone(), s);
                }
            }
            "Node" if explained.contains(&o) && !is_only_short(counting, &o) => {
                for p in view.world.into(&o, Relation::RunsOn) {
                    let s = step(&p.key, Relation::RunsOn, "node");
                    add(&mut found, &mut queue, p.key.clone(), s);
                }
            }
            "PersistentVolumeClaim" => {
                for p in view.world.into(&o, Relation::Claims) {
                    let s = step(&p.key, Relation::Claims, "volume");
                    add(&mut found, &mut queue, p.key.clone(), s);
                }
            }
            "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet" | "Job" | "CronJob" | "ReplicationController" => {
                for owned in view.world.out(&o, Relation::Owns) {
                    // A workload's fault reaches its failing pods; healthy ones of an older revision are untouched.
                    let sick = owned.key.kind != "Pod" || has_symptom(counting, &owned.key);
                    if sick {
                        let s = step(&owned.key, Relation::Owns, "ownership");
                        add(&mut found, &mut queue, owned.key.clone(), s);
                    }
                }
                // The release that applied it cannot come to its end.
                let own = view.world.live(&o);
                let failed = counting.iter().filter(|s| s.trouble == Trouble::ReleaseFailed);
                for s in failed.filter(|s| own.is_some_and(|o| releases::is_part(o, &s.object))) {
                    let st = step(&s.object, Relation::Owns, "release");
                    add(&mut found, &mut queue, s.object.clone(), st);
                }
                // Without any pod there is no selection to follow: a Service that would select the template's labels.
                let template = view.world.entry(&o).and_then(|e| e.object.as_ref()).and_then(|x| x.template());
                if let Some(t) = template {
                    for (key, s) in &view.services {
                        let same = key.ns() == o.ns() && s.ready == 0;
                        if same && crate::world::selects(s.service, &t.metadata.labels) {
                            let st = step(key, Relation::Selects, "endpoint");
                            add(&mut found, &mut queue, (*key).clone(), st);
                        }
                    }
                }
            }
            _ => {}
        }
    }
    found
}
