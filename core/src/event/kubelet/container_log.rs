//! `ContainerLog`: the last lines of a container's log, of this run or of the one before.
//!
//! ```json
//! {"namespace":"shop","pod":"cart-1","container":"app","previous":false,"truncated":false,
//!  "lines":["time=2024-01-15T10:29:59Z level=error msg=\"invalid MAX_CONNECTIONS\""]}
//! ```
//! `pod` is needed. One `log_error` if a line looks like an error: the last such line, at the line's own time where it
//! has one (a tail holds lines from long before). The API can answer `unable to retrieve container logs …` as if that
//! were the log: no line of the container's.

use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, AhoCorasickKind};

use crate::event::shape::{Text, shape};
use crate::event::{EventDoc, Malformed, Normalised, Payload, about, fact, need, perhaps, read, shorten};
use crate::object::ObjectRef;
use crate::raw::RawEvent;
use crate::time::{MINUTE, Time};
use crate::unified::{EventKind, Severity, UnifiedEvent};

/// Documentation and samples.
pub const DOC: EventDoc = EventDoc {
    source: "kubelet",
    raw_type: "ContainerLog",
    kinds: &[EventKind::LogError],
    proof: "recorded",
    samples: &[include_str!("../samples/container_log.json")],
    about: "the last lines of a failing container's log",
};

shape! {
    /// Lines of a container's log.
    struct ContainerLog {
        /// Namespace.
        namespace: Text<'a>,
        /// Pod.
        pod: Text<'a>,
        /// Container.
        container: Text<'a>,
        /// Whether they are of the run before the current one.
        previous: bool,
        /// The lines, oldest first.
        lines: Vec<Text<'a>>,
        /// Whether older lines were left out.
        truncated: bool,
    }
}

impl<'a> ContainerLog<'a> {
    /// Reads the data of a raw event.
    ///
    /// # Errors
    /// Where a known field has a wrong type, or `pod` is missing.
    pub fn parse(raw: &'a RawEvent) -> Result<Self, Malformed> {
        let log: Self = read(raw)?;
        need(raw, "pod", &log.pod)?;
        Ok(log)
    }

    /// The container's own lines, without what the API says in their place.
    pub fn own_lines(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.lines.iter().map(|l| l.trim_end()).filter(|l| !l.is_empty() && !is_no_log(l))
    }
}

/// Whether a line is the API's excuse instead of a log.
pub fn is_no_log(line: &str) -> bool {
    line.starts_with("unable to retrieve container logs")
        || line.starts_with("failed to try resolving symlinks in path")
}

/// Words of errors.
const WORDS: &[&str] = &[
    "error",
    "exception",
    "fatal",
    "panic",
    "traceback",
    "fail",
    "refused",
    "denied",
    "cannot ",
    "can't ",
    "could not",
    "unable to",
    "no such",
    "not found",
    "segmentation fault",
    "abort",
    "invalid",
    "timed out",
    "i/o timeout",
    "already in use",
    "unauthorized",
    "forbidden",
    "out of memory",
    "no space left",
    "no route",
    "unreachable",
    "unknown host",
    "oomkill",
    "core dumped",
    "missing required",
];

/// What takes them back.
const HARMLESS: &[&str] = &[
    "no error",
    "0 error",
    "error=nil",
    "error=null",
    "error: null",
    "errors=0",
    "0 failed",
    "failed=0",
    "failures=0",
];

/// Before a line's own level.
const KEYS: &[&str] =
    &["level=", "\"level\":", "\"severity\":", "severity=", "lvl=", "\"levelname\":", "\"loglevel\":"];

/// All of them in one pass: every line of a log is asked. Built of constants; without it no line has words.
static FOUND: LazyLock<Option<AhoCorasick>> = LazyLock::new(|| {
    let all = WORDS.iter().chain(HARMLESS).chain(KEYS);
    AhoCorasick::builder().kind(Some(AhoCorasickKind::DFA)).ascii_case_insensitive(true).build(all).ok()
});

/// Whether a line tells of an error: by its level where it has one, by its words otherwise.
pub fn is_error_line(line: &str) -> bool {
    let line = shorten(line, 2_000);
    let (mut bad, mut harmless) = (false, false);
    let mut keys: [Option<usize>; KEYS.len()] = [None; KEYS.len()];
    for m in FOUND.iter().flat_map(|f| f.find_overlapping_iter(line)) {
        match m.pattern().as_usize() {
            i if i < WORDS.len() => bad = true,
            i if i < WORDS.len() + HARMLESS.len() => harmless = true,
            i => {
                keys[i - WORDS.len() - HARMLESS.len()].get_or_insert(m.end());
            }
        }
    }
    let by_key = keys.iter().flatten().find_map(|end| {
        let rest = line[*end..].trim_start_matches([' ', '"']);
        judge(rest.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or(""))
    });
    by_key.or_else(|| level(line)).unwrap_or(bad && !harmless)
}

/// What a level says; none if it is none.
fn judge(word: &str) -> Option<bool> {
    const BAD: &[&str] = &["error", "err", "fatal", "panic", "dpanic", "critical", "crit", "alert", "emerg", "severe"];
    const FINE: &[&str] = &["info", "debug", "trace", "warn", "warning", "notice", "verbose", "information"];
    let is = |all: &[&str]| all.iter().any(|w| w.eq_ignore_ascii_case(word));
    if is(BAD) { Some(true) } else { is(FINE).then_some(false) }
}

/// What a line's own level says where no key stands before it; none if it has none.
fn level(line: &str) -> Option<bool> {
    // klog: E0721 12:00:00.000000
    let b = line.as_bytes();
    if b.len() > 5 && b[1..5].iter().all(u8::is_ascii_digit) && b[5] == b' ' {
        match b[0] {
            b'E' | b'F' => return Some(true),
            b'I' | b'W' => return Some(false),
            _ => {}
        }
    }
    // A bare level near the start of the line, in capitals: `2024-01-15 10:30:00.123 ERROR 1 --- [main] …`.
    shorten(line, 60)
        .split(|c: char| !c.is_ascii_alphabetic())
        .filter(|w| w.len() > 2 && w.bytes().all(|b| b.is_ascii_uppercase()))
        .find_map(judge)
}

/// The time that a line carries, if it can be that of an observation made at `seen`.
pub fn line_time(line: &str, seen: Time) -> Option<Time> {
    // Only texts that begin like a year of our century are tried; a log line has at most one or two.
    let start = line.match_indices("20").map(|(i, _)| i).find(|i| is_date(line.as_bytes(), *i))?;
    let rest = &line[start..];
    let end = rest.char_indices().skip(19).find(|(_, c)| !matches!(c, '0'..='9' | '.' | ',' | ':' | '+' | '-' | 'Z'));
    let text = &rest[..end.map_or(rest.len(), |(i, _)| i)];
    if let Ok(t) = Time::parse(text) {
        return (t <= seen).then_some(t);
    }
    // Without a zone it is taken as UTC where that is plausible; a clock of another zone would be hours off.
    let plain: String = text
        .chars()
        .map(|c| match c {
            '/' => '-',
            ' ' => 'T',
            ',' => '.',
            c => c,
        })
        .collect();
    let plain = format!("{}T{}Z", plain.get(..10)?.replace('/', "-"), plain.get(11..)?);
    let t = Time::parse(&plain).ok()?;
    (t <= seen && seen.since(t) <= 10 * MINUTE).then_some(t)
}

fn is_date(b: &[u8], at: usize) -> bool {
    let Some(b) = b.get(at..at + 19) else { return false };
    b.iter().enumerate().all(|(i, c)| match i {
        4 | 7 => matches!(c, b'-' | b'/'),
        10 => matches!(c, b'T' | b' '),
        13 | 16 => *c == b':',
        _ => c.is_ascii_digit(),
    })
}

/// Normalises one tail of a log.
pub(crate) fn normalise(raw: &RawEvent) -> Result<Normalised<'_>, Malformed> {
    let log = ContainerLog::parse(raw)?;
    let event = log.own_lines().rev().find(|l| is_error_line(l)).map(|line| event(raw, &log, line));
    Ok(perhaps(event, Payload::ContainerLog(log)))
}

fn event(raw: &RawEvent, log: &ContainerLog<'_>, line: &str) -> UnifiedEvent {
    let line = shorten(line, 500);
    let at = line_time(line, raw.timestamp).unwrap_or(raw.timestamp);
    let key = ObjectRef::new("Pod", &log.namespace, &log.pod);
    // Neither the run nor the reader counts: the same line is read again as `previous` after a restart.
    let id = fact(raw, EventKind::LogError, &key).number(at.micros()).text(&log.container).text(line).finish();
    let mut event = about(raw, id, EventKind::LogError, at, key, "").saying(Severity::Medium, line);
    if log.previous {
        event = event.with("previous", "true");
    }
    if log.container.is_empty() {
        return event;
    }
    event.in_container(&log.container).with("container", &*log.container)
}

#[cfg(test)]
mod tests;
