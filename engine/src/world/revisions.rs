//! When an object was last written, where nobody says so: the API server counts every write in one sequence, and the
//! Events of a dump carry both their number in it and their time. What lies between two of them was written between.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tapio_core::time::{MINUTE, Time};

/// Known points; beyond that every second one is dropped.
const MAX_POINTS: usize = 4_096;
/// A gap between neighbours that still dates a write.
const CLOSE: i64 = 5 * MINUTE;

/// Numbers of writes with their times.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revisions {
    points: BTreeMap<u64, Time>,
}

impl Revisions {
    /// A write with this number happened at this time.
    pub fn note(&mut self, revision: u64, at: Time) {
        self.points.insert(revision, at);
        if self.points.len() > MAX_POINTS {
            let mut keep = false;
            self.points.retain(|_, _| {
                keep = !keep;
                keep
            });
        }
    }

    /// The earliest time at which a write with this number can have happened; none where no near neighbours are known, or
    /// they contradict each other.
    pub fn written(&self, revision: u64) -> Option<Time> {
        let (_, before) = self.points.range(..revision).next_back()?;
        let (_, after) = self.points.range(revision..).next()?;
        (*before <= *after && after.since(*before) <= CLOSE).then_some(*before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tapio_core::time::SECOND;

    #[test]
    fn a_write_lies_between_its_neighbours_if_they_are_near() {
        let t = |s: i64| Time::parse("2026-01-01T00:00:00Z").unwrap_or_default().plus(s * SECOND);
        let mut r = Revisions::default();
        for (n, s) in [(100, 0), (110, 60), (200, 4_000), (210, 3_990)] {
            r.note(n, t(s));
        }
        assert_eq!(r.written(105), Some(t(0)));
        assert_eq!(r.written(150), None, "more than an hour between the neighbours");
        assert_eq!(r.written(205), None, "the neighbours contradict each other");
        assert_eq!(r.written(90), None);
        assert_eq!(r.written(300), None);
        for n in 0..10_000 {
            r.note(1_000 + n, t(5_000));
        }
        assert!(r.points.len() <= MAX_POINTS);
    }
}
