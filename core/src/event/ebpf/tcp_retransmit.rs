//! `TcpRetransmit`: TCP segments were sent again, counted by pod and destination.
//!
//! ```json
//! {"namespace":"shop","pod":"cart-1","uid":"…","container":"app","src_ip":"10.244.0.7","dst_ip":"10.244.1.9",
//!  "dst_port":8080,"count":7}
//! ```
//! All optional; `count` absent means one.

use crate::event::shape::{Text, shape};
use crate::event::{EventDoc, Malformed, Normalised, Payload, Whom, one, read};
use crate::raw::RawEvent;
use crate::unified::{EventKind, Severity};

/// Documentation and samples.
pub const DOC: EventDoc = EventDoc {
    source: "ebpf",
    raw_type: "TcpRetransmit",
    kinds: &[EventKind::Retransmits],
    proof: "documented",
    samples: &[
        r#"{"timestamp":"2024-01-15T10:30:00Z","type":"TcpRetransmit","source":"ebpf_collector","metadata":{"cluster":"main","node":"node-1"},"data":{"namespace":"shop","pod":"cart-5f9dbcfb-82fb7","container":"app","src_ip":"10.244.0.7","dst_ip":"10.244.1.9","dst_port":8080,"count":7}}"#,
    ],
    about: "TCP segments were sent again",
};

shape! {
    /// Segments that were sent again.
    struct TcpRetransmit {
        /// Namespace of the pod.
        namespace: Text<'a>,
        /// Pod whose process it is, where the agent knows it.
        pod: Text<'a>,
        /// Its uid.
        uid: Text<'a>,
        /// Its container.
        container: Text<'a>,
        /// From.
        src_ip: Text<'a>,
        /// To.
        dst_ip: Text<'a>,
        /// To port.
        dst_port: i64,
        /// How many.
        count: i64,
    }
}

/// Normalises one observation.
pub(crate) fn normalise(raw: &RawEvent) -> Result<Normalised<'_>, Malformed> {
    let data: TcpRetransmit = read(raw)?;
    let whom = Whom {
        namespace: &data.namespace,
        pod: &data.pod,
        uid: &data.uid,
        container: &data.container,
        otherwise: &data.src_ip,
    };
    let count = data.count.max(1);
    let port = data.dst_port.to_string();
    let message = format!("{} sent {count} TCP segments to {} port {port} again", whom.name(), data.dst_ip);
    let event = whom
        .event(raw, EventKind::Retransmits, &[&data.dst_ip, &port])
        .saying(Severity::Low, message)
        .with("count", count.to_string())
        .with("dst_ip", &*data.dst_ip)
        .with("dst_port", port);
    Ok(one(event, Payload::TcpRetransmit(data)))
}
