//! The kubelet collector: what the kubelet of one node knows, asked for again and again.
//!
//! A kubelet has no watch. Its answers are read piece by piece, one pod at a time, compared with what was told before,
//! and what is new goes on. What it tells of pods means the same as what the API server tells of them, with the same
//! ids; it comes sooner, and it comes while the API server is away, for as long as the kubelet remembers that this
//! account may ask.
//!
//! ```text
//!  kubelet :10250 ◀── one question at a time: /pods /stats/summary /metrics/probes /metrics/cadvisor /healthz
//!        │ pieces
//!        ▼
//!  [ one pod, 4 MiB ] ──▶ compare ──▶ redact ──▶ stamp ──▶ [ 256 events ] ──▶ append, durable; then the next question
//! ```
//!
//! # What always holds
//! - Of pods only their status is read. There is no field for `env` here, and everything goes through redaction.
//! - `nodes/proxy` is never needed, and no certificate is taken unseen unless the settings say so.
//! - What may not be asked is left out, said, and asked again slowly.
//! - Time that nobody saw is a `Gap`, and no heartbeat says meanwhile that nothing happened.

mod config;
mod logs;
mod metrics;
mod pace;
mod parts;
mod pods;
mod state;
mod summary;
mod survey;
mod trouble;
mod usage;
mod watch;
mod wellness;

use std::sync::Arc;

use tapio_cluster::Connection;
use tapio_core::ports::LogError;
use tapio_core::time::Time;

pub use config::{KubeletConfig, Logs, Timing};
pub use state::{Counts, State, Topic, TopicState};
pub(crate) use survey::rights;
use watch::Watch;

use crate::cluster::Sink;
use crate::feed::{Clock, Notes};
use crate::redaction::Redaction;

/// The kubelet collector, ready to run.
pub struct KubeletCollector {
    config: KubeletConfig,
    connection: Arc<Connection>,
    node: String,
    cluster: String,
    redaction: Redaction,
    timing: Timing,
    clock: Clock,
    last: Option<Time>,
    state: Arc<State>,
}

impl KubeletCollector {
    /// A collector of the kubelet that `connection` leads to (see [`KubeletConfig::target`] and
    /// [`Connection::to_kubelet`]). `node`, `cluster`: the names in every event's metadata.
    pub fn new(
        config: KubeletConfig,
        connection: Arc<Connection>,
        node: &str,
        cluster: &str,
        redaction: Redaction,
    ) -> Self {
        KubeletCollector {
            timing: config.timing(),
            config,
            connection,
            node: node.to_owned(),
            cluster: cluster.to_owned(),
            redaction,
            clock: Clock::default(),
            last: None,
            state: Arc::default(),
        }
    }

    /// The same with other times.
    #[must_use]
    pub fn with_timing(self, timing: Timing) -> Self {
        KubeletCollector { timing, ..self }
    }

    /// The same by the clock of the cluster.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        KubeletCollector { clock, ..self }
    }

    /// The same, where an earlier run told something last at `last`: the time between is told as a gap.
    #[must_use]
    pub fn since(self, last: Option<Time>) -> Self {
        KubeletCollector { last, ..self }
    }

    /// How it stands.
    pub fn state(&self) -> Arc<State> {
        Arc::clone(&self.state)
    }

    /// Collects until `stop`; everything that was taken in is in the sink when it ends.
    ///
    /// # Errors
    /// The sink cannot be written any more.
    pub async fn run<S: Sink + 'static>(self, sink: S, stop: impl Future<Output = ()> + Send) -> Result<(), LogError> {
        if self.config.insecure_skip_verify {
            self.state.note(format!(
                "the certificate of the kubelet at {} is not checked (insecure_skip_verify): whoever is in between can read the token and use it",
                self.connection.server()
            ));
        }
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
