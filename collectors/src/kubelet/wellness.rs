//! Whether the kubelet runs and is well; a fact where that changes.

use std::time::{Duration, Instant};

/// Whether the kubelet itself runs and is well.
#[derive(Debug, Default)]
pub(super) struct Wellness {
    /// Whether it ever answered in this run: an address that is wrong is no kubelet that is down.
    answered: bool,
    /// Since when it does not answer.
    absent: Option<Instant>,
    /// Questions in a row that said it is ill.
    ill: u32,
    told: Option<&'static str>,
    /// Milliseconds that it took to say that it is well.
    pub(super) millis: Option<u64>,
}

impl Wellness {
    /// Somebody answered, whatever the answer was.
    pub(super) fn answers(&mut self) {
        self.answered = true;
        self.absent = None;
    }

    /// It said that it is well; what to tell.
    pub(super) fn is_well(&mut self, took: Duration) -> Option<&'static str> {
        self.answers();
        self.ill = 0;
        self.millis = u64::try_from(took.as_millis()).ok();
        self.tell("active")
    }

    /// It answers, and nothing more is known: what to tell.
    pub(super) fn is_there(&mut self) -> Option<&'static str> {
        self.answers();
        // What was said to be ill is well when it says so itself.
        if self.told == Some("unhealthy") { None } else { self.tell("active") }
    }

    /// It said that it is ill, or does not say anything in time; what to tell.
    pub(super) fn is_ill(&mut self) -> Option<&'static str> {
        self.answers();
        self.ill = self.ill.saturating_add(1);
        if self.ill >= 2 { self.tell("unhealthy") } else { None }
    }

    /// Nobody is there; what to tell.
    pub(super) fn is_absent(&mut self, now: Instant, patience: Duration) -> Option<&'static str> {
        let since = *self.absent.get_or_insert(now);
        let long = now.saturating_duration_since(since) >= patience;
        if self.answered && long { self.tell("down") } else { None }
    }

    fn tell(&mut self, state: &'static str) -> Option<&'static str> {
        (self.told.replace(state) != Some(state)).then_some(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN: Duration = Duration::from_secs(10);

    #[test]
    fn a_kubelet_that_never_answered_is_not_down_and_a_short_absence_is_none() {
        let (mut w, at) = (Wellness::default(), Instant::now());
        assert_eq!(w.is_absent(at, TEN), None);
        assert_eq!(w.is_absent(at + TEN * 9, TEN), None);
        assert_eq!(w.is_well(TEN), Some("active"));
        assert_eq!(w.is_absent(at, TEN), None);
        assert_eq!(w.is_there(), None);
        assert_eq!(w.is_absent(at, TEN), None);
        assert_eq!(w.is_absent(at + TEN, TEN), Some("down"));
        assert_eq!(w.is_absent(at + TEN * 2, TEN), None);
        assert_eq!(w.is_there(), Some("active"));
    }

    #[test]
    fn an_ill_kubelet_is_told_at_the_second_word_and_well_at_its_own() {
        let mut w = Wellness::default();
        w.is_well(TEN);
        assert_eq!((w.is_ill(), w.is_ill(), w.is_ill()), (None, Some("unhealthy"), None));
        assert_eq!(w.is_there(), None);
        assert_eq!(w.is_well(TEN), Some("active"));
    }
}
