//! From a collector of a node to where its events become durable.
//!
//! Such a collector looks, tells, and waits until what it told is durable before it looks again: that is all the queue
//! there is, and all the back-pressure. An append that fails for a while is tried again for as long as it takes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;
use serde_json::json;
use tapio_core::ports::LogError;
use tapio_core::raw::{DeadLetter, RawEvent};
use tapio_core::time::Time;

use crate::cluster::Sink;
use crate::redaction::Redaction;
use crate::stamp::{self, Stamp};

/// Events that are told before they are brought away.
const FULL: usize = 256;
/// Pauses between attempts to write.
const AGAIN: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// Time for the last write, when somebody has asked for the end.
const LAST: Duration = Duration::from_secs(5);

/// How far the cluster's clock is ahead of this node's. Whoever learns it (from the answers of a server) sets it; all
/// collectors of the node that share it stamp their events with the cluster's time.
#[derive(Clone, Debug, Default)]
pub struct Clock(Arc<AtomicI64>);

impl Clock {
    /// Microseconds by which the cluster's clock is ahead; negative: behind.
    pub fn set_ahead(&self, micros: i64) {
        self.0.store(micros, Ordering::Relaxed);
    }

    /// The same, to be read.
    pub fn ahead(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Now, by the cluster's clock.
    pub(crate) fn now(&self) -> Time {
        stamp::now().plus(self.ahead())
    }
}

/// Whoever wants to know how the writing goes.
pub(crate) trait Notes: Send + Sync {
    /// A remark for people.
    fn note(&self, text: String);
    /// Counts events that are durable, and input that could not be used.
    fn counts(&self) -> (&AtomicU64, &AtomicU64);
}

/// The sending end of one collector.
pub(crate) struct Feed<S> {
    sink: S,
    stamp: Stamp,
    pub(crate) clock: Clock,
    source: &'static str,
    metadata: BTreeMap<String, String>,
    redaction: Redaction,
    events: Vec<RawEvent>,
    letters: Vec<DeadLetter>,
    notes: Arc<dyn Notes>,
    told_at: Option<Time>,
}

impl<S: Sink> Feed<S> {
    pub(crate) fn new(
        sink: S,
        source: &'static str,
        cluster: &str,
        node: &str,
        redaction: Redaction,
        clock: Clock,
        notes: Arc<dyn Notes>,
    ) -> Self {
        let metadata = [("cluster", cluster), ("node", node)].map(|(k, v)| (k.to_owned(), v.to_owned()));
        Feed {
            sink,
            stamp: Stamp::default(),
            clock,
            source,
            metadata: BTreeMap::from(metadata),
            redaction,
            events: Vec::new(),
            letters: Vec::new(),
            notes,
            told_at: None,
        }
    }

    /// Tells something that was so at `at`; `uid` is the pod's, where it is about one.
    pub(crate) fn tell(&mut self, kind: &str, uid: &str, at: Time, data: &impl Serialize) {
        let redacted = serde_json::to_string(data).ok().and_then(|json| self.redaction.payload(&json, kind).ok());
        // What a collector makes itself is JSON, and so is what becomes of it.
        let Some(data) = redacted else { return };
        let mut metadata = self.metadata.clone();
        if !uid.is_empty() {
            metadata.insert("pod_uid".to_owned(), uid.to_owned());
        }
        let timestamp = self.stamp.of(at);
        self.told_at = Some(timestamp);
        let (kind, source) = (kind.to_owned(), self.source.to_owned());
        self.events.push(RawEvent { timestamp, observed_at: None, kind, source, metadata, data });
    }

    /// Tells of a time that was not seen.
    pub(crate) fn gap(&mut self, what: &str, from: Time, to: Time, reason: &str) {
        let data = json!({"source": self.source, "what": what, "from": from, "to": to, "reason": reason});
        self.tell("Gap", "", to, &data);
    }

    /// Says that nothing happened, where nothing was told for so long.
    pub(crate) fn heartbeat(&mut self, after: Duration) {
        let now = self.clock.now();
        let pause = i64::try_from(after.as_micros()).unwrap_or(i64::MAX);
        if self.told_at.is_none_or(|t| now.since(t) >= pause) {
            self.tell("Heartbeat", "", now, &json!({}));
        }
    }

    /// Keeps input that cannot be used.
    pub(crate) fn dead(&mut self, reason: String, input: &[u8]) {
        let excerpt = self.redaction.excerpt(input);
        self.letters.push(DeadLetter { origin: self.source.to_owned(), line: None, reason, excerpt });
    }

    /// Brings everything away where much has come together.
    pub(crate) async fn ease(&mut self) -> Result<(), LogError> {
        if self.events.len() >= FULL { self.flush().await } else { Ok(()) }
    }

    /// Brings everything into the sink, however long it takes. Dropping the future loses nothing: what may not be
    /// durable is written again.
    pub(crate) async fn flush(&mut self) -> Result<(), LogError> {
        let (events, dead) = self.notes.counts();
        if !self.letters.is_empty() {
            dead.fetch_add(self.letters.len() as u64, Ordering::Relaxed);
            let letters = std::mem::take(&mut self.letters);
            if let Err(e) = self.sink.bury(letters).await {
                self.notes.note(format!("input that could not be used could not be kept: {e}"));
            }
        }
        let mut pause = AGAIN.0;
        while !self.events.is_empty() {
            match self.sink.append(self.events.clone()).await {
                Ok(_) => {
                    events.fetch_add(self.events.len() as u64, Ordering::Relaxed);
                    self.events.clear();
                }
                Err(e @ (LogError::Busy { .. } | LogError::Full { .. } | LogError::Other { .. })) => {
                    self.notes.note(format!("{e}; waiting, nothing is lost meanwhile"));
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(AGAIN.1);
                }
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// The last write. One that hangs does not keep the process from ending, and is said.
    pub(crate) async fn close(mut self) -> Result<(), LogError> {
        match tokio::time::timeout(LAST, self.flush()).await {
            Ok(done) => done,
            Err(_) => {
                let n = self.events.len();
                let why = format!("{n} events could not be written within {} s of the end", LAST.as_secs());
                Err(LogError::Other { place: self.source.to_owned(), why })
            }
        }
    }
}
