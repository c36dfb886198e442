//! The answer: one object for `analyze`, `replay`, `why`, HTTP and alerts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::Id;
use crate::object::ObjectRef;
use crate::time::Time;
use crate::unified::Severity;

/// What is known after looking at everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// At least one root cause with its required evidence.
    Found,
    /// Something is wrong, and no mechanism has its required evidence.
    Unknown,
    /// Nothing is wrong.
    Healthy,
}

/// The whole answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The short of it.
    pub verdict: Verdict,
    /// Best first, at most 10.
    pub root_causes: Vec<RootCause>,
    /// One a root cause, and one a symptom without a cause; oldest first.
    pub incidents: Vec<Incident>,
    /// What was considered and why it is not the answer.
    pub looked_for: Vec<LookedFor>,
    /// What could not be seen.
    pub gaps: Vec<Gap>,
}

/// A cause, with what proves it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RootCause {
    /// The thing that a person would change to fix it.
    pub object: ObjectRef,
    /// Id of the vocabulary in `docs/mechanisms.md`.
    pub mechanism: String,
    /// Share of answers with this much evidence that are right, 0 … 1.
    pub confidence: f64,
    /// One sentence.
    pub summary: String,
    /// What was seen, oldest first.
    pub evidence: Vec<Evidence>,
    /// What would have spoken against it.
    pub refuters_checked: Vec<Refuter>,
    /// How the cause reached what people notice.
    pub path: Vec<PathStep>,
    /// What was changed, where that is known.
    pub changes: Vec<FieldChange>,
    /// What it hits besides the object itself.
    pub impact: Vec<ObjectRef>,
    /// Commands worth running next.
    pub next: Vec<String>,
}

/// One piece of evidence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// Id of the event, where it was one; an object's own state has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<Id>,
    /// When, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Time>,
    /// Which source (`cluster`, `kubelet`, `log`, `alert`, …).
    pub source: String,
    /// About which object.
    pub object: ObjectRef,
    /// What it says.
    pub says: String,
}

/// A claim that would have refuted the cause, and whether it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refuter {
    /// The claim.
    pub claim: String,
    /// Whether it was found true.
    pub found: bool,
}

/// One step from the cause to a symptom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathStep {
    /// From this object.
    pub from: ObjectRef,
    /// Relation in the graph.
    pub edge: String,
    /// To this object.
    pub to: ObjectRef,
    /// Type of the causal edge (`config-env`, `dependency`, …).
    pub via: String,
}

/// A field-level difference of an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FieldChange {
    /// Path of the field, e.g. `spec.template.spec.containers[app].image`.
    pub field: String,
    /// Value before, redacted by policy; none if the field was not there.
    pub before: Option<String>,
    /// Value after, redacted by policy; none if the field is gone.
    pub after: Option<String>,
    /// Field manager that wrote it, where known.
    pub by: Option<String>,
    /// When, where known.
    pub at: Option<Time>,
}

/// Life of an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IncidentState {
    /// The fault holds.
    Open,
    /// 30 s of health have passed.
    Resolved,
}

/// One root cause with all that it does, over time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    /// Stable over its life, its re-delivery and its replay.
    pub id: Id,
    /// Open or resolved.
    pub state: IncidentState,
    /// How bad.
    pub severity: Severity,
    /// Stream time at which it became known; never moves.
    pub opened_at: Time,
    /// Since when the fault itself holds.
    pub since: Time,
    /// Last change of the incident.
    pub updated_at: Time,
    /// When it was over.
    pub resolved_at: Option<Time>,
    /// When an incident that began as unknown got its cause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explained_at: Option<Time>,
    /// The cause; none while unknown.
    pub root_cause: Option<RootCause>,
    /// What people notice.
    pub symptoms: Vec<Symptom>,
}

/// Something that is wrong with an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Symptom {
    /// Which object.
    pub object: ObjectRef,
    /// What is wrong.
    pub says: String,
    /// Since when.
    pub at: Time,
}

/// A mechanism that was considered and is not the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LookedFor {
    /// Its id.
    pub mechanism: String,
    /// What is missing, or what refutes it.
    pub why_not: String,
}

/// A span in which a source saw nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The source.
    pub source: String,
    /// On which node, where that matters.
    pub node: Option<String>,
    /// From when, where known.
    pub from: Option<Time>,
    /// Until when; none: still.
    pub to: Option<Time>,
    /// Why.
    pub why: String,
}

/// A detector's finding (`death_spiral`, `config_cascade`): a shape in time, never a root cause.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PatternFinding {
    /// Hash of meaning.
    pub id: Id,
    /// `death_spiral`, `config_cascade`.
    pub pattern: String,
    /// `predicted`, `confirmed`, `withdrawn`, `open`, `ended`.
    pub state: String,
    /// The object that it is about.
    pub object: ObjectRef,
    /// 0 … 1.
    pub confidence: f64,
    /// How bad.
    pub severity: Severity,
    /// One sentence.
    pub message: String,
    /// First seen.
    pub opened_at: Time,
    /// Last change.
    pub updated_at: Time,
    /// Per affected object, how and when it is hit.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub affects: BTreeMap<String, String>,
}
