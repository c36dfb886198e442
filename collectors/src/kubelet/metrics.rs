//! Two families of the kubelet's metrics, line by line: how often probes failed, and how often containers were held
//! back. Everything else is passed over unread.

use std::collections::HashMap;

/// Longest line that is read.
pub(super) const LINE: usize = 16 << 10;
/// Series that are remembered.
const MOST: usize = 20_000;

/// A series of a metric: labels and value.
struct Series<'a> {
    labels: &'a str,
    value: f64,
}

/// A line of metric `name`; none for every other.
fn series<'a>(line: &'a str, name: &str) -> Option<Series<'a>> {
    let rest = line.strip_prefix(name)?.strip_prefix('{')?;
    // A label's text may hold a brace, the value and the time behind it do not.
    let (labels, rest) = rest.rsplit_once('}')?;
    let value = rest.split_ascii_whitespace().next()?.parse::<f64>().ok()?;
    value.is_finite().then_some(Series { labels, value })
}

impl<'a> Series<'a> {
    /// The text of a label; names of Kubernetes hold nothing that is escaped.
    fn label(&self, name: &str) -> Option<&'a str> {
        let mut rest = self.labels;
        loop {
            let (key, behind) = rest.split_once("=\"")?;
            let end = end_of_text(behind)?;
            let text = behind.get(..end)?;
            if key.trim_start_matches([',', ' ']) == name {
                return Some(text);
            }
            rest = behind.get(end + 1..)?;
        }
    }
}

fn end_of_text(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|b| {
        let end = b == b'"' && !escaped;
        escaped = b == b'\\' && !escaped;
        end
    })
}

/// A probe that failed again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failed {
    pub(super) namespace: String,
    pub(super) pod: String,
    pub(super) uid: String,
    pub(super) container: String,
    pub(super) probe: String,
    /// How often in all.
    pub(super) failures: i64,
}

#[derive(Default)]
struct Counted {
    total: f64,
    /// The total at which it is told again: each failure of the first is, then where their number has doubled.
    next: f64,
    /// The total at which the run of failures began.
    base: f64,
    /// Looks since the last rise.
    quiet: u32,
}

/// How often probes failed.
#[derive(Default)]
pub(super) struct Probes {
    failed: HashMap<String, Counted>,
    begun: bool,
}

/// Looks without a rise after which a failure begins a new run.
const QUIET: u32 = 4;

impl Probes {
    /// Takes a line of `/metrics/probes`.
    pub(super) fn line(&mut self, line: &str) -> Option<Failed> {
        let s = series(line, "prober_probe_total")?;
        if s.label("result")? != "failed" {
            return None;
        }
        if self.failed.len() >= MOST && !self.failed.contains_key(s.labels) {
            return None;
        }
        let first = !self.failed.contains_key(s.labels);
        let c = self.failed.entry(s.labels.to_owned()).or_default();
        if first {
            // What failed before the first look is history.
            let base = if self.begun { 0.0 } else { s.value };
            *c = Counted { total: base, next: base + 1.0, base, quiet: 0 };
        }
        if s.value < c.total {
            *c = Counted { total: 0.0, next: 1.0, base: 0.0, quiet: 0 };
        }
        if s.value <= c.total {
            c.quiet = c.quiet.saturating_add(1);
            if c.quiet == QUIET {
                (c.base, c.next) = (c.total, c.total + 1.0);
            }
            return None;
        }
        (c.total, c.quiet) = (s.value, 0);
        if c.total < c.next {
            return None;
        }
        c.next = c.base + (c.total - c.base) * 2.0;
        let text = |name| s.label(name).unwrap_or_default().to_owned();
        #[allow(clippy::cast_possible_truncation, reason = "a cast of floats stops at the bounds")]
        let failures = s.value as i64;
        Some(Failed {
            namespace: text("namespace"),
            pod: text("pod"),
            uid: text("pod_uid"),
            container: text("container"),
            probe: text("probe_type").to_ascii_lowercase(),
            failures,
        })
    }

    /// A look is complete.
    pub(super) fn end(&mut self) {
        self.begun = true;
        if self.failed.len() >= MOST {
            self.failed.clear();
            self.begun = false;
        }
    }
}

#[derive(Clone, Copy, Default)]
struct Periods {
    all: f64,
    held: f64,
}

/// How often containers were held back by their CPU limits.
#[derive(Default)]
pub(super) struct Throttling {
    before: HashMap<(String, String, String), Periods>,
    now: HashMap<(String, String, String), Periods>,
}

impl Throttling {
    /// Takes a line of `/metrics/cadvisor`.
    pub(super) fn line(&mut self, line: &str) {
        let held = series(line, "container_cpu_cfs_throttled_periods_total");
        let is_held = held.is_some();
        let Some(s) = held.or_else(|| series(line, "container_cpu_cfs_periods_total")) else { return };
        let text = |name| s.label(name).unwrap_or_default().to_owned();
        let key = (text("namespace"), text("pod"), text("container"));
        // Without a container it is the pod as a whole.
        if key.2.is_empty() || (self.now.len() >= MOST && !self.now.contains_key(&key)) {
            return;
        }
        let p = self.now.entry(key).or_default();
        *(if is_held { &mut p.held } else { &mut p.all }) = s.value;
    }

    /// A look is complete: of each container that ran, the part of its periods since the last look in which it was
    /// held back. `uid_of` says which pod is meant.
    pub(super) fn end<'p>(&mut self, uid_of: impl Fn(&str, &str) -> Option<&'p str>) -> HashMap<(String, String), f64> {
        let now = std::mem::take(&mut self.now);
        let mut out = HashMap::new();
        for (key, p) in &now {
            let Some(b) = self.before.get(key) else { continue };
            let (all, held) = (p.all - b.all, p.held - b.held);
            if all > 0.0
                && held >= 0.0
                && let Some(uid) = uid_of(&key.0, &key.1)
            {
                out.insert((uid.to_owned(), key.2.clone()), (held / all).min(1.0));
            }
        }
        self.before = now;
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(n: u32, result: &str) -> String {
        format!(
            "prober_probe_total{{container=\"c\",namespace=\"n\",pod=\"p\",pod_uid=\"u\",probe_type=\"Readiness\",result=\"{result}\"}} {n}"
        )
    }

    #[test]
    fn the_first_failure_of_a_run_is_told_and_then_each_doubling() {
        let mut p = Probes::default();
        assert_eq!(p.line(&probe(9, "failed")), None, "history");
        assert_eq!(p.line(&probe(9, "successful")), None);
        p.end();
        let told: Vec<u32> = (10..40).filter(|n| p.line(&probe(*n, "failed")).is_some()).collect();
        assert_eq!(told, [10, 11, 13, 17, 25]);
        for _ in 0..QUIET {
            assert!(p.line(&probe(39, "failed")).is_none());
        }
        let f = p.line(&probe(40, "failed")).expect("a new run");
        assert_eq!((f.probe.as_str(), f.failures, f.uid.as_str()), ("readiness", 40, "u"));
        // The kubelet was restarted, and counts from the beginning.
        assert!(p.line(&probe(1, "failed")).is_some());
    }

    #[test]
    fn a_container_that_begins_to_fail_later_is_told_from_its_first_failure() {
        let mut p = Probes::default();
        p.end();
        assert_eq!(p.line(&probe(2, "failed")).map(|f| f.failures), Some(2));
    }

    #[test]
    fn throttling_is_a_part_of_the_periods_between_two_looks() {
        let mut t = Throttling::default();
        let mut look = |all: u32, held: u32| {
            let labels = "container=\"c\",id=\"/a{b}\",namespace=\"n\",pod=\"p\"";
            t.line(&format!("container_cpu_cfs_periods_total{{{labels}}} {all} 1795295765694"));
            t.line(&format!("container_cpu_cfs_throttled_periods_total{{{labels}}} {held} 1795295765694"));
            t.line("container_cpu_cfs_periods_total{container=\"\",namespace=\"n\",pod=\"p\"} 1");
            t.end(|_, _| Some("u"))
        };
        assert!(look(100, 10).is_empty());
        let found = look(200, 60);
        assert_eq!(found.get(&("u".to_owned(), "c".to_owned())), Some(&0.5));
        assert!(look(5, 1).is_empty(), "the container was restarted");
    }

    #[test]
    fn lines_that_are_none_are_passed_over() {
        let (mut p, mut t) = (Probes::default(), Throttling::default());
        for line in [
            "",
            "#",
            "prober_probe_total",
            "prober_probe_total{",
            "prober_probe_total{} 1",
            "prober_probe_total{a=\"} x",
            "prober_probe_total{result=\"failed\"} NaN",
            "prober_probe_total{result=\"fai\\\"led\"} 1",
            "container_cpu_cfs_periods_total{container=\"c} 1",
        ] {
            assert_eq!(p.line(line), None, "{line}");
            t.line(line);
        }
    }
}
