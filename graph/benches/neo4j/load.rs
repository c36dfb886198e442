//! The rows that all write: events of some 300 bytes, each with the pod that it affects.

use neo4rs::{BoltMap, BoltString, BoltType};
use tapio_core::change::{GraphChange, NodeRef};
use tapio_core::ontology::{Label, Relation};
use tapio_core::time::Time;

/// Pods of a cluster.
pub(crate) const PODS: i64 = 1_000;

const DATA: &str = r#"{"container":"nginx","exitCode":137,"restartCount":3,"reason":"OOMKilled"}"#;

/// So many events, of one cluster.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) events: i64,
    /// Tells the events of different runs apart.
    run: (&'static str, i64),
    cluster: i64,
}

impl Load {
    pub(crate) fn new(name: &'static str, run: i64, events: i64) -> Self {
        Load { events, run: (name, run), cluster: 0 }
    }

    pub(crate) fn of_cluster(self, cluster: i64) -> Self {
        Load { cluster, ..self }
    }

    fn id(self, i: i64) -> String {
        // As hashes are: without an order.
        let mixed = i.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64 as i64);
        format!("{mixed:016x}{}{:08x}", self.run.0, self.run.1)
    }

    fn pod_number(i: i64) -> i64 {
        i.wrapping_mul(7_919).rem_euclid(PODS)
    }

    fn pod(self, i: i64) -> String {
        format!("pod-uid-{}-{}", self.cluster, Self::pod_number(i))
    }

    fn time(i: i64) -> Time {
        Time::parse("2024-01-15T00:00:00Z").unwrap().plus(i * 86_000)
    }

    fn message(self, i: i64) -> String {
        format!("container nginx of pod {} failed with exit code 137 and was restarted by the kubelet", self.pod(i))
    }

    /// As the engine says it: two changes an event.
    pub(crate) fn changes(self) -> Vec<GraphChange> {
        let of = |i: i64| {
            let event = NodeRef { label: Label::Event, key: self.id(i) };
            let props = vec![
                ("type", "pod_restart".into()),
                ("severity", "high".into()),
                ("message", self.message(i).into()),
                ("timestamp", Self::time(i).into()),
                ("source", "kubelet_collector".into()),
                ("count", 1.into()),
                ("data", DATA.into()),
            ];
            let node = GraphChange::Node { node: event.clone(), also: None, props };
            let to = NodeRef { label: Label::Pod, key: self.pod(i) };
            [node, GraphChange::Edge { from: event, relation: Relation::Affects, to, props: vec![] }]
        };
        (0..self.events).flat_map(of).collect()
    }

    /// As rows of a statement, each pod's in one of so many shards.
    pub(crate) fn rows(self, shards: usize) -> Vec<Vec<BoltType>> {
        let mut all = vec![Vec::new(); shards];
        for i in 0..self.events {
            all[usize::try_from(Self::pod_number(i)).unwrap() % shards].push(self.row(i));
        }
        all
    }

    fn row(self, i: i64) -> BoltType {
        let time = Self::time(i);
        let mut props = BoltMap::new();
        for (name, value) in [
            ("type", BoltType::from("pod_restart")),
            ("severity", "high".into()),
            ("message", self.message(i).into()),
            ("timestamp", time.to_chrono().into()),
            ("ts_ms", time.millis().into()),
            ("source", "kubelet_collector".into()),
            ("count", 1.into()),
            ("data", DATA.into()),
        ] {
            props.put(BoltString::from(name), value);
        }
        let mut row = BoltMap::new();
        row.put("id".into(), self.id(i).into());
        row.put("pod".into(), self.pod(i).into());
        row.put("props".into(), BoltType::Map(props));
        BoltType::Map(row)
    }
}
