//! `RawEvent`: evidence as it was seen. The wire format, the recording format and the engine's whole input.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::id::{Id, IdBuilder};
use crate::time::Time;

/// One piece of evidence, one JSON object a line in a recording.
///
/// ```json
/// {"timestamp":"2024-01-15T10:30:00.123456Z","type":"PodStatusUpdate","source":"kubelet_collector",
///  "metadata":{"node":"node-1","cluster":"prod-west"},"data":{"pod":"frontend-5d4b5c6d7-xyz"}}
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RawEvent {
    /// When it happened, at the source.
    pub timestamp: Time,
    /// When the collector saw it; [`RawEvent::timestamp`] where absent. The watermark runs on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_at: Option<Time>,
    /// The collector's own word for what it is (`PodStatusUpdate`, `ObjectAdded`, …).
    #[serde(rename = "type")]
    pub kind: String,
    /// Which collector saw it (`kubelet_collector`, `dump`, …); unknown ones are kept as they are.
    pub source: String,
    /// Flat facts about the observation; `node`, `cluster`, `pod_uid`, `container_id` and, for input from files,
    /// `file` and `line` are known keys.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// The payload, kept as JSON text and parsed once, by its normaliser.
    pub data: Box<RawValue>,
}

/// The known values of [`RawEvent::source`].
pub mod source {
    /// Kubelet collector of the agent.
    pub const KUBELET: &str = "kubelet_collector";
    /// CNI collector of the agent.
    pub const CNI: &str = "cni_collector";
    /// eBPF collector of the agent.
    pub const EBPF: &str = "ebpf_collector";
    /// Watches of the API server.
    pub const CLUSTER: &str = "cluster_collector";
    /// Changes of ConfigMaps and Secrets.
    pub const CONFIG: &str = "config_collector";
    /// Alertmanager.
    pub const ALERT: &str = "alert_collector";
    /// Files of a dump.
    pub const DUMP: &str = "dump";
    /// Posted from outside.
    pub const INGEST: &str = "ingest";
}

impl RawEvent {
    /// The time that the watermark runs on.
    pub fn seen_at(&self) -> Time {
        self.observed_at.unwrap_or(self.timestamp)
    }

    /// The cluster it belongs to, `""` where nobody said.
    pub fn cluster(&self) -> &str {
        self.metadata.get("cluster").map_or("", String::as_str)
    }

    /// The node it was seen on, where that was said.
    pub fn node(&self) -> Option<&str> {
        self.metadata.get("node").map(String::as_str)
    }

    /// The id of this very observation: equal for a re-delivered one. Where it was read from does not count.
    pub fn content_id(&self) -> Id {
        let mut b = IdBuilder::new("raw")
            .number(self.timestamp.micros())
            .number(self.seen_at().micros())
            .text(&self.kind)
            .text(&self.source);
        for (k, v) in &self.metadata {
            if k != "file" && k != "line" {
                b = b.text(k).text(v);
            }
        }
        b.text(self.data.get()).finish()
    }
}

/// Input that could not be used, kept with its place and reason so that it can be listed, mended and replayed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Where it came from: a file's path as the user gave it, `-` for standard input, a collector's name.
    pub origin: String,
    /// Line or document number in it, from 1, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// What is wrong and what was expected.
    pub reason: String,
    /// The beginning of the input itself (at most 2,048 bytes, secret-looking parts masked by whoever read it).
    pub excerpt: String,
}
