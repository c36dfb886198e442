//! The CNI collector: what a node's own files say about the network of its pods.
//!
//! The folder from which the runtime takes its network configuration, and the addresses that host-local has given out.
//! Both are a few small files, looked at every few seconds; nothing is written, and no content leaves the node but the
//! names of networks and plugins. What plugins say when they fail comes as Events and conditions, by the other
//! collectors.
//!
//! # What always holds
//! - A file that is just being written is not taken for a broken one: what is wrong is told when it is so twice.
//! - Files are read up to a bound, and addresses are counted up to one.
//! - What cannot be read is said, and is never told as missing.

mod config;
mod folder;
mod leases;
mod network;
mod state;
mod watch;

use std::sync::Arc;

use tapio_core::ports::LogError;

pub use config::CniConfig;
pub use state::{CniCounts, CniState, Readable};
use watch::Watch;

use crate::cluster::Sink;
use crate::feed::Clock;
use crate::redaction::Redaction;

/// The CNI collector, ready to run.
pub struct CniCollector {
    config: CniConfig,
    node: String,
    cluster: String,
    redaction: Redaction,
    clock: Clock,
    state: Arc<CniState>,
}

impl CniCollector {
    /// A collector of this node's files. `node`, `cluster`: the names in every event's metadata.
    pub fn new(config: CniConfig, node: &str, cluster: &str, redaction: Redaction) -> Self {
        CniCollector {
            config,
            node: node.to_owned(),
            cluster: cluster.to_owned(),
            redaction,
            clock: Clock::default(),
            state: Arc::default(),
        }
    }

    /// The same by the clock of the cluster.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        CniCollector { clock, ..self }
    }

    /// How it stands.
    pub fn state(&self) -> Arc<CniState> {
        Arc::clone(&self.state)
    }

    /// Collects until `stop`; everything that was taken in is in the sink when it ends.
    ///
    /// # Errors
    /// The sink cannot be written any more.
    pub async fn run<S: Sink + 'static>(self, sink: S, stop: impl Future<Output = ()> + Send) -> Result<(), LogError> {
        let mut watch = Watch::new(self, sink);
        let ended = tokio::select! {
            biased;
            () = stop => Ok(()),
            // It ends early only where the sink cannot be written.
            ended = watch.work() => ended,
        };
        ended?;
        watch.close().await
    }
}
