//! The spool: an event log with a name, a place up to which all was sent, and a bound.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::json;
use serde_json::value::to_raw_value;
use tapio_core::ports::{EventLog, LogError, Position, Record, Retention};
use tapio_core::raw::{DeadLetter, RawEvent, source};

use super::{ForwardConfig, Forwarding, now};

/// Our name as a consumer of the log.
pub const CONSUMER: &str = "forwarder";
/// Version of the saved form.
const FORM: u32 = 1;
/// Checkpoints that a log may keep of a consumer.
const CHECKPOINTS: usize = 4;

/// A spool.
pub(super) struct Spool {
    log: Arc<dyn EventLog>,
    agent: String,
    id: Mutex<String>,
    state: Arc<Forwarding>,
}

impl Spool {
    /// A spool on a log; a new log gets a name.
    pub(super) async fn open(log: Arc<dyn EventLog>, agent: &str, state: Arc<Forwarding>) -> Result<Self, LogError> {
        let saved = match log.load_checkpoint(CONSUMER).await {
            Ok(saved) => saved,
            Err(LogError::Corrupt { .. }) => None,
            Err(e) => return Err(e),
        };
        let id = match saved {
            Some((_, FORM, id)) => String::from_utf8(id).ok().filter(|i| !i.is_empty()),
            _ => None,
        };
        let known = id.is_some();
        let spool = Spool { log, agent: agent.to_owned(), id: Mutex::new(id.unwrap_or_default()), state };
        if !known {
            spool.rename().await?;
        }
        Ok(spool)
    }

    /// Its name.
    pub(super) fn id(&self) -> String {
        self.id.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Gives it a new name, under which nothing was sent yet.
    pub(super) async fn rename(&self) -> Result<(), LogError> {
        let mut random = [0; 16];
        let unable = |e: getrandom::Error| LogError::Other { place: "spool".to_owned(), why: e.to_string() };
        getrandom::fill(&mut random).map_err(unable)?;
        let id: String = random.iter().map(|b| format!("{b:02x}")).collect();
        let at = self.log.committed(CONSUMER).await?;
        self.log.save_checkpoint(CONSUMER, at, FORM, id.clone().into_bytes()).await?;
        *self.id.lock().unwrap_or_else(PoisonError::into_inner) = id;
        Ok(())
    }

    /// Up to where all was sent.
    pub(super) async fn committed(&self) -> Result<u64, LogError> {
        Ok(self.log.committed(CONSUMER).await?.0)
    }

    /// Notes up to where all was sent. The name goes with it: by itself it would hold the records behind it for ever.
    pub(super) async fn commit(&self, cursor: u64) -> Result<(), LogError> {
        self.log.save_checkpoint(CONSUMER, Position(cursor), FORM, self.id().into_bytes()).await
    }

    pub(super) async fn read(&self, cursor: u64, most: usize) -> Result<Vec<Record>, LogError> {
        self.log.read(Position(cursor), most).await
    }

    pub(super) async fn bury(&self, letter: DeadLetter) -> Result<(), LogError> {
        self.log.bury(vec![letter]).await
    }

    /// The first number that is there, or would be the next one, and the last that was given out.
    pub(super) async fn span(&self) -> Result<(u64, u64), LogError> {
        let stats = self.log.stats().await?;
        let last = stats.last.0;
        Ok((if stats.first.0 == 0 { last + 1 } else { stats.first.0 }, last))
    }

    /// Drops what was sent long ago; while there is too much, what was sent; and then the oldest that was not.
    pub(super) async fn bound(&self, config: &ForwardConfig) -> Result<(), LogError> {
        let most = config.spool_max_bytes;
        let keep = |max_bytes| Retention { max_age_secs: config.keep_secs.max(1), max_bytes };
        self.log.retain(keep(most), now()).await?;
        let stats = self.log.stats().await?;
        let held = stats.last.0.saturating_sub(stats.first.0) + 1;
        if most == 0 || stats.bytes <= most || stats.first.0 == 0 {
            return Ok(());
        }
        // Down to nine tenths, so that it does not bite with every event.
        let target = most / 10 * 9;
        let go = ((stats.bytes - target) / (stats.bytes / held).max(1) + 1).min(held);
        let begin = self.committed().await?.max(stats.first.0 - 1);
        let time = |records: Vec<Record>| records.first().map(|r| r.event.seen_at());
        let from = time(self.log.read(Position(begin), 1).await?);
        // What no consumer waits for may go; how much of it goes is the log's to say. It keeps some older checkpoints,
        // too, and what they need.
        for _ in 0..CHECKPOINTS {
            self.commit(stats.first.0 + go - 1).await?;
            self.log.retain(keep(target), now()).await?;
            if self.log.stats().await?.bytes <= most {
                break;
            }
        }
        let gone = self.span().await?.0 - 1;
        let lost = gone.saturating_sub(begin);
        if lost == 0 {
            return Ok(());
        }
        let to = time(self.log.read(Position(gone), 1).await?);
        self.state.counts.dropped.fetch_add(lost, Ordering::Relaxed);
        self.state.note(format!("the spool is full: the oldest {lost} events were dropped unsent"));
        let data = json!({
            "source": source::KUBELET, "what": "spool of the agent", "from": from, "to": to, "lost": lost,
            "reason": format!("the spool was full (spool_max_bytes {most}) while the server took nothing"),
        });
        let Ok(data) = to_raw_value(&data) else { return Ok(()) };
        let gap = RawEvent {
            timestamp: now(),
            observed_at: None,
            kind: "Gap".to_owned(),
            source: source::KUBELET.to_owned(),
            metadata: BTreeMap::from([("node".to_owned(), self.agent.clone())]),
            data,
        };
        self.log.append(vec![gap]).await.map(|_| ())
    }
}
