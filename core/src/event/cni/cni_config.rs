//! `CniConfig`: a file of the node's network configuration appeared, changed or went.
//!
//! ```json
//! {"node":"worker-1","file":"10-calico.conflist","action":"changed","name":"k8s-pod-network",
//!  "plugins":["calico","portmap"],"hash":"5f1c…","usable":1,"active":"10-calico.conflist","problem":""}
//! ```
//! `file` and a node (here or in the metadata) are needed. `action` is `added`, `changed` (also when absent), `removed`,
//! `found` (it was there at the first look) or `missing` (`file` is the folder, and nothing in it can be used).
//! `problem` says why the file cannot be used, `active` which one the runtime takes: the first by name that can be.
//! `usable` is how many can be; where nobody says, a file that was removed is taken for the last. The content stays on
//! the node; `hash` tells one version from another.

use crate::event::shape::{Text, shape};
use crate::event::{EventDoc, Malformed, Normalised, Payload, about, fact, missing, need, one, read, shorten};
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
        r#"{"timestamp":"2024-01-15T10:31:00Z","type":"CniConfig","source":"cni_collector","metadata":{"cluster":"main","node":"node-1"},"data":{"node":"node-1","file":"/etc/cni/net.d","action":"missing","usable":0,"problem":"no file in it can be used"}}"#,
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
        /// `added`, `changed`, `removed`, `found` or `missing`.
        action: Text<'a>,
        /// Name of the network.
        name: Text<'a>,
        /// Its plugins, in order.
        plugins: Vec<Text<'a>>,
        /// Hash of the content.
        hash: Text<'a>,
        /// Why it cannot be used.
        problem: Text<'a>,
        /// How many files can be used.
        usable: Option<i64>,
        /// The one that the runtime takes.
        active: Text<'a>,
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
    let last = data.usable.map_or(action == "removed", |n| n == 0);
    // Without a configuration the node can set up no pod.
    let severity = match (last, data.problem.is_empty()) {
        (true, _) => Severity::High,
        (false, false) => Severity::Medium,
        (false, true) => Severity::Low,
    };
    let plugins: Vec<&str> = data.plugins.iter().map(|p| &**p).collect();
    let list = if plugins.is_empty() { String::new() } else { format!(" (plugins {})", plugins.join(", ")) };
    let problem = shorten(&data.problem, 300);
    let mut message = match action {
        "missing" => format!("node {node} has no network configuration that can be used in {file}: {problem}"),
        "found" => format!("network configuration {file} of node {node} cannot be used: {problem}"),
        _ if problem.is_empty() => format!("network configuration {file} of node {node} was {action}{list}"),
        _ => format!("network configuration {file} of node {node} was {action}, and cannot be used: {problem}"),
    };
    if !data.active.is_empty() && *data.active != *file {
        message.push_str(&format!("; the runtime takes {}", data.active));
    }
    let id = fact(raw, EventKind::CniConfigChanged, &key)
        .number(raw.timestamp.micros())
        .text(file)
        .text(&data.hash)
        .finish();
    let mut event = about(raw, id, EventKind::CniConfigChanged, raw.timestamp, key, "")
        .saying(severity, message)
        .with("file", file)
        .with("action", action);
    for (key, value) in [("problem", &data.problem), ("active", &data.active)] {
        if !value.is_empty() {
            event = event.with(key, &**value);
        }
    }
    event.data = Some(raw.data.clone());
    Ok(one(event, Payload::CniConfig(data)))
}
