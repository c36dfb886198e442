//! `ServiceProbe`: somebody tried to connect to a Service.
//!
//! ```json
//! {"namespace":"shop","service":"cart","port":7070,"from":"worker-1","address":"10.96.1.237","ok":false,
//!  "outcome":"refused","says":"Connection Failed"}
//! ```
//! `service` is needed. `from` names the node or pod that tried, `""` if nobody said; `outcome` is one word (`open`,
//! `failed`, `refused`, `timeout`, `no answer`, `unknown host`), `says` the words as they were found.

use crate::event::shape::{Text, shape};
use crate::event::{EventDoc, Malformed, Normalised, Payload, about, fact, need, one, read, shorten};
use crate::object::ObjectRef;
use crate::raw::RawEvent;
use crate::unified::{EventKind, Severity};

/// Documentation and samples.
pub const DOC: EventDoc = EventDoc {
    source: "kubelet",
    raw_type: "ServiceProbe",
    kinds: &[EventKind::ServiceUnreachable, EventKind::ServiceReachable],
    proof: "documented",
    samples: &[
        r#"{"timestamp":"2024-01-15T10:30:00Z","type":"ServiceProbe","source":"dump","metadata":{"cluster":"main"},"data":{"namespace":"shop","service":"mailer","port":5000,"from":"worker-1","address":"","ok":false,"outcome":"failed","says":"Connection Failed"}}"#,
        r#"{"timestamp":"2024-01-15T10:30:00Z","type":"ServiceProbe","source":"dump","metadata":{"cluster":"main"},"data":{"namespace":"shop","service":"cart","port":7070,"from":"","address":"10.96.1.237","ok":true,"outcome":"open","says":"cart (10.96.1.237:7070) open"}}"#,
    ],
    about: "a connection to a Service was tried",
};

shape! {
    /// A try to connect to a Service.
    struct ServiceProbe {
        /// Namespace of the Service.
        namespace: Text<'a>,
        /// Service.
        service: Text<'a>,
        /// Port.
        port: i64,
        /// Who tried.
        from: Text<'a>,
        /// The address that the name stood for.
        address: Text<'a>,
        /// Whether it succeeded.
        ok: bool,
        /// How it ended, in one word.
        outcome: Text<'a>,
        /// The words as they were found.
        says: Text<'a>,
    }
}

/// Normalises one try.
pub(crate) fn normalise(raw: &RawEvent) -> Result<Normalised<'_>, Malformed> {
    let data: ServiceProbe = read(raw)?;
    let service = need(raw, "service", &data.service)?;
    let key = ObjectRef::new("Service", &data.namespace, service);
    let (kind, severity, verb) = if data.ok {
        (EventKind::ServiceReachable, Severity::Info, "answers")
    } else {
        (EventKind::ServiceUnreachable, Severity::High, "does not answer")
    };
    let from = if data.from.is_empty() { String::new() } else { format!(" to {}", data.from) };
    let words = if data.says.is_empty() { &*data.outcome } else { shorten(&data.says, 200) };
    let text = format!("service {} {verb}{from} on port {}: {words}", key.path(), data.port);
    let id = fact(raw, kind, &key).number(raw.timestamp.micros()).number(data.port).text(&data.from).finish();
    let mut event =
        about(raw, id, kind, raw.timestamp, key, "").saying(severity, text).with("port", data.port.to_string());
    for (name, value) in [("from", &data.from), ("outcome", &data.outcome)] {
        if !value.is_empty() {
            event = event.with(name, &**value);
        }
    }
    Ok(one(event, Payload::ServiceProbe(data)))
}
