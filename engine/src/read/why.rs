//! Why an object is as it is: the answer, restricted to the causes that reach it.

use std::collections::BTreeSet;

use tapio_core::answer::{Answer, Incident, IncidentState, LookedFor, PathStep, RootCause, Verdict};
use tapio_core::change::{GraphChange, NodeRef};
use tapio_core::object::ObjectRef;
use tapio_core::ontology::Relation;

use crate::answer::root_cause;
use crate::diagnosis::explain::{Explanation, Root};
use crate::diagnosis::view::View;
use crate::mechanisms;
use crate::processor::EventProcessor;
use crate::project::Projector;

/// The answer about one object: causes that reach it, incidents that it is part of, each path from its root to it.
pub fn why(engine: &EventProcessor, object: &ObjectRef) -> Answer {
    let view = View::new(engine.world(), engine.newest());
    let whole = engine.answer();
    let explanation = engine.explanation();
    let around = itself(&view, object);
    let root_causes: Vec<RootCause> = explanation
        .roots
        .iter()
        .filter(|r| concerns(r, object, &around))
        .map(|r| {
            let mut cause = root_cause(&view, r);
            let path = path_to(r, object);
            if !path.is_empty() {
                cause.path = path;
            }
            cause
        })
        .collect();
    let incidents: Vec<Incident> = whole.incidents.into_iter().filter(|i| is_part(i, object, &around)).collect();
    let unexplained: Vec<_> = explanation.unexplained.iter().filter(|s| around.contains(&s.object)).collect();
    let open_unknown = incidents.iter().any(|i| i.state == IncidentState::Open && i.root_cause.is_none());
    let verdict = if !root_causes.is_empty() {
        Verdict::Found
    } else if !unexplained.is_empty() || open_unknown {
        Verdict::Unknown
    } else {
        Verdict::Healthy
    };
    let looked_for = mechanisms::sections()
        .filter_map(|s| {
            let symptom = unexplained.iter().find(|x| s.explains.contains(&x.trouble))?;
            let needed = s.part("Required").unwrap_or_default();
            Some(LookedFor { mechanism: s.id.to_owned(), why_not: format!("{}: not seen: {needed}", symptom.object) })
        })
        .collect();
    Answer { verdict, root_causes, incidents, looked_for, gaps: whole.gaps }
}

/// The object and what stands for it: a workload's pods, a Service's pods, a namespace's all.
fn itself(view: &View, object: &ObjectRef) -> BTreeSet<ObjectRef> {
    let mut all = BTreeSet::from([object.clone()]);
    all.extend(view.members.get(object).into_iter().flatten().map(|k| (*k).clone()));
    if let Some(s) = view.services.get(object) {
        all.extend(s.pods.iter().cloned());
    }
    all.extend(view.pods.values().filter(|p| view.world.owners(p.key()).contains(object)).map(|p| p.key().clone()));
    if object.kind == "Namespace" {
        all.extend(view.pods.keys().filter(|k| k.ns() == object.name).map(|k| (*k).clone()));
        all.extend(view.services.keys().filter(|k| k.ns() == object.name).map(|k| (*k).clone()));
    }
    all
}

fn concerns(r: &Root, object: &ObjectRef, around: &BTreeSet<ObjectRef>) -> bool {
    let sick = |o: &ObjectRef| r.symptoms.iter().any(|s| s.object == *o);
    r.hypothesis.root == *object
        || r.reach.contains_key(object)
        || r.hypothesis.path.iter().any(|s| s.from == *object || s.to == *object)
        || around.iter().any(|o| sick(o) || r.hypothesis.root == *o)
}

fn is_part(i: &Incident, object: &ObjectRef, around: &BTreeSet<ObjectRef>) -> bool {
    let by_cause = i.root_cause.as_ref().is_some_and(|c| {
        c.object == *object || c.impact.contains(object) || c.path.iter().any(|s| s.from == *object || s.to == *object)
    });
    by_cause || i.symptoms.iter().any(|s| around.contains(&s.object))
}

/// The steps from the root to the object; empty if it is the root, or is reached through its pods only.
fn path_to(r: &Root, object: &ObjectRef) -> Vec<PathStep> {
    let mut steps: Vec<PathStep> = Vec::new();
    let mut at = object.clone();
    while let Some(Some(step)) = r.reach.get(&at) {
        let back = step.from.clone();
        if back == at || steps.iter().any(|s| s.to == step.to) {
            break;
        }
        steps.push(step.clone());
        at = back;
    }
    // The hypothesis's own steps lead from the root to what it explains, where that is further than one edge.
    let direct = steps.last().is_some_and(|s| s.from == r.hypothesis.root);
    if direct && !r.hypothesis.path.is_empty() {
        let first = steps.pop();
        let target = first.as_ref().map(|s| s.to.clone());
        let mut lead: Vec<PathStep> = Vec::new();
        let mut end = target;
        while let Some(o) = &end {
            match r.hypothesis.path.iter().find(|s| s.to == *o) {
                Some(s) if !lead.contains(s) => {
                    lead.push(s.clone());
                    end = (s.from != r.hypothesis.root).then(|| s.from.clone());
                }
                _ => break,
            }
        }
        if lead.is_empty() { steps.extend(first) } else { steps.extend(lead) }
    }
    steps.reverse();
    steps
}

/// A relation that must stand in the graph if the engine's claim about an object does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// Start.
    pub from: NodeRef,
    /// Relation.
    pub relation: Relation,
    /// End: an event by its id, an object by its name (its key in the graph is the projection's own affair).
    pub to: NodeRef,
    /// The claim, for people.
    pub says: String,
}

/// What the graph must hold for the causes that [`why`] names: that each incident has its root cause, and that the
/// first event triggered the others.
pub fn claims(engine: &EventProcessor, object: &ObjectRef) -> Vec<Claimed> {
    let view = View::new(engine.world(), engine.newest());
    let around = itself(&view, object);
    let roots: Vec<Root> =
        engine.explanation().roots.iter().filter(|r| concerns(r, object, &around)).cloned().collect();
    let mut out = Vec::new();
    // A projector that has written nothing yet says all that it would write.
    for root in roots {
        let says = format!("{} of {}", root.hypothesis.mechanism, root.hypothesis.root);
        let one = Explanation { roots: vec![root], ..Explanation::default() };
        let mut changes = Vec::new();
        Projector::default().causes(&view, &one, &mut changes);
        for c in changes {
            if let GraphChange::Edge { from, relation: relation @ Relation::Triggered, to, .. } = c {
                out.push(Claimed { from, relation, to, says: says.clone() });
            }
        }
    }
    for i in engine.answer().incidents.iter().filter(|i| is_part(i, object, &around)) {
        if let Some(c) = &i.root_cause {
            let from = NodeRef { label: tapio_core::ontology::Label::Incident, key: i.id.to_string() };
            let to =
                NodeRef { label: tapio_core::ontology::Label::of_kind(&c.object.kind), key: c.object.name.clone() };
            out.push(Claimed {
                from,
                relation: Relation::RootCause,
                to,
                says: format!("{} of {}", c.mechanism, c.object),
            });
        }
    }
    out
}

/// The part of an answer that concerns a namespace: what lies in it, or reaches into it.
pub fn within(mut answer: Answer, namespace: &str) -> Answer {
    let here = |o: &ObjectRef| o.ns() == namespace || (o.kind == "Namespace" && o.name == namespace);
    let touches = |c: &RootCause| {
        here(&c.object)
            || c.impact.iter().any(here)
            || c.path.iter().any(|s| here(&s.from) || here(&s.to))
            || c.evidence.iter().any(|e| here(&e.object))
    };
    answer.root_causes.retain(touches);
    answer
        .incidents
        .retain(|i| i.root_cause.as_ref().is_some_and(touches) || i.symptoms.iter().any(|s| here(&s.object)));
    let open = answer.incidents.iter().any(|i| i.state == IncidentState::Open);
    answer.verdict = match answer.verdict {
        _ if !answer.root_causes.is_empty() => Verdict::Found,
        Verdict::Healthy => Verdict::Healthy,
        _ if open => Verdict::Unknown,
        _ => Verdict::Healthy,
    };
    if answer.verdict == Verdict::Healthy {
        answer.looked_for.clear();
    }
    answer
}
