//! Settings of the CNI collector.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Which of a node's files are looked at, and how often. Both folders are read only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CniConfig {
    /// Folder of the runtime's network configuration.
    pub conf_dir: PathBuf,
    /// Folder in which host-local keeps the addresses that it has given out, one folder a network.
    pub ipam_dir: PathBuf,
    /// File in which flannel keeps the node's range; not needed where another plugin is used.
    pub flannel_env: PathBuf,
    /// Seconds between two looks.
    pub poll_secs: u64,
}

impl Default for CniConfig {
    fn default() -> Self {
        CniConfig {
            conf_dir: PathBuf::from("/etc/cni/net.d"),
            ipam_dir: PathBuf::from("/var/lib/cni/networks"),
            flannel_env: PathBuf::from("/run/flannel/subnet.env"),
            poll_secs: 5,
        }
    }
}
