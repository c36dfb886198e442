//! Nodes, namespaces, leases.

use super::macros::{OptTime, api};
use super::meta::{Condition, StringMap};

api! {
    /// A node.
    struct Node {
        spec: NodeSpec,
        status: NodeStatus,
    }
    /// `spec` of a node.
    struct NodeSpec {
        unschedulable: bool,
        taints: Vec<Taint>,
        #[serde(rename = "podCIDR")]
        pod_cidr: String,
    }
    /// A taint.
    struct Taint {
        key: String,
        value: String,
        effect: String,
        time_added: OptTime,
    }
    /// `status` of a node.
    struct NodeStatus {
        conditions: Vec<Condition>,
        allocatable: StringMap,
        capacity: StringMap,
        addresses: Vec<NodeAddress>,
        node_info: NodeInfo,
    }
    /// `addresses[]`.
    struct NodeAddress {
        r#type: String,
        address: String,
    }
    /// `nodeInfo`.
    struct NodeInfo {
        kubelet_version: String,
        container_runtime_version: String,
        kernel_version: String,
        architecture: String,
        #[serde(rename = "bootID")]
        boot_id: String,
    }
    /// A namespace.
    struct Namespace {
        status: NamespaceStatus,
    }
    /// `status` of a namespace.
    struct NamespaceStatus {
        phase: String,
        conditions: Vec<Condition>,
    }
    /// A lease.
    struct Lease {
        spec: LeaseSpec,
    }
    /// `spec` of a lease.
    struct LeaseSpec {
        holder_identity: String,
        lease_duration_seconds: i64,
        renew_time: OptTime,
        acquire_time: OptTime,
    }
}

impl Node {
    /// The condition of this type.
    pub fn condition(&self, r#type: &str) -> Option<&Condition> {
        self.status.conditions.iter().find(|c| c.r#type == r#type)
    }

    /// Whether condition Ready is True.
    pub fn is_ready(&self) -> bool {
        self.condition("Ready").is_some_and(|c| c.status == "True")
    }
}
