//! Time as data: a point on the UTC line in microseconds, and nothing that reads a clock.

use std::fmt;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A point in time, in whole microseconds since 1970-01-01T00:00:00Z.
///
/// Serialised as RFC 3339 in UTC. Digits beyond microseconds are cut off on reading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(i64);

/// One second, in the unit of [`Time::micros`].
pub const SECOND: i64 = 1_000_000;
/// One minute, in the unit of [`Time::micros`].
pub const MINUTE: i64 = 60 * SECOND;

/// Why a text is no usable point in time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimeError {
    /// Not of the form `2024-01-15T10:30:00.123456Z`.
    #[error("`{0}` is not an RFC 3339 time with a zone (expected e.g. 2024-01-15T10:30:00Z)")]
    NotRfc3339(String),
    /// Outside the years that a Kubernetes cluster can have seen.
    #[error("`{0}` lies outside 2000-01-01 … 2099-12-31, the span in which a cluster can have run")]
    OutOfRange(String),
}

impl Time {
    /// 2000-01-01T00:00:00Z, the earliest time taken from input.
    pub const MIN: Time = Time(946_684_800 * SECOND);
    /// 2099-12-31T23:59:59Z, the latest time taken from input.
    pub const MAX: Time = Time(4_102_444_799 * SECOND);

    /// The time `micros` microseconds after 1970-01-01T00:00:00Z.
    pub const fn from_micros(micros: i64) -> Self {
        Time(micros)
    }

    /// Microseconds since 1970-01-01T00:00:00Z.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Milliseconds since 1970-01-01T00:00:00Z, rounded down.
    pub const fn millis(self) -> i64 {
        self.0.div_euclid(1_000)
    }

    /// Reads an RFC 3339 time that lies between [`Time::MIN`] and [`Time::MAX`].
    ///
    /// # Errors
    /// Says whether the form or the range is wrong.
    pub fn parse(text: &str) -> Result<Self, TimeError> {
        let parsed = DateTime::parse_from_rfc3339(text).map_err(|_| TimeError::NotRfc3339(shorten(text)))?;
        let time = Time(parsed.timestamp_micros());
        if (Self::MIN..=Self::MAX).contains(&time) { Ok(time) } else { Err(TimeError::OutOfRange(shorten(text))) }
    }

    /// This time moved by `micros` microseconds (negative: earlier); saturates.
    #[must_use]
    pub const fn plus(self, micros: i64) -> Self {
        Time(self.0.saturating_add(micros))
    }

    /// Microseconds from `earlier` to this time; negative if `earlier` is later.
    pub const fn since(self, earlier: Time) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The same instant for chrono's formatting and drivers' typed values.
    pub fn to_chrono(self) -> DateTime<Utc> {
        DateTime::from_timestamp_micros(self.0).unwrap_or_default()
    }

    /// `14:02:07`, for people who know the day.
    pub fn clock(self) -> String {
        self.to_chrono().format("%H:%M:%S").to_string()
    }
}

/// A span of microseconds as a person says it: `850ms`, `12s`, `4m10s`, `2h5m`, `3d4h`.
pub fn span(micros: i64) -> String {
    let ms = micros.unsigned_abs() / 1_000;
    let s = ms / 1_000;
    match s {
        0 => format!("{ms}ms"),
        1..=119 => format!("{s}s"),
        120..=7_199 if s.is_multiple_of(60) => format!("{}m", s / 60),
        120..=7_199 => format!("{}m{}s", s / 60, s % 60),
        7_200..=172_799 => format!("{}h{}m", s / 3_600, s % 3_600 / 60),
        _ => format!("{}d{}h", s / 86_400, s % 86_400 / 3_600),
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(40).collect()
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let form = match self.0.rem_euclid(SECOND) {
            0 => SecondsFormat::Secs,
            r if r % 1_000 == 0 => SecondsFormat::Millis,
            _ => SecondsFormat::Micros,
        };
        f.write_str(&self.to_chrono().to_rfc3339_opts(form, true))
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Text;
        impl serde::de::Visitor<'_> for Text {
            type Value = Time;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an RFC 3339 time")
            }
            fn visit_str<E: serde::de::Error>(self, v: &str) -> Result<Time, E> {
                Time::parse(v).map_err(E::custom)
            }
        }
        d.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_any_fraction_and_zone_and_prints_utc() {
        for (text, want) in [
            ("2024-01-15T10:30:00Z", "2024-01-15T10:30:00Z"),
            ("2024-01-15T10:30:00.123456789Z", "2024-01-15T10:30:00.123456Z"),
            ("2024-01-15T12:30:00.5+02:00", "2024-01-15T10:30:00.500Z"),
        ] {
            assert_eq!(Time::parse(text).unwrap().to_string(), want);
        }
    }

    #[test]
    fn refuses_times_without_zone_and_outside_a_clusters_life() {
        assert!(matches!(Time::parse("2024-01-15T10:30:00"), Err(TimeError::NotRfc3339(_))));
        for text in ["1970-01-01T00:00:00Z", "9999-12-31T00:00:00Z"] {
            assert!(matches!(Time::parse(text), Err(TimeError::OutOfRange(_))), "{text}");
        }
    }

    #[test]
    fn says_spans_as_people_do() {
        for (micros, want) in [
            (850_000, "850ms"),
            (12 * SECOND, "12s"),
            (250 * SECOND, "4m10s"),
            (7_500 * SECOND, "2h5m"),
            (273_600 * SECOND, "3d4h"),
        ] {
            assert_eq!(span(micros), want);
        }
    }
}
