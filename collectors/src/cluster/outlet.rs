//! From the watches to where events become durable: one bounded queue, one writer.
//!
//! Who sends waits while the queue is full, and so does the watch behind it, and so does the server: that is the
//! back-pressure. Nothing is dropped on the way. The writer takes what is there, stamps it in the order of the queue,
//! and appends it in one step; room is given back when it is durable.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};
use tapio_core::ports::{BoxFuture, EventLog, LogError, Position};
use tapio_core::raw::{DeadLetter, RawEvent, source};
use tapio_core::time::{SECOND, Time};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::config::Timing;
use super::known::{CONSUMER, VERSION};
use super::stamp::{self, Stamp};
use super::state::State;

/// Messages that may wait for the writer.
pub const QUEUE: usize = 4_096;
/// Payload bytes that may wait for the writer: 16 MiB. One larger message waits until the queue is empty.
pub const QUEUE_BYTES: usize = 16 << 20;
/// Room is counted in blocks of so many bytes.
const BLOCK: usize = 1_024;
/// Messages that are written in one step.
const BATCH: usize = 512;
/// While events come, time is moved on at least this often, so that what they mean is decided soon.
const RESTLESS: i64 = 3 * SECOND;
/// Pauses between attempts to write.
const AGAIN: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// Where events become durable.
pub trait Sink: Send {
    /// Takes the events; they are durable when it is done.
    fn append(&mut self, events: Vec<RawEvent>) -> BoxFuture<'_, Result<Position, LogError>>;
    /// Keeps input that could not be used.
    fn bury(&mut self, letters: Vec<DeadLetter>) -> BoxFuture<'_, Result<(), LogError>>;
    /// Keeps what the collector knows; `cursor`: all up to there is in it.
    fn remember(&mut self, cursor: Position, version: u32, state: Vec<u8>) -> BoxFuture<'_, Result<(), LogError>>;
}

/// The event log as a sink.
pub struct LogSink {
    log: Arc<dyn EventLog>,
    /// Tells whoever reads behind how far the log is.
    appended: watch::Sender<Position>,
}

impl LogSink {
    /// A sink on a log, and where to see how far it is.
    pub fn new(log: Arc<dyn EventLog>, last: Position) -> (Self, watch::Receiver<Position>) {
        let (appended, seen) = watch::channel(last);
        (LogSink::beside(log, appended), seen)
    }

    /// A sink on a log that others append to as well, and tell through the same channel.
    pub fn beside(log: Arc<dyn EventLog>, appended: watch::Sender<Position>) -> Self {
        LogSink { log, appended }
    }
}

impl Sink for LogSink {
    fn append(&mut self, events: Vec<RawEvent>) -> BoxFuture<'_, Result<Position, LogError>> {
        Box::pin(async move {
            let at = self.log.append(events).await?;
            self.appended.send_if_modified(|p| {
                let more = at > *p;
                *p = at.max(*p);
                more
            });
            Ok(at)
        })
    }

    fn bury(&mut self, letters: Vec<DeadLetter>) -> BoxFuture<'_, Result<(), LogError>> {
        self.log.bury(letters)
    }

    fn remember(&mut self, cursor: Position, version: u32, state: Vec<u8>) -> BoxFuture<'_, Result<(), LogError>> {
        self.log.save_checkpoint(CONSUMER, cursor, version, state)
    }
}

/// What goes through the queue.
enum Message {
    Event {
        kind: &'static str,
        metadata: BTreeMap<String, String>,
        data: Box<RawValue>,
    },
    /// What was missed: what, since when, why.
    Gap {
        what: String,
        from: Time,
        reason: String,
    },
    Dead(DeadLetter),
    /// Time stands still from here on.
    Hold,
    /// And goes on.
    Release,
    /// Everything before this is in the sink: keep this with what was known then.
    Remember {
        cursor: Position,
        state: Vec<u8>,
    },
}

struct Queued {
    message: Message,
    _room: OwnedSemaphorePermit,
}

/// The sending end.
#[derive(Clone)]
pub(crate) struct Outlet {
    to: mpsc::Sender<Queued>,
    room: Arc<Semaphore>,
    cluster: Arc<str>,
}

/// The writer is gone: there is nothing to be done any more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Closed;

impl Outlet {
    pub(crate) fn new(cluster: &str) -> (Self, Incoming) {
        let (to, from) = mpsc::channel(QUEUE);
        let room = Arc::new(Semaphore::new(QUEUE_BYTES / BLOCK));
        (Outlet { to, room, cluster: cluster.into() }, Incoming(from))
    }

    async fn put(&self, bytes: usize, message: Message) -> Result<(), Closed> {
        let blocks = (bytes / BLOCK + 1).min(QUEUE_BYTES / BLOCK);
        let blocks = u32::try_from(blocks).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).acquire_many_owned(blocks).await.map_err(|_| Closed)?;
        self.to.send(Queued { message, _room: room }).await.map_err(|_| Closed)
    }

    /// The metadata of every event.
    pub(crate) fn metadata(&self) -> BTreeMap<String, String> {
        BTreeMap::from([("cluster".to_owned(), self.cluster.to_string())])
    }

    /// Sends an event; waits while the queue is full.
    pub(crate) async fn event(&self, kind: &'static str, data: Box<RawValue>) -> Result<(), Closed> {
        self.event_with(kind, self.metadata(), data).await
    }

    /// Sends an event with metadata of its own.
    pub(crate) async fn event_with(
        &self,
        kind: &'static str,
        metadata: BTreeMap<String, String>,
        data: Box<RawValue>,
    ) -> Result<(), Closed> {
        self.put(data.get().len(), Message::Event { kind, metadata, data }).await
    }

    /// Says that something was missed since `from`.
    pub(crate) async fn gap(
        &self,
        what: impl Into<String>,
        from: Time,
        reason: impl Into<String>,
    ) -> Result<(), Closed> {
        self.put(0, Message::Gap { what: what.into(), from, reason: reason.into() }).await
    }

    pub(crate) async fn dead(&self, letter: DeadLetter) -> Result<(), Closed> {
        self.put(letter.excerpt.len(), Message::Dead(letter)).await
    }

    pub(crate) async fn hold(&self) -> Result<(), Closed> {
        self.put(0, Message::Hold).await
    }

    pub(crate) async fn release(&self) -> Result<(), Closed> {
        self.put(0, Message::Release).await
    }

    pub(crate) async fn remember(&self, cursor: Position, state: Vec<u8>) -> Result<(), Closed> {
        self.put(state.len(), Message::Remember { cursor, state }).await
    }
}

/// The receiving end.
pub(crate) struct Incoming(mpsc::Receiver<Queued>);

/// The writer.
pub(crate) struct Writer<S> {
    pub(crate) sink: S,
    pub(crate) stamp: Stamp,
    pub(crate) timing: Timing,
    pub(crate) cluster: String,
    pub(crate) state: Arc<State>,
    /// When time should be moved on, if nothing else does.
    beat: Instant,
    /// The last stamp of something that may mean anything.
    news: i64,
}

impl<S: Sink> Writer<S> {
    pub(crate) fn new(sink: S, stamp: Stamp, timing: Timing, cluster: &str, state: Arc<State>) -> Self {
        Writer { sink, stamp, timing, cluster: cluster.to_owned(), state, beat: Instant::now(), news: 0 }
    }

    /// Writes until every sender is gone.
    pub(crate) async fn run(mut self, mut from: Incoming) -> Result<(), LogError> {
        let mut batch = Vec::with_capacity(BATCH);
        let state = Arc::clone(&self.state);
        loop {
            tokio::select! {
                biased;
                n = from.0.recv_many(&mut batch, BATCH) => {
                    if n == 0 {
                        return Ok(());
                    }
                    self.write(&mut batch).await?;
                }
                () = state.stirred() => self.stirred(),
                () = sleep_until(self.beat) => self.heartbeat().await?,
            }
        }
    }

    /// Others have written to the same log.
    fn stirred(&mut self) {
        self.news = self.now().micros();
        self.plan(self.news);
    }

    async fn write(&mut self, batch: &mut Vec<Queued>) -> Result<(), LogError> {
        let mut events = Vec::with_capacity(batch.len());
        let mut letters = Vec::new();
        let mut rooms = Vec::with_capacity(batch.len());
        for Queued { message, _room } in batch.drain(..) {
            rooms.push(_room);
            match message {
                Message::Event { kind, metadata, data } => events.push(self.stamped(kind, metadata, data)),
                Message::Gap { what, from, reason } => {
                    let to = self.now();
                    let data =
                        json!({"source": source::CLUSTER, "what": what, "from": from, "to": to, "reason": reason});
                    if let Ok(data) = to_raw_value(&data) {
                        events.push(self.stamped("Gap", self.metadata(), data));
                    }
                }
                Message::Dead(letter) => letters.push(letter),
                Message::Hold => self.stamp.hold(self.state.connection.clock_ahead()),
                Message::Release => {
                    self.flush(&mut events, &mut letters).await?;
                    self.stamp.release();
                    self.state.set_synced();
                }
                Message::Remember { cursor, state } => {
                    self.flush(&mut events, &mut letters).await?;
                    // Not worth an end: the log can be read from further back.
                    if let Err(e) = self.sink.remember(cursor, VERSION, state).await {
                        self.state.note(format!("what the collector knows could not be saved: {e}"));
                    }
                }
            }
        }
        self.flush(&mut events, &mut letters).await
    }

    /// Brings everything into the sink, however long it takes.
    async fn flush(&mut self, events: &mut Vec<RawEvent>, letters: &mut Vec<DeadLetter>) -> Result<(), LogError> {
        if !letters.is_empty() {
            self.state.counts.dead_letters.fetch_add(letters.len() as u64, Ordering::Relaxed);
            let letters = std::mem::take(letters);
            if let Err(e) = self.sink.bury(letters).await {
                self.state.note(format!("input that could not be used could not be kept: {e}"));
            }
        }
        if events.is_empty() {
            return Ok(());
        }
        let newest = events.last().map_or(0, |e| e.timestamp.micros());
        if events.iter().any(|e| e.kind != "Heartbeat") {
            self.news = newest;
        }
        let n = events.len() as u64;
        let mut pause = AGAIN.0;
        loop {
            // Kept until it is durable: a failed append may be tried again.
            match self.sink.append(events.clone()).await {
                Ok(at) => {
                    self.state.appended(at, n);
                    events.clear();
                    break;
                }
                Err(e @ (LogError::Busy { .. } | LogError::Full { .. } | LogError::Other { .. })) => {
                    self.state.note(format!("{e}; waiting, nothing is lost meanwhile"));
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(AGAIN.1);
                }
                Err(e) => return Err(e),
            }
        }
        self.plan(newest);
        Ok(())
    }

    /// When the next heartbeat is due: soon after the second in which something happened is over, else in a while.
    fn plan(&mut self, newest: i64) {
        let now = self.now().micros();
        let wait = if newest - self.news < RESTLESS {
            let second = (newest.div_euclid(SECOND) + 1) * SECOND + 1_000;
            Duration::from_micros(u64::try_from(second - now).unwrap_or(0))
        } else {
            self.timing.heartbeat
        };
        self.beat = Instant::now() + wait.min(self.timing.heartbeat);
    }

    async fn heartbeat(&mut self) -> Result<(), LogError> {
        self.beat = Instant::now() + self.timing.heartbeat;
        // A blind collector cannot say that nothing happened.
        if self.stamp.is_held() || !self.state.reach.is_up() {
            return Ok(());
        }
        let Ok(data) = to_raw_value(&json!({})) else { return Ok(()) };
        let mut events = vec![self.stamped("Heartbeat", self.metadata(), data)];
        self.flush(&mut events, &mut Vec::new()).await
    }

    fn now(&self) -> Time {
        stamp::now().plus(self.state.connection.clock_ahead())
    }

    fn metadata(&self) -> BTreeMap<String, String> {
        BTreeMap::from([("cluster".to_owned(), self.cluster.clone())])
    }

    fn stamped(&mut self, kind: &str, metadata: BTreeMap<String, String>, data: Box<RawValue>) -> RawEvent {
        RawEvent {
            timestamp: self.stamp.next(self.state.connection.clock_ahead()),
            observed_at: None,
            kind: kind.to_owned(),
            source: source::CLUSTER.to_owned(),
            metadata,
            data,
        }
    }
}
