//! How fast records become durable in the event log, and how fast they are read, next to a plain file that takes the
//! same bytes in the same groups with one fdatasync each.
//!
//! `cargo bench -p tapio-bus --bench log`; `TAPIO_BENCH_DIR` chooses the disk, `TAPIO_BENCH_SECONDS` (default 3) how
//! long each row takes. The figures depend on the disk's fsync before all else, hence the reference beside them.

use std::error::Error;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tapio_bus::log::sqlite::{SqliteConfig, SqliteLog};
use tapio_core::ports::{EventLog, Position};
use tapio_core::raw::RawEvent;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const PRODUCERS: usize = 4;

fn main() -> Outcome<()> {
    let base = std::env::var_os("TAPIO_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let seconds = std::env::var("TAPIO_BENCH_SECONDS").ok().map_or(Ok(3.0), |text| text.parse())?;
    let time = Duration::from_secs_f64(seconds);
    let folder = tempfile::tempdir_in(base)?;
    let size = serde_json::to_vec(&event(0)?)?.len();
    println!("records of {size} bytes, {PRODUCERS} producers, {seconds} s a row");
    println!(
        "{:>6} {:>10} {:>14} {:>12} {:>14} {:>14}",
        "batch", "wait µs", "records/s", "acks/s", "file records/s", "read/s"
    );
    for (batch, wait) in [(1, 0), (1, 200), (100, 0), (100, 200), (1_000, 0)] {
        let path = folder.path().join(format!("log-{batch}-{wait}.db"));
        let row = measure(&path, batch, wait, time)?;
        // The reference appends in groups as large as the log's were, unknown to it: at best all producers together.
        let file = reference(&folder.path().join("reference"), batch * PRODUCERS, time)?;
        println!("{batch:>6} {wait:>10} {:>14.0} {:>12.0} {file:>14.0} {:>14.0}", row.written, row.acks, row.read);
        let bytes = std::fs::metadata(&path)?.len();
        let checked = opening(&path, SqliteConfig { check_max_bytes: u64::MAX, ..SqliteConfig::default() })?;
        let unchecked = opening(&path, SqliteConfig { check_max_bytes: 0, ..SqliteConfig::default() })?;
        println!("{:>17} file of {} MiB opens in {checked:.1?}, unchecked in {unchecked:.1?}", "", bytes >> 20);
        std::fs::remove_file(&path)?;
    }
    Ok(())
}

fn opening(path: &Path, config: SqliteConfig) -> Outcome<Duration> {
    let start = Instant::now();
    let log = SqliteLog::open(path, config)?;
    let took = start.elapsed();
    drop(log);
    Ok(took)
}

struct Row {
    written: f64,
    acks: f64,
    read: f64,
}

fn measure(path: &Path, batch: usize, wait: u64, time: Duration) -> Outcome<Row> {
    let config = SqliteConfig { group_max_wait_micros: wait, ..SqliteConfig::default() };
    let log = SqliteLog::open(path, config)?;
    let acks = AtomicU64::new(0);
    let start = Instant::now();
    std::thread::scope(|scope| {
        let producers: Vec<_> =
            (0..PRODUCERS).map(|_| scope.spawn(|| produce(&log, batch, start, time, &acks))).collect();
        producers.into_iter().try_for_each(|p| p.join().map_err(|_| "a producer panicked")?)
    })?;
    let took = start.elapsed().as_secs_f64();
    let acks = acks.into_inner() as f64;

    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let (mut cursor, mut read) = (Position(0), 0_usize);
    let start = Instant::now();
    while start.elapsed() < time {
        let records = runtime.block_on(log.read(cursor, 1_000))?;
        read += records.len();
        cursor = records.last().map_or(Position(0), |record| record.position);
    }
    Ok(Row {
        written: acks * batch as f64 / took,
        acks: acks / took,
        read: read as f64 / start.elapsed().as_secs_f64(),
    })
}

fn produce(log: &SqliteLog, batch: usize, start: Instant, time: Duration, acks: &AtomicU64) -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let events: Vec<RawEvent> = (0..batch).map(event).collect::<Outcome<_>>()?;
    while start.elapsed() < time {
        runtime.block_on(log.append(events.clone()))?;
        acks.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// Records a second into a plain file, with one fdatasync a group.
fn reference(path: &Path, group: usize, time: Duration) -> Outcome<f64> {
    let mut bytes = Vec::new();
    for number in 0..group {
        serde_json::to_writer(&mut bytes, &event(number)?)?;
    }
    let mut file = File::create(path)?;
    let (start, mut groups) = (Instant::now(), 0_u64);
    while start.elapsed() < time {
        file.write_all(&bytes)?;
        file.sync_data()?;
        groups += 1;
    }
    Ok((groups as usize * group) as f64 / start.elapsed().as_secs_f64())
}

fn event(number: usize) -> Outcome<RawEvent> {
    let text = format!(
        r#"{{"timestamp":"2024-01-15T10:30:00.123456Z","type":"PodStatusUpdate","source":"kubelet_collector",
            "metadata":{{"node":"node-1","cluster":"prod-west"}},
            "data":{{"pod":"frontend-5d4b5c6d7-{number:05}","namespace":"production","phase":"Failed","reason":"OOMKilled","containers":[{{"name":"nginx","restartCount":3,"exitCode":137}}]}}}}"#
    );
    Ok(serde_json::from_str(&text)?)
}
