//! The course of one finding: pending until it has held long enough, firing until it was gone long enough, resolved.
//!
//! Pure: what is so now and what time it is come from outside. A pending one that is gone once was nothing. A firing
//! one that comes back before its time is up goes on as if it had never been gone.

use serde::{Deserialize, Serialize};
use tapio_core::time::Time;

/// How long something must be so before it is said, and gone before it is over; in microseconds of stream time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timing {
    /// `for`
    pub holds: i64,
    /// `resolve`
    pub gone: i64,
}

/// Where a finding stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Course {
    /// When it was so for the first time.
    pub since: Time,
    /// When it had held long enough; none while pending.
    pub opened_at: Option<Time>,
    /// Since when it is gone; none while it is so.
    pub gone_since: Option<Time>,
}

/// What a look changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing to say.
    Same,
    /// It fires from now on.
    Opened,
    /// It is over.
    Resolved,
    /// It was pending and is gone: it was nothing.
    Dropped,
}

impl Course {
    /// It is so for the first time.
    pub fn begin(at: Time, timing: Timing) -> (Self, Step) {
        let mut course = Course { since: at, opened_at: None, gone_since: None };
        let step = course.look(true, at, timing);
        (course, step)
    }

    /// Whether it is so, seen at a later time. After [`Step::Resolved`] and [`Step::Dropped`] the course is at its end.
    pub fn look(&mut self, holds: bool, at: Time, timing: Timing) -> Step {
        match (self.opened_at, holds) {
            (None, false) => Step::Dropped,
            (None, true) if at.since(self.since) >= timing.holds => {
                self.opened_at = Some(at);
                Step::Opened
            }
            (None, true) => Step::Same,
            (Some(_), true) => {
                self.gone_since = None;
                Step::Same
            }
            (Some(_), false) => {
                let since = *self.gone_since.get_or_insert(at);
                if at.since(since) >= timing.gone { Step::Resolved } else { Step::Same }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tapio_core::time::SECOND;

    /// Looks at a course every ten seconds: `x` it is so, `.` it is not. The answer has a letter for each look:
    /// `-` nothing there, `p` pending, `O` opened, `f` firing, `R` resolved.
    fn play(looks: &str, holds: i64, gone: i64) -> String {
        let timing = Timing { holds: holds * SECOND, gone: gone * SECOND };
        let mut course: Option<Course> = None;
        let mut out = String::new();
        for (i, c) in looks.chars().enumerate() {
            let at = Time::MIN.plus(i64::try_from(i).unwrap() * 10 * SECOND);
            let so = c == 'x';
            let step = match &mut course {
                None if so => {
                    let (begun, step) = Course::begin(at, timing);
                    course = Some(begun);
                    step
                }
                None => {
                    out.push('-');
                    continue;
                }
                Some(c) => c.look(so, at, timing),
            };
            out.push(match (step, course.as_ref().and_then(|c| c.opened_at)) {
                (Step::Opened, _) => 'O',
                (Step::Resolved, _) => 'R',
                (Step::Dropped, _) => '-',
                (Step::Same, Some(_)) => 'f',
                (Step::Same, None) => 'p',
            });
            if matches!(step, Step::Resolved | Step::Dropped) {
                course = None;
            }
        }
        out
    }

    #[test]
    fn pending_firing_resolved() {
        for (looks, holds, gone, want) in [
            // At once, both ways.
            ("..x..", 0, 0, "--OR-"),
            ("xxx.x", 0, 0, "OffRO"),
            // It must hold: counted from the first look at which it was so.
            ("xxxxx", 30, 0, "pppOf"),
            ("xxxxx", 25, 0, "pppOf"),
            ("xx.xx", 30, 0, "pp-pp"),
            // Gone once while pending, it begins anew.
            ("xx.xxxx", 30, 0, "pp-pppO"),
            // It must be gone: counted from the first look at which it was not.
            ("x.....", 0, 30, "OfffR-"),
            // Flapping neither ends it nor starts another.
            ("x..x..x.....", 0, 30, "OfffffffffR-"),
            ("x.x.x.x.x", 0, 10, "Offffffff"),
            ("x.x.x.x.x", 20, 0, "p-p-p-p-p"),
            // Back after its end, it is a new one.
            ("xx..xx", 10, 10, "pOfRpO"),
        ] {
            assert_eq!(play(looks, holds, gone), want, "{looks} for {holds} resolve {gone}");
        }
    }
}
