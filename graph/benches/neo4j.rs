//! Figures of the store on a Neo4j, beside a bare UNWIND loop with the same driver and as many connections.
//!
//! `cargo xtask bench neo4j` starts a server and runs this; `TAPIO_NEO4J_TEST` names one of your own instead
//! (`TAPIO_NEO4J_USER`, `TAPIO_NEO4J_PASSWORD` beside it), whose database is emptied. Without a server it says SKIPPED.
//!
//! The bare loop sends rows that were built beforehand, in auto-commit statements that merge an event, its pod and the
//! relation in one; every connection has its own pods and waits for nobody. The store gets batches of changes, one
//! after the other, as a replay gives them. All take turns in every round, so that what else the machine does hits all;
//! medians of the rounds are shown, and the CPU that the server spent on an event, which others spoil least.
//!
//! The second table is several stores at once, as several processors would write: each with a cluster of its own, and,
//! for comparison, all into the same objects.

#![allow(clippy::unwrap_used, clippy::cast_possible_wrap, reason = "a bench may stop with a panic")]

#[path = "neo4j/cpu.rs"]
mod cpu;
#[path = "neo4j/load.rs"]
mod load;

use std::time::{Duration, Instant};

use neo4rs::{BoltList, BoltType, ConfigBuilder, Graph, query};
use tapio_core::change::GraphChange;
use tapio_core::ports::GraphStore;
use tapio_graph::neo4j::{Address, Secret};
use tapio_graph::{Neo4jConfig, Neo4jGraph};

use cpu::Cpu;
use load::Load;

const CONNECTIONS: usize = 4;
/// Rows of a statement of the bare loop.
const BARE: [usize; 3] = [250, 1_000, 2_000];
/// Changes of a batch of the store, two an event; the last one is what `tapio replay` gives it when it catches up.
const STORE: [usize; 2] = [2_000, 8_000];

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
        // Emptying a large graph takes its time.
        let config = config.connection_timeout(Duration::from_secs(300));
        Graph::connect(config.max_connections(CONNECTIONS).build().unwrap()).unwrap()
    }

    fn store(&self) -> Neo4jGraph {
        let password = Secret::new(&self.password);
        let mut config = Neo4jConfig::new(self.address.clone(), &self.user, password);
        config.writers = CONNECTIONS;
        Neo4jGraph::open(&config).unwrap()
    }
}

/// What one run came to.
#[derive(Clone, Copy, Default)]
struct Figure {
    /// Events a second.
    rate: f64,
    /// Milliseconds of a batch or statement: half are below, and all but one of a hundred.
    p50: f64,
    p99: f64,
    /// Microseconds of CPU an event, ours and the server's; 0 where it is not on this machine.
    ours: f64,
    server: f64,
}

impl Figure {
    fn of(events: i64, begun: Instant, cpu: Cpu, mut took: Vec<Duration>) -> Self {
        let (wall, used) = (begun.elapsed(), cpu.since());
        took.sort_unstable();
        let at = |part: f64| took[((took.len() as f64 * part) as usize).min(took.len() - 1)].as_secs_f64() * 1e3;
        let each = 1e6 / events as f64;
        Figure {
            rate: events as f64 / wall.as_secs_f64(),
            p50: at(0.5),
            p99: at(0.99),
            ours: used.ours * each,
            server: used.server * each,
        }
    }
}

/// The median of every column.
fn median(runs: &[Figure]) -> Figure {
    let of = |get: fn(&Figure) -> f64| {
        let mut all: Vec<f64> = runs.iter().map(get).collect();
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    };
    Figure {
        rate: of(|f| f.rate),
        p50: of(|f| f.p50),
        p99: of(|f| f.p99),
        ours: of(|f| f.ours),
        server: of(|f| f.server),
    }
}

async fn empty(graph: &Graph) {
    graph.run("MATCH (n) CALL (n) { DETACH DELETE n } IN TRANSACTIONS OF 5000 ROWS").await.unwrap();
}

async fn bare(server: &Server, load: Load, batch: usize) -> Figure {
    const TEXT: &str = "UNWIND $rows AS r MERGE (e:Event {id: r.id}) SET e += r.props WITH e, r \
                        MERGE (p:Pod {uid: r.pod}) MERGE (e)-[:AFFECTS]->(p)";
    let graph = server.graph();
    let shards = load.rows(CONNECTIONS);
    let (begun, cpu) = (Instant::now(), Cpu::now());
    let mut tasks = tokio::task::JoinSet::new();
    for rows in shards {
        let graph = graph.clone();
        tasks.spawn(async move {
            let mut took = Vec::new();
            for rows in rows.chunks(batch) {
                let sent = Instant::now();
                let rows = BoltType::List(BoltList::from(rows.to_vec()));
                graph.run(query(TEXT).param("rows", rows)).await.unwrap();
                took.push(sent.elapsed());
            }
            took
        });
    }
    let mut took = Vec::new();
    while let Some(done) = tasks.join_next().await {
        took.extend(done.unwrap());
    }
    Figure::of(load.events, begun, cpu, took)
}

fn batches(load: Load, batch: usize) -> Vec<Vec<GraphChange>> {
    load.changes().chunks(batch).map(<[_]>::to_vec).collect()
}

async fn ours(store: &Neo4jGraph, load: Load, batch: usize) -> Figure {
    let batches = batches(load, batch);
    let (begun, cpu) = (Instant::now(), Cpu::now());
    let mut took = Vec::with_capacity(batches.len());
    for batch in batches {
        let sent = Instant::now();
        store.apply(batch).await.unwrap();
        took.push(sent.elapsed());
    }
    Figure::of(load.events, begun, cpu, took)
}

/// Writes with several stores at once, each its part.
async fn together(server: &Server, loads: Vec<Load>, batch: usize) -> (Figure, u64) {
    let all: i64 = loads.iter().map(|l| l.events).sum();
    let work: Vec<_> = loads.into_iter().map(|l| (server.store(), batches(l, batch))).collect();
    let (begun, cpu) = (Instant::now(), Cpu::now());
    let mut tasks = tokio::task::JoinSet::new();
    for (store, batches) in work {
        tasks.spawn(async move {
            let mut took = Vec::new();
            for batch in batches {
                let sent = Instant::now();
                store.apply(batch).await.unwrap();
                took.push(sent.elapsed());
            }
            (took, store.retries())
        });
    }
    let (mut took, mut retries) = (Vec::new(), 0);
    while let Some(done) = tasks.join_next().await {
        let (t, r) = done.unwrap();
        took.extend(t);
        retries += r;
    }
    (Figure::of(all, begun, cpu, took), retries)
}

fn line(name: &str, size: usize, f: Figure, best: f64) {
    let share = 100.0 * f.rate / best;
    println!(
        "{name:<28} {size:>6} {:>9.0} {share:>6.0}% {:>8.1} {:>8.1} {:>7.1} {:>7.1}",
        f.rate, f.p50, f.p99, f.ours, f.server
    );
}

async fn beside_bare(server: &Server, events: i64, rounds: usize) {
    let (graph, store) = (server.graph(), server.store());
    let mut bares = [const { Vec::new() }; BARE.len()];
    let mut firsts = [const { Vec::new() }; STORE.len()];
    let mut agains = [const { Vec::new() }; STORE.len()];
    let mut hash = None;
    for round in 0..rounds {
        // Every run has its own events, and pods that are there already, as all but the first batches of a stream do.
        // Each round begins with another one: what comes behind the emptying is slower.
        for at in 0..BARE.len() + STORE.len() {
            let at = (at + round * 2) % (BARE.len() + STORE.len());
            if let Some(&batch) = BARE.get(at) {
                bares[at].push(bare(server, Load::new("bare", at as i64, events), batch).await);
                continue;
            }
            let at = at - BARE.len();
            let load = Load::new("store", at as i64, events);
            firsts[at].push(ours(&store, load, STORE[at]).await);
            agains[at].push(ours(&store, load, STORE[at]).await);
        }
        let found = store.graph_hash().await.unwrap();
        assert_eq!(*hash.get_or_insert_with(|| found.clone()), found, "another graph than in the round before");
        empty(&graph).await;
    }
    println!("{events} events on {} pods, {CONNECTIONS} connections, {rounds} rounds, medians", load::PODS);
    println!(
        "{:<28} {:>6} {:>9} {:>7} {:>8} {:>8} {:>7} {:>7}",
        "", "batch", "events/s", "", "p50 ms", "p99 ms", "us ours", "server"
    );
    let best = bares.iter().map(|runs| median(runs).rate).fold(0.0, f64::max);
    for (runs, size) in bares.iter().zip(BARE) {
        line("bare loop, rows", size, median(runs), best);
    }
    for (runs, size) in firsts.iter().zip(STORE) {
        line("store, changes", size, median(runs), best);
    }
    for (runs, size) in agains.iter().zip(STORE) {
        line("store, the same again", size, median(runs), best);
    }
}

async fn side_by_side(server: &Server, events: i64, rounds: usize) {
    let graph = server.graph();
    let batch = STORE[STORE.len() - 1];
    let kinds = [("own clusters", true), ("the same objects", false)];
    let counts = [1_i64, 2, 4];
    let mut runs = [const { [const { Vec::new() }; 3] }; 2];
    let mut retries = [[0_u64; 3]; 2];
    for _ in 0..rounds {
        for (k, (_, own)) in kinds.iter().enumerate() {
            for (c, &writers) in counts.iter().enumerate() {
                let part = |w: i64| {
                    let load = Load::new("w", w, events / writers);
                    if *own { load.of_cluster(w) } else { load }
                };
                let (f, r) = together(server, (0..writers).map(part).collect(), batch).await;
                runs[k][c].push(f);
                retries[k][c] += r;
                empty(&graph).await;
            }
        }
    }
    println!("\n{events} events in all by several stores, {CONNECTIONS} connections each, {batch} changes a batch");
    println!(
        "{:<28} {:>6} {:>9} {:>7} {:>8} {:>8} {:>7} {:>7}  retries",
        "", "stores", "events/s", "", "p50 ms", "p99 ms", "us ours", "server"
    );
    let one = median(&runs[0][0]).rate;
    for (k, (name, _)) in kinds.iter().enumerate() {
        for (c, &writers) in counts.iter().enumerate() {
            let f = median(&runs[k][c]);
            println!(
                "{name:<28} {writers:>6} {:>9.0} {:>6.0}% {:>8.1} {:>8.1} {:>7.1} {:>7.1}  {}",
                f.rate,
                100.0 * f.rate / one,
                f.p50,
                f.p99,
                f.ours,
                f.server,
                retries[k][c]
            );
        }
    }
}

fn main() {
    let var = |name: &str| std::env::var(name).ok();
    let Some(address) = var("TAPIO_NEO4J_TEST") else {
        println!("SKIPPED: TAPIO_NEO4J_TEST names no server; `cargo xtask bench neo4j` starts one");
        return;
    };
    let server = Server {
        address: address.parse().unwrap(),
        user: var("TAPIO_NEO4J_USER").unwrap_or_else(|| "neo4j".to_owned()),
        password: var("TAPIO_NEO4J_PASSWORD").unwrap_or_default(),
    };
    let numbers: Vec<i64> = std::env::args().skip(1).filter_map(|a| a.parse().ok()).collect();
    let (events, rounds) = (numbers.first().copied().unwrap_or(4_000), numbers.get(1).copied().unwrap_or(1));
    let rounds = usize::try_from(rounds).unwrap().max(1);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let graph = server.graph();
        let store = server.store();
        store.ensure_schema().await.unwrap();
        empty(&graph).await;
        // Warms the server's compiler up, for both alike.
        for run in 0..(events / 2_000).clamp(1, 8) {
            ours(&store, Load::new("warm", 2 * run, events.min(5_000)), 4_000).await;
            bare(&server, Load::new("warm", 2 * run + 1, events.min(5_000)), 500).await;
        }
        empty(&graph).await;
        drop(store);
        beside_bare(&server, events, rounds).await;
        side_by_side(&server, events, rounds.div_ceil(2)).await;
    });
}
