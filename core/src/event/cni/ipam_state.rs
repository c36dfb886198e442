//! `IpamState`: how many addresses a node has left for pods.
//!
//! ```json
//! {"node":"worker-1","network":"cbr0","pool":"10.244.1.0/24","total":253,"used":252}
//! ```
//! `total` (without the address of the gateway) and a node (here or in the metadata) are needed. A tenth or less left
//! is `ip_pool_low`; more is no event.

use crate::event::shape::{Text, shape};
use crate::event::{EventDoc, Malformed, Normalised, Payload, about, fact, missing, perhaps, read};
use crate::object::ObjectRef;
use crate::raw::RawEvent;
use crate::unified::{EventKind, Severity};

/// Documentation and samples.
pub const DOC: EventDoc = EventDoc {
    source: "cni",
    raw_type: "IpamState",
    kinds: &[EventKind::IpPoolLow],
    proof: "documented",
    samples: &[
        r#"{"timestamp":"2024-01-15T10:30:00Z","type":"IpamState","source":"cni_collector","metadata":{"cluster":"main","node":"node-1"},"data":{"pool":"10.244.1.0/24","total":254,"used":252}}"#,
    ],
    about: "few addresses are left for pods of a node",
};

shape! {
    /// Use of an address pool.
    struct IpamState {
        /// Node.
        node: Text<'a>,
        /// The range.
        pool: Text<'a>,
        /// How many addresses there are.
        total: Option<i64>,
        /// How many are taken.
        used: i64,
    }
}

/// Normalises one reading.
pub(crate) fn normalise(raw: &RawEvent) -> Result<Normalised<'_>, Malformed> {
    let data: IpamState = read(raw)?;
    let total = data.total.ok_or_else(|| missing(raw, "total"))?;
    let node = if data.node.is_empty() { raw.node().unwrap_or("") } else { &data.node };
    if node.is_empty() {
        return Err(missing(raw, "node"));
    }
    let key = ObjectRef::cluster_scoped("Node", node);
    let free = total.saturating_sub(data.used).max(0);
    let event = (free <= total / 10).then(|| {
        let severity = if free == 0 { Severity::High } else { Severity::Medium };
        let message = format!("node {node} has {free} of {total} addresses left in pool {}", data.pool);
        let at = raw.timestamp;
        let id = fact(raw, EventKind::IpPoolLow, &key).number(at.micros()).text(&data.pool).finish();
        about(raw, id, EventKind::IpPoolLow, at, key, "")
            .saying(severity, message)
            .with("free", free.to_string())
            .with("total", total.to_string())
            .with("pool", &*data.pool)
    });
    Ok(perhaps(event, Payload::IpamState(data)))
}
