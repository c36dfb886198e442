//! Recordings with a key: the incidents of the replay and the causes of the snapshot at the end.
//!
//! A replay is right if an incident that was opened after the injection names an accepted cause. It is late if that was
//! more than 15 s after the decisive moment. Any other incident is extra; one in the quiet time before is false.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;
use tapio_core::time::{SECOND, Time};

use super::judge::{self, Truth};
use super::{Scored, each};
use crate::process::measure;

/// Seconds after the decisive moment by which the incident has to be there.
const LATE_SECS: i64 = 15;

pub(super) fn run(binary: &Path, dir: &Path, names: &[String], jobs: usize) -> Result<Vec<Scored>> {
    let there: Vec<&String> = names.iter().filter(|n| dir.join(n).join("truth.json").exists()).collect();
    let pairs = each(&there, jobs, |name| one(binary, &dir.join(name), name))?;
    let rows: Vec<Scored> = pairs.into_iter().flatten().collect();
    let count = |word: &str| rows.iter().filter(|r| r.notes.iter().any(|n| n.starts_with(word))).count();
    println!(
        "late {}, extra {}, false in quiet {}, unresolved {}",
        count("late"),
        count("extra"),
        count("false"),
        count("unresolved")
    );
    Ok(rows)
}

fn one(binary: &Path, folder: &Path, name: &str) -> Result<Vec<Scored>> {
    let text = std::fs::read(folder.join("truth.json")).with_context(|| format!("cannot read the key of {name}"))?;
    let key: Value = serde_json::from_slice(&text).with_context(|| format!("the key of {name} is no JSON"))?;
    if key["scored"] == Value::Bool(false) {
        return Ok(Vec::new());
    }
    let mut out = Vec::new();
    for file in ["recording.jsonl.zst", "recording.jsonl"] {
        let path = folder.join(file);
        if path.exists() {
            let (answer, millis) = ask(binary, "replay", &path)?;
            out.push(replay(&format!("{name}/replay"), &key, &answer, millis));
            break;
        }
    }
    let path = folder.join("snapshot");
    if path.is_dir() {
        let (answer, millis) = ask(binary, "analyze", &path)?;
        let mut s = judge::causes(&format!("{name}/snapshot"), &Truth::read(&key), &answer["root_causes"], millis);
        if key["expect_incident"] == Value::Bool(false) {
            s.want.clear();
            if s.first.is_some() {
                s.notes.push("false: a quiet story has no cause".to_owned());
            }
        }
        out.push(s);
    }
    Ok(out)
}

fn ask(binary: &Path, verb: &str, path: &Path) -> Result<(Value, f64)> {
    let path = path.to_string_lossy();
    let done = measure(binary, &[verb, &path, "-o", "json"])?;
    Ok((serde_json::from_slice(&done.answer).unwrap_or(Value::Null), done.millis))
}

fn time(v: &Value) -> Option<Time> {
    v.as_str().and_then(|t| Time::parse(t).ok())
}

fn replay(id: &str, key: &Value, answer: &Value, millis: f64) -> Scored {
    let truth = Truth::read(key);
    let mut list: Vec<&Value> = answer["incidents"].as_array().into_iter().flatten().collect();
    list.sort_by_key(|i| time(&i["opened_at"]));
    let mut s = judge::causes(id, &truth, &Value::Null, millis);
    if answer.is_null() {
        s.notes.push("no answer".to_owned());
    }
    if key["expect_incident"] == Value::Bool(false) {
        s.want.clear();
        s.first = list.first().map(|i| judge::said(&i["root_cause"]));
        if !list.is_empty() {
            s.notes.push(format!("false: {} incidents in a quiet story", list.len()));
        }
        return s;
    }
    let decisive = time(&key["decisive_at"]);
    let begin = time(&key["injected_at"]).or(decisive.map(|t| t.plus(-5 * SECOND))).unwrap_or_default();
    let is_early = |i: &&&Value| time(&i["opened_at"]).unwrap_or_default() < begin.plus(-SECOND / 2);
    let early = list.iter().filter(is_early).count();
    let later: Vec<&&Value> = list.iter().filter(|i| !is_early(i)).collect();
    if early > 0 {
        s.notes.push(format!("false: {early} incidents before the fault"));
    }
    let right = later.iter().find(|i| truth.accepts(&i["root_cause"]));
    s.rank = right.map(|_| 1);
    s.first = right.or(later.first()).map(|i| judge::said(&i["root_cause"]));
    let extra = later.len() - usize::from(right.is_some());
    if extra > 0 {
        s.notes.push(format!("extra: {extra} incidents"));
    }
    if let (Some(incident), Some(due)) = (right, decisive) {
        let delay = time(&incident["opened_at"]).unwrap_or_default().since(due);
        if delay > LATE_SECS * SECOND {
            s.notes.push(format!("late by {} s", delay / SECOND));
        }
        if key["expect_resolved"] == Value::Bool(true) && incident["state"] != "resolved" {
            s.notes.push("unresolved".to_owned());
        }
    }
    s
}
