//! `since`: a point in time, or a span before the end of the stream, as people type it.

use std::fmt;
use std::str::FromStr;

use tapio_core::time::{SECOND, Time};

/// From when on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// From this time on.
    At(Time),
    /// From so many microseconds before the end of the stream on.
    Before(i64),
}

impl Since {
    /// The time that it means, seen from the end of the stream.
    pub fn time(self, end: Time) -> Time {
        match self {
            Since::At(t) => t,
            Since::Before(micros) => end.plus(-micros),
        }
    }
}

impl fmt::Display for Since {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Since::At(t) => t.fmt(f),
            Since::Before(micros) => write!(f, "{}s", micros / SECOND),
        }
    }
}

impl FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(t) = Time::parse(text) {
            return Ok(Since::At(t));
        }
        let unit = match text.chars().last() {
            Some('s') => SECOND,
            Some('m') => 60 * SECOND,
            Some('h') => 3_600 * SECOND,
            Some('d') => 86_400 * SECOND,
            _ => 0,
        };
        match text.get(..text.len().saturating_sub(1)).and_then(|n| n.parse::<u64>().ok()) {
            // Longer than any stream is.
            Some(n) if unit > 0 && n < 100_000_000_000 / (unit / SECOND).unsigned_abs() => {
                Ok(Since::Before(i64::try_from(n).unwrap_or(i64::MAX / unit) * unit))
            }
            _ => Err("give a time like 2024-01-15T10:30:00Z, or a span like 90s, 30m, 2h, 1d".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_spans_are_read_and_nothing_else() {
        let at = Time::parse("2024-01-15T10:30:00Z").unwrap();
        assert_eq!("2024-01-15T10:30:00Z".parse(), Ok(Since::At(at)));
        for (text, micros) in [("90s", 90 * SECOND), ("30m", 1_800 * SECOND), ("2h", 7_200 * SECOND), ("0d", 0)] {
            assert_eq!(text.parse(), Ok(Since::Before(micros)), "{text}");
            assert_eq!(Since::Before(micros).time(at), at.plus(-micros));
            assert_eq!(Since::Before(micros).to_string().parse(), Ok(Since::Before(micros)));
        }
        for text in ["", "s", "1", "-1s", "1.5h", "1w", "100000000000s", "yesterday", "1é"] {
            assert!(text.parse::<Since>().is_err(), "{text}");
        }
    }
}
