//! Rules of a user's own: a question in Cypher, asked again and again over the time of the stream.
//!
//! | module | what |
//! | --- | --- |
//! | [`course`] | the state machine of one finding: pending, firing, resolved; pure |
//! | [`names`] | labels, relations and properties in a query that the graph does not have |
//! | [`template`] | `{{column}}` in a message |
//! | [`finding`] | what a rule found, made from rows |
//! | [`runner`] | all rules of a configuration on one store; fences those that cannot be answered |
//!
//! Invariants: a rule only reads, through the gate and within [`LIMITS`]; every time is that of the stream; what is
//! found depends on the graph and these times alone. The time limit of a query is the only thing from outside, and a
//! rule that meets it is switched off instead of finding less.

pub mod course;
pub mod finding;
pub mod names;
pub mod runner;
pub mod template;

use tapio_core::id::Id;
use tapio_core::ports::Limits;
use tapio_core::unified::Severity;

pub use course::Timing;
pub use finding::{Finding, State};
pub use runner::{Fenced, News, Runner};
pub use template::Template;

/// Bounds of a rule's query: it is asked often, and nobody waits in front of it.
pub const LIMITS: Limits = Limits { timeout_millis: 2_000, max_rows: 1_000, max_expansions: 5_000_000 };

/// A rule that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its name, unique among all.
    pub id: String,
    /// How bad a finding is.
    pub severity: Severity,
    /// Read-only Cypher; every row says that something is so.
    pub query: String,
    /// What it is about, in a few words.
    pub title: String,
    /// What a finding says.
    pub message: Template,
    /// The columns that tell findings apart; never empty.
    pub key: Vec<String>,
    /// How long it must be so, and how long it must be gone.
    pub timing: Timing,
    /// Microseconds of stream time between two questions at least.
    pub every: i64,
}

impl Rule {
    /// A hash over everything that decides what is found and said: findings of another definition are not ours.
    pub fn definition(&self) -> Id {
        let times = [self.timing.holds, self.timing.gone, self.every].map(|t| t.to_string());
        let mut parts = vec![self.id.as_str(), self.severity.as_str(), &self.query, &self.title, self.message.text()];
        parts.extend(times.iter().map(String::as_str));
        parts.extend(self.key.iter().map(String::as_str));
        Id::of("rule", &parts)
    }
}
