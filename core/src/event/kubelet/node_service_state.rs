//! `NodeServiceState`: whether a service of a node (kubelet, runtime, kube-proxy, scheduler …) runs.
//!
//! ```json
//! {"node":"worker-1","service":"containerd","state":"failed","sub":"failed","since":"2024-01-15T10:29:58Z",
//!  "says":"failed (Result: exit-code) since 2024-01-15T10:29:58Z"}
//! ```
//! `service`, `state` and a node (here or in the metadata) are needed. `state` and `sub` are systemd's words: `active`
//! runs; `activating` with sub `auto-restart`, `inactive`, `failed` and `deactivating` do not. Another word says nothing.

use crate::event::shape::{Text, shape};
use crate::event::{EventDoc, Malformed, Normalised, Payload, about, fact, missing, need, perhaps, read, shorten};
use crate::object::ObjectRef;
use crate::raw::RawEvent;
use crate::unified::{EventKind, Severity};

/// Documentation and samples.
pub const DOC: EventDoc = EventDoc {
    source: "kubelet",
    raw_type: "NodeServiceState",
    kinds: &[EventKind::NodeServiceDown, EventKind::NodeServiceUp],
    proof: "documented",
    samples: &[
        r#"{"timestamp":"2024-01-15T10:30:00Z","type":"NodeServiceState","source":"dump","metadata":{"cluster":"main"},"data":{"node":"worker-1","service":"containerd","state":"failed","sub":"failed","since":"2024-01-15T10:29:58Z","says":"failed (Result: exit-code) since 2024-01-15T10:29:58Z"}}"#,
        r#"{"timestamp":"2024-01-15T10:30:00Z","type":"NodeServiceState","source":"dump","metadata":{"cluster":"main"},"data":{"node":"worker-1","service":"kubelet","state":"active","sub":"running","since":"2024-01-11T08:00:00Z","says":"active (running) since 2024-01-11T08:00:00Z"}}"#,
    ],
    about: "a service of a node runs, or does not",
};

shape! {
    /// State of a node's service.
    struct NodeServiceState {
        /// Node.
        node: Text<'a>,
        /// Service: `kubelet`, `containerd`, `kube-proxy`, `kube-scheduler`, …
        service: Text<'a>,
        /// systemd's word.
        state: Text<'a>,
        /// systemd's second word.
        sub: Text<'a>,
        /// Since when.
        since: Text<'a>,
        /// The words as they were found.
        says: Text<'a>,
    }
}

impl NodeServiceState<'_> {
    /// Whether the service runs; none if the words say nothing about that.
    pub fn is_up(&self) -> Option<bool> {
        match &*self.state {
            "active" | "reloading" | "running" | "up" | "healthy" => Some(true),
            "activating" if &*self.sub == "auto-restart" => Some(false),
            "inactive" | "failed" | "deactivating" | "stopped" | "dead" | "down" | "exited" | "unhealthy" => {
                Some(false)
            }
            _ => None,
        }
    }
}

/// Normalises one state.
pub(crate) fn normalise(raw: &RawEvent) -> Result<Normalised<'_>, Malformed> {
    let data: NodeServiceState = read(raw)?;
    let service = need(raw, "service", &data.service)?;
    let state = need(raw, "state", &data.state)?;
    let node = if data.node.is_empty() { raw.node().unwrap_or("") } else { &data.node };
    if node.is_empty() {
        return Err(missing(raw, "node"));
    }
    let event = data.is_up().map(|up| {
        let (kind, severity) = match (up, service) {
            (true, _) => (EventKind::NodeServiceUp, Severity::Info),
            (false, _) => (EventKind::NodeServiceDown, Severity::Critical),
        };
        let at = data.since.time().filter(|t| *t <= raw.timestamp).unwrap_or(raw.timestamp);
        let key = ObjectRef::cluster_scoped("Node", node);
        let id = fact(raw, kind, &key).number(at.micros()).text(service).text(state).finish();
        let words = if data.says.is_empty() { state } else { shorten(&data.says, 200) };
        let verb = if up { "runs" } else { "does not run" };
        let mut event = about(raw, id, kind, at, key, "")
            .saying(severity, format!("{service} of node {node} {verb}: {words}"))
            .with("service", service)
            .with("state", state);
        if let Some(k8s) = &mut event.k8s {
            k8s.node = Some(node.to_owned());
        }
        event
    });
    Ok(perhaps(event, Payload::NodeServiceState(data)))
}
