//! A scenario of a test folder: a recording, and what the rules must find in it.
//!
//! `expected.json` has the shape of Tapio's own scenarios, with `findings` beside. What stands there about incidents
//! is Tapio's own business and is not looked at.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::IgnoredAny;
use tapio_core::time::{SECOND, Time};
use tapio_graph::rules::{Finding, State};

/// Names that a recording can have.
const RECORDINGS: [&str; 2] = ["recording.jsonl.zst", "recording.jsonl"];

/// `expected.json`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    /// Exactly the findings that must come; empty for a quiet one.
    findings: Vec<Wanted>,
    #[serde(default)]
    #[allow(dead_code, reason = "a sentence for people")]
    says: String,
    #[serde(default, rename = "from")]
    _from: Option<IgnoredAny>,
    #[serde(default, rename = "quiet")]
    _quiet: Option<IgnoredAny>,
    #[serde(default, rename = "incidents")]
    _incidents: Option<IgnoredAny>,
}

/// A finding that must come.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// The rule.
    id: String,
    /// Its key, or a part of it; any where it is not said.
    #[serde(default)]
    key: std::collections::BTreeMap<String, String>,
    /// What the message must hold; anything where it is not said.
    message: Option<String>,
    /// How it ends; either where it is not said.
    state: Option<State>,
    /// It fires not before this time.
    opened_not_before: Option<Time>,
    /// From when `within_secs` counts; `opened_not_before` where it is not said.
    decisive_at: Option<Time>,
    /// It fires within so many seconds.
    within_secs: Option<i64>,
}

/// A folder that was read.
#[derive(Debug)]
pub(super) struct Scenario {
    pub(super) name: String,
    pub(super) recording: PathBuf,
    expected: Expected,
}

impl Scenario {
    /// Reads a folder; says what is wrong with it otherwise. `rules`: the ids that there are.
    pub(super) fn read(folder: &Path, rules: &[&str]) -> Result<Self, String> {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let file = folder.join("expected.json");
        let say = |why: String| format!("{}: {why}", file.display());
        let text = std::fs::read_to_string(&file).map_err(|e| say(format!("{e}; write what the rules must find")))?;
        let expected: Expected = serde_json::from_str(&text).map_err(|e| say(e.to_string()))?;
        for w in &expected.findings {
            if !rules.contains(&w.id.as_str()) {
                return Err(say(format!("there is no rule `{}`; there are {}", w.id, rules.join(", "))));
            }
            if w.within_secs.is_some() && w.decisive_at.or(w.opened_not_before).is_none() {
                let remedy = "give `decisive_at` or `opened_not_before`, too";
                return Err(say(format!("`within_secs` of a finding of `{}` counts from nothing; {remedy}", w.id)));
            }
        }
        let recording = RECORDINGS.iter().map(|n| folder.join(n)).find(|p| p.is_file());
        let missing =
            || format!("{}: no {}; make one with `tapio record`", folder.display(), RECORDINGS.join(" and no "));
        Ok(Scenario { recording: recording.ok_or_else(missing)?, name, expected })
    }

    /// What differs from what must come; nothing if it is right.
    pub(super) fn differences(&self, found: &[Finding]) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut left: Vec<&Finding> = found.iter().collect();
        // Those that say more choose first, so that a vague one does not take what only they would accept.
        let mut wanted: Vec<&Wanted> = self.expected.findings.iter().collect();
        wanted.sort_by_key(|w| std::cmp::Reverse(w.key.len() + usize::from(w.message.is_some())));
        for w in wanted {
            // The one that fits in everything; else the one that is meant, to say what is wrong with it.
            let exact = left.iter().position(|f| w.means(f) && w.course(f).is_empty());
            match exact.or_else(|| left.iter().position(|f| w.means(f))) {
                Some(i) => {
                    let f = left.remove(i);
                    wrong.extend(w.course(f).into_iter().map(|why| format!("{}: {why}", told(f))));
                }
                None => wrong.push(format!("missing: {}", w.told())),
            }
        }
        wrong.extend(left.into_iter().map(|f| format!("not expected: {}", told(f))));
        wrong
    }
}

impl Wanted {
    /// Whether it is this one, whenever it came.
    fn means(&self, f: &Finding) -> bool {
        self.id == f.id
            && self.key.iter().all(|(k, v)| f.key.get(k) == Some(v))
            && self.message.as_ref().is_none_or(|m| f.message.contains(m.as_str()))
    }

    /// What is wrong with its times and its end.
    fn course(&self, f: &Finding) -> Vec<String> {
        let mut wrong = Vec::new();
        if let Some(state) = self.state.filter(|s| *s != f.state) {
            wrong.push(format!("it ends {}, expected {}", f.state.as_str(), state.as_str()));
        }
        if let Some(t) = self.opened_not_before.filter(|t| f.opened_at < *t) {
            wrong.push(format!("it fired at {}, before {t}", f.opened_at));
        }
        if let (Some(from), Some(secs)) = (self.decisive_at.or(self.opened_not_before), self.within_secs)
            && f.opened_at.since(from) > secs.saturating_mul(SECOND)
        {
            wrong.push(format!("it fired at {}, later than {secs} s after {from}", f.opened_at));
        }
        wrong
    }

    fn told(&self) -> String {
        let key = pairs(&self.key);
        let message = self.message.as_ref().map(|m| format!(" with \"{m}\" in its message")).unwrap_or_default();
        let state = self.state.map(|s| format!(", {}", s.as_str())).unwrap_or_default();
        format!("{}{key}{message}{state}", self.id)
    }
}

fn pairs(key: &std::collections::BTreeMap<String, String>) -> String {
    let list: Vec<String> = key.iter().map(|(k, v)| format!("{k}={v}")).collect();
    if list.is_empty() { String::new() } else { format!(" [{}]", list.join(", ")) }
}

fn told(f: &Finding) -> String {
    let state = f.state.as_str();
    format!("{}{} \"{}\", {state}, fired {}", f.id, pairs(&f.key), f.message, f.opened_at)
}
