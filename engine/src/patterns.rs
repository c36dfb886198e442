//! Patterns: shapes in time that people know by name. They are detectors and never root causes.

mod config_cascade;
mod death_spiral;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tapio_core::answer::PatternFinding;
use tapio_core::id::Id;
use tapio_core::time::Time;

use crate::diagnosis::view::View;

/// Findings kept; the oldest ended ones go first.
const MAX_FINDINGS: usize = 2_000;

/// A pattern's manual.
#[derive(Clone, Copy, Debug)]
pub struct Pattern {
    /// Id, as in graph, alerts and scenarios.
    pub id: &'static str,
    /// Manual page.
    pub manual: &'static str,
}

/// Every pattern.
pub const PATTERNS: &[Pattern] = &[
    Pattern { id: "death_spiral", manual: death_spiral::MANUAL },
    Pattern { id: "config_cascade", manual: config_cascade::MANUAL },
];

/// The findings of a cluster.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Patterns {
    found: BTreeMap<Id, PatternFinding>,
}

impl Patterns {
    /// Oldest first.
    pub fn all(&self) -> impl Iterator<Item = &PatternFinding> {
        let mut list: Vec<&PatternFinding> = self.found.values().collect();
        list.sort_by_key(|f| (f.opened_at, f.id));
        list.into_iter()
    }

    /// The next moment at which a finding changes by itself.
    pub fn next_due(&self, now: Time) -> Option<Time> {
        self.found
            .values()
            .filter_map(|f| match (f.pattern.as_str(), f.state.as_str()) {
                ("config_cascade", "predicted") => Some(f.opened_at.plus(config_cascade::WITHDRAWN_AFTER)),
                ("death_spiral", "open") => Some(f.updated_at.plus(death_spiral::ENDED_AFTER)),
                _ => None,
            })
            .filter(|t| *t > now)
            .min()
    }

    /// Looks for patterns; returns what is new or changed.
    pub fn look(&mut self, view: &View) -> Vec<PatternFinding> {
        let mut changed = Vec::new();
        let found = death_spiral::look(view, &self.found).into_iter().chain(config_cascade::look(view, &self.found));
        for f in found {
            if self.found.get(&f.id) != Some(&f) {
                self.found.insert(f.id, f.clone());
                changed.push(f);
            }
        }
        while self.found.len() > MAX_FINDINGS {
            let oldest = self
                .found
                .values()
                .min_by_key(|f| (matches!(f.state.as_str(), "open" | "predicted"), f.updated_at, f.id))
                .map(|f| f.id);
            oldest.map(|id| self.found.remove(&id));
        }
        changed
    }
}
