//! All rules of a configuration, asked on one store at times of the stream.
//!
//! A rule that cannot be answered three times in a row is fenced: off until the next start, told once, while the others
//! go on. A look that failed changes nothing of what was found. One that met a bound is asked again at the same time,
//! so a machine that was busy for a moment leaves no trace in the findings.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};
use tapio_core::ports::{GraphStore, Limits, Query, Rows, StoreError};
use tapio_core::time::Time;

use super::course::{Course, Step};
use super::finding::{Finding, Seen, State, by_key};
use super::{LIMITS, Rule};

/// Failures in a row after which a rule is off.
pub const FAILURES: u32 = 3;
/// Findings of one rule that are pending or firing; further ones are counted and left out.
pub const MAX_LIVE: usize = 2_000;
/// Findings of one rule that are over; the oldest go first.
pub const MAX_OVER: usize = 1_000;
/// Format of what [`Runner::save`] gives.
const FORMAT: u32 = 1;

/// A rule that is off, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fenced {
    /// Of the rule.
    pub id: String,
    /// What the store said, the last time.
    pub why: String,
    /// When that was.
    pub at: Time,
}

/// What a look brought.
#[derive(Clone, Debug, PartialEq)]
pub enum News {
    /// A finding fires.
    Opened(Finding),
    /// A finding is over.
    Resolved(Finding),
    /// A rule is off.
    Fenced(Fenced),
}

/// A finding that is pending or firing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Live {
    course: Course,
    seen: Seen,
}

/// What a rule has found so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Found {
    live: BTreeMap<String, Live>,
    over: VecDeque<Finding>,
    /// Not asked before this time.
    next: Option<Time>,
    /// Findings that had no place.
    left_out: u64,
}

#[derive(Debug)]
struct Running {
    rule: Rule,
    found: Found,
    failures: u32,
    fenced: Option<Fenced>,
}

#[derive(Serialize, Deserialize)]
struct Saved {
    format: u32,
    /// By rule, with the hash of the definition that found it.
    rules: BTreeMap<String, (String, Found)>,
}

/// The rules at work.
#[derive(Debug)]
pub struct Runner {
    rules: Vec<Running>,
    limits: Limits,
}

impl Runner {
    /// Rules that have found nothing yet.
    pub fn new(rules: Vec<Rule>) -> Self {
        Runner::with_limits(rules, LIMITS)
    }

    /// The same with other bounds.
    pub fn with_limits(mut rules: Vec<Rule>, limits: Limits) -> Self {
        rules.sort_by(|a, b| a.id.cmp(&b.id));
        let running = |rule| Running { rule, found: Found::default(), failures: 0, fenced: None };
        Runner { rules: rules.into_iter().map(running).collect(), limits }
    }

    /// Takes over what rules of the same definition had found; false if the state is of another version.
    pub fn restore(&mut self, state: &[u8]) -> bool {
        let Ok(saved) = serde_json::from_slice::<Saved>(state) else { return false };
        if saved.format != FORMAT {
            return false;
        }
        let mut saved = saved.rules;
        for r in &mut self.rules {
            match saved.remove(&r.rule.id) {
                Some((definition, found)) if definition == r.rule.definition().to_string() => r.found = found,
                _ => {}
            }
        }
        true
    }

    /// What was found, for [`Runner::restore`]. Fences are not kept: the next start tries again.
    ///
    /// # Errors
    /// Where it cannot be written as JSON.
    pub fn save(&self) -> Result<Vec<u8>, String> {
        let entry = |r: &Running| (r.rule.id.clone(), (r.rule.definition().to_string(), r.found.clone()));
        let saved = Saved { format: FORMAT, rules: self.rules.iter().map(entry).collect() };
        serde_json::to_vec(&saved).map_err(|e| e.to_string())
    }

    /// Whether there is any rule.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether a rule is to be asked at this time.
    pub fn due(&self, at: Time) -> bool {
        self.rules.iter().any(|r| r.due(at))
    }

    /// Whether a rule was never asked, as one that is new beside a graph that is there already.
    pub fn has_unasked(&self) -> bool {
        self.rules.iter().any(|r| r.fenced.is_none() && r.found.next.is_none())
    }

    /// Asks the rules that are due, at the graph as of this time; `all`: the others, too, as at the end of an input.
    ///
    /// # Errors
    /// Where the store itself does not work; what is wrong with a rule is news and no error.
    pub async fn look(&mut self, store: &dyn GraphStore, at: Time, all: bool) -> Result<Vec<News>, StoreError> {
        let mut news = Vec::new();
        for r in &mut self.rules {
            let asked = r.found.next == Some(at.plus(r.rule.every));
            if r.due(at) || (all && r.fenced.is_none() && !asked) {
                r.look(store, at, self.limits, &mut news).await?;
            }
        }
        Ok(news)
    }

    /// Everything that fires or fired: by rule, then oldest first.
    pub fn findings(&self) -> Vec<Finding> {
        let mut all: Vec<Finding> = Vec::new();
        for r in &self.rules {
            let from = all.len();
            all.extend(r.found.over.iter().cloned());
            all.extend(r.found.live.values().filter_map(|l| r.finding(l, None)));
            all[from..].sort_by(|a, b| (a.since, &a.key).cmp(&(b.since, &b.key)));
        }
        all
    }

    /// The rules that are off.
    pub fn fenced(&self) -> Vec<Fenced> {
        self.rules.iter().filter_map(|r| r.fenced.clone()).collect()
    }

    /// Rules, and findings that had no place.
    pub fn counts(&self) -> (usize, u64) {
        (self.rules.len(), self.rules.iter().map(|r| r.found.left_out).sum())
    }
}

impl Running {
    fn due(&self, at: Time) -> bool {
        self.fenced.is_none() && self.found.next.is_none_or(|next| at >= next)
    }

    async fn look(
        &mut self,
        store: &dyn GraphStore,
        at: Time,
        limits: Limits,
        news: &mut Vec<News>,
    ) -> Result<(), StoreError> {
        self.found.next = Some(at.plus(self.rule.every));
        loop {
            let query = Query { text: self.rule.query.clone(), params: BTreeMap::new(), at, limits };
            let (why, again) = match store.query(query).await {
                Ok(rows) if !rows.truncated => {
                    self.failures = 0;
                    self.take(&rows, at, news);
                    return Ok(());
                }
                // Which rows were cut off is chance.
                Ok(_) => (format!("more than {} rows; narrow the query, or count in it", limits.max_rows), false),
                Err(e @ StoreError::Limit(_)) => (e.to_string(), true),
                Err(e @ (StoreError::Refused(_) | StoreError::Other { .. })) => (e.to_string(), false),
                Err(e) => return Err(e),
            };
            self.failures += 1;
            if self.failures >= FAILURES {
                let fenced = Fenced { id: self.rule.id.clone(), why, at };
                self.fenced = Some(fenced.clone());
                news.push(News::Fenced(fenced));
                return Ok(());
            }
            if !again {
                return Ok(());
            }
        }
    }

    /// Moves every finding on by what is so now.
    fn take(&mut self, rows: &Rows, at: Time, news: &mut Vec<News>) {
        let timing = self.rule.timing;
        let mut now = by_key(&self.rule, rows);
        let mut ended: Vec<(String, Step)> = Vec::new();
        for (key, live) in &mut self.found.live {
            let seen = now.remove(key);
            let step = live.course.look(seen.is_some(), at, timing);
            if let Some(seen) = seen {
                live.seen = seen;
            }
            match step {
                Step::Opened => news.extend(finding(&self.rule, live, None).map(News::Opened)),
                Step::Resolved | Step::Dropped => ended.push((key.clone(), step)),
                Step::Same => {}
            }
        }
        for (key, step) in ended {
            let Some(live) = self.found.live.remove(&key) else { continue };
            if step == Step::Resolved
                && let Some(over) = finding(&self.rule, &live, Some(at))
            {
                news.push(News::Resolved(over.clone()));
                self.found.over.push_back(over);
            }
        }
        while self.found.over.len() > MAX_OVER {
            self.found.over.pop_front();
            self.found.left_out += 1;
        }
        for (key, seen) in now {
            if self.found.live.len() >= MAX_LIVE {
                self.found.left_out += 1;
                continue;
            }
            let (course, step) = Course::begin(at, timing);
            let live = Live { course, seen };
            if step == Step::Opened {
                news.extend(finding(&self.rule, &live, None).map(News::Opened));
            }
            self.found.live.insert(key, live);
        }
    }

    fn finding(&self, live: &Live, resolved_at: Option<Time>) -> Option<Finding> {
        finding(&self.rule, live, resolved_at)
    }
}

/// What is shown of it; none while it is pending.
fn finding(rule: &Rule, live: &Live, resolved_at: Option<Time>) -> Option<Finding> {
    Some(Finding {
        id: rule.id.clone(),
        severity: rule.severity,
        title: rule.title.clone(),
        message: live.seen.message.clone(),
        key: live.seen.key.clone(),
        state: if resolved_at.is_some() { State::Resolved } else { State::Firing },
        since: live.course.since,
        opened_at: live.course.opened_at?,
        resolved_at,
        rows: live.seen.rows.clone(),
    })
}

#[cfg(test)]
mod tests;
