//! A hypothesis: a mechanism with its required evidence present, its refuters checked, and what it would explain.

use tapio_core::answer::{Evidence, FieldChange, PathStep, Refuter};
use tapio_core::object::ObjectRef;
use tapio_core::time::Time;

/// On what a hypothesis rests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Proof {
    /// Nothing outside explains it: what is left when all else is ruled out.
    Residual,
    /// Objects, logs and times agree, with a step of inference.
    Inferred,
    /// Kubernetes says so, or objects contradict each other.
    Stated,
}

/// A possible cause.
#[derive(Clone, Debug, PartialEq)]
pub struct Hypothesis {
    /// Id of the vocabulary.
    pub mechanism: &'static str,
    /// The thing that a person would change.
    pub root: ObjectRef,
    /// Objects whose symptoms it explains by itself; what depends on them follows in the explanation.
    pub explains: Vec<ObjectRef>,
    /// Since when the fault holds.
    pub since: Time,
    /// When it begins to count.
    pub counts_from: Time,
    /// On what it rests.
    pub proof: Proof,
    /// Pieces of supporting evidence beyond the required.
    pub support: u32,
    /// Things that speak against it, short of refuting.
    pub doubts: u32,
    /// One sentence.
    pub summary: String,
    /// What was seen.
    pub evidence: Vec<Evidence>,
    /// What would have refuted it.
    pub refuters: Vec<Refuter>,
    /// What was changed.
    pub changes: Vec<FieldChange>,
    /// Type of the first causal edge.
    pub via: &'static str,
    /// Steps from the root to what it explains, where they are more than one.
    pub path: Vec<PathStep>,
    /// Commands worth running.
    pub next: Vec<String>,
}

impl Hypothesis {
    /// A hypothesis that still has to be given its evidence.
    pub fn new(
        mechanism: &'static str,
        root: ObjectRef,
        since: Time,
        proof: Proof,
        summary: impl Into<String>,
    ) -> Self {
        Hypothesis {
            mechanism,
            explains: vec![root.clone()],
            root,
            since,
            counts_from: since,
            proof,
            support: 0,
            doubts: 0,
            summary: summary.into(),
            evidence: Vec::new(),
            refuters: Vec::new(),
            changes: Vec::new(),
            via: "state",
            path: Vec::new(),
            next: Vec::new(),
        }
    }

    /// Explains these objects' symptoms too.
    #[must_use]
    pub fn explaining(mut self, objects: impl IntoIterator<Item = ObjectRef>) -> Self {
        self.explains.extend(objects);
        self.explains.sort();
        self.explains.dedup();
        self
    }

    /// Explains these objects' symptoms and no others: the root itself shows nothing, and what depends on it is as a rule
    /// well.
    #[must_use]
    pub fn explaining_only(mut self, objects: impl IntoIterator<Item = ObjectRef>) -> Self {
        self.explains.clear();
        self.explaining(objects)
    }

    /// Counts only from then on.
    #[must_use]
    pub fn counting_from(mut self, t: Time) -> Self {
        self.counts_from = t;
        self
    }

    /// With this evidence.
    #[must_use]
    pub fn with(mut self, evidence: impl IntoIterator<Item = Evidence>) -> Self {
        self.evidence.extend(evidence);
        self
    }

    /// Notes a claim that would have refuted it.
    #[must_use]
    pub fn unless(mut self, claim: impl Into<String>, found: bool) -> Self {
        self.refuters.push(Refuter { claim: claim.into(), found });
        self
    }

    /// Reached by this type of edge.
    #[must_use]
    pub fn via(mut self, via: &'static str) -> Self {
        self.via = via;
        self
    }

    /// With the changes that made it.
    #[must_use]
    pub fn changed(mut self, changes: impl IntoIterator<Item = FieldChange>) -> Self {
        self.changes.extend(changes);
        self
    }

    /// With more pieces of supporting evidence.
    #[must_use]
    pub fn supported(mut self, by: u32) -> Self {
        self.support += by;
        self
    }

    /// With something that speaks against it.
    #[must_use]
    pub fn doubted(mut self, by: u32) -> Self {
        self.doubts += by;
        self
    }

    /// With a command worth running.
    #[must_use]
    pub fn next(mut self, command: impl Into<String>) -> Self {
        self.next.push(command.into());
        self
    }

    /// Whether a refuter was found.
    pub fn is_refuted(&self) -> bool {
        self.refuters.iter().any(|r| r.found)
    }

    /// Share of answers with this much evidence that are right.
    pub fn confidence(&self) -> f64 {
        let base = match self.proof {
            Proof::Stated => 0.95,
            Proof::Inferred => 0.88,
            Proof::Residual => 0.7,
        };
        let c = base + 0.02 * f64::from(self.support.min(3)) - 0.15 * f64::from(self.doubts);
        (c.clamp(0.05, 0.99) * 100.0).round() / 100.0
    }
}
