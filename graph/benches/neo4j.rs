//! Figures of the store on a Neo4j, beside a bare UNWIND loop with the same driver and as many connections.
//!
//! `cargo bench -p tapio-graph --bench neo4j -- 100000` writes so many events to the server that `TAPIO_NEO4J_TEST`
//! names (`TAPIO_NEO4J_USER`, `TAPIO_NEO4J_PASSWORD` beside it), and empties its database first; without a server it says
//! SKIPPED. The bare loop sends rows that were built beforehand, in auto-commit statements that merge an event, its pod
//! and the relation in one. Both take turns, so that what else the machine does hits both.

#![allow(clippy::unwrap_used, clippy::cast_possible_wrap, reason = "a bench may stop with a panic")]

use std::time::{Duration, Instant};

use neo4rs::{BoltList, BoltMap, BoltString, BoltType, ConfigBuilder, Graph, query};
use tapio_core::change::{GraphChange, NodeRef};
use tapio_core::ontology::{Label, Relation};
use tapio_core::ports::GraphStore;
use tapio_core::time::Time;
use tapio_graph::neo4j::{Address, Secret};
use tapio_graph::{Neo4jConfig, Neo4jGraph};

const CONNECTIONS: usize = 4;
const PODS: i64 = 1_000;
const DATA: &str = r#"{"container":"nginx","exitCode":137,"restartCount":3,"reason":"OOMKilled"}"#;

fn start() -> Time {
    Time::parse("2024-01-15T00:00:00Z").unwrap()
}

fn id(i: i64) -> String {
    format!("{:032x}", i.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64 as i64))
}

fn pod(i: i64) -> String {
    format!("pod-uid-{}", i.wrapping_mul(7_919).rem_euclid(PODS))
}

fn message(i: i64) -> String {
    format!("container nginx of pod {} failed with exit code 137 and was restarted by the kubelet", pod(i))
}

fn changes(i: i64) -> [GraphChange; 2] {
    let event = NodeRef { label: Label::Event, key: id(i) };
    let props = vec![
        ("type", "pod_restart".into()),
        ("severity", "high".into()),
        ("message", message(i).into()),
        ("timestamp", start().plus(i * 86_000).into()),
        ("source", "kubelet_collector".into()),
        ("count", 1.into()),
        ("data", DATA.into()),
    ];
    let node = GraphChange::Node { node: event.clone(), also: None, props };
    let to = NodeRef { label: Label::Pod, key: pod(i) };
    [node, GraphChange::Edge { from: event, relation: Relation::Affects, to, props: vec![] }]
}

fn row(i: i64) -> BoltType {
    let time = start().plus(i * 86_000);
    let mut props = BoltMap::new();
    for (name, value) in [
        ("type", BoltType::from("pod_restart")),
        ("severity", "high".into()),
        ("message", message(i).into()),
        ("timestamp", time.to_chrono().into()),
        ("ts_ms", time.millis().into()),
        ("source", "kubelet_collector".into()),
        ("count", 1.into()),
        ("data", DATA.into()),
    ] {
        props.put(BoltString::from(name), value);
    }
    let mut row = BoltMap::new();
    row.put("id".into(), id(i).into());
    row.put("pod".into(), pod(i).into());
    row.put("props".into(), BoltType::Map(props));
    BoltType::Map(row)
}

struct Server {
    address: Address,
    user: String,
    password: String,
}

impl Server {
    fn graph(&self) -> Graph {
        let config = ConfigBuilder::default().uri(self.address.uri()).user(&self.user).password(&self.password);
        let config = match self.address.database() {
            Some(d) => config.db(d),
            None => config,
        };
        Graph::connect(config.max_connections(CONNECTIONS).build().unwrap()).unwrap()
    }

    fn store(&self) -> Neo4jGraph {
        let password = Secret::new(&self.password);
        let mut config = Neo4jConfig::new(self.address.clone(), &self.user, password);
        config.writers = CONNECTIONS;
        Neo4jGraph::open(&config).unwrap()
    }
}

async fn empty(graph: &Graph) {
    graph.run("MATCH (n) CALL (n) { DETACH DELETE n } IN TRANSACTIONS OF 5000 ROWS").await.unwrap();
}

/// The bare loop: every connection takes the rows of its pods.
async fn bare(server: &Server, events: i64, batch: usize) -> Duration {
    const TEXT: &str = "UNWIND $rows AS r MERGE (e:Event {id: r.id}) SET e += r.props WITH e, r \
                        MERGE (p:Pod {uid: r.pod}) MERGE (e)-[:AFFECTS]->(p)";
    let graph = server.graph();
    let mut shards: Vec<Vec<BoltType>> = vec![Vec::new(); CONNECTIONS];
    for i in 0..events {
        let at = usize::try_from(i.wrapping_mul(7_919).rem_euclid(PODS)).unwrap() % CONNECTIONS;
        shards[at].push(row(i));
    }
    let begun = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for rows in shards {
        let graph = graph.clone();
        tasks.spawn(async move {
            for rows in rows.chunks(batch) {
                let rows = BoltType::List(BoltList::from(rows.to_vec()));
                graph.run(query(TEXT).param("rows", rows)).await.unwrap();
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    begun.elapsed()
}

/// The store, as a replay uses it: one batch after the other.
async fn ours(store: &Neo4jGraph, events: i64, batch: usize) -> Duration {
    let all: Vec<GraphChange> = (0..events).flat_map(changes).collect();
    let batches: Vec<Vec<GraphChange>> = all.chunks(batch * 2).map(<[_]>::to_vec).collect();
    let begun = Instant::now();
    for batch in batches {
        store.apply(batch).await.unwrap();
    }
    begun.elapsed()
}

fn main() {
    let var = |name: &str| std::env::var(name).ok();
    let Some(address) = var("TAPIO_NEO4J_TEST") else {
        println!("SKIPPED: TAPIO_NEO4J_TEST names no server; `cargo xtask ci neo4j` starts one for tests");
        return;
    };
    let server = Server {
        address: address.parse().unwrap(),
        user: var("TAPIO_NEO4J_USER").unwrap_or_else(|| "neo4j".to_owned()),
        password: var("TAPIO_NEO4J_PASSWORD").unwrap_or_default(),
    };
    let events = std::env::args().skip(1).find_map(|a| a.parse::<i64>().ok()).unwrap_or(5_000);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let graph = server.graph();
        let store = server.store();
        store.ensure_schema().await.unwrap();
        empty(&graph).await;
        // Warms the server's compiler up.
        ours(&store, events.min(5_000), 500).await;
        println!("{events} events on {PODS} pods, {CONNECTIONS} connections, events/s");
        println!("{:>16} {:>10} {:>10} {:>10}", "events a batch", "bare", "store", "again");
        for batch in [500, 1_000, 4_000] {
            for _ in 0..2 {
                empty(&graph).await;
                let floor = bare(&server, events, batch / CONNECTIONS).await;
                empty(&graph).await;
                let first = ours(&store, events, batch).await;
                let again = ours(&store, events, batch).await;
                let rate = |d: Duration| events as f64 / d.as_secs_f64();
                println!("{batch:>16} {:>10.0} {:>10.0} {:>10.0}", rate(floor), rate(first), rate(again));
            }
        }
        empty(&graph).await;
    });
}
