//! Reading logs: which lines are errors, and of what class. Patterns are those of runtimes and libraries, not of any
//! one application.

use std::sync::LazyLock;

use regex::{Regex, RegexSet};
use serde::{Deserialize, Serialize};

use super::view::PodFacts;

/// What an error line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Class {
    /// The binary is built for another processor.
    ExecFormat,
    /// A variable that the program needs is not set.
    MissingVariable,
    /// A port is taken.
    PortInUse,
    /// A user or password is refused.
    Authentication,
    /// A certificate is not accepted.
    Certificate,
    /// The API server or another service forbids it.
    Forbidden,
    /// The mesh refuses a request.
    MeshDenied,
    /// The API server is overloaded.
    ApiOverload,
    /// A database refuses writes.
    ReadOnlyDatabase,
    /// A database or server is at its limit of connections.
    TooManyConnections,
    /// Too many open files.
    TooManyFiles,
    /// No space left.
    DiskFull,
    /// The file system refuses: read-only or no permission.
    FilePermission,
    /// A name cannot be resolved.
    Dns,
    /// A connection is refused.
    Refused,
    /// Something takes too long.
    Timeout,
    /// A connection broke or has no route.
    Network,
    /// The program ran out of memory by itself.
    OutOfMemory,
    /// A file, module or command is missing.
    MissingFile,
    /// A configured value is wrong.
    BadConfig,
    /// The program panicked or threw.
    Panic,
    /// Any other error.
    Other,
}

/// Classes with their patterns, the more telling first.
const PATTERNS: &[(Class, &str)] = &[
    (Class::ExecFormat, r"(?i)exec format error|cannot execute binary file"),
    (
        Class::PortInUse,
        r"(?i)address already in use|EADDRINUSE|port \d+ (?:was |is )?already (?:in use|allocated|bound)|bind\(\) to .* failed \(98|Failed to bind to|web server failed to start.*port",
    ),
    (
        Class::Authentication,
        r"(?i)access denied for user|password authentication failed|authentication failed|invalid (?:username|user ?name|password|credentials)|WRONGPASS|NOAUTH|ACCESS_REFUSED|login (?:was )?(?:failed|refused)|bad credentials|authentication required|invalid api key|\b401 unauthorized|SASL authentication|ERR invalid password|unknown user|user does not exist",
    ),
    (
        Class::Certificate,
        r"(?i)x509:|certificate (?:has expired|is not yet valid|verify failed|signed by unknown)|tls: (?:handshake|bad certificate|failed to verify)|SSLHandshakeException|PKIX path|SSL routines|CERT_HAS_EXPIRED|CertificateExpiredException|CertificateNotYetValidException|self[- ]signed certificate",
    ),
    (
        Class::Forbidden,
        r#"(?i)is forbidden: User "?system:|cannot (?:get|list|watch|create|update|patch|delete) resource"#,
    ),
    (Class::MeshDenied, r"RBAC: access denied|rbac_access_denied_matched_policy"),
    (
        Class::ApiOverload,
        r"the server has received too many requests and has asked us to try again later|etcdserver: (?:request timed out|too many requests)|the server was unable to return a response in the time allotted",
    ),
    (
        Class::ReadOnlyDatabase,
        r"(?i)--read-only option|super-read-only|cannot execute .* in a read-only transaction|read[- ]only (?:replica|mode|database|transaction)|READONLY You can't write|attempt to write a readonly database|server is (?:running )?(?:in )?read[- ]only",
    ),
    (
        Class::TooManyConnections,
        r"(?i)too many connections|max_(?:user_)?connections.{0,40}(?:exceeded|reached)|(?:exceeded|reached).{0,40}max_(?:user_)?connections|too many clients|remaining connection slots|connection limit exceeded|max number of clients reached|ERROR 1040",
    ),
    (Class::TooManyFiles, r"(?i)too many open files|EMFILE|ENFILE"),
    (
        Class::DiskFull,
        r"(?i)no space left on device|ENOSPC|disk (?:is )?full|disk quota exceeded|could not extend file",
    ),
    (
        Class::FilePermission,
        r"(?i)read-only file system|EROFS|(?:permission denied|EACCES|operation not permitted|EPERM).*|can't open .* permission denied",
    ),
    (
        Class::Dns,
        r"(?i)no such host|lookup [\w.-]+(?: on \S+)?: .*(?:i/o timeout|timed out|refused|unreachable)|name or service not known|temporary failure in name resolution|UnknownHostException|getaddrinfo|ENOTFOUND|EAI_AGAIN|could not resolve host|server misbehaving|NXDOMAIN|name resolution|failed to resolve|bad address|nodename nor servname|Name does not resolve",
    ),
    (Class::Refused, r"(?i)connection refused|ECONNREFUSED|actively refused|connect failed: refused"),
    (
        Class::MissingVariable,
        r"(?i)(?:environment variable|env(?:ironment)? var|variable) [\w\x22'`.-]+ (?:is )?(?:not set|required|missing|must be set|undefined|not defined)|(?:missing|required|undefined|no) (?:required )?environment variable|KeyError: '[A-Z0-9_]+'|[A-Z][A-Z0-9_]{2,} (?:is not set|must be set|is required|not set|is missing|environment variable not set)|unbound variable|parameter (?:null or )?not set",
    ),
    // Before what a parser's text may name: `timeout: time: invalid duration`.
    (
        Class::BadConfig,
        r"(?i)time: (?:unknown unit|invalid duration|missing unit)|\bparse /\S+: |cannot unmarshal|yaml: line \d+|did not find expected|unexpected end of JSON",
    ),
    (
        Class::Timeout,
        r"(?i)i/o timeout|timed? ?out|deadline exceeded|ETIMEDOUT|SocketTimeoutException|upstream request timeout",
    ),
    (
        Class::Network,
        r"(?i)no route to host|network is unreachable|connection reset|broken pipe|EHOSTUNREACH|ENETUNREACH|ECONNRESET|communications link failure|connection (?:was )?closed|unexpected EOF|upstream connect error|transport is closing|no healthy upstream",
    ),
    (
        Class::OutOfMemory,
        r"(?i)OutOfMemoryError|out of memory|cannot allocate memory|std::bad_alloc|MemoryError|heap out of memory|memory allocation of .* failed",
    ),
    (
        Class::MissingFile,
        r"(?i)no such file or directory|FileNotFoundException|ENOENT|ModuleNotFoundError|cannot find module|No module named|ClassNotFoundException|NoClassDefFoundError|command not found|executable file not found|cannot open shared object|Unable to access jarfile",
    ),
    (
        Class::BadConfig,
        r"(?i)invalid (?:syntax|configuration|config|value|format|argument|option|port|json|yaml)|syntax error|parse error|failed to parse|parsing .* (?:error|invalid)|unknown (?:directive|option|flag|key)|unexpected token|malformed|NumberFormatException|JSONDecodeError|YAMLException|strconv\.|not a valid|configuration error|config(?:uration)? (?:is )?invalid|emerg\]",
    ),
    (
        Class::Panic,
        r"(?i)^panic: |thread '.*' panicked|panicked at|Traceback \(most recent call last\)|^\s*Exception in thread|Unhandled (?:promise )?rejection|uncaught exception|segmentation fault|SIGSEGV|fatal error|stack overflow|core dumped|goroutine \d+ \[running\]",
    ),
];

static SET: LazyLock<Option<RegexSet>> = LazyLock::new(|| RegexSet::new(PATTERNS.iter().map(|(_, p)| *p)).ok());

static ERROR_LEVEL: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r#"(?i)\b(?:error|err|fatal|panic|critical|crit|emerg|severe|exception|failed|failure|cannot|could not|unable|denied|refused)\b|level=(?:error|fatal)|"(?:severity|level)"\s*:\s*"(?:error|fatal|critical)|^E\d{4} "#).ok()
});
static CALM: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r#"(?i)level=(?:info|debug|trace)|"(?:severity|level)"\s*:\s*"(?:info|debug|trace)|\b(?:INFO|DEBUG|TRACE|NOTICE)\b|^I\d{4} |errors?[=:]\s*(?:0|null|none|false)\b|no errors?\b"#).ok()
});

/// Whether a line speaks of an error: of a known class, or at an error level, and not at a calm one.
pub fn is_error(line: &str) -> bool {
    let calm = CALM.as_ref().is_some_and(|r| r.is_match(line));
    if calm {
        return false;
    }
    ERROR_LEVEL.as_ref().is_some_and(|r| r.is_match(line)) || SET.as_ref().is_some_and(|s| s.is_match(line))
}

/// The class of an error line; none if it is no error.
pub fn class_of(line: &str) -> Option<Class> {
    if CALM.as_ref().is_some_and(|r| r.is_match(line)) {
        return None;
    }
    let known = SET.as_ref().and_then(|s| s.matches(line).iter().next()).map(|i| PATTERNS[i].0);
    known.or_else(|| ERROR_LEVEL.as_ref().is_some_and(|r| r.is_match(line)).then_some(Class::Other))
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
            for (text, class) in tail.lines.iter().zip(&tail.classes).rev() {
                if let Some(class) = *class
                    && !more(ErrorLine { class, text, container: name, at: tail.at })
                {
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
