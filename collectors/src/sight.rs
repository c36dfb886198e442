//! Blind times of what is looked at again and again.

use std::time::Duration;

use tapio_core::time::Time;

/// Whether something that is looked at again and again was seen without a gap.
#[derive(Debug, Default)]
pub(crate) struct Sight {
    last: Option<Time>,
    why: Option<String>,
}

impl Sight {
    /// An answer came at `now`, with at most `pause` expected between two: since when nothing was seen, and why, where
    /// that is worth a fact.
    pub(crate) fn seen(&mut self, now: Time, pause: Duration) -> Option<(Time, String)> {
        let gap = self.blind(now, pause);
        self.last = Some(now);
        self.why = None;
        gap
    }

    /// The same, without an answer.
    pub(crate) fn blind(&self, now: Time, pause: Duration) -> Option<(Time, String)> {
        let last = self.last?;
        let long = now.since(last) > i64::try_from(pause.as_micros()).unwrap_or(i64::MAX);
        let why = || self.why.clone().unwrap_or_else(|| "nothing was asked meanwhile".to_owned());
        long.then(|| (last, why()))
    }

    /// No answer came.
    pub(crate) fn missed(&mut self, why: impl ToString) {
        self.why.get_or_insert_with(|| why.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN: Duration = Duration::from_secs(10);

    #[test]
    fn a_pause_longer_than_expected_is_a_gap_with_its_first_reason() {
        let at = |secs: i64| Time::from_micros(secs * 1_000_000);
        let mut s = Sight::default();
        assert_eq!(s.seen(at(100), TEN), None);
        assert_eq!(s.seen(at(109), TEN), None);
        s.missed("nobody answers: connection refused");
        s.missed("late");
        let (from, why) = s.seen(at(150), TEN).unwrap();
        assert_eq!((from, why.as_str()), (at(109), "nobody answers: connection refused"));
        assert_eq!(s.seen(at(155), TEN), None);
    }
}
