//! Reading logs: which lines are errors, and of what class.
//!
//! `patterns` is the table; a `Sieve` finds out quickly which of them a line can match at all.

mod patterns;

use std::sync::LazyLock;

pub use self::patterns::Class;
use self::patterns::{CALM, ERROR_LEVEL, PATTERNS};
use super::view::PodFacts;
use crate::sieve::Sieve;

/// All patterns: those of the classes, then those of the levels.
static SIEVE: LazyLock<Sieve> =
    LazyLock::new(|| Sieve::new(PATTERNS.iter().map(|(_, p)| *p).chain(ERROR_LEVEL).chain(CALM)));

/// The class of an error line: of a known class, or at an error level, and not at a calm one. None if it is no error.
pub fn class_of(line: &str) -> Option<Class> {
    let may = SIEVE.candidates(line);
    let level = PATTERNS.len();
    let calm = level + ERROR_LEVEL.len();
    if may.first(calm..calm + CALM.len()).is_some() {
        return None;
    }
    let known = may.first(0..level).map(|i| PATTERNS[i].0);
    known.or_else(|| may.first(level..calm).map(|_| Class::Other))
}

/// An error line of a pod's container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorLine<'a> {
    /// Its class.
    pub class: Class,
    /// The line.
    pub text: &'a str,
    /// The container.
    pub container: &'a str,
    /// When the log was read.
    pub at: tapio_core::time::Time,
}

/// Whether a text names a word as a whole.
pub fn names_word(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(i, w)| {
        let edge = |c: Option<char>| c.is_none_or(|c| !c.is_ascii_alphanumeric() && c != '_');
        edge(text[..i].chars().next_back()) && edge(text[i + w.len()..].chars().next())
    })
}

/// Whether a tail is what a log API answers when there is no log.
fn is_no_log(lines: &[String]) -> bool {
    lines.len() == 1
        && (lines[0].starts_with("unable to retrieve container logs")
            || lines[0].contains("is waiting to start")
            || lines[0].starts_with("Request log error")
            || lines[0].contains("previous terminated container"))
}

/// The error lines of a pod's containers (or of one), newest first: of the current run, then of the previous one; at
/// most `max`.
pub fn errors<'a>(p: &PodFacts<'a>, container: Option<&str>, max: usize) -> Vec<ErrorLine<'a>> {
    let mut out = Vec::new();
    scan(p, container, |l| {
        out.push(l);
        out.len() < max
    });
    out
}

/// The newest error line of one of these classes.
pub fn newest_of<'a>(p: &PodFacts<'a>, container: Option<&str>, classes: &[Class]) -> Option<ErrorLine<'a>> {
    let mut found = None;
    scan(p, container, |l| {
        if classes.contains(&l.class) {
            found = Some(l);
        }
        found.is_none()
    });
    found
}

/// Walks error lines, newest first, as long as `more` says so.
fn scan<'a>(p: &PodFacts<'a>, container: Option<&str>, mut more: impl FnMut(ErrorLine<'a>) -> bool) {
    let history = &p.entry.history;
    for previous in [false, true] {
        for ((name, prev), tail) in &history.logs {
            if *prev != previous || container.is_some_and(|c| c != name) || is_no_log(&tail.lines) {
                continue;
            }
            for (text, class) in tail.errors() {
                if !more(ErrorLine { class, text, container: name, at: tail.at }) {
                    return;
                }
            }
        }
    }
}

/// The most telling error line of a container: a known class before any other, newer before older.
pub fn telling<'a>(p: &PodFacts<'a>, container: Option<&str>) -> Option<ErrorLine<'a>> {
    let (mut known, mut panic, mut any) = (None, None::<ErrorLine<'_>>, None);
    let mut seen = 0;
    scan(p, container, |l| {
        seen += 1;
        match l.class {
            Class::Other => {}
            // The head of a stack says where, not what.
            Class::Panic if panic.as_ref().is_none_or(|p| p.text.starts_with("goroutine ")) => {
                if panic.is_none() || !l.text.starts_with("goroutine ") {
                    panic = Some(l.clone());
                }
            }
            Class::Panic => {}
            _ => known = Some(l.clone()),
        }
        any.get_or_insert(l);
        known.is_none() && seen < 60
    });
    known.or(panic).or(any)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_runtimes_are_classified() {
        for (line, want) in [
            ("exec /server: exec format error", Some(Class::ExecFormat)),
            ("nginx: [emerg] bind() to 0.0.0.0:80 failed (98: Address already in use)", Some(Class::PortInUse)),
            (
                "java.sql.SQLException: Access denied for user 'ts'@'10.0.0.1' (using password: YES)",
                Some(Class::Authentication),
            ),
            ("ERROR 1040 (HY000): Too many connections", Some(Class::TooManyConnections)),
            (
                "The MySQL server is running with the --read-only option so it cannot execute this statement",
                Some(Class::ReadOnlyDatabase),
            ),
            ("dial tcp: lookup store on 10.96.0.10:53: no such host", Some(Class::Dns)),
            ("dial tcp 10.1.2.3:6379: connect: connection refused", Some(Class::Refused)),
            ("OSError: [Errno 30] Read-only file system: '/data/x'", Some(Class::FilePermission)),
            (
                "level=error msg=\"invalid MAX: strconv.Atoi: parsing \\\"6O\\\": invalid syntax\"",
                Some(Class::BadConfig),
            ),
            ("parse /etc/app/app.conf: line 4: timeout: time: unknown unit \" sec\"", Some(Class::BadConfig)),
            ("yaml: line 12: did not find expected key", Some(Class::BadConfig)),
            ("required environment variable STORE_ADDR is not set", Some(Class::MissingVariable)),
            (
                "Error from server (TooManyRequests): the server has received too many requests and has asked us to try again later (get pods)",
                Some(Class::ApiOverload),
            ),
            (
                "Waited for 1.2s due to client-side throttling, not priority and fairness, request: GET:https://10.96.0.1:443/api",
                None,
            ),
            ("upstream answered 403: RBAC: access denied", Some(Class::MeshDenied)),
            ("level=info msg=\"retry after timeout\"", None),
            ("server started on port 8080", None),
        ] {
            assert_eq!(class_of(line), want, "{line}");
        }
    }
    #[test]
    fn the_sieve_finds_what_the_patterns_find_and_nearly_all_of_their_parts_have_words() {
        let all: Vec<&str> = PATTERNS.iter().map(|(_, p)| *p).chain(ERROR_LEVEL).chain(CALM).collect();
        let sieve = Sieve::new(all.iter().copied());
        let without = sieve.without_words();
        assert!(without.len() <= 4, "{without:#?}");
        let regexes: Vec<regex::bytes::Regex> = all
            .iter()
            .map(|p| regex::bytes::RegexBuilder::new(p).unicode(false).build().unwrap_or_else(|e| panic!("{p}: {e}")))
            .collect();
        let lines = [
            "E0102 12:00:00 failed to watch",
            "Too Many Connections",
            "rbac: access denied",
            "RBAC: access denied",
            "thread 'main' panicked at src/main.rs",
            "panic: runtime error",
            "no panic: here",
            "dial tcp: lookup x.y on 10.0.0.1:53: i/o timeout",
            "KeyError: 'STORE'",
            "variable STORE is not set",
            "max_connections limit was reached",
            "errors: 0",
            "level=INFO ok",
            "Ünser Port 80 is already in use",
            "java.io.FileNotFoundException: /x (Permission denied)",
            "config is invalid",
            "",
        ];
        // Every pattern's own text is a line that comes close to it, too.
        for line in lines.iter().chain(&all) {
            let may = sieve.candidates(line);
            for (i, r) in regexes.iter().enumerate() {
                let found = may.first(i..i + 1).is_some();
                assert_eq!(found, r.is_match(line.as_bytes()), "{} on {line}", all[i]);
            }
        }
    }
}
