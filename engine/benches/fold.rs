//! How long the fold takes, JSON parse included, beside merely reading the same bytes into a tree, in the same run.
//!
//! `cargo bench -p tapio-engine --bench fold`, or with `-- --quick` in seconds, `-- --long` for a million small events
//! and the memory they leave behind, `-- --profile NAME` for one row over and over, to put under a profiler.

#[path = "fold/stream.rs"]
mod stream;

use std::hint::black_box;
use std::time::Instant;

use stream::{Cluster, News};
use tapio_core::raw::RawEvent;
use tapio_engine::{EngineConfig, EventProcessor};

/// The binary's allocator, so that what is measured is what runs; the reference runs under it too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Events that one batch holds, as the binary's loop does.
const BATCH: usize = 512;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// One stream to measure.
struct Row {
    name: &'static str,
    lines: Vec<Vec<u8>>,
    project: bool,
    /// How much longer than the mere parse it may take.
    at_most: f64,
}

fn main() -> Outcome<()> {
    let args: Vec<String> = std::env::args().collect();
    let quick = args.iter().any(|a| a == "--quick" || a == "--test");
    if args.iter().any(|a| a == "--long") {
        return long(if quick { 100_000 } else { 1_000_000 });
    }
    let cluster = Cluster { pods: 1_000 };
    let (small, pods, rounds) = if quick { (20_000, 2_000, 1) } else { (200_000, 20_000, 3) };
    let of = |count, rate, news| (0..count).map(|i| cluster.small(i, rate, news)).collect::<Vec<_>>();
    let rows = [
        Row { name: "small-routine", lines: of(small, 5_000, News::Routine), project: false, at_most: 4.0 },
        Row { name: "small-routine-projected", lines: of(small, 5_000, News::Routine), project: true, at_most: 4.0 },
        Row { name: "small-slow-stream", lines: of(small / 4, 500, News::Routine), project: false, at_most: 4.0 },
        Row { name: "small-trouble", lines: of(small, 5_000, News::Trouble), project: false, at_most: 4.0 },
        Row { name: "small-trouble-projected", lines: of(small, 5_000, News::Trouble), project: true, at_most: 4.0 },
        Row { name: "pods", lines: cluster.pod_updates(pods, 500), project: false, at_most: 2.0 },
        Row { name: "pods-projected", lines: cluster.pod_updates(pods, 500), project: true, at_most: 2.0 },
    ];
    if let Some(i) = args.iter().position(|a| a == "--profile") {
        let name = args.get(i + 1).map_or("small-routine", String::as_str);
        let row = rows.iter().find(|r| r.name == name).ok_or("no row of that name")?;
        for _ in 0..5 {
            black_box(fold(cluster, row)?);
        }
        return Ok(());
    }
    println!("{} pods, batches of {BATCH}; best of {rounds}", cluster.pods);
    println!(
        "{:<24} {:>8} {:>7} {:>12} {:>12} {:>7} {:>7} {:>6}",
        "stream", "events", "bytes", "events/s", "parse/s", "times", "target", "looks"
    );
    for row in &rows {
        let (mut best, mut reference, mut looks) = (f64::MAX, f64::MAX, 0);
        for _ in 0..rounds {
            reference = reference.min(parse(&row.lines)?);
            let (secs, n) = fold(cluster, row)?;
            (best, looks) = (best.min(secs), n);
        }
        let (n, times) = (row.lines.len(), best / reference);
        let mean = row.lines.iter().map(Vec::len).sum::<usize>() / n;
        println!(
            "{:<24} {n:>8} {mean:>7} {:>12.0} {:>12.0} {times:>6.2}x {:>6.1}x {looks:>6} {}",
            row.name,
            n as f64 / best,
            n as f64 / reference,
            row.at_most,
            if times <= row.at_most { "met" } else { "missed" }
        );
    }
    Ok(())
}

/// Seconds to read the bytes into trees.
fn parse(lines: &[Vec<u8>]) -> Outcome<f64> {
    let start = Instant::now();
    for line in lines {
        black_box(serde_json::from_slice::<serde_json::Value>(line)?);
    }
    Ok(start.elapsed().as_secs_f64())
}

fn prepared(cluster: Cluster, project: bool) -> Outcome<EventProcessor> {
    let mut p = EventProcessor::new(EngineConfig { project, ..EngineConfig::default() });
    let objects: Vec<RawEvent> =
        cluster.objects().iter().map(|l| serde_json::from_slice(l)).collect::<Result<_, _>>()?;
    let dead = p.process(objects).dead;
    if let Some(d) = dead.first() {
        return Err(format!("an object of the bench is unusable: {}", d.reason).into());
    }
    Ok(p)
}

/// Seconds to parse and fold the bytes, and how often the whole was looked at.
fn fold(cluster: Cluster, row: &Row) -> Outcome<(f64, u64)> {
    let mut p = prepared(cluster, row.project)?;
    let before = p.stats().looks;
    let start = Instant::now();
    for chunk in row.lines.chunks(BATCH) {
        let batch: Vec<RawEvent> = chunk.iter().map(|l| serde_json::from_slice(l)).collect::<Result<_, _>>()?;
        black_box(p.process(batch));
    }
    black_box(p.finish());
    let secs = start.elapsed().as_secs_f64();
    let stats = p.stats();
    if stats.dead > 0 || stats.unresolved > 0 {
        return Err(format!("{}: the bench's own events are not all used: {stats:?}", row.name).into());
    }
    Ok((secs, stats.looks - before))
}

/// A long stream at a time, so that only what the engine keeps is in memory.
fn long(count: usize) -> Outcome<()> {
    let cluster = Cluster { pods: 1_000 };
    // The window must be full well before the end, and 1 M events at 500/s are 33 minutes.
    let config = EngineConfig { history_secs: 300, tombstone_secs: 300, ..EngineConfig::default() };
    let mut p = EventProcessor::new(config);
    let objects: Vec<RawEvent> =
        cluster.objects().iter().map(|l| serde_json::from_slice(l)).collect::<Result<_, _>>()?;
    p.process(objects);
    println!("{count} small events at 500/s of stream time, 5 minutes kept");
    println!("{:>9} {:>10} {:>9} {:>8} {:>8} {:>9}", "events", "RSS MiB", "events/s", "nodes", "edges", "buffered");
    let mut start = Instant::now();
    let step = count / 20;
    for begin in (0..count).step_by(BATCH) {
        let batch: Vec<RawEvent> = (begin..(begin + BATCH).min(count))
            .map(|i| serde_json::from_slice(&cluster.small(i, 500, News::Routine)))
            .collect::<Result<_, _>>()?;
        black_box(p.process(batch));
        if begin / step != (begin + BATCH) / step {
            let (nodes, edges, buffered) = p.size();
            let rate = step as f64 / start.elapsed().as_secs_f64();
            let seen = begin + BATCH;
            println!("{seen:>9} {:>10.1} {rate:>9.0} {nodes:>8} {edges:>8} {buffered:>9}", resident_mib());
            start = Instant::now();
        }
    }
    println!("{:?}", p.stats());
    Ok(())
}

/// Resident memory; 0 where the system does not tell.
fn resident_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = status.lines().find_map(|l| l.strip_prefix("VmRSS:")?.trim().split(' ').next()?.parse::<f64>().ok());
    kib.unwrap_or_default() / 1_024.0
}
