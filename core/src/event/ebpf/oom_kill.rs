//! `OomKill`: the kernel killed a process because memory ran out.
//!
//! ```json
//! {"namespace":"shop","pod":"cart-1","uid":"…","container":"app","pid":4711,"comm":"java","constraint":"memcg",
//!  "limit_bytes":67108864,"rss_bytes":66900000}
//! ```
//! All optional. `constraint` is `memcg` where the container's own limit was reached, `global` where the node had no
//! memory left: then the victim need not be the hog.

use crate::event::shape::{Text, shape};
use crate::event::{EventDoc, Malformed, Normalised, Payload, Whom, one, read};
use crate::raw::RawEvent;
use crate::unified::{EventKind, Severity};

/// Documentation and samples.
pub const DOC: EventDoc = EventDoc {
    source: "ebpf",
    raw_type: "OomKill",
    kinds: &[EventKind::OomKill],
    proof: "documented",
    samples: &[
        r#"{"timestamp":"2024-01-15T10:30:00Z","type":"OomKill","source":"ebpf_collector","metadata":{"cluster":"main","node":"node-1"},"data":{"namespace":"shop","pod":"cart-5f9dbcfb-82fb7","uid":"ab76584e-5003-422d-abe5-2a89ec64816c","container":"app","pid":4711,"comm":"java","constraint":"memcg","limit_bytes":67108864,"rss_bytes":66900000}}"#,
    ],
    about: "the kernel killed a process for memory",
};

shape! {
    /// A kill for memory.
    struct OomKill {
        /// Namespace of the pod.
        namespace: Text<'a>,
        /// Pod whose process it is, where the agent knows it.
        pod: Text<'a>,
        /// Its uid.
        uid: Text<'a>,
        /// Its container.
        container: Text<'a>,
        /// Process that was killed.
        pid: i64,
        /// Its command.
        comm: Text<'a>,
        /// `memcg` or `global`.
        constraint: Text<'a>,
        /// The limit that was reached.
        limit_bytes: i64,
        /// What the process held.
        rss_bytes: i64,
    }
}

/// Normalises one kill.
pub(crate) fn normalise(raw: &RawEvent) -> Result<Normalised<'_>, Malformed> {
    let data: OomKill = read(raw)?;
    let whom =
        Whom { namespace: &data.namespace, pod: &data.pod, uid: &data.uid, container: &data.container, otherwise: "" };
    let limit =
        if data.limit_bytes > 0 { format!(" at a limit of {} MiB", data.limit_bytes >> 20) } else { String::new() };
    let scope = if &*data.constraint == "global" { ", the node itself had no memory left" } else { "" };
    let message =
        format!("the kernel killed {} (pid {}) of {} for memory{limit}{scope}", data.comm, data.pid, whom.name());
    let mut event = whom
        .event(raw, EventKind::OomKill, &[&data.pid.to_string()])
        .saying(Severity::High, message)
        .with("pid", data.pid.to_string());
    for (key, value) in [("comm", &data.comm), ("constraint", &data.constraint), ("container", &data.container)] {
        if !value.is_empty() {
            event = event.with(key, &**value);
        }
    }
    Ok(one(event, Payload::OomKill(data)))
}
