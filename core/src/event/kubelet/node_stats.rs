//! `NodeStats`: what a node uses and has left, as the kubelet's Summary API says it.
//!
//! ```json
//! {"node":"worker-1","cpu":{"usageNanoCores":812000000},"memory":{"workingSetBytes":7516192768,
//!  "availableBytes":52428800},"fs":{"availableBytes":1073741824,"capacityBytes":21474836480,"inodesFree":1000000,
//!  "inodes":1310720},"runtime":{"imageFs":{"availableBytes":1073741824,"capacityBytes":21474836480}},
//!  "rlimit":{"maxpid":32768,"curproc":410},"kubelet":{"healthMillis":3},"pressure":["DiskPressure"]}
//! ```
//! `kubelet.healthMillis` is how long the kubelet took to say that it is well. Samples come as those of pods do: at
//! first sight, and then when a value has moved by a step of its scale.
//! A node is needed (`node`, `nodeName` as the API has it, or the metadata). It gives one `resource_sample`, and one
//! `node_pressure` for each of memory, disk and process ids that is below the kubelet's default thresholds for eviction
//! (100 MiB of memory, 10 % of the disk, 5 % of its inodes, 15 % of the images' disk) or is named in `pressure`.

use super::pod_stats::{Cpu, Memory, Network, Storage};
use crate::event::shape::{Text, shape};
use crate::event::{EventDoc, Malformed, Normalised, Payload, about, fact, missing, read};
use crate::object::ObjectRef;
use crate::raw::RawEvent;
use crate::unified::{EventKind, Severity};

/// Documentation and samples.
pub const DOC: EventDoc = EventDoc {
    source: "kubelet",
    raw_type: "NodeStats",
    kinds: &[EventKind::ResourceSample, EventKind::NodePressure],
    proof: "documented",
    samples: &[
        r#"{"timestamp":"2024-01-15T10:30:00Z","type":"NodeStats","source":"kubelet_collector","metadata":{"cluster":"main","node":"node-1"},"data":{"node":"node-1","cpu":{"usageNanoCores":812000000},"memory":{"workingSetBytes":7516192768,"availableBytes":52428800},"fs":{"availableBytes":10737418240,"capacityBytes":21474836480,"inodesFree":1000000,"inodes":1310720},"rlimit":{"maxpid":32768,"curproc":410}}}"#,
    ],
    about: "what a node uses and has left",
};

shape! {
    /// Use of a node.
    struct NodeStats {
        /// Node.
        node: Text<'a>,
        /// The same, as the API has it.
        #[serde(rename = "nodeName")]
        node_name: Text<'a>,
        /// CPU.
        cpu: Cpu<'a>,
        /// Memory.
        memory: Memory<'a>,
        /// The kubelet's file system.
        fs: Storage<'a>,
        /// The runtime's.
        runtime: Runtime<'a>,
        /// Process ids.
        rlimit: Rlimit<'a>,
        /// Network.
        network: Network<'a>,
        /// Conditions that hold, where the agent says so itself.
        pressure: Vec<Text<'a>>,
    }
    /// The runtime's file systems.
    #[serde(rename_all = "camelCase")]
    struct Runtime {
        /// Where images are.
        image_fs: Storage<'a>,
    }
    /// Process ids.
    struct Rlimit {
        /// When it was measured.
        time: Text<'a>,
        /// How many there can be.
        maxpid: Option<i64>,
        /// How many there are.
        curproc: Option<i64>,
    }
}

impl NodeStats<'_> {
    /// The conditions that hold, and why.
    fn pressures(&self) -> Vec<(&'static str, String)> {
        const MIB: i64 = 1 << 20;
        let mut found = Vec::new();
        let below = |free: Option<i64>, all: Option<i64>, percent: i64| match (free, all) {
            (Some(free), Some(all)) if all > 0 && free.saturating_mul(100) < all.saturating_mul(percent) => {
                Some((free, all))
            }
            _ => None,
        };
        if let Some(free) = self.memory.available_bytes.filter(|f| *f < 100 * MIB) {
            found.push(("MemoryPressure", format!("{} MiB of memory left", free / MIB)));
        }
        let images = &self.runtime.image_fs;
        if let Some((free, all)) = below(self.fs.available_bytes, self.fs.capacity_bytes, 10) {
            found.push(("DiskPressure", format!("{} of {} MiB of disk left", free / MIB, all / MIB)));
        } else if let Some((free, all)) = below(images.available_bytes, images.capacity_bytes, 15) {
            found.push(("DiskPressure", format!("{} of {} MiB of the images' disk left", free / MIB, all / MIB)));
        } else if let Some((free, all)) = below(self.fs.inodes_free, self.fs.inodes, 5) {
            found.push(("DiskPressure", format!("{free} of {all} inodes left")));
        }
        if let (Some(max), Some(now)) = (self.rlimit.maxpid, self.rlimit.curproc)
            && max > 0
            && now.saturating_mul(10) >= max.saturating_mul(9)
        {
            found.push(("PIDPressure", format!("{now} of {max} process ids taken")));
        }
        for known in ["MemoryPressure", "DiskPressure", "PIDPressure"] {
            if self.pressure.iter().any(|p| &**p == known) && !found.iter().any(|(k, _)| *k == known) {
                found.push((known, known.to_owned()));
            }
        }
        found
    }
}

/// Normalises one sample.
pub(crate) fn normalise(raw: &RawEvent) -> Result<Normalised<'_>, Malformed> {
    let data: NodeStats = read(raw)?;
    let named = [&*data.node, &*data.node_name, raw.node().unwrap_or("")].into_iter().find(|n| !n.is_empty());
    let node = named.ok_or_else(|| missing(raw, "node"))?;
    let at = raw.timestamp;
    let tell = |kind, what: &str, severity, message: String| {
        let key = ObjectRef::cluster_scoped("Node", node);
        let id = fact(raw, kind, &key).number(at.micros()).text(what).finish();
        let mut event = about(raw, id, kind, at, key, "").saying(severity, message);
        if let Some(k8s) = &mut event.k8s {
            k8s.node = Some(node.to_owned());
        }
        event
    };
    let memory = data.memory.working_set_bytes.unwrap_or(0);
    let cpu = data.cpu.usage_nano_cores.unwrap_or(0);
    let message = format!("node {node} uses {} m of CPU and {} MiB of memory", cpu / 1_000_000, memory >> 20);
    let mut sample = tell(EventKind::ResourceSample, "", Severity::Info, message)
        .with("cpu_nano_cores", cpu.to_string())
        .with("memory_bytes", memory.to_string());
    sample.data = Some(raw.data.clone());
    let mut events = vec![sample];
    for (condition, why) in data.pressures() {
        let message = format!("node {node} is short: {why}");
        events.push(tell(EventKind::NodePressure, condition, Severity::High, message).with("reason", condition));
    }
    Ok(Normalised { events, payload: Payload::NodeStats(Box::new(data)) })
}
