//! The backends under test, and what the cases need to talk to them.

use std::error::Error;
use std::sync::Arc;

use tapio_bus::log::sqlite::{SqliteConfig, SqliteLog};
use tapio_core::ports::{EventLog, Position, Record};
use tapio_core::raw::{DeadLetter, RawEvent};

pub(crate) type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// A kind of event log.
pub(crate) trait Backend: Send + Sync {
    /// As it is called in the configuration.
    fn name(&self) -> &'static str;
    /// Why it cannot be tested here, if so.
    fn missing(&self) -> Option<String>;
    /// A place of its own for one case: a fresh file, stream or topic that goes with the value.
    fn place(&self) -> Outcome<Box<dyn Place>>;
}

/// Where a log is kept.
pub(crate) trait Place: Send + Sync {
    /// Opens the log; what an earlier opening left is there.
    fn open(&self) -> Outcome<Arc<dyn EventLog>>;
}

/// All backends, those that are not there as well.
pub(crate) fn backends() -> Vec<Box<dyn Backend>> {
    vec![Box::new(Sqlite), Box::new(Planned("jetstream")), Box::new(Planned("kafka"))]
}

struct Sqlite;

impl Backend for Sqlite {
    fn name(&self) -> &'static str {
        "sqlite"
    }

    fn missing(&self) -> Option<String> {
        None
    }

    fn place(&self) -> Outcome<Box<dyn Place>> {
        Ok(Box::new(Folder(tempfile::tempdir()?)))
    }
}

struct Folder(tempfile::TempDir);

impl Place for Folder {
    fn open(&self) -> Outcome<Arc<dyn EventLog>> {
        Ok(Arc::new(SqliteLog::open(self.0.path().join("log.db"), SqliteConfig::default())?))
    }
}

/// A backend that has no code yet.
struct Planned(&'static str);

impl Backend for Planned {
    fn name(&self) -> &'static str {
        self.0
    }

    fn missing(&self) -> Option<String> {
        Some("not built yet".into())
    }

    fn place(&self) -> Outcome<Box<dyn Place>> {
        Err("not built yet".into())
    }
}

/// A record that says which one it is.
pub(crate) fn event(number: u64) -> RawEvent {
    event_with(&format!(r#"{{"number":{number}}}"#))
}

/// A record with this JSON as its payload.
pub(crate) fn event_with(data: &str) -> RawEvent {
    let text = format!(
        r#"{{"timestamp":"2024-01-15T10:30:00.123456Z","observed_at":"2024-01-15T10:30:00.2Z","type":"PodStatusUpdate",
            "source":"kubelet_collector","metadata":{{"node":"node-1"}},"data":{data}}}"#
    );
    serde_json::from_str(&text).expect("a valid event")
}

/// Records `from` to `to`, both included.
pub(crate) fn events(from: u64, to: u64) -> Vec<RawEvent> {
    (from..=to).map(event).collect()
}

pub(crate) fn letter(number: u64) -> DeadLetter {
    DeadLetter {
        origin: "dump/events.jsonl".into(),
        line: (!number.is_multiple_of(2)).then_some(number),
        reason: format!("reason {number}"),
        excerpt: format!("{{broken {number}"),
    }
}

/// Everything after `cursor`, page by page, as a consumer reads it.
pub(crate) async fn read_all(log: &dyn EventLog, cursor: Position, page: usize) -> Outcome<Vec<Record>> {
    let (mut all, mut cursor) = (Vec::<Record>::new(), cursor);
    loop {
        let records = log.read(cursor, page).await?;
        let Some(last) = records.last() else { return Ok(all) };
        check(records.len() <= page, || format!("{} records in a page of {page}", records.len()))?;
        cursor = last.position;
        all.extend(records);
    }
}

/// Fails with `what` unless it holds.
pub(crate) fn check(holds: bool, what: impl FnOnce() -> String) -> Outcome {
    if holds { Ok(()) } else { Err(what().into()) }
}

/// Fails unless both are equal.
pub(crate) fn equal<T: PartialEq + std::fmt::Debug>(found: T, expected: T) -> Outcome {
    check(found == expected, || format!("found {found:?}, expected {expected:?}"))
}

/// The payloads, for comparing.
pub(crate) fn payloads(records: &[Record]) -> Vec<String> {
    records.iter().map(|record| record.event.data.get().to_owned()).collect()
}

/// The positions, for comparing.
pub(crate) fn positions(records: &[Record]) -> Vec<u64> {
    records.iter().map(|record| record.position.0).collect()
}
