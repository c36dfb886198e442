//! Retries that are the load themselves: callers ask a slow workload again and again, and that keeps it slow.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use regex::Regex;
use tapio_core::answer::Evidence;
use tapio_core::object::ObjectRef;

use super::{Load, alerted, kubectl};
use crate::diagnosis::hypothesis::{Hypothesis, Proof};
use crate::diagnosis::logs;
use crate::diagnosis::view::{PodFacts, View};
use crate::world::alerts::Signal;

/// How many times its usual the requests of a workload in a storm are.
const STORM: f64 = 2.0;
/// Lines on retries that make no passing trouble.
const AGAIN: usize = 3;

/// How clients of several languages and proxies say that they try again.
static RETRY: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"(?i)\bretry(?:ing)?\b|\bretries\b|\battempt\s*[#'(]?\s*\d+|\bgiving up after \d+ attempts?|\bURX\b")
        .ok()
});

/// Whether a line says that something is tried again.
fn is_retry(line: &str) -> bool {
    RETRY.as_ref().is_some_and(|r| r.is_match(line))
}

/// Workloads in a storm of retries, each as a hypothesis. One whose callers are asked more themselves is refuted.
pub(super) fn storms(view: &View, load: &Load) -> Vec<Hypothesis> {
    load.by.keys().filter_map(|w| storm(view, load, w)).collect()
}

fn storm(view: &View, load: &Load, w: &ObjectRef) -> Option<Hypothesis> {
    let signs = load.by.get(w)?;
    let of =
        |wanted: Signal| signs.alerts.iter().filter(move |(_, f)| f.signal == wanted && f.went_up() != Some(false));
    let rise = of(Signal::Requests).filter_map(|(_, f)| f.rise()).max_by(f64::total_cmp).filter(|r| *r >= STORM)?;
    if !signs.slow && of(Signal::Errors).next().is_none() {
        return None;
    }
    let services: Vec<&str> = view
        .services
        .values()
        .filter(|s| s.pods.iter().filter_map(|k| view.pods.get(k)).any(|p| p.workload == *w))
        .map(|s| s.object.key.name.as_str())
        .collect();
    let names = |line: &str| services.iter().any(|s| logs::names_word(line, s));
    let mut callers: BTreeMap<&ObjectRef, Evidence> = BTreeMap::new();
    let mut lines = 0;
    for p in view.pods.values().filter(|p| p.workload != *w && !p.pod.is_finished()) {
        let told = retries(p).into_iter().filter(|(_, l, _)| names(l)).collect::<Vec<_>>();
        lines += told.len();
        if let Some((container, l, at)) = told.first() {
            callers.entry(&p.workload).or_insert_with(|| view.logged(p.key(), Some(*at), container, l));
        }
    }
    if lines < AGAIN {
        return None;
    }
    let asked_more = callers.keys().filter_map(|c| load.by.get(*c)).any(|s| s.requests_rise);
    let hit: BTreeSet<ObjectRef> = callers
        .keys()
        .filter_map(|c| load.by.get(*c))
        .chain([signs])
        .flat_map(|s| &s.alerts)
        .map(|(o, _)| (*o).clone())
        .collect();
    let who: Vec<String> = callers.keys().map(ToString::to_string).collect();
    let rises = of(Signal::Requests).map(|(o, f)| alerted(view, o, f));
    let suffers = of(Signal::Latency).chain(of(Signal::Errors)).map(|(o, f)| alerted(view, o, f));
    Some(
        Hypothesis::new(
            "retry-storm",
            w.clone(),
            signs.since().unwrap_or(view.now),
            Proof::Inferred,
            format!("{w} gets {rise:.1} times its requests, as {} try again and again", who.join(", ")),
        )
        .explaining(hit)
        .via("load")
        .supported(1 + u32::from(callers.len() > 1) + u32::from(rise >= 2.0 * STORM))
        .with(rises.take(2))
        .with(suffers.take(2))
        .with(callers.into_values().take(3))
        .unless("those who call it are asked more themselves", asked_more)
        .next(kubectl("describe", w)),
    )
}

/// The lines on retries in the current logs of a pod, newest first.
fn retries<'a>(p: &PodFacts<'a>) -> Vec<(&'a str, &'a str, tapio_core::time::Time)> {
    let tails = p.history().logs.iter().filter(|((_, previous), _)| !previous);
    tails
        .flat_map(|((name, _), t)| t.lines.iter().rev().map(move |l| (name.as_str(), l.as_str(), t.at)))
        .filter(|(_, l, _)| is_retry(l))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_of_several_languages_say_that_they_try_again() {
        for (line, want) in [
            // Go, with a count of what is left.
            ("[DEBUG] GET http://ledger:8080/v1: retrying in 1s (4 left)", true),
            ("[ERR] GET http://ledger:8080/v1 giving up after 5 attempts", true),
            // Python.
            (
                "Retrying (Retry(total=2, connect=None, read=None, redirect=None, status=None)) after connection broken by 'ReadTimeoutError(\"HTTPConnectionPool(host='ledger', port=8080): Read timed out. (read timeout=2)\")': /v1",
                true,
            ),
            // Java.
            (
                "Retry 'ledger', waiting PT0.5S until attempt '2'. Last attempt failed with exception 'java.net.SocketTimeoutException: Read timed out'.",
                true,
            ),
            // Plain, and a proxy that has used up its retries.
            ("level=warn msg=\"ledger: deadline exceeded, retry attempt 3 of 5\"", true),
            (r#"[2026-03-02T10:00:41.123Z] "GET /v1 HTTP/1.1" 503 URX via_upstream - "-" 0 91 3000"#, true),
            ("level=info msg=\"orders loaded\" took=12ms", false),
            ("retrieved 12 entries from ledger", false),
        ] {
            assert_eq!(is_retry(line), want, "{line}");
        }
    }
}
