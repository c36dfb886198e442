//! Settings of the kubelet collector.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tapio_cluster::KubeletTarget;

/// Where the last lines of failing containers' logs come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Logs {
    /// From the API server, by whoever watches it (`pods/log: get`); this collector reads none.
    #[default]
    Server,
    /// From the kubelet's `/logs/pods/`, which needs `nodes/log: get`: the right to all of the node's /var/log.
    Kubelet,
    /// From a folder of the node, which has to be mounted.
    Files,
    /// Not at all.
    Off,
}

/// What the kubelet collector asks for, and how often. The defaults need `get` on `nodes/pods`, `nodes/stats`,
/// `nodes/metrics` and `nodes/healthz`, and never `nodes/proxy`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KubeletConfig {
    /// Host name or address of the kubelet; the node's name where empty.
    pub address: String,
    /// Its port.
    pub port: u16,
    /// PEM file of the authority that signed its certificate; the cluster's, from the pod's account, where absent.
    pub ca_file: Option<PathBuf>,
    /// Name that its certificate must have, where that is not the address.
    pub server_name: Option<String>,
    /// Takes any certificate: whoever is in between can read the token and use it. Said in the log where it is on.
    pub insecure_skip_verify: bool,
    /// File of the bearer token; that of the pod's account where absent. Read again as it ages.
    pub token_file: Option<PathBuf>,
    /// Seconds between two looks at pods while all is quiet.
    pub poll_secs: u64,
    /// The same while something changes.
    pub quick_poll_secs: u64,
    /// Seconds between two looks at what pods and node use.
    pub stats_secs: u64,
    /// Seconds between two looks at CPU throttling, which is in the largest of the kubelet's answers; 0: never.
    pub throttling_secs: u64,
    /// Whether counts of failed probes are read.
    pub probes: bool,
    /// Where logs come from.
    pub logs: Logs,
    /// Lines of one log.
    pub log_lines: usize,
    /// Bytes of one log.
    pub log_bytes: usize,
    /// Folder of the node's pod logs, for `logs: files`.
    pub log_dir: PathBuf,
}

impl Default for KubeletConfig {
    fn default() -> Self {
        KubeletConfig {
            address: String::new(),
            port: 10_250,
            ca_file: None,
            server_name: None,
            insecure_skip_verify: false,
            token_file: None,
            poll_secs: 10,
            quick_poll_secs: 2,
            stats_secs: 30,
            throttling_secs: 60,
            probes: true,
            logs: Logs::default(),
            log_lines: 200,
            log_bytes: 128 << 10,
            log_dir: PathBuf::from("/var/log/pods"),
        }
    }
}

impl KubeletConfig {
    /// The kubelet that is meant, on a node of that name.
    pub fn target(&self, node: &str) -> KubeletTarget {
        let address = if self.address.is_empty() { node } else { &self.address };
        KubeletTarget {
            port: self.port,
            ca_file: self.ca_file.clone(),
            server_name: self.server_name.clone(),
            insecure_skip_verify: self.insecure_skip_verify,
            token_file: self.token_file.clone(),
            ..KubeletTarget::new(address)
        }
    }

    /// The times that follow from it.
    pub fn timing(&self) -> Timing {
        let secs = |n: u64| Duration::from_secs(n.max(1));
        let slow = secs(self.poll_secs);
        Timing {
            slow,
            quick: secs(self.quick_poll_secs).min(slow),
            stats: secs(self.stats_secs),
            throttling: secs(self.throttling_secs),
            ..Timing::default()
        }
    }
}

/// How long things may take, and how long to wait. Tests shorten them.
#[derive(Clone, Debug)]
pub struct Timing {
    /// Between two looks at pods while all is quiet.
    pub slow: Duration,
    /// The same while something changes.
    pub quick: Duration,
    /// How long after a change the looks stay quick; behind it they are half way while something is bad.
    pub restless: Duration,
    /// Between two looks at what is used.
    pub stats: Duration,
    /// Between two looks at probes.
    pub probes: Duration,
    /// Between two looks at throttling.
    pub throttling: Duration,
    /// Between two questions for the kubelet's health.
    pub health: Duration,
    /// Until an answer begins, and between two pieces of it.
    pub request: Duration,
    /// A whole answer.
    pub answer: Duration,
    /// First pause after a failure; doubled up to `retry_max`.
    pub retry: Duration,
    /// Longest pause after a failure.
    pub retry_max: Duration,
    /// Pause after a refusal that only people can lift.
    pub refused: Duration,
    /// Time without news after which a heartbeat is sent.
    pub heartbeat: Duration,
    /// Blindness, beyond the pause between two looks, that is worth a fact.
    pub gap: Duration,
    /// A kubelet that answered before and does not for so long is down.
    pub down: Duration,
    /// Pods that went are remembered for so long: a kubelet that was restarted has none for a moment.
    pub forget: Duration,
    /// A container that runs and is not ready for so long is worth a look into its log.
    pub unready: Duration,
    /// Between two samples of one pod, as long as nothing is close to its limit.
    pub sample: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        let secs = Duration::from_secs;
        Timing {
            slow: secs(10),
            quick: secs(2),
            restless: secs(30),
            stats: secs(30),
            probes: secs(15),
            throttling: secs(60),
            health: secs(10),
            request: secs(10),
            answer: secs(60),
            retry: secs(1),
            retry_max: secs(15),
            refused: secs(60),
            heartbeat: secs(5),
            gap: secs(15),
            down: secs(20),
            forget: secs(600),
            unready: secs(20),
            sample: secs(60),
        }
    }
}
