//! Alerts that fire, and what their words measure.
//!
//! Every monitoring system words its alerts in its own way. What they have in common is read: which quantity is meant
//! (latency, errors, retransmissions, throttling, …), and a number before and after, where both are said.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::Regex;
use serde::{Deserialize, Serialize};
use tapio_core::event::alert::Alert;
use tapio_core::id::Id;
use tapio_core::object::ObjectRef;
use tapio_core::time::{MINUTE, Time};

/// Alerts kept; beyond that new ones are not taken.
pub const MAX_ALERTS: usize = 10_000;
/// How long an alert that was not sent again still counts as firing after its announced end.
const GRACE: i64 = 5 * MINUTE;

/// The quantity that an alert is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Signal {
    /// Data is not there any more.
    Missing,
    /// A container is kept from the CPU by its limit.
    Throttling,
    /// TCP segments are sent again, or packets are lost.
    Retransmissions,
    /// Answers take long.
    Latency,
    /// Requests fail.
    Errors,
    /// How many requests come.
    Requests,
    /// How many packets or bytes go.
    Packets,
    /// CPU time.
    Cpu,
    /// Memory.
    Memory,
    /// Anything else.
    Other,
}

/// Signals with their words, the more telling first: a "latency" alert may speak of requests, not the other way.
const WORDS: &[(Signal, &str)] = &[
    (Signal::Missing, r"missing|vanished|\babsent\b|no data"),
    (Signal::Throttling, r"throttl|\bcfs\b|cpu_cfs"),
    (Signal::Retransmissions, r"retrans|packets? loss|lost packets|packets? (?:were |are )?dropped"),
    (Signal::Latency, r"latency|\bslow|response time|request duration|\bp(?:50|9\d|999?)\b"),
    (Signal::Errors, r"error|5xx|success rate|\bfail|unavailable"),
    (Signal::Requests, r"throughput|\brps\b|\bqps\b|req(?:uest)?s?/s|request rate"),
    (Signal::Packets, r"\bpps\b|packets|bytes/s|bandwidth|network (?:drop|surge|traffic)|traffic"),
    (Signal::Cpu, r"\bcpu"),
    (Signal::Memory, r"memory|\boom"),
];

/// A number before and after.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measure {
    /// The quantile in percent, where one is meant.
    pub quantile: Option<u16>,
    /// Before; none if only the present value is said.
    pub before: Option<f64>,
    /// Now.
    pub after: f64,
}

impl Measure {
    /// How many times what it was; none if that is not known, or was nothing.
    pub fn times(&self) -> Option<f64> {
        self.before.filter(|b| *b > 0.0).map(|b| self.after / b)
    }
}

/// An alert that fires.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Firing {
    /// Id of the event that said so.
    pub id: Id,
    /// Its name.
    pub name: String,
    /// Since when.
    pub since: Time,
    /// When it ends unless it is sent again.
    pub until: Option<Time>,
    /// Whether it asks for anything: not merely for information.
    pub urgent: bool,
    /// The quantity.
    pub signal: Signal,
    /// What was measured.
    pub measures: Vec<Measure>,
    /// Its words.
    pub says: String,
}

impl Firing {
    /// Reads an alert; `id` is that of its event.
    pub fn of(alert: &Alert, id: Id, at: Time) -> Self {
        let name = alert.label("alertname").to_owned();
        let words = alert.words();
        let urgent = !matches!(alert.label("severity"), "info" | "none") && name != "Watchdog";
        let says = crate::diagnosis::view::shorten(&words, 500);
        let signal = signal_of(&format!("{name} {words}"));
        Firing {
            id,
            since: alert.starts().unwrap_or(at).min(at),
            until: alert.ends().filter(|e| *e > at),
            urgent,
            signal,
            measures: measures(&words),
            name,
            says,
        }
    }

    /// Whether it fires at `now`.
    pub fn fires(&self, now: Time) -> bool {
        self.since <= now && self.until.is_none_or(|u| now <= u.plus(GRACE))
    }

    /// The greatest rise of any measure: how many times what it was.
    pub fn rise(&self) -> Option<f64> {
        self.measures.iter().filter_map(Measure::times).max_by(f64::total_cmp)
    }

    /// Whether what is measured went up (or down); from the numbers, else from the words.
    pub fn went_up(&self) -> Option<bool> {
        if let Some(t) = self.measures.iter().find_map(Measure::times) {
            return Some(t > 1.0);
        }
        let text = format!("{} {}", self.name, self.says).to_lowercase();
        let has = |list: &[&str]| list.iter().any(|w| text.contains(w));
        match (has(&["surge", "spike", "increase", "rise", "high"]), has(&["drop", "fall", "decrease", "low"])) {
            (true, false) => Some(true),
            (false, true) => Some(false),
            _ => None,
        }
    }
}

static SIGNALS: LazyLock<Vec<(Signal, Regex)>> = LazyLock::new(|| {
    WORDS.iter().filter_map(|(s, w)| Regex::new(&format!("(?i-u)(?:{w})")).ok().map(|r| (*s, r))).collect()
});

fn signal_of(words: &str) -> Signal {
    // `HighRequestLatency` is three words.
    let mut apart = String::with_capacity(words.len() + 16);
    let mut was_small = false;
    for c in words.chars() {
        if was_small && c.is_ascii_uppercase() {
            apart.push(' ');
        }
        was_small = c.is_ascii_lowercase();
        apart.push(c);
    }
    SIGNALS.iter().find(|(_, r)| r.is_match(&apart)).map_or(Signal::Other, |(s, _)| *s)
}

static PAIR: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"(?i)(?:\bp(\d{2,3})[a-z]*[^0-9|]{0,12}?)?(\d+(?:\.\d+)?)\s*[a-z%/µ]*\s*(?:->|=>|→|\bto\b)\s*(?:\w+\s*[=:]\s*)?(\d+(?:\.\d+)?)").ok()
});
static ALONE: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"(?i)\b(?:current(?:ly)?|cur|val|value|is|at)\s*[=:]?\s*(\d+(?:\.\d+)?)").ok());

fn measures(words: &str) -> Vec<Measure> {
    let pairs: Vec<Measure> = PAIR
        .iter()
        .flat_map(|r| r.captures_iter(words))
        .take(8)
        .filter_map(|c| {
            let number = |i: usize| c.get(i).and_then(|m| m.as_str().parse::<f64>().ok());
            let quantile = c.get(1).and_then(|m| m.as_str().parse().ok());
            Some(Measure { quantile, before: number(2), after: number(3)? })
        })
        .collect();
    if !pairs.is_empty() {
        return pairs;
    }
    let alone = ALONE.iter().flat_map(|r| r.captures_iter(words)).take(4);
    alone.filter_map(|c| c[1].parse().ok().map(|after| Measure { quantile: None, before: None, after })).collect()
}

/// Every alert that fires, by what it is about and by its identity.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Alerts {
    by: BTreeMap<ObjectRef, BTreeMap<Id, Firing>>,
    count: usize,
}

impl Alerts {
    /// An alert fires. Returns false if there are too many.
    pub fn fire(&mut self, about: ObjectRef, identity: Id, firing: Firing) -> bool {
        if self.count >= MAX_ALERTS && !self.by.get(&about).is_some_and(|l| l.contains_key(&identity)) {
            return false;
        }
        if self.by.entry(about).or_default().insert(identity, firing).is_none() {
            self.count += 1;
        }
        true
    }

    /// An alert fires no longer. Returns whether it did.
    pub fn resolve(&mut self, about: &ObjectRef, identity: Id) -> bool {
        let Some(list) = self.by.get_mut(about) else { return false };
        let was = list.remove(&identity).is_some();
        if list.is_empty() {
            self.by.remove(about);
        }
        self.count -= usize::from(was);
        was
    }

    /// Drops what has not fired for an hour before `now`.
    pub fn forget(&mut self, now: Time) {
        self.by.retain(|_, list| {
            list.retain(|_, f| f.until.is_none_or(|u| now.since(u) < 60 * MINUTE));
            !list.is_empty()
        });
        self.count = self.by.values().map(BTreeMap::len).sum();
    }

    /// Those that fire at `now`, by object.
    pub fn firing(&self, now: Time) -> impl Iterator<Item = (&ObjectRef, &Firing)> {
        self.by.iter().flat_map(|(o, l)| l.values().map(move |f| (o, f))).filter(move |(_, f)| f.fires(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quantity_is_read_from_name_and_words() {
        for (words, want) in [
            (
                "CPUThrottlingHigh 43% throttling of CPU in namespace shop for container app in pod cart-1.",
                Signal::Throttling,
            ),
            (
                "KubeAPITerminatedRequests The kubernetes apiserver has terminated 20% of its incoming requests.",
                Signal::Other,
            ),
            ("HighRequestLatency p99 of checkout is 3.2s", Signal::Latency),
            ("NodeNetworkTransmitErrs eth0 has encountered 12 transmit errors", Signal::Errors),
            ("TCP retransmission rate on worker-1 from 0.1 to 9.3", Signal::Retransmissions),
            ("RequestErrors cart: POST /cart failed 12 times", Signal::Errors),
            ("ThroughputDrop RPS 12req/s -> 4req/s", Signal::Requests),
            ("KubePodCrashLooping Pod is crash looping.", Signal::Other),
            ("MetricsAbsent no data for job cart", Signal::Missing),
        ] {
            assert_eq!(signal_of(words), want, "{words}");
        }
    }

    #[test]
    fn numbers_before_and_after_are_read() {
        let m = measures(
            "cart-p50latency: Normal=2.5ms -> Current=50ms (+1900%) | cart-p90latency: Normal=6ms -> Current=60ms",
        );
        assert_eq!(m.len(), 2);
        assert_eq!((m[0].quantile, m[0].before, m[0].after), (Some(50), Some(2.5), 50.0));
        assert_eq!(m[1].times(), Some(10.0));
        let m = measures("retransmissions rose from 0.5 to 9.0 per second");
        assert_eq!((m[0].before, m[0].after), (Some(0.5), 9.0));
        assert_eq!(measures("p99 latency is 3.2s").first().map(|m| m.after), Some(3.2));
        assert!(measures("Pod is crash looping.").is_empty());
    }
}
