//! Reading logs: which lines are errors, and of what class.
//!
//! `patterns` is the table; `sieve` finds out quickly which of them a line can match at all.

mod patterns;
mod sieve;

use std::sync::LazyLock;

pub use self::patterns::Class;
use self::patterns::{CALM, ERROR_LEVEL, PATTERNS};
use self::sieve::Sieve;
use super::view::PodFacts;

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
    let all = errors(p, container, 60);
    let known = all.iter().find(|e| !matches!(e.class, Class::Other | Class::Panic)).cloned();
    // The head of a stack says where, not what.
    let panics = || all.iter().filter(|e| e.class == Class::Panic);
    let said = panics().find(|e| !e.text.starts_with("goroutine ")).or_else(|| panics().next()).cloned();
    known.or(said).or_else(|| all.into_iter().next())
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
}
