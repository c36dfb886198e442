//! A living cluster into a file: the same collector with another right end.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tapio_collectors::cluster::{ClusterCollector, Sink};
use tapio_collectors::recording::Writer;
use tapio_collectors::redaction::Redaction;
use tapio_core::ports::{BoxFuture, LogError, Position};
use tapio_core::raw::{DeadLetter, RawEvent};
use tapio_core::time::Time;
use tokio::sync::oneshot;

use super::source::{Source, runtime};
use crate::args::Cluster;
use crate::cmd::Session;
use crate::error::{Failure, Outcome};
use crate::wire::new_key;

/// Between two looks at whether it is over.
const LOOK: Duration = Duration::from_millis(100);

/// A recording as a sink.
struct Recorder {
    /// None once it was ended.
    writer: Option<Writer>,
    path: PathBuf,
    events: Arc<AtomicU64>,
}

impl Recorder {
    fn cannot(&self, e: &std::io::Error) -> LogError {
        // A recording that breaks off must not go on behind a hole: no error of a file is tried again.
        LogError::ReadOnly { place: self.path.display().to_string(), why: e.to_string() }
    }

    fn write(&mut self, events: &[RawEvent]) -> Result<Position, LogError> {
        let Some(writer) = &mut self.writer else { return Ok(Position(0)) };
        let written = events.iter().try_for_each(|e| writer.write(e)).and_then(|()| writer.flush());
        written.map_err(|e| self.cannot(&e))?;
        let n = self.events.fetch_add(events.len() as u64, Ordering::Relaxed) + events.len() as u64;
        Ok(Position(n))
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        // What was flushed can be read in any case; a file that was ended reads without a complaint.
        let _ = self.writer.take().map(Writer::finish);
    }
}

impl Sink for Recorder {
    fn append(&mut self, events: Vec<RawEvent>) -> BoxFuture<'_, Result<Position, LogError>> {
        let done = self.write(&events);
        Box::pin(async move { done })
    }

    fn bury(&mut self, _: Vec<DeadLetter>) -> BoxFuture<'_, Result<(), LogError>> {
        // A recording has no place for them; they are counted by the collector.
        Box::pin(async { Ok(()) })
    }

    fn remember(&mut self, _: Position, _: u32, _: Vec<u8>) -> BoxFuture<'_, Result<(), LogError>> {
        Box::pin(async { Ok(()) })
    }
}

/// `tapio-CONTEXT-TIME.jsonl.zst`.
pub(crate) fn default_recording(context: &str) -> PathBuf {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') { c } else { '_' };
    let context: String = context.chars().map(plain).take(60).collect();
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let now = Time::from_micros(i64::try_from(since.as_secs()).unwrap_or(0) * tapio_core::time::SECOND);
    PathBuf::from(format!("tapio-{context}-{}.jsonl.zst", now.to_string().replace(':', "")))
}

/// Records until `over`; the file and how many events are in it.
pub(crate) fn record(
    session: &Session,
    cluster: &Cluster,
    name: Option<&str>,
    path: impl FnOnce(&str) -> PathBuf,
    over: &dyn Fn() -> bool,
) -> Outcome<(PathBuf, usize)> {
    let runtime = runtime()?;
    let source = Source::open(session, &runtime, cluster, name)?;
    let path = path(source.connection.context());
    let writer =
        Writer::create(&path).map_err(|e| Failure::Unreachable(format!("cannot write {}: {e}", path.display())))?;
    session.note(&format!("recording {} ({}) to {}", source.title(), source.version, path.display()));
    let events = Arc::new(AtomicU64::new(0));
    let recorder = Recorder { writer: Some(writer), path: path.clone(), events: Arc::clone(&events) };
    let redaction = Redaction::with_key(new_key()?);
    let connection = Arc::clone(&source.connection);
    let collector = ClusterCollector::new(connection, &source.name, source.config, redaction, Position(0));
    let state = collector.state();
    let (stop, stopped) = oneshot::channel::<()>();
    let mut stop = Some(stop);
    let mut running = runtime.spawn(collector.run(recorder, async move {
        let _ = stopped.await;
    }));
    let mut said = false;
    while !running.is_finished() {
        if over() {
            stop = None;
        }
        for note in state.take_notes() {
            session.note(&note);
        }
        if let Some(millis) = state.synced_after_millis().filter(|_| !said) {
            said = true;
            session.note(&format!("first lists took {millis} ms, {} events so far", events.load(Ordering::Relaxed)));
        }
        // Made inside, where the runtime is known.
        runtime.block_on(async { tokio::time::sleep(LOOK).await });
    }
    drop(stop);
    let ended = runtime.block_on(&mut running);
    ended.map_err(|e| Failure::Unreachable(format!("the collector ended with a defect of tapio: {e}")))??;
    let dead = state.counts.dead_letters.load(Ordering::Relaxed);
    if dead > 0 {
        session.note(&format!("{dead} pieces could not be used and are not in the recording"));
    }
    Ok((path, usize::try_from(events.load(Ordering::Relaxed)).unwrap_or(usize::MAX)))
}
