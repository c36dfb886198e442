//! What can go wrong with a Neo4j, told apart by what the caller has to do.
//!
//! The driver gives one enum for all of it; codes of the server, kinds of I/O errors and, for TLS, words of the message
//! decide here. Every text says what to do; none holds a credential, as the driver's errors do not.

use std::io::ErrorKind;

use neo4rs::Error;
use tapio_core::ports::StoreError;

/// One thing that went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The server is there and could not do it now: a deadlock, an election, no memory.
    Busy(String),
    /// The server is not there, or the connection broke; what was under way may or may not have been done.
    Away(String),
    /// It will not let us in, or is not what we need: trying again helps nobody.
    Denied(String),
    /// It may not be written, or has no space.
    NotWritable(String),
    /// Its graph was written by a newer Tapio.
    Newer(i64),
    /// The statement is wrong.
    Statement(String),
    /// A bound of time or memory was hit.
    Limit(String),
    /// Anything else.
    Other(String),
}

impl Fault {
    /// What an error of the driver means.
    pub(super) fn of(error: Error) -> Fault {
        match error {
            Error::Neo4j(e) => of_code(e.code(), e.message()),
            Error::IOError { detail } => of_io(&detail),
            Error::AuthenticationError(why) => of_login(&why),
            Error::ProtocolMismatch(_) => Fault::Denied(
                "what answers there does not speak Bolt; give Neo4j's Bolt port (7687 by default), not its HTTP port"
                    .to_owned(),
            ),
            Error::UnsupportedVersion(..) => {
                Fault::Denied("it speaks no Bolt 4.4; Neo4j 5 or newer is needed".to_owned())
            }
            Error::ConnectionTimedOut => Fault::Away("it did not answer in time".to_owned()),
            Error::InvalidDnsName(_) => Fault::Denied("its host is no name that a certificate can have".to_owned()),
            // The exchange is out of step: a new connection is needed, and will do.
            Error::IncompleteBoltExchange
            | Error::ConnectionError
            | Error::UnexpectedMessage(_)
            | Error::UnknownMessage(_)
            | Error::UnknownType(_)
            | Error::InvalidTypeMarker(_)
            | Error::Ignored(_)
            | Error::RequestIgnoredError
            | Error::ServerUnavailableError(_) => Fault::Away(format!("the connection broke: {error}")),
            e => Fault::Other(e.to_string()),
        }
    }

    /// A step took too long; the connection was closed.
    pub(super) fn late(what: &str, after: std::time::Duration) -> Fault {
        Fault::Away(format!("{what} took longer than {} s", after.as_secs_f32()))
    }

    /// Whether the same may work a moment later.
    pub(super) fn passes(&self) -> bool {
        matches!(self, Fault::Busy(_) | Fault::Away(_))
    }

    /// As the error of Tapio's own work.
    pub(super) fn own(self, place: &str) -> StoreError {
        let place = place.to_owned();
        match self {
            Fault::Busy(why) => StoreError::Busy { place, why },
            Fault::Away(why) | Fault::Denied(why) => StoreError::Unavailable { place, why },
            Fault::NotWritable(why) => StoreError::NotWritable { place, why },
            Fault::Newer(found) => StoreError::NewerVersion { place, found, known: super::FORMAT },
            Fault::Statement(why) | Fault::Limit(why) | Fault::Other(why) => StoreError::Other { place, why },
        }
    }

    /// As the error of a user's query.
    pub(super) fn asked(self, place: &str) -> StoreError {
        match self {
            Fault::Statement(why) => StoreError::Refused(format!("Neo4j cannot run this: {why}")),
            Fault::NotWritable(_) => StoreError::Refused("queries only read".to_owned()),
            Fault::Limit(why) => StoreError::Limit(why),
            other => other.own(place),
        }
    }
}

fn of_code(code: &str, message: &str) -> Fault {
    let said = || format!("{message} ({code})");
    let full = ["No space left", "disk space", "disk is full", "Disk full"];
    let mut parts = code.split('.').skip(1);
    let (class, group, name) =
        (parts.next().unwrap_or(""), parts.next().unwrap_or(""), parts.next().unwrap_or_default());
    match (class, group, name) {
        _ if full.iter().any(|w| message.contains(w)) => {
            Fault::NotWritable(format!("the server's disk is full; free space on it: {}", said()))
        }
        // A server that cannot append to its log says no more to a client; its own log names the reason.
        (_, "Transaction", "TransactionLogError") => Fault::NotWritable(format!(
            "the server cannot write its transaction log: its disk is full or fails; look into the server's log: {}",
            said()
        )),
        (_, "Database", "DatabaseNotFound") => {
            Fault::Denied(format!("it has no such database; create it, or name another by ?database=: {}", said()))
        }
        (_, "Security", "CredentialsExpired") => Fault::Denied(
            "the password has expired; change it in Neo4j: ALTER CURRENT USER SET PASSWORD FROM … TO …".to_owned(),
        ),
        (_, "Security", "Forbidden") => {
            Fault::NotWritable(format!("the user lacks a right; grant it, or use another user: {}", said()))
        }
        (_, "Security", _) => of_login(&said()),
        (_, _, "ForbiddenOnReadOnlyDatabase" | "WriteOnReadOnlyAccessDbDatabase" | "NotALeader") => {
            Fault::NotWritable(format!("it is read-only, or a follower of a cluster; give the leader: {}", said()))
        }
        (_, "Statement", "AccessMode") => Fault::NotWritable(said()),
        (_, "Transaction", n) if n.starts_with("TransactionTimedOut") || n == "Terminated" => {
            Fault::Limit("it took longer than its time limit".to_owned())
        }
        (_, "General", n) if n.contains("OutOfMemory") => {
            Fault::Limit(format!("it takes more memory than the server gives it; narrow the pattern: {}", said()))
        }
        ("TransientError", ..) => Fault::Busy(said()),
        ("ClientError", "Statement" | "Procedure", _) => Fault::Statement(said()),
        _ => Fault::Other(said()),
    }
}

fn of_login(why: &str) -> Fault {
    let low = why.to_lowercase();
    if low.contains("too many times") || low.contains("ratelimit") {
        return Fault::Denied("too many wrong passwords; wait a few seconds, then give the right one".to_owned());
    }
    if low.contains("not available") || low.contains("unavailable") {
        return Fault::Busy(why.to_owned());
    }
    Fault::Denied(format!(
        "user or password is wrong ({}); set TAPIO_NEO4J_USER, and TAPIO_NEO4J_PASSWORD or TAPIO_NEO4J_PASSWORD_FILE",
        why.trim_end_matches('.')
    ))
}

fn of_io(error: &std::io::Error) -> Fault {
    let text = error.to_string();
    let low = text.to_lowercase();
    if low.contains("certificate") {
        let remedy = if low.contains("not valid for") || low.contains("notvalidforname") {
            "use the host name that stands in it"
        } else if low.contains("expired") || low.contains("notvalidyet") {
            "renew it, or set this machine's clock"
        } else if low.contains("unknownissuer") {
            "give the certificate of its issuer by TAPIO_NEO4J_CA_FILE, or let this machine trust the issuer"
        } else {
            "use the host name that stands in it, and give the certificate of its issuer by TAPIO_NEO4J_CA_FILE"
        };
        return Fault::Denied(format!(
            "its certificate does not fit ({text}); {remedy}; bolt+ssc:// takes any certificate"
        ));
    }
    if low.contains("invalidcontenttype") || low.contains("corrupt message") {
        return Fault::Denied("it does not speak TLS there; use bolt:// in the place of bolt+s://".to_owned());
    }
    if low.contains("tls handshake") {
        return Fault::Away(format!("it broke the TLS handshake off ({text}); if it speaks no TLS, use bolt://"));
    }
    if low.contains("lookup address") || low.contains("name or service not known") {
        return Fault::Away(format!("its host is not known ({text}); check the name"));
    }
    match error.kind() {
        ErrorKind::ConnectionRefused => {
            Fault::Away("nobody listens there; start the server, or check host and port".to_owned())
        }
        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => {
            Fault::Away(format!("it closed the connection ({text}); if it wants TLS, use bolt+s://"))
        }
        _ => Fault::Away(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_the_server_become_what_to_do() {
        for (code, message, want) in [
            ("Neo.TransientError.Transaction.DeadlockDetected", "x", "busy"),
            ("Neo.TransientError.General.DatabaseUnavailable", "x", "busy"),
            ("Neo.ClientError.Database.DatabaseNotFound", "x", "denied"),
            ("Neo.ClientError.Security.Unauthorized", "x", "denied"),
            ("Neo.ClientError.Security.CredentialsExpired", "x", "denied"),
            ("Neo.ClientError.Security.Forbidden", "x", "unwritable"),
            ("Neo.ClientError.General.ForbiddenOnReadOnlyDatabase", "x", "unwritable"),
            ("Neo.ClientError.Statement.AccessMode", "x", "unwritable"),
            ("Neo.DatabaseError.Transaction.TransactionCommitFailed", "No space left on device", "unwritable"),
            ("Neo.DatabaseError.Transaction.TransactionLogError", "Could not append transaction: …", "unwritable"),
            ("Neo.ClientError.Statement.SyntaxError", "x", "statement"),
            ("Neo.ClientError.Transaction.TransactionTimedOutClientConfiguration", "x", "limit"),
            ("Neo.TransientError.General.MemoryPoolOutOfMemoryError", "x", "limit"),
            ("Neo.DatabaseError.General.UnknownError", "x", "other"),
            ("nonsense", "x", "other"),
        ] {
            let got = match of_code(code, message) {
                Fault::Busy(_) => "busy",
                Fault::Denied(_) => "denied",
                Fault::NotWritable(_) => "unwritable",
                Fault::Statement(_) => "statement",
                Fault::Limit(_) => "limit",
                Fault::Other(_) => "other",
                other => panic!("{code}: {other:?}"),
            };
            assert_eq!(got, want, "{code}");
        }
    }

    #[test]
    fn what_passes_is_tried_again_and_nothing_else() {
        assert!(Fault::Busy(String::new()).passes() && Fault::Away(String::new()).passes());
        assert!(!of_login("The client is unauthorized due to authentication failure.").passes());
        assert!(!of_io(&std::io::Error::other("invalid peer certificate: UnknownIssuer")).passes());
        let handshake = of_io(&std::io::Error::new(ErrorKind::UnexpectedEof, "tls handshake eof"));
        assert!(matches!(handshake, Fault::Away(why) if why.contains("use bolt://")));
    }
}
