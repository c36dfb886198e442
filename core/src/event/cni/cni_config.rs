//! `CniConfig`: a file of the node's network configuration appeared, changed or went.
//!
//! ```json
//! {"node":"worker-1","file":"10-calico.conflist","action":"changed","name":"k8s-pod-network",
//!  "plugins":["calico","portmap"],"hash":"5f1c…"}
//! ```
//! `file` and a node (here or in the metadata) are needed. `action` is `added`, `changed` (also when absent) or
//! `removed`. The content stays on the node; `hash` tells one version from another.

use crate::event::shape::{Text, shape};
use crate::event::{EventDoc, Malformed, Normalised, Payload, about, fact, missing, need, one, read};
use crate::object::ObjectRef;
use crate::raw::RawEvent;
use crate::unified::{EventKind, Severity};

/// Documentation and samples.
pub const DOC: EventDoc = EventDoc {
    source: "cni",
    raw_type: "CniConfig",
    kinds: &[EventKind::CniConfigChanged],
    proof: "documented",
    samples: &[
        r#"{"timestamp":"2024-01-15T10:30:00Z","type":"CniConfig","source":"cni_collector","metadata":{"cluster":"main","node":"node-1"},"data":{"file":"10-calico.conflist","action":"changed","name":"k8s-pod-network","plugins":["calico","portmap"],"hash":"5f1c7be2"}}"#,
    ],
    about: "the network configuration of a node changed",
};

shape! {
    /// A change of configuration.
    struct CniConfig {
        /// Node.
        node: Text<'a>,
        /// File name.
        file: Text<'a>,
        /// `added`, `changed` or `removed`.
        action: Text<'a>,
        /// Name of the network.
        name: Text<'a>,
        /// Its plugins, in order.
        plugins: Vec<Text<'a>>,
        /// Hash of the content.
        hash: Text<'a>,
    }
}

/// Normalises one change.
pub(crate) fn normalise(raw: &RawEvent) -> Result<Normalised<'_>, Malformed> {
    let data: CniConfig = read(raw)?;
    let file = need(raw, "file", &data.file)?;
    let node = if data.node.is_empty() { raw.node().unwrap_or("") } else { &data.node };
    if node.is_empty() {
        return Err(missing(raw, "node"));
    }
    let key = ObjectRef::cluster_scoped("Node", node);
    let action = if data.action.is_empty() { "changed" } else { &*data.action };
    // Without a configuration the node can set up no pod.
    let severity = if action == "removed" { Severity::High } else { Severity::Low };
    let plugins: Vec<&str> = data.plugins.iter().map(|p| &**p).collect();
    let list = if plugins.is_empty() { String::new() } else { format!(" (plugins {})", plugins.join(", ")) };
    let message = format!("network configuration {file} of node {node} was {action}{list}");
    let id = fact(raw, EventKind::CniConfigChanged, &key)
        .number(raw.timestamp.micros())
        .text(file)
        .text(&data.hash)
        .finish();
    let mut event = about(raw, id, EventKind::CniConfigChanged, raw.timestamp, key, "")
        .saying(severity, message)
        .with("file", file)
        .with("action", action);
    event.data = Some(raw.data.clone());
    Ok(one(event, Payload::CniConfig(data)))
}
