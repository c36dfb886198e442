//! What rules of one's own found.

use serde::Serialize;
use tapio_core::answer::Answer;
use tapio_core::time::span;
use tapio_graph::rules::{Fenced, Finding, Runner, State};

use super::Screen;
use super::answer::when;
use super::table::{Overflow, Table};
use super::text::count;

/// An answer, and what the rules found beside it; an answer as it is where there are no rules.
#[derive(Serialize)]
pub(crate) struct WithRules<'a> {
    #[serde(flatten)]
    answer: &'a Answer,
    #[serde(skip_serializing_if = "Option::is_none")]
    rules: Option<Vec<Finding>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rules_fenced: Vec<Fenced>,
}

impl<'a> WithRules<'a> {
    /// Puts them together.
    pub(crate) fn new(answer: &'a Answer, runner: Option<&Runner>) -> Self {
        let rules_fenced = runner.map(Runner::fenced).unwrap_or_default();
        WithRules { answer, rules: runner.map(Runner::findings), rules_fenced }
    }

    /// Findings and rules that are off, for people; nothing without rules.
    pub(crate) fn lay_out(&self, screen: &Screen, wide: bool) -> String {
        let Some(found) = &self.rules else { return String::new() };
        let p = screen.paint;
        let firing = found.iter().filter(|f| f.state == State::Firing).count();
        let title = format!("{}: {firing} firing, {} over", count(found.len(), "finding"), found.len() - firing);
        let mut out = format!("\n{} {title}\n", p.strong("own rules"));
        if !found.is_empty() {
            let mut t = Table::new(&["SINCE", "STATE", "SEVERITY", "RULE", "MESSAGE"]).indented(2);
            for f in found {
                t.row([when(f.since, None), state(f), f.severity.to_string(), f.id.clone(), f.message.clone()]);
            }
            out.push_str(&t.lay_out(screen.width, if wide { Overflow::Wrap } else { Overflow::Cut }, p));
        }
        for f in &self.rules_fenced {
            out.push_str(&format!("  {}\n", p.doubtful(&format!("rule {} is off since {}", f.id, when(f.at, None)))));
        }
        out
    }
}

/// How it stands, with how long it lasted.
pub(crate) fn state(f: &Finding) -> String {
    match f.resolved_at {
        Some(at) => format!("resolved after {}", span(at.since(f.since))),
        None => f.state.as_str().to_owned(),
    }
}

/// That a rule is off, as it is told once.
pub(crate) fn off(f: &Fenced) -> String {
    let times = tapio_graph::rules::runner::FAILURES;
    format!("rule {} is off until the next start: it failed {times} times in a row, last at {}: {}", f.id, f.at, f.why)
}
