//! How an agent stands, for people, probes and Prometheus.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tapio_api::metrics::AgentLevels;
use tapio_api::{Health, Metrics, Operations, Part};
use tapio_bus::forward::{CONSUMER, Forwarding, Link};
use tapio_bus::log::sqlite::SqliteLog;
use tapio_collectors::cni::{CniState, Readable};
use tapio_collectors::kubelet::{State as KubeletState, TopicState};
use tapio_core::ports::{EventLog, LogError};

use crate::cmd::Session;

/// Between two looks at what parts count.
const LOOK: Duration = Duration::from_secs(1);
/// Who tells.
const AGENT: &str = "agent";
const KUBELET: &str = "kubelet";

/// The parts of an agent as they stand, and where that is told.
pub(super) struct Standing {
    spool: Arc<SqliteLog>,
    health: Arc<Health>,
    metrics: Metrics,
    forwarding: Arc<Forwarding>,
    pub(super) kubelet: Option<Arc<KubeletState>>,
    pub(super) cni: Option<Arc<CniState>>,
    looked: Option<Instant>,
}

/// What is told before anything runs.
pub(super) fn operations() -> Operations {
    let health = Health::default();
    health.set(AGENT, vec![Part::not_ready(KUBELET, "not asked yet")]);
    Operations { health: Arc::new(health), metrics: Metrics::of_agent(), intake: None }
}

impl Standing {
    pub(super) fn new(
        spool: Arc<SqliteLog>,
        (health, metrics): (Arc<Health>, Metrics),
        forwarding: Arc<Forwarding>,
    ) -> Self {
        Standing { spool, health, metrics, forwarding, kubelet: None, cni: None, looked: None }
    }

    /// How forwarding stands.
    pub(super) fn forwarding(&self) -> &Forwarding {
        &self.forwarding
    }

    /// Events that the server has not acknowledged.
    pub(super) async fn waiting(&self) -> Result<u64, LogError> {
        Ok(self.spool.stats().await?.last.0.saturating_sub(self.spool.committed(CONSUMER).await?.0))
    }

    /// Says what is new, and tells now and then how everything stands.
    pub(super) async fn look(&mut self, session: &Session) -> Result<(), LogError> {
        self.say(session);
        if self.looked.is_some_and(|at| at.elapsed() < LOOK) {
            return Ok(());
        }
        self.looked = Some(Instant::now());
        self.health.set(AGENT, self.parts());
        self.metrics.set_agent(&self.levels().await?);
        Ok(())
    }

    /// Says what is new.
    pub(super) fn say(&self, session: &Session) {
        let mut notes = self.forwarding.take_notes();
        notes.extend(self.kubelet.iter().flat_map(|s| s.take_notes()));
        notes.extend(self.cni.iter().flat_map(|s| s.take_notes()));
        notes.iter().for_each(|n| session.note(n));
    }

    fn parts(&self) -> Vec<Part> {
        let mut out = vec![match self.forwarding.link() {
            Link::Up => Part::ready("server"),
            // It keeps what it sees, and that is its work.
            Link::Beginning => Part::degraded("server", "not asked yet"),
            Link::Down { why } => Part::degraded("server", format!("{why}; events wait in the spool")),
        }];
        let Some(kubelet) = &self.kubelet else {
            out.push(Part::not_ready(KUBELET, "cannot be asked yet"));
            return out;
        };
        out.push(match kubelet.is_seeing() {
            true => Part::ready(KUBELET),
            false => Part::not_ready(KUBELET, "tells neither of pods nor of what they use"),
        });
        for (topic, how) in kubelet.topics() {
            let name = format!("{KUBELET} {}", topic.path());
            match how {
                TopicState::Answered => out.push(Part::ready(name)),
                TopicState::Waiting => out.push(Part::degraded(name, "not asked yet")),
                TopicState::Forbidden { why } => out.push(Part::degraded(name, format!("not allowed: {why}"))),
                TopicState::NotServed { why } => out.push(Part::degraded(name, format!("not there: {why}"))),
                TopicState::Failing { why } => out.push(Part::degraded(name, why)),
            }
        }
        out.extend(self.cni.as_ref().map(|cni| match cni.folder() {
            Readable::Read => Part::ready("network files"),
            Readable::Waiting => Part::degraded("network files", "not looked at yet"),
            Readable::Absent => Part::degraded("network files", "the folder is not there"),
            Readable::Unreadable { why } => Part::degraded("network files", why),
        }));
        out
    }

    async fn levels(&self) -> Result<AgentLevels, LogError> {
        let n = |c: &AtomicU64| c.load(Ordering::Relaxed);
        let f = &self.forwarding.counts;
        let mut l = AgentLevels {
            forwarded: vec![
                ("sent", n(&f.sent)),
                ("again", n(&f.again)),
                ("batches", n(&f.batches)),
                ("failed_requests", n(&f.failed)),
            ],
            dropped: vec![("spool", "full", n(&f.dropped)), ("spool", "refused_by_server", n(&f.refused))],
            collectors: Vec::new(),
            connected: self.forwarding.link() == Link::Up,
            spool_bytes: self.spool.stats().await?.bytes,
            spool_waiting: self.waiting().await?,
        };
        if let Some(k) = &self.kubelet {
            let c = &k.counts;
            l.collectors.extend([
                ("kubelet_events", n(&c.events)),
                ("kubelet_answers", n(&c.answers)),
                ("kubelet_bytes", n(&c.bytes)),
                ("kubelet_logs", n(&c.logs)),
            ]);
            l.dropped.extend([
                (KUBELET, "dead_letter", n(&c.dead_letters)),
                (KUBELET, "too_large_or_unreadable", n(&c.skipped)),
                (KUBELET, "too_many_logs", n(&c.logs_dropped)),
            ]);
        }
        if let Some(cni) = &self.cni {
            let c = &cni.counts;
            l.collectors.extend([("cni_events", n(&c.events)), ("cni_looks", n(&c.looks))]);
            l.dropped.push(("cni", "dead_letter", n(&c.dead_letters)));
        }
        Ok(l)
    }
}
