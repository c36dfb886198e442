//! What a set of manifests would do: how each differs from the live object, whom that hits and when, what would break.
//!
//! The manifests are one change: the world is copied, all of them are laid over the copy, and whatever is wrong in the
//! copy and was not wrong before is a finding. A Deployment and the ConfigMap that it needs may come together.

mod calls;
mod checks;
mod diff;
mod hits;
mod set;
mod state;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use tapio_core::answer::{Evidence, FieldChange};
use tapio_core::manifest::Manifest;
use tapio_core::object::ObjectRef;
use tapio_core::unified::Severity;

use super::impact::Effect;
use crate::processor::EventProcessor;
use crate::world::World;
use set::Step;
use state::State;

/// Findings kept; the worst ones.
const MAX_FINDINGS: usize = 1_000;

/// What is asked.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// Namespace of manifests that name none; `default` where absent.
    pub namespace: Option<String>,
    /// The objects are to be deleted.
    pub delete: bool,
}

/// Why a manifest cannot be compared.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {why}")]
pub struct WhatIfError {
    /// File, document and line.
    pub place: String,
    /// What is wrong, and what to do.
    pub why: String,
}

/// What manifests would do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WhatIf {
    /// Severity of the worst finding; none without findings.
    pub worst: Option<Severity>,
    /// What would break, worst first.
    pub findings: Vec<Finding>,
    /// One a manifest, in their order.
    pub changes: Vec<ObjectChange>,
}

/// Something that would break.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// `high`: something stops or is refused; `medium`: something may; `low`: worth knowing.
    pub severity: Severity,
    /// What was checked, e.g. `key-missing`; the words are listed in `docs/what-if.md`.
    pub check: String,
    /// The object of the manifests that does it.
    pub object: ObjectRef,
    /// Where its manifest stands.
    pub place: String,
    /// One sentence.
    pub says: String,
    /// Who breaks.
    pub hits: Vec<ObjectRef>,
    /// When that is noticed.
    pub effect: Effect,
    /// Whether it is so already, and the change only leaves it.
    pub already: bool,
    /// What it rests on; the source is `manifest` or `cluster`.
    pub evidence: Vec<Evidence>,
}

/// What becomes of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It does not exist so far.
    New,
    /// It differs.
    Changed,
    /// It is as the manifest wants it.
    Unchanged,
    /// It goes.
    Deleted,
    /// It should go, and is not there.
    Absent,
}

/// One manifest against the live object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ObjectChange {
    /// The object.
    pub object: ObjectRef,
    /// Where its manifest stands.
    pub place: String,
    /// What becomes of it.
    pub action: Action,
    /// Whether the kind is one whose effects are known; of others only the difference is told.
    pub known: bool,
    /// Fields that the manifest sets otherwise. Values are redacted by policy, those of Secrets always.
    pub fields: Vec<FieldChange>,
    /// Fields that the manifest sets and of which the input does not tell the live value.
    pub not_compared: Vec<String>,
    /// Fields that somebody set on the live object and of which the manifest does not speak. They are taken to stay;
    /// `kubectl apply` takes out those that an earlier version of the manifest had set.
    pub left: Vec<String>,
    /// Whom it hits directly.
    pub hits: Vec<Hit>,
    /// Services behind which they stand.
    pub services: Vec<ObjectRef>,
    /// Ingresses that lead there.
    pub ingresses: Vec<ObjectRef>,
    /// Workloads that call those Services, as far as calls are known.
    pub callers: Vec<ObjectRef>,
}

/// Somebody who is hit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Hit {
    /// The workload, or whatever else it is.
    pub object: ObjectRef,
    /// `config-env`, `config-volume`, `config-subpath`, `template-rollout`, `scale`, `selector`, `port`, `policy`,
    /// `quota`, `placement`, `volume`, `account`, `route`, `deletion`, …
    pub mechanism: String,
    /// When it takes effect.
    pub effect: Effect,
    /// The container, where one is meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// The keys that it reads; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<String>,
    /// Whether it lives without it.
    pub optional: bool,
    /// Its pods now.
    pub pods: Vec<String>,
}

/// Something that is wrong in one world.
pub(super) struct Problem {
    severity: Severity,
    check: &'static str,
    /// What is wrong.
    subject: ObjectRef,
    /// Whom to blame, best first: the first of them that is in the change set.
    about: Vec<ObjectRef>,
    /// A Service whose callers are hit, too.
    called: Option<ObjectRef>,
    /// Tells problems of one check about one object apart.
    detail: String,
    says: String,
    hits: Vec<ObjectRef>,
    effect: Effect,
    evidence: Vec<Evidence>,
}

impl Problem {
    fn new(severity: Severity, check: &'static str, subject: &ObjectRef, says: String) -> Self {
        Problem {
            severity,
            check,
            subject: subject.clone(),
            about: vec![subject.clone()],
            called: None,
            detail: String::new(),
            says,
            hits: vec![subject.clone()],
            effect: Effect::AtOnce,
            evidence: Vec::new(),
        }
    }

    fn because(mut self, cause: &ObjectRef) -> Self {
        self.about.push(cause.clone());
        self
    }

    /// As [`Problem::because`], before the subject itself.
    fn rather(mut self, cause: &ObjectRef) -> Self {
        self.about.insert(0, cause.clone());
        self
    }

    fn with_callers_of(mut self, service: &ObjectRef) -> Self {
        self.called = Some(service.clone());
        self
    }

    fn detail(mut self, text: impl Into<String>) -> Self {
        self.detail = text.into();
        self
    }

    fn when(mut self, effect: Effect) -> Self {
        self.effect = effect;
        self
    }

    fn hitting(mut self, more: impl IntoIterator<Item = ObjectRef>) -> Self {
        for o in more {
            if !self.hits.contains(&o) {
                self.hits.push(o);
            }
        }
        self
    }

    /// Something that it rests on; whether a manifest says so or the cluster is told by the change set.
    fn seen(mut self, object: &ObjectRef, says: impl Into<String>) -> Self {
        let (source, object) = (String::new(), object.clone());
        self.evidence.push(Evidence { event: None, at: None, source, object, says: says.into() });
        self
    }

    fn key(&self) -> (&'static str, ObjectRef, String) {
        (self.check, self.subject.clone(), self.detail.clone())
    }
}

/// Both worlds and the way between them.
pub(super) struct Between<'a> {
    before: &'a State<'a>,
    after: &'a State<'a>,
    steps: &'a [Step],
    /// The changed objects, by name.
    touched: BTreeMap<&'a ObjectRef, &'a Step>,
    /// Calls that are known afterwards, with where they stand.
    calls: BTreeMap<calls::Call, String>,
}

impl Between<'_> {
    /// Workloads that call a Service.
    fn callers<'s>(&'s self, service: &'s ObjectRef) -> impl Iterator<Item = ObjectRef> + 's {
        self.calls.keys().filter(move |(_, to, _)| to == service).map(|(from, ..)| from.clone())
    }
}

/// What manifests would do to what the engine knows.
///
/// # Errors
/// Says which manifest cannot be compared, and which field is to blame.
pub fn whatif(engine: &EventProcessor, manifests: &[Manifest], asked: &Asked) -> Result<WhatIf, WhatIfError> {
    in_world(engine.world(), engine.newest(), manifests, asked)
}

fn in_world(
    world: &World,
    now: tapio_core::time::Time,
    manifests: &[Manifest],
    asked: &Asked,
) -> Result<WhatIf, WhatIfError> {
    let steps = set::steps(world, manifests, asked)?;
    let changed = set::laid_over(world, now, &steps);
    let rolled: BTreeSet<ObjectRef> = steps.iter().filter(|s| s.rolls()).map(|s| s.object.clone()).collect();
    let before = State::new(world, now, world, &BTreeSet::new());
    let after = State::new(&changed, now, world, &rolled);
    let real = |s: &&Step| !matches!(s.action, Action::Unchanged | Action::Absent);
    let touched: BTreeMap<&ObjectRef, &Step> = steps.iter().filter(real).map(|s| (&s.object, s)).collect();
    let calls = calls::known(&after, &before);
    let between = Between { before: &before, after: &after, steps: &steps, touched, calls };
    let findings = findings(&between);
    let changes = steps.iter().map(|s| hits::told(s, &between)).collect();
    Ok(WhatIf { worst: findings.first().map(|f| f.severity), findings, changes })
}

/// What is wrong afterwards and was not before, and what was wrong already with the objects that are touched.
fn findings(b: &Between) -> Vec<Finding> {
    let known: BTreeSet<_> = checks::of_state(b, b.before).iter().map(Problem::key).collect();
    let mut out: BTreeMap<_, Finding> = BTreeMap::new();
    let mut add = |p: Problem, already: bool| {
        let p = match p.called.clone() {
            Some(service) => p.hitting(b.callers(&service)),
            None => p,
        };
        let mut p = p;
        for e in &mut p.evidence {
            // Whatever the change set touches is as the manifests say it.
            let from = if b.touched.contains_key(&e.object) { "manifest" } else { "cluster" };
            from.clone_into(&mut e.source);
        }
        let blamed = p.about.iter().find_map(|o| b.steps.iter().find(|s| s.object == *o)).or(b.steps.first());
        let Some(step) = blamed else { return };
        let severity = if already { Severity::Low } else { p.severity };
        // What only rules over others does not break itself.
        let rules = |o: &ObjectRef| {
            matches!(
                o.kind.as_str(),
                "ConfigMap" | "LimitRange" | "Namespace" | "NetworkPolicy" | "ResourceQuota" | "Secret"
            )
        };
        if p.hits.iter().any(|o| !rules(o)) {
            p.hits.retain(|o| !rules(o));
        }
        let rank = (std::cmp::Reverse(severity), p.key());
        let says = if already { format!("{} (so already now)", p.says) } else { p.says };
        out.entry(rank).or_insert(Finding {
            severity,
            check: p.check.to_owned(),
            object: step.object.clone(),
            place: step.place.clone(),
            says,
            hits: p.hits,
            effect: p.effect,
            already,
            evidence: p.evidence,
        });
    };
    for p in checks::of_state(b, b.after) {
        match known.contains(&p.key()) {
            false => add(p, false),
            // What was wrong before is told only of what somebody is about to touch.
            true if b.touched.contains_key(&p.subject) && p.severity > Severity::Low => add(p, true),
            true => {}
        }
    }
    for p in checks::of_change(b) {
        add(p, false);
    }
    out.into_values().take(MAX_FINDINGS).collect()
}
