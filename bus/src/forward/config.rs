//! Settings of an agent's forwarding.

use serde::{Deserialize, Serialize};

/// How an agent keeps and sends what it saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ForwardConfig {
    /// Payload bytes of the spool: above it the oldest events go, sent or not.
    pub spool_max_bytes: u64,
    /// Seconds for which events are kept that the server has acknowledged.
    pub keep_secs: u64,
    /// Events in a batch.
    pub batch_events: usize,
    /// Seconds for which at the end what is still there is sent.
    pub drain_secs: u64,
    /// Seconds between two looks at the bounds.
    pub bound_secs: u64,
}

impl Default for ForwardConfig {
    fn default() -> Self {
        ForwardConfig { spool_max_bytes: 128 << 20, keep_secs: 900, batch_events: 1_000, drain_secs: 5, bound_secs: 5 }
    }
}
