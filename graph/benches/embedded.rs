//! Figures of the embedded store, printed as a table.
//!
//! `cargo bench -p tapio-graph --bench embedded -- 100000 1000000` fills graphs of these many events; without sizes a
//! small one, so that it takes seconds. With `TAPIO_BENCH_GRAPH` naming a folder that such a run left (its `copy`), only
//! the queries run. Bare marsdb runs the same statements in the same process, on rows that were built beforehand, as
//! the ceiling to compare with.

#![allow(clippy::unwrap_used, clippy::cast_possible_wrap, reason = "a bench may stop with a panic")]

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::Instant;

use marsdb::{Database, ExecutionOptions, PropertyValue, TzId};
use tapio_core::change::{GraphChange, NodeRef};
use tapio_core::ontology::{Label, Relation};
use tapio_core::ports::{Cell, GraphStore, Limits, Query};
use tapio_core::time::{SECOND, Time};
use tapio_graph::embedded::GRAPH_FILE;
use tapio_graph::{EmbeddedConfig, EmbeddedGraph, statements};

/// A million events a day.
const GAP_MILLIS: i64 = 86;
const KINDS: [&str; 5] = ["pod_restart", "pod_unready", "probe_failed", "image_changed", "log_error"];

fn start() -> Time {
    Time::parse("2024-01-15T00:00:00Z").unwrap()
}

fn id(i: i64) -> String {
    format!("{:032x}", i.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64 as i64))
}

/// One event in fifty hits the same pod; the others spread.
fn pod(i: i64, pods: i64) -> i64 {
    if i % 50 == 0 { 0 } else { i.wrapping_mul(7_919).rem_euclid(pods) }
}

fn message(pod: i64) -> String {
    format!("container nginx of pod pod-{pod} failed with exit code 137 and was restarted by the kubelet")
}

const DATA: &str = r#"{"container":"nginx","exitCode":137,"restartCount":3,"reason":"OOMKilled"}"#;

fn changes(i: i64, pods: i64) -> Vec<GraphChange> {
    let event = NodeRef { label: Label::Event, key: id(i) };
    let pod = pod(i, pods);
    let mut all = vec![
        GraphChange::node(
            Label::Event,
            event.key.clone(),
            vec![
                ("type", KINDS[(i % 5) as usize].into()),
                ("severity", "high".into()),
                ("message", message(pod).into()),
                ("timestamp", start().plus(i * GAP_MILLIS * 1_000).into()),
                ("source", "kubelet_collector".into()),
                ("count", 1.into()),
                ("data", DATA.into()),
            ],
        ),
        GraphChange::Edge {
            from: event.clone(),
            relation: Relation::Affects,
            to: NodeRef { label: Label::Pod, key: format!("pod-uid-{pod}") },
            props: vec![],
        },
    ];
    if i % 10 == 9 {
        let cause = NodeRef { label: Label::Event, key: id(i - 1) };
        let props = vec![("via", "dependency".into()), ("confidence", 0.9.into())];
        all.push(GraphChange::Edge { from: cause, relation: Relation::Triggered, to: event, props });
    }
    all
}

fn text(s: impl Into<String>) -> PropertyValue {
    PropertyValue::String(s.into())
}

fn row<const N: usize>(fields: [(&str, PropertyValue); N]) -> PropertyValue {
    PropertyValue::Map(fields.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())
}

/// The same batch for bare marsdb: rows of the catalog's statements.
fn bare_rows(ids: std::ops::Range<i64>, pods: i64) -> [PropertyValue; 5] {
    let events = ids.clone().map(|i| {
        let ms = start().millis() + i * GAP_MILLIS;
        let nanos = (ms.rem_euclid(1_000) * 1_000_000) as i32;
        row([
            ("key", text(id(i))),
            ("type", text(KINDS[(i % 5) as usize])),
            ("severity", text("high")),
            ("message", text(message(pod(i, pods)))),
            (
                "timestamp",
                PropertyValue::DateTime { epoch_seconds: ms.div_euclid(1_000), nanos, zone: TzId::Offset(0) },
            ),
            ("ts_ms", PropertyValue::Int(ms)),
            ("source", text("kubelet_collector")),
            ("count", PropertyValue::Int(1)),
            ("data", text(DATA)),
        ])
    });
    let keys = ids.clone().map(|i| row([("key", text(id(i)))]));
    let mut hit: Vec<i64> = ids.clone().map(|i| pod(i, pods)).collect();
    hit.sort_unstable();
    hit.dedup();
    let pod_keys = hit.iter().map(|p| row([("key", text(format!("pod-uid-{p}")))]));
    let affects = ids.clone().map(|i| {
        let to = text(format!("pod-uid-{}", pod(i, pods)));
        row([("from", text(id(i))), ("to", to), ("props", PropertyValue::Map(BTreeMap::new()))])
    });
    let triggered = ids.filter(|i| i % 10 == 9).map(|i| {
        let props = row([("via", text("dependency")), ("confidence", PropertyValue::Float(0.9))]);
        row([("from", text(id(i - 1))), ("to", text(id(i))), ("props", props)])
    });
    let list = PropertyValue::List;
    [
        list(keys.collect()),
        list(events.collect()),
        list(pod_keys.collect()),
        list(affects.collect()),
        list(triggered.collect()),
    ]
}

fn bare(total: i64, batch: i64, pods: i64) -> f64 {
    let dir = tempfile::tempdir().unwrap();
    let db = Database::open(dir.path().join("bare.redb")).unwrap();
    for index in statements::schema() {
        db.execute(&statements::marsdb_index(index)).unwrap();
    }
    let names = ["count", "data", "message", "severity", "source", "timestamp", "ts_ms", "type"];
    let plans = [
        statements::existing(Label::Event),
        statements::create_nodes(Label::Event, &[], &names),
        statements::existing(Label::Pod),
        statements::link(Label::Event, Relation::Affects, Label::Pod),
        statements::link(Label::Event, Relation::Triggered, Label::Event),
    ]
    .map(|t| db.prepare(&t).unwrap());
    let all = (0..pods).map(|p| row([("key", text(format!("pod-uid-{p}")))])).collect();
    let pods_plan = db.prepare(&statements::create_nodes(Label::Pod, &[], &[])).unwrap();
    let options = ExecutionOptions::default();
    let rows = HashMap::from([("rows".to_owned(), PropertyValue::List(all))]);
    db.execute_prepared_plan(&pods_plan, &rows, &options).unwrap();
    let batches: Vec<_> = (0..total / batch)
        .map(|b| bare_rows(b * batch..(b + 1) * batch, pods).map(|rows| HashMap::from([("rows".to_owned(), rows)])))
        .collect();
    let since = Instant::now();
    for batch in &batches {
        let mut tx = db.begin_transaction().unwrap();
        for (plan, params) in plans.iter().zip(batch) {
            tx.execute_prepared_plan(plan, params, &options).unwrap();
        }
        tx.commit().unwrap();
    }
    total as f64 / since.elapsed().as_secs_f64()
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn fresh(dir: &Path, pods: i64) -> EmbeddedGraph {
    let store = EmbeddedGraph::open(dir, EmbeddedConfig::default()).unwrap();
    wait(store.ensure_schema()).unwrap();
    let named =
        |p: i64| GraphChange::node(Label::Pod, format!("pod-uid-{p}"), vec![("name", format!("pod-{p}").into())]);
    wait(store.apply((0..pods).map(named).collect())).unwrap();
    for p in 0..pods.min(1_000) {
        let pod = || NodeRef { label: Label::Pod, key: format!("pod-uid-{p}") };
        let config = NodeRef { label: Label::ConfigMap, key: format!("cm-{}", p % 100) };
        let service = NodeRef { label: Label::Service, key: format!("svc-{}", p % 50) };
        let name = vec![("name", config.key.clone().into())];
        wait(store.apply(vec![
            GraphChange::node(Label::ConfigMap, config.key.clone(), name),
            GraphChange::Edge { from: pod(), relation: Relation::Mounts, to: config, props: vec![] },
            GraphChange::Edge { from: service, relation: Relation::Selects, to: pod(), props: vec![] },
        ]))
        .unwrap();
        if p >= 200 {
            break;
        }
    }
    store
}

/// Applies events; returns events a second over all of them and over the last tenth.
fn fill(store: &EmbeddedGraph, total: i64, batch: i64, pods: i64) -> (f64, f64) {
    let (mut spent, mut late) = (0.0, 0.0);
    for b in 0..total / batch {
        let all: Vec<_> = (b * batch..(b + 1) * batch).flat_map(|i| changes(i, pods)).collect();
        let since = Instant::now();
        wait(store.apply(all)).unwrap();
        let took = since.elapsed().as_secs_f64();
        spent += took;
        if b >= total / batch * 9 / 10 {
            late += took;
        }
    }
    let batches = total / batch;
    let tail = (batches - batches * 9 / 10) * batch;
    (total as f64 / spent, tail as f64 / late)
}

fn rss_mib() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|f| f.parse::<u64>().ok()).unwrap_or(0) * 4_096 / (1 << 20)
}

fn ask(store: &EmbeddedGraph, n: usize, name: &str, at: Time) -> usize {
    let value = || Cell::Text(name.to_owned());
    let params = BTreeMap::from([("podName".to_owned(), value()), ("configName".to_owned(), value())]);
    let text = statements::DESIGN_QUERIES[n].1.to_owned();
    wait(store.query(Query { text, params, at, limits: Limits::default() })).unwrap().rows.len()
}

/// CPU time of this process in milliseconds; on a busy machine it says more than the clock.
fn cpu_millis() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks = |i: usize| fields.get(i).and_then(|f| f.parse::<u64>().ok()).unwrap_or(0);
    (ticks(11) + ticks(12)) * 10
}

fn timed(what: &str, runs: i64, mut run: impl FnMut(i64) -> usize) {
    let mut millis = Vec::new();
    let mut rows = 0;
    let cpu = cpu_millis();
    for i in 0..runs {
        let since = Instant::now();
        rows += run(i);
        millis.push(since.elapsed().as_secs_f64() * 1e3);
    }
    millis.sort_by(f64::total_cmp);
    let at = |q: f64| millis[((millis.len() - 1) as f64 * q) as usize];
    let cpu = (cpu_millis() - cpu) as f64 / runs as f64;
    let rows = rows as i64 / runs;
    println!("  {what:<36} p50 {:>7.2} ms  p99 {:>7.2} ms  cpu {cpu:>7.2} ms  rows {rows}", at(0.5), at(0.99));
}

/// The design's queries on a graph of `size` events.
fn queries(store: &EmbeddedGraph, size: i64, runs: i64) {
    let pods = pods(size);
    let end = start().plus(size * GAP_MILLIS * 1_000 + SECOND);
    timed("root cause, any pod", runs, |i| ask(store, 0, &format!("pod-{}", (i * 31) % pods), end));
    timed("root cause, the pod with 2 % of all", runs / 10, |_| ask(store, 0, "pod-0", end));
    timed("impact", runs, |i| ask(store, 1, &format!("cm-{}", i % 100), end));
    timed("death spirals", runs / 5, |_| ask(store, 2, "", end));
}

fn pods(size: i64) -> i64 {
    (size / 500).max(100)
}

fn main() {
    if let Some(dir) = std::env::var_os("TAPIO_BENCH_GRAPH") {
        let store = EmbeddedGraph::open(Path::new(&dir), EmbeddedConfig::default()).unwrap();
        let size = wait(store.stats()).unwrap().nodes["Event"] as i64;
        println!("{size} events in {}", Path::new(&dir).display());
        return queries(&store, size, 1_000);
    }
    let mut sizes: Vec<i64> = std::env::args().skip(1).filter_map(|a| a.parse().ok()).collect();
    let small = sizes.is_empty();
    if small {
        sizes.push(2_000);
    }
    println!("writing, events a second (an event is a node, an AFFECTS, and every tenth a TRIGGERED)");
    let total = if small { 2_000 } else { 30_000 };
    for batch in [100, 1_000] {
        // In turns, the best of each: other work on the machine then disturbs both alike.
        let (mut ours, mut plain) = (0f64, 0f64);
        for _ in 0..if small { 1 } else { 3 } {
            let dir = tempfile::tempdir().unwrap();
            let store = fresh(dir.path(), 500);
            ours = ours.max(fill(&store, total, batch, 500).0);
            plain = plain.max(bare(total, batch, 500));
        }
        println!(
            "  batches of {batch:>5}: apply {ours:>7.0}   bare marsdb {plain:>7.0}   {:>3.0} %",
            ours / plain * 100.0
        );
    }
    for size in sizes {
        let pods = pods(size);
        let dir = tempfile::tempdir().unwrap();
        let store = fresh(dir.path(), pods);
        println!("{size} events, {pods} pods");
        let (all, late) = fill(&store, size, 1_000, pods);
        let file = std::fs::metadata(dir.path().join(GRAPH_FILE)).unwrap().len();
        println!("  apply {all:.0} events/s, last tenth {late:.0} events/s");
        println!("  file {} MiB, {} bytes an event; RSS {} MiB", file >> 20, file as i64 / size, rss_mib());
        queries(&store, size, if small { 20 } else { 300 });
        let since = Instant::now();
        let hash = wait(store.graph_hash()).unwrap();
        println!("  hash {:.2} s ({}…)   RSS {} MiB", since.elapsed().as_secs_f64(), &hash[..8], rss_mib());
        let since = Instant::now();
        wait(store.backup(&dir.path().join("copy"))).unwrap();
        println!("  backup {:.2} s", since.elapsed().as_secs_f64());
        let since = Instant::now();
        let gone = wait(store.retain(start().plus(size / 5 * GAP_MILLIS * 1_000))).unwrap();
        println!(
            "  retain {:.0} events/s ({gone})   RSS {} MiB",
            gone as f64 / since.elapsed().as_secs_f64(),
            rss_mib()
        );
    }
}
