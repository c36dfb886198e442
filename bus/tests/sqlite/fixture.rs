//! Records, futures without a runtime of the caller, and children: this test binary run again as another process.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::Command;

use tapio_bus::log::sqlite::{SqliteConfig, SqliteLog};
use tapio_core::ports::{EventLog, LogError, Position, Record};
use tapio_core::raw::RawEvent;
use tempfile::TempDir;

/// Names the log to a child; a child's test does nothing without it.
pub(crate) const CHILD_LOG: &str = "TAPIO_TEST_CHILD_LOG";

pub(crate) fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// A folder of its own and the path of a log in it.
pub(crate) fn place() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.db");
    (folder, path)
}

pub(crate) fn open(path: &Path) -> SqliteLog {
    SqliteLog::open(path, SqliteConfig::default()).unwrap()
}

/// The error of an opening that must fail.
pub(crate) fn refused(path: &Path) -> LogError {
    let config = SqliteConfig { busy_timeout_millis: 50, ..SqliteConfig::default() };
    match SqliteLog::open(path, config) {
        Ok(_) => panic!("{} was opened", path.display()),
        Err(error) => error,
    }
}

pub(crate) fn event(data: &str) -> RawEvent {
    let text = format!(
        r#"{{"timestamp":"2024-01-15T10:30:00Z","type":"ContainerLog","source":"kubelet_collector","data":{data}}}"#
    );
    serde_json::from_str(&text).unwrap()
}

/// `count` records whose payload is about `bytes` long.
pub(crate) fn sized(count: usize, bytes: usize) -> Vec<RawEvent> {
    let data = format!(r#"{{"text":"{}"}}"#, "x".repeat(bytes));
    (0..count).map(|_| event(&data)).collect()
}

pub(crate) fn read_all(log: &SqliteLog, mut cursor: Position) -> Vec<Record> {
    let mut all = Vec::<Record>::new();
    loop {
        let records = wait(log.read(cursor, 1_000)).unwrap();
        let Some(last) = records.last() else { return all };
        cursor = last.position;
        all.extend(records);
    }
}

/// Looks into the file, or changes it, past the log.
pub(crate) fn sqlite(path: &Path) -> rusqlite::Connection {
    rusqlite::Connection::open(path).unwrap()
}

/// Arguments with which this binary runs one ignored test and shows its output.
pub(crate) fn only(test: &str) -> [String; 4] {
    ["--exact".into(), test.into(), "--ignored".into(), "--nocapture".into()]
}

/// This binary as a child process that runs the ignored test `test` on the log at `path`.
pub(crate) fn child(test: &str, path: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(only(test)).env(CHILD_LOG, path);
    command
}

/// The log that a child was told to use.
pub(crate) fn child_log() -> PathBuf {
    PathBuf::from(std::env::var_os(CHILD_LOG).expect("runs only as the child of another test"))
}
