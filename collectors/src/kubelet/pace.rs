//! When to ask next: quick while something changes, slow while all is quiet, and never in step with other nodes.

use std::time::{Duration, Instant};

use super::config::Timing;
use super::state::Topic;
use super::trouble::Trouble;

/// One topic's turn.
struct Turn {
    topic: Topic,
    due: Instant,
    /// Failures in a row.
    fails: u32,
    asked: u64,
}

/// The turns of all topics.
pub(super) struct Pace {
    turns: Vec<Turn>,
    node: String,
    timing: Timing,
    changed: Option<Instant>,
    bad: bool,
}

impl Pace {
    pub(super) fn new(topics: &[Topic], node: &str, timing: Timing, now: Instant) -> Self {
        let mut pace = Pace { turns: Vec::new(), node: node.to_owned(), timing, changed: None, bad: false };
        for &topic in topics {
            // Pods are looked at first. The rest begins somewhere in the first round, and each node elsewhere.
            let wait = match topic {
                Topic::Pods => Duration::ZERO,
                Topic::Health => pace.part(pace.timing.quick, topic, 0),
                _ => pace.part(pace.usual(topic), topic, 0),
            };
            pace.turns.push(Turn { topic, due: now + wait, fails: 0, asked: 0 });
        }
        pace
    }

    /// Whose turn is next, and when.
    pub(super) fn next(&self) -> Option<(Topic, Instant)> {
        self.turns.iter().min_by_key(|t| t.due).map(|t| (t.topic, t.due))
    }

    /// Something changed; whether anything is not as it should be.
    pub(super) fn saw(&mut self, changed: bool, bad: bool, now: Instant) {
        if changed {
            self.changed = Some(now);
        }
        self.bad = bad;
    }

    /// How long the pause after a good answer is, without its jitter.
    pub(super) fn usual(&self, topic: Topic) -> Duration {
        let t = &self.timing;
        match topic {
            Topic::Pods => t.slow,
            Topic::Stats => t.stats,
            Topic::Probes | Topic::Logs => t.probes,
            Topic::Throttling => t.throttling,
            Topic::Health => t.health,
        }
    }

    /// An answer came.
    pub(super) fn answered(&mut self, topic: Topic, now: Instant) {
        let t = &self.timing;
        let restless = self.changed.is_some_and(|c| now.saturating_duration_since(c) < t.restless);
        let pause = match topic {
            Topic::Pods if restless => t.quick,
            Topic::Pods if self.bad => (t.quick + t.slow) / 2,
            _ => self.usual(topic),
        };
        self.plan(topic, pause, 0, now);
    }

    /// No answer came; how many in a row.
    pub(super) fn failed(&mut self, topic: Topic, trouble: &Trouble, now: Instant) -> u32 {
        let fails = self.turns.iter().find(|t| t.topic == topic).map_or(0, |t| t.fails).saturating_add(1);
        let t = &self.timing;
        let grown = t.retry.saturating_mul(1 << (fails - 1).min(10)).min(t.retry_max);
        let pause = if trouble.is_refusal() { t.refused } else { grown };
        self.plan(topic, pause, fails, now);
        fails
    }

    /// Asks for a topic as soon as may be.
    pub(super) fn hurry(&mut self, topic: Topic, now: Instant) {
        for t in self.turns.iter_mut().filter(|t| t.topic == topic) {
            t.due = t.due.min(now);
        }
    }

    fn plan(&mut self, topic: Topic, pause: Duration, fails: u32, now: Instant) {
        let asked = self.turns.iter().find(|t| t.topic == topic).map_or(0, |t| t.asked) + 1;
        let jitter = self.part(pause / 5, topic, asked);
        for t in self.turns.iter_mut().filter(|t| t.topic == topic) {
            (t.due, t.fails, t.asked) = (now + pause + jitter, fails, asked);
        }
    }

    /// A part of a duration, by the node's name: nodes that were started together do not ask together.
    fn part(&self, of: Duration, topic: Topic, n: u64) -> Duration {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.node.as_bytes()).update(topic.path().as_bytes()).update(&n.to_le_bytes());
        let byte = hasher.finalize().as_bytes()[0];
        of * u32::from(byte) / 256
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pause(p: &mut Pace, at: Instant) -> Duration {
        p.answered(Topic::Pods, at);
        p.next().unwrap().1 - at
    }

    #[test]
    fn quick_after_a_change_half_way_while_something_is_bad_and_slow_when_quiet() {
        let (t, at) = (Timing::default(), Instant::now());
        let mut p = Pace::new(&[Topic::Pods], "node-1", t.clone(), at);
        assert_eq!(p.next(), Some((Topic::Pods, at)));
        p.saw(true, true, at);
        assert!((t.quick..t.quick * 2).contains(&pause(&mut p, at)));
        let later = at + t.restless;
        p.saw(false, true, later);
        let half = (t.quick + t.slow) / 2;
        assert!((half..t.slow).contains(&pause(&mut p, later)));
        p.saw(false, false, later);
        assert!((t.slow..t.slow * 2).contains(&pause(&mut p, later)));
    }

    #[test]
    fn pauses_after_failures_grow_to_a_bound_and_a_refusal_waits_for_people() {
        let (t, at) = (Timing::default(), Instant::now());
        let mut p = Pace::new(&[Topic::Pods], "node-1", t.clone(), at);
        let absent = Trouble::Absent(String::new());
        let mut last = Duration::ZERO;
        for n in 1..40 {
            assert_eq!(p.failed(Topic::Pods, &absent, at), n);
            last = p.next().unwrap().1 - at;
        }
        assert!((t.retry_max..t.retry_max * 2).contains(&last));
        p.failed(Topic::Pods, &Trouble::Forbidden(String::new()), at);
        assert!(p.next().unwrap().1 - at >= t.refused);
    }

    #[test]
    fn two_nodes_do_not_ask_in_step() {
        let at = Instant::now();
        let offsets: std::collections::BTreeSet<_> = (0..20)
            .map(|n| Pace::new(&[Topic::Stats], &format!("node-{n}"), Timing::default(), at).next().unwrap().1)
            .collect();
        assert!(offsets.len() > 15);
    }
}
