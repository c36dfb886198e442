//! The list of all events, from which their reference is made.

use super::{alert, any, cluster, cni, config, ebpf, kubelet};
use crate::unified::EventKind;

/// What an event file says about itself.
#[derive(Clone, Copy, Debug)]
pub struct EventDoc {
    /// Which collector sends it.
    pub source: &'static str,
    /// The `type` of the raw event.
    pub raw_type: &'static str,
    /// What it can mean; empty for what means nothing but time.
    pub kinds: &'static [EventKind],
    /// `recorded`: the samples were seen on a cluster; `documented`: they are written after documentation.
    pub proof: &'static str,
    /// Raw events, one JSON text each.
    pub samples: &'static [&'static str],
    /// One line about it.
    pub about: &'static str,
}

/// Every event, in the order of the documentation.
pub const CATALOG: &[EventDoc] = &[
    kubelet::pod_status_update::DOC,
    kubelet::pod_ready::DOC,
    kubelet::probe_result::DOC,
    kubelet::container_log::DOC,
    kubelet::pod_stats::DOC,
    kubelet::node_stats::DOC,
    kubelet::node_service_state::DOC,
    kubelet::service_probe::DOC,
    ebpf::network_connection::DOC,
    ebpf::oom_kill::DOC,
    ebpf::process_exit::DOC,
    ebpf::packet_drop::DOC,
    ebpf::dns_result::DOC,
    ebpf::tcp_retransmit::DOC,
    cni::network_policy::DOC,
    cni::cni_failure::DOC,
    cni::cni_config::DOC,
    cni::ipam_state::DOC,
    config::config_map_update::DOC,
    config::secret_update::DOC,
    cluster::event::OBJECT_DOC,
    cluster::event::DOC,
    alert::DOC,
    any::heartbeat::DOC,
    any::snapshot_taken::DOC,
    any::gap::DOC,
    any::unknown::DOC,
];
