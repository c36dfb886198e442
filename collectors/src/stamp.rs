//! A collector's clock: the cluster's time, always growing.
//!
//! What an object says about times is in the cluster's time. Where this machine's clock is off, events are stamped with
//! the server's time, so that both lie on one line. No two events have the same stamp, and no stamp is earlier than
//! one before it, whatever the clock of the system does.

use std::time::{SystemTime, UNIX_EPOCH};

use tapio_core::time::Time;

/// The clock.
#[derive(Debug, Default)]
pub(crate) struct Stamp {
    last: i64,
    /// The moment at which time stands still.
    held: bool,
}

/// The system's time.
pub(crate) fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

impl Stamp {
    /// Begins behind what was stamped before.
    pub(crate) fn behind(last: Option<Time>) -> Self {
        Stamp { last: last.map_or(0, Time::micros), held: false }
    }

    /// From now on everything is of one moment: what a first list holds was there all at once.
    pub(crate) fn hold(&mut self, ahead: i64) {
        self.next(ahead);
        self.held = true;
    }

    /// Time goes on.
    pub(crate) fn release(&mut self) {
        self.held = false;
    }

    /// Whether time stands still.
    pub(crate) fn is_held(&self) -> bool {
        self.held
    }

    /// The next stamp, with the server's clock `ahead` microseconds of ours.
    pub(crate) fn next(&mut self, ahead: i64) -> Time {
        let now = if self.held { 0 } else { now().micros().saturating_add(ahead) };
        self.last = now.max(self.last + 1);
        Time::from_micros(self.last)
    }
}

impl Stamp {
    /// The stamp of something that was so at `at`.
    pub(crate) fn of(&mut self, at: Time) -> Time {
        self.last = at.micros().max(self.last + 1);
        Time::from_micros(self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_grow_also_when_the_clock_goes_back_and_while_it_is_held() {
        let mut s = Stamp::default();
        let a = s.next(3_600_000_000);
        let b = s.next(0);
        assert_eq!(b.since(a), 1);
        let mut s = Stamp::default();
        s.hold(0);
        let a = s.next(0);
        std::thread::sleep(std::time::Duration::from_millis(3));
        assert_eq!(s.next(0).since(a), 1);
        s.release();
        assert!(s.next(0).since(a) > 2_000);
    }
}
