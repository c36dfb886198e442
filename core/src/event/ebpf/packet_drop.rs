//! `PacketDrop`: the kernel dropped packets, and why.
//!
//! ```json
//! {"namespace":"shop","pod":"","src_ip":"10.244.0.7","src_port":43210,"dst_ip":"10.244.1.9","dst_port":8080,
//!  "protocol":"TCP","reason":"NETFILTER_DROP","count":12,"netns":4026531840}
//! ```
//! `reason` is needed, by the kernel's name (its number differs from kernel to kernel). A forwarded packet has no socket
//! and hence no pod: the addresses lead to it in the engine.

use crate::event::shape::{Text, shape};
use crate::event::{EventDoc, Malformed, Normalised, Payload, Whom, need, one, read};
use crate::raw::RawEvent;
use crate::unified::{EventKind, Severity};

/// Documentation and samples.
pub const DOC: EventDoc = EventDoc {
    source: "ebpf",
    raw_type: "PacketDrop",
    kinds: &[EventKind::PacketDropped],
    proof: "documented",
    samples: &[
        r#"{"timestamp":"2024-01-15T10:30:00Z","type":"PacketDrop","source":"ebpf_collector","metadata":{"cluster":"main","node":"node-1"},"data":{"src_ip":"10.244.0.7","src_port":43210,"dst_ip":"10.244.1.9","dst_port":8080,"protocol":"TCP","reason":"NETFILTER_DROP","count":12,"netns":4026531840}}"#,
    ],
    about: "the kernel dropped packets",
};

shape! {
    /// Dropped packets.
    struct PacketDrop {
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
        /// From port.
        src_port: i64,
        /// To.
        dst_ip: Text<'a>,
        /// To port.
        dst_port: i64,
        /// `TCP`, `UDP`, …
        protocol: Text<'a>,
        /// The kernel's name of the reason.
        reason: Text<'a>,
        /// How many.
        count: i64,
        /// Network namespace in which it happened.
        netns: i64,
    }
}

/// Normalises one observation.
pub(crate) fn normalise(raw: &RawEvent) -> Result<Normalised<'_>, Malformed> {
    let data: PacketDrop = read(raw)?;
    let reason = need(raw, "reason", &data.reason)?;
    let whom = Whom {
        namespace: &data.namespace,
        pod: &data.pod,
        uid: &data.uid,
        container: &data.container,
        otherwise: &data.src_ip,
    };
    let count = data.count.max(1);
    let port = data.dst_port.to_string();
    let message = format!(
        "the kernel dropped {count} {} packets from {} to {} port {port}: {reason}",
        data.protocol,
        whom.name(),
        data.dst_ip
    );
    let mut event = whom
        .event(raw, EventKind::PacketDropped, &[&data.src_ip, &data.dst_ip, &port, reason])
        .saying(Severity::Medium, message)
        .with("reason", reason)
        .with("count", count.to_string())
        .with("dst_port", port);
    for (key, value) in [("src_ip", &data.src_ip), ("dst_ip", &data.dst_ip)] {
        if !value.is_empty() {
            event = event.with(key, &**value);
        }
    }
    Ok(one(event, Payload::PacketDrop(data)))
}
