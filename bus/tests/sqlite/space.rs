//! Space: a full disk, bounded queues, and a file that does not grow for ever.

use std::fs;
use std::path::Path;
use std::process::Command;

use tapio_bus::log::sqlite::{QUEUE_BYTES, SqliteConfig, SqliteLog};
use tapio_core::ports::{EventLog, LogError, Position, Retention};
use tapio_core::time::Time;

use super::fixture::*;

const EVERYTHING: Retention = Retention { max_age_secs: 1, max_bytes: 0 };

fn size(path: &Path) -> u64 {
    fs::metadata(path).unwrap().len()
}

#[test]
fn a_full_file_refuses_appends_loses_nothing_and_takes_them_again_after_retention() {
    let (_folder, path) = place();
    let config = SqliteConfig { max_file_bytes: 2 << 20, ..SqliteConfig::default() };
    let log = SqliteLog::open(&path, config).unwrap();
    let mut last = Position(0);
    let error = loop {
        match wait(log.append(sized(100, 1_000))) {
            Ok(position) => last = position,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, LogError::Full { .. }), "{error}");
    assert!(last.0 > 1_000);
    assert_eq!(wait(log.stats()).unwrap().last, last);
    assert_eq!(read_all(&log, Position(0)).len() as u64, last.0);
    assert!(size(&path) <= 2 << 20);

    // What frees space must work without any.
    wait(log.commit("engine", last)).unwrap();
    assert_eq!(wait(log.retain(EVERYTHING, Time::MAX)).unwrap(), last.0);
    assert_eq!(wait(log.append(sized(100, 1_000))).unwrap(), Position(last.0 + 100));
}

#[test]
fn in_a_full_file_a_small_append_is_not_refused_for_the_large_one_beside_it() {
    let (_folder, path) = place();
    let config = SqliteConfig { max_file_bytes: 1 << 20, group_max_wait_micros: 20_000, ..SqliteConfig::default() };
    let log = SqliteLog::open(&path, config).unwrap();
    wait(async {
        let (large, small) = tokio::join!(log.append(sized(2_000, 1_000)), log.append(sized(1, 10)));
        assert!(matches!(large, Err(LogError::Full { .. })));
        assert_eq!(small.unwrap(), Position(1));
    });
}

#[test]
#[ignore = "the child of a test; its files cannot grow beyond a limit of the system"]
fn appends_until_the_system_refuses() {
    let log = open(&child_log());
    let mut acknowledged = 0;
    let error = loop {
        match wait(log.append(sized(50, 1_000))) {
            Ok(position) => acknowledged = position.0,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, LogError::Full { .. }), "{error}");
    assert!(matches!(wait(log.append(sized(5_000, 1_000))), Err(LogError::Full { .. })));
    assert_eq!(read_all(&log, Position(0)).len() as u64, acknowledged);
    println!("\nacknowledged {acknowledged}");
}

#[test]
fn a_write_that_the_system_refuses_is_full_and_loses_nothing() {
    let (_folder, path) = place();
    // The limit's signal is ignored, so that the write fails as it does on a full disk.
    let output = Command::new("sh")
        .args(["-c", r#"trap "" XFSZ; ulimit -f 8192; exec "$0" "$@""#])
        .arg(std::env::current_exe().unwrap())
        .args(only("space::appends_until_the_system_refuses"))
        .env(CHILD_LOG, &path)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text} {}", String::from_utf8_lossy(&output.stderr));
    let acknowledged: u64 = text.lines().find_map(|line| line.strip_prefix("acknowledged ")).unwrap().parse().unwrap();
    assert!(acknowledged > 0);
    let log = open(&path);
    assert_eq!(read_all(&log, Position(0)).len() as u64, acknowledged);
    assert_eq!(wait(log.append(sized(1, 10))).unwrap(), Position(acknowledged + 1));
}

#[test]
fn the_queue_is_bounded_and_what_is_queued_is_written_though_nobody_waits_for_it() {
    let (_folder, path) = place();
    let log = open(&path);
    let blocker = sqlite(&path);
    blocker.execute_batch("BEGIN IMMEDIATE").unwrap();
    let offered = 2 * QUEUE_BYTES / 1_000_000;
    wait(async {
        let mut appends: Vec<_> = (0..offered).map(|_| log.append(sized(1, 1_000_000))).collect();
        for append in &mut appends {
            let first_step = std::future::poll_fn(|context| std::task::Poll::Ready(append.as_mut().poll(context)));
            assert!(first_step.await.is_pending());
        }
    });
    blocker.execute_batch("COMMIT").unwrap();
    let last = wait(log.append(sized(1, 10))).unwrap().0;
    let taken = usize::try_from(last).unwrap() - 1;
    assert_eq!(taken, QUEUE_BYTES / 1_024 / 1_000_200_usize.div_ceil(1_024));
}

#[test]
fn under_steady_retention_neither_the_file_nor_the_wal_grows_and_the_count_is_exact() {
    let (folder, path) = place();
    let log = open(&path);
    let bound = Retention { max_age_secs: 0, max_bytes: 4 << 20 };
    let (mut largest, mut dropped) = (0, 0);
    for round in 0..60 {
        let last = wait(log.append(sized(1_000, 1_000))).unwrap();
        wait(log.commit("engine", last)).unwrap();
        dropped += wait(log.retain(bound, Time::MAX)).unwrap();
        if round >= 20 {
            largest = largest.max(size(&path)).max(size(&folder.path().join("log.db-wal")));
        }
    }
    // Six times what is kept went through; the WAL holds 16 MiB between two foldings.
    assert!(largest < 24 << 20, "a file grew to {largest} bytes");
    let stats = wait(log.stats()).unwrap();
    assert_eq!(stats.last.0 - stats.first.0 + 1 + dropped, 60_000);
    assert_eq!(dropped + 1, stats.first.0);
    let bytes: i64 = sqlite(&path).query_row("SELECT sum(length(event)) FROM records", [], |row| row.get(0)).unwrap();
    assert_eq!(stats.bytes, bytes as u64);
}

#[test]
fn after_a_flood_the_file_shrinks() {
    let (_folder, path) = place();
    let log = open(&path);
    let last = wait(log.append(sized(25_000, 1_000))).unwrap();
    wait(log.commit("engine", last)).unwrap();
    assert_eq!(wait(log.retain(EVERYTHING, Time::MAX)).unwrap(), 25_000, "in more than one step");
    drop(log);
    assert!(size(&path) < 1 << 20, "{} bytes are left", size(&path));
    let log = open(&path);
    assert_eq!(wait(log.append(sized(1, 10))).unwrap(), Position(25_001));
}

#[test]
fn a_consumer_that_is_forgotten_holds_nothing_any_more() {
    let (_folder, path) = place();
    let log = open(&path);
    wait(log.append(sized(10, 100))).unwrap();
    wait(log.commit("engine", Position(10))).unwrap();
    wait(log.save_checkpoint("retired", Position(2), 1, vec![1])).unwrap();
    assert_eq!(wait(log.retain(EVERYTHING, Time::MAX)).unwrap(), 2);
    wait(log.forget_consumer("retired")).unwrap();
    wait(log.forget_consumer("never known")).unwrap();
    assert_eq!(wait(log.load_checkpoint("retired")).unwrap(), None);
    assert_eq!(wait(log.retain(EVERYTHING, Time::MAX)).unwrap(), 8);
}
