//! `PodStats`: what a pod uses at one moment, as the kubelet's Summary API says it.
//!
//! ```json
//! {"namespace":"shop","pod":"cart-1","uid":"…","cpu":{"usageNanoCores":1200000},
//!  "memory":{"workingSetBytes":52428800},"network":{"rxErrors":0,"txErrors":0},"ephemeral-storage":{"usedBytes":4096},
//!  "processes":4,"io":{"psi":{"some":0.5,"full":0.1}},
//!  "containers":[{"name":"app","cpu":{"usageNanoCores":1200000,"limitNanoCores":500000000,"throttled":0.25},
//!    "memory":{"workingSetBytes":52428800,"limitBytes":67108864,"psi":{"some":1.2,"full":0.4}}}]}
//! ```
//! `throttled` is the part of its periods in which the container was held back by its limit; `psi` how many per cent of
//! the last ten seconds some or all tasks stood still. The kubelet collector tells a sample at first sight, and then
//! when a value has moved by a step of its scale: a twentieth of a limit, less close to it. `pod` is needed (or `podRef` as the API has it); everything else is what the API happens to give.

use crate::event::shape::{Text, shape};
use crate::event::{EventDoc, Malformed, Normalised, Payload, Whom, missing, one, read};
use crate::raw::RawEvent;
use crate::unified::{EventKind, Severity};

/// Documentation and samples.
pub const DOC: EventDoc = EventDoc {
    source: "kubelet",
    raw_type: "PodStats",
    kinds: &[EventKind::ResourceSample],
    proof: "documented",
    samples: &[
        r#"{"timestamp":"2024-01-15T10:30:00Z","type":"PodStats","source":"kubelet_collector","metadata":{"cluster":"main","node":"node-1"},"data":{"namespace":"shop","pod":"cart-5f9dbcfb-82fb7","uid":"ab76584e-5003-422d-abe5-2a89ec64816c","cpu":{"usageNanoCores":1200000},"memory":{"workingSetBytes":52428800},"ephemeral-storage":{"usedBytes":4096},"containers":[{"name":"app","cpu":{"usageNanoCores":1200000},"memory":{"workingSetBytes":52428800,"limitBytes":67108864}}]}}"#,
    ],
    about: "what a pod uses at one moment",
};

shape! {
    /// Use of a pod.
    struct PodStats {
        /// Namespace.
        namespace: Text<'a>,
        /// Pod.
        pod: Text<'a>,
        /// Uid.
        uid: Text<'a>,
        /// The three above, as the API has them.
        #[serde(rename = "podRef")]
        pod_ref: Option<PodRef<'a>>,
        /// CPU.
        cpu: Cpu<'a>,
        /// Memory.
        memory: Memory<'a>,
        /// Files of the pod that go with it.
        #[serde(rename = "ephemeral-storage")]
        ephemeral_storage: Storage<'a>,
        /// Network.
        network: Network<'a>,
        /// By container.
        containers: Vec<ContainerStats<'a>>,
    }
    /// Which pod.
    struct PodRef {
        /// Name.
        name: Text<'a>,
        /// Namespace.
        namespace: Text<'a>,
        /// Uid.
        uid: Text<'a>,
    }
    /// CPU.
    #[serde(rename_all = "camelCase")]
    struct Cpu {
        /// When it was measured.
        time: Text<'a>,
        /// Billionths of a core, over a short window.
        usage_nano_cores: Option<i64>,
        /// Since the start.
        usage_core_nano_seconds: Option<i64>,
        /// The container's limit, where the agent adds it.
        limit_nano_cores: Option<i64>,
        /// Part of its periods in which it was held back, where the agent adds it.
        throttled: Option<f64>,
    }
    /// Memory.
    #[serde(rename_all = "camelCase")]
    struct Memory {
        /// When it was measured.
        time: Text<'a>,
        /// What cannot be reclaimed easily; what limits and evictions look at.
        working_set_bytes: Option<i64>,
        /// What is left.
        available_bytes: Option<i64>,
        /// Anonymous memory.
        rss_bytes: Option<i64>,
        /// The container's limit, where the agent adds it.
        limit_bytes: Option<i64>,
    }
    /// A file system.
    #[serde(rename_all = "camelCase")]
    struct Storage {
        /// When it was measured.
        time: Text<'a>,
        /// Taken.
        used_bytes: Option<i64>,
        /// Free.
        available_bytes: Option<i64>,
        /// In all.
        capacity_bytes: Option<i64>,
        /// Free inodes.
        inodes_free: Option<i64>,
        /// Inodes in all.
        inodes: Option<i64>,
    }
    /// Network.
    #[serde(rename_all = "camelCase")]
    struct Network {
        /// When it was measured.
        time: Text<'a>,
        /// Received.
        rx_bytes: Option<i64>,
        /// Errors in receiving.
        rx_errors: Option<i64>,
        /// Sent.
        tx_bytes: Option<i64>,
        /// Errors in sending.
        tx_errors: Option<i64>,
    }
    /// Use of a container.
    struct ContainerStats {
        /// Name.
        name: Text<'a>,
        /// CPU.
        cpu: Cpu<'a>,
        /// Memory.
        memory: Memory<'a>,
    }
}

/// Normalises one sample.
pub(crate) fn normalise(raw: &RawEvent) -> Result<Normalised<'_>, Malformed> {
    let data: PodStats = read(raw)?;
    let named = Whom { namespace: &data.namespace, pod: &data.pod, uid: &data.uid, container: "", otherwise: "" };
    let whom = match &data.pod_ref {
        Some(r) if named.pod.is_empty() => Whom { namespace: &r.namespace, pod: &r.name, uid: &r.uid, ..named },
        _ => named,
    };
    if whom.pod.is_empty() {
        return Err(missing(raw, "pod"));
    }
    let memory =
        data.memory.working_set_bytes.or_else(|| data.containers.iter().map(|c| c.memory.working_set_bytes).sum());
    let cpu = data.cpu.usage_nano_cores.or_else(|| data.containers.iter().map(|c| c.cpu.usage_nano_cores).sum());
    let mut used = Vec::new();
    if let Some(n) = cpu {
        used.push(format!("{} m of CPU", n / 1_000_000));
    }
    if let Some(n) = memory {
        used.push(format!("{} MiB of memory", n >> 20));
    }
    let message = match used.is_empty() {
        true => format!("{} was measured", whom.name()),
        false => format!("{} uses {}", whom.name(), used.join(" and ")),
    };
    let mut event = whom.event(raw, EventKind::ResourceSample, &[]).saying(Severity::Info, message);
    if let Some(n) = cpu {
        event = event.with("cpu_nano_cores", n.to_string());
    }
    if let Some(n) = memory {
        event = event.with("memory_bytes", n.to_string());
    }
    Ok(one(event, Payload::PodStats(Box::new(data))))
}
