//! The classes and their patterns, which are those of runtimes and libraries, not of any one application.

use serde::{Deserialize, Serialize};

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
pub(super) const PATTERNS: &[(Class, &str)] = &[
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

/// What makes a line speak of an error at all.
pub(super) const ERROR_LEVEL: [&str; 2] = [
    r#"(?i)\b(?:error|err|fatal|panic|critical|crit|emerg|severe|exception|failed|failure|cannot|could not|unable|denied|refused)\b|level=(?:error|fatal)|"(?:severity|level)"\s*:\s*"(?:error|fatal|critical)"#,
    r"^E\d{4} ",
];

/// What makes a line calm whatever it speaks of.
pub(super) const CALM: [&str; 2] = [
    r#"(?i)level=(?:info|debug|trace)|"(?:severity|level)"\s*:\s*"(?:info|debug|trace)|\b(?:INFO|DEBUG|TRACE|NOTICE)\b|errors?[=:]\s*(?:0|null|none|false)\b|no errors?\b"#,
    r"^I\d{4} ",
];
