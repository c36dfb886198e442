//! What an agent counts.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::{Dropped, Metrics, What, at, level};

/// What the parts of an agent count, as it stands now.
#[derive(Clone, Debug, Default)]
pub struct AgentLevels {
    /// What forwarding counted.
    pub forwarded: Vec<(&'static str, u64)>,
    /// Drops by component and reason.
    pub dropped: Vec<(&'static str, &'static str, u64)>,
    /// What the collectors counted.
    pub collectors: Vec<(&'static str, u64)>,
    /// Whether the server took the last request.
    pub connected: bool,
    /// Payload bytes of the spool.
    pub spool_bytes: u64,
    /// Events in the spool that the server has not acknowledged.
    pub spool_waiting: u64,
}

/// The metrics that only an agent has.
pub(super) struct Group {
    forwarded: Family<What, Counter>,
    connected: Gauge,
    spool_bytes: Gauge,
    spool_waiting: Gauge,
}

impl Group {
    pub(super) fn registered(r: &mut Registry) -> Self {
        let (forwarded, connected, spool_bytes, spool_waiting) = registered!(r,
            "agent_forwarded", "What forwarding to the server counted" => Family::<What, Counter>::default();
            "agent_connected", "Whether the server took the last request" => <Gauge>::default();
            "agent_spool_bytes", "Payload bytes of the spool" => <Gauge>::default();
            "agent_spool_waiting_events", "Events that the server has not acknowledged" => <Gauge>::default();
        );
        Group { forwarded, connected, spool_bytes, spool_waiting }
    }
}

impl Metrics {
    /// Takes in what the parts of an agent count.
    pub fn set_agent(&self, l: &AgentLevels) {
        let m = &*self.0;
        for (what, n) in &l.forwarded {
            at(&m.agent.forwarded.get_or_create(&What { what }), *n);
        }
        for (component, reason, n) in &l.dropped {
            at(&m.dropped.get_or_create(&Dropped { component, reason }), *n);
        }
        for (what, n) in &l.collectors {
            at(&m.collector.get_or_create(&What { what }), *n);
        }
        m.agent.connected.set(i64::from(l.connected));
        m.agent.spool_bytes.set(level(l.spool_bytes));
        m.agent.spool_waiting.set(level(l.spool_waiting));
    }
}
