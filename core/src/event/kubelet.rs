//! What the kubelet knows: pods' status, probes, logs, use of resources, and the node's own services.

pub mod container_log;
pub mod node_service_state;
pub mod node_stats;
pub mod pod_ready;
pub mod pod_stats;
pub mod pod_status_update;
pub mod probe_result;
pub mod service_probe;

pub use container_log::ContainerLog;
pub use node_service_state::NodeServiceState;
pub use node_stats::NodeStats;
pub use pod_ready::PodReady;
pub use pod_stats::PodStats;
pub use pod_status_update::PodStatusUpdate;
pub use probe_result::ProbeResult;
pub use service_probe::ServiceProbe;
