//! The kubelet's Summary API: what of it is read, and the form in which it is told.
//!
//! Every field is optional on the wire: which are there depends on the kubelet's version and the node's cgroups.

use serde::Deserialize;
use serde_json::{Map, Value, json};

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Cpu {
    pub(super) usage_nano_cores: Option<i64>,
    pub(super) psi: Option<Psi>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Memory {
    pub(super) available_bytes: Option<i64>,
    pub(super) working_set_bytes: Option<i64>,
    pub(super) rss_bytes: Option<i64>,
    pub(super) psi: Option<Psi>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Io {
    pub(super) psi: Option<Psi>,
}

/// Pressure: how much of the time some or all tasks stood still.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Psi {
    pub(super) some: Stall,
    pub(super) full: Stall,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Stall {
    pub(super) avg10: f64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Storage {
    pub(super) available_bytes: Option<i64>,
    pub(super) capacity_bytes: Option<i64>,
    pub(super) used_bytes: Option<i64>,
    pub(super) inodes_free: Option<i64>,
    pub(super) inodes: Option<i64>,
    pub(super) inodes_used: Option<i64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Network {
    pub(super) rx_bytes: Option<i64>,
    pub(super) rx_errors: Option<i64>,
    pub(super) tx_bytes: Option<i64>,
    pub(super) tx_errors: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct PodUse {
    #[serde(rename = "podRef")]
    pub(super) pod: PodRef,
    pub(super) cpu: Cpu,
    pub(super) memory: Memory,
    pub(super) io: Io,
    pub(super) network: Network,
    #[serde(rename = "ephemeral-storage")]
    pub(super) storage: Storage,
    pub(super) process_stats: Processes,
    pub(super) containers: Option<Vec<ContainerUse>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct PodRef {
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) uid: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Processes {
    pub(super) process_count: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ContainerUse {
    pub(super) name: String,
    pub(super) cpu: Cpu,
    pub(super) memory: Memory,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct NodeUse {
    pub(super) node_name: String,
    pub(super) cpu: Cpu,
    pub(super) memory: Memory,
    pub(super) io: Io,
    pub(super) network: Network,
    pub(super) fs: Storage,
    pub(super) runtime: Runtime,
    pub(super) rlimit: Rlimit,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Runtime {
    pub(super) image_fs: Storage,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Rlimit {
    pub(super) maxpid: Option<i64>,
    pub(super) curproc: Option<i64>,
}

fn put<T: Into<Value>>(object: &mut Map<String, Value>, name: &str, value: Option<T>) {
    if let Some(value) = value {
        object.insert(name.to_owned(), value.into());
    }
}

pub(super) fn psi(p: &Psi) -> Value {
    json!({"some": p.some.avg10, "full": p.full.avg10})
}

pub(super) fn cpu(c: &Cpu, limit: Option<i64>, throttled: Option<f64>) -> Value {
    let mut o = Map::new();
    put(&mut o, "usageNanoCores", c.usage_nano_cores);
    put(&mut o, "limitNanoCores", limit);
    put(&mut o, "throttled", throttled.map(|t| (t * 1_000.0).round() / 1_000.0));
    put(&mut o, "psi", c.psi.as_ref().map(psi));
    o.into()
}

pub(super) fn memory(m: &Memory, limited: bool) -> Value {
    let mut o = Map::new();
    put(&mut o, "workingSetBytes", m.working_set_bytes);
    put(&mut o, "availableBytes", m.available_bytes);
    put(&mut o, "rssBytes", m.rss_bytes);
    // The kubelet says what is available only where there is a limit.
    let limit = m.available_bytes.zip(m.working_set_bytes).map(|(a, w)| a.saturating_add(w));
    put(&mut o, "limitBytes", limit.filter(|_| limited));
    put(&mut o, "psi", m.psi.as_ref().map(psi));
    o.into()
}

pub(super) fn stored(s: &Storage) -> Value {
    let mut o = Map::new();
    put(&mut o, "usedBytes", s.used_bytes);
    put(&mut o, "availableBytes", s.available_bytes);
    put(&mut o, "capacityBytes", s.capacity_bytes);
    put(&mut o, "inodesFree", s.inodes_free);
    put(&mut o, "inodes", s.inodes);
    o.into()
}

pub(super) fn network(n: &Network) -> Value {
    let mut o = Map::new();
    put(&mut o, "rxBytes", n.rx_bytes);
    put(&mut o, "rxErrors", n.rx_errors);
    put(&mut o, "txBytes", n.tx_bytes);
    put(&mut o, "txErrors", n.tx_errors);
    o.into()
}
