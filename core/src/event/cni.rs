//! What the pods' network says: refused traffic, failed set-up, changed configuration, few addresses.

pub mod cni_config;
pub mod cni_failure;
pub mod ipam_state;
pub mod network_policy;
pub mod words;

pub use cni_config::CniConfig;
pub use cni_failure::CniFailure;
pub use ipam_state::IpamState;
pub use network_policy::NetworkPolicy;
