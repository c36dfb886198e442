//! From an explanation to the answer that people and programs read.

use tapio_core::answer::{Answer, Evidence, Gap, Incident, IncidentState, LookedFor, PathStep, RootCause, Verdict};
use tapio_core::object::ObjectRef;

use crate::diagnosis::explain::{Explanation, Root};
use crate::diagnosis::hypothesis::Hypothesis;
use crate::diagnosis::view::View;
use crate::mechanisms;

/// Root causes in an answer.
const MAX_CAUSES: usize = 10;
/// Pieces of evidence of one cause.
const MAX_EVIDENCE: usize = 24;

/// The cause of a root, with path and impact.
pub fn root_cause(view: &View, root: &Root) -> RootCause {
    let mut cause = of_hypothesis(&root.hypothesis);
    let mut impact: Vec<ObjectRef> = Vec::new();
    for o in root.reach.keys().filter(|o| **o != root.hypothesis.root) {
        let known = view.world.entry(o).is_some_and(|e| e.object.is_some());
        if known
            && matches!(
                o.kind.as_str(),
                "Service" | "Ingress" | "Pod" | "Deployment" | "StatefulSet" | "DaemonSet" | "Job" | "CronJob"
            )
        {
            impact.push(o.clone());
        }
    }
    // What people reach first: Services before workloads before pods.
    let order = |o: &ObjectRef| match o.kind.as_str() {
        "Ingress" => 0,
        "Service" => 1,
        "Pod" => 3,
        _ => 2,
    };
    impact.sort_by(|a, b| (order(a), a).cmp(&(order(b), b)));
    impact.truncate(200);
    cause.impact = impact;
    let symptomatic = |o: &ObjectRef| root.symptoms.iter().any(|s| s.object == *o);
    let mut path: Vec<PathStep> = root.hypothesis.path.clone();
    for (o, step) in &root.reach {
        if let Some(s) = step
            .as_ref()
            .filter(|_| symptomatic(o) || matches!(o.kind.as_str(), "Service" | "Deployment" | "StatefulSet"))
            && path.len() < 40
            && !path.contains(s)
        {
            path.push(s.clone());
        }
    }
    cause.path = ordered(&root.hypothesis.root, path);
    cause
}

/// The steps in the order in which they follow from the root.
fn ordered(root: &ObjectRef, mut steps: Vec<PathStep>) -> Vec<PathStep> {
    let mut out: Vec<PathStep> = Vec::new();
    let mut known = vec![root.clone()];
    while !steps.is_empty() {
        let next = steps.iter().position(|s| known.contains(&s.from)).unwrap_or(0);
        let s = steps.remove(next);
        known.push(s.to.clone());
        out.push(s);
    }
    out
}

fn of_hypothesis(h: &Hypothesis) -> RootCause {
    let mut evidence: Vec<Evidence> = h.evidence.clone();
    evidence.sort_by(|a, b| (a.at, &a.object, &a.says).cmp(&(b.at, &b.object, &b.says)));
    evidence.dedup();
    evidence.truncate(MAX_EVIDENCE);
    let mut changes = h.changes.clone();
    changes.sort();
    changes.dedup();
    changes.truncate(20);
    let mut next = h.next.clone();
    let mut seen = std::collections::BTreeSet::new();
    next.retain(|n| seen.insert(n.clone()));
    RootCause {
        object: h.root.clone(),
        mechanism: h.mechanism.to_owned(),
        confidence: h.confidence(),
        summary: h.summary.clone(),
        evidence,
        refuters_checked: h.refuters.clone(),
        path: Vec::new(),
        changes,
        impact: Vec::new(),
        next,
    }
}

/// The whole answer of a moment, with the incidents of a stream.
pub fn answer(view: &View, explanation: &Explanation, incidents: Vec<Incident>, gaps: Vec<Gap>) -> Answer {
    let mut root_causes: Vec<RootCause> = explanation.roots.iter().map(|r| root_cause(view, r)).collect();
    if !root_causes.is_empty() {
        // Other hypotheses with their evidence come after, with what is left of the certainty.
        for h in &explanation.others {
            let mut cause = of_hypothesis(h);
            cause.confidence = (cause.confidence * 50.0).round() / 100.0;
            let same = |c: &RootCause| c.object == cause.object && c.mechanism == cause.mechanism;
            if !root_causes.iter().any(same) {
                root_causes.push(cause);
            }
        }
    }
    // A cause that has just gone, in an incident that is not over yet, is still the answer to what is open.
    for cause in incidents.iter().filter(|i| i.state == IncidentState::Open).filter_map(|i| i.root_cause.as_ref()) {
        let same = |c: &RootCause| c.object == cause.object && c.mechanism == cause.mechanism;
        if explanation.roots.is_empty() && !root_causes.iter().any(same) {
            root_causes.push(cause.clone());
        }
    }
    root_causes.truncate(MAX_CAUSES);
    let verdict = if !root_causes.is_empty() {
        Verdict::Found
    } else if !explanation.unexplained.is_empty() || incidents.iter().any(|i| i.state == IncidentState::Open) {
        Verdict::Unknown
    } else {
        Verdict::Healthy
    };
    let looked_for = looked_for(explanation);
    Answer { verdict, root_causes, incidents, looked_for, gaps }
}

/// For symptoms without a cause: the mechanisms that explain such symptoms, and what each lacks.
fn looked_for(explanation: &Explanation) -> Vec<LookedFor> {
    let mut out = Vec::new();
    for s in mechanisms::sections() {
        let fits = explanation.unexplained.iter().find(|x| s.explains.contains(&x.trouble));
        if let Some(symptom) = fits {
            let needed = s.part("Required").unwrap_or_default();
            out.push(LookedFor {
                mechanism: s.id.to_owned(),
                why_not: format!("{}: not seen: {needed}", symptom.object),
            });
        }
    }
    out
}
