//! From an agent's spool to the server, in order, until it is acknowledged.
//!
//! ```text
//!  collectors ──▶ spool (an event log) ──▶ batch ──▶ server: durable, then acknowledged
//!                   │ full: the oldest go, counted, and a Gap says so      │
//!                   └──────────── kept for a quarter of an hour ◀──────────┘
//! ```
//!
//! The spool is the only queue: a server that is away, slow or full costs a node disk up to a bound and nothing else.
//! What was acknowledged is kept for a while, so that a server that begins anew, or another one that takes over, can be
//! given what it does not have: with every connection it is asked up to where it has all.

mod config;
mod spool;
mod uplink;

use std::collections::VecDeque;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use tapio_core::ports::{EventLog, LogError, Record};
use tapio_core::raw::{DeadLetter, RawEvent};
use tapio_core::time::Time;

use crate::ingest::{Ack, EVENTS, Head, PACKED_BYTES, Refusal, VERSION, pack};
pub use config::ForwardConfig;
pub use spool::CONSUMER;
use spool::Spool;
pub use uplink::{SendError, Uplink, UplinkTarget};

/// Payload of a batch before it is packed.
const BATCH_BYTES: usize = 2 << 20;
/// Between two looks at an empty spool.
const LOOK: Duration = Duration::from_millis(200);
/// How far it is noted down at most so often.
const COMMIT: Duration = Duration::from_secs(1);
/// Pauses while nobody answers, and while only people can help.
const AWAY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(15));
const REFUSED: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));
/// Clocks that differ by less are taken for equal, in microseconds.
const AGREE: i64 = 2_000_000;
/// Remarks that are kept until somebody reads them.
const NOTES: usize = 100;

/// How the connection stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum Link {
    /// Not tried yet.
    #[default]
    Beginning,
    /// The last request was taken.
    Up,
    /// It was not.
    Down {
        /// Why.
        why: String,
    },
}

/// What was counted; each grows only.
#[derive(Debug, Default)]
pub struct Counts {
    /// Events that the server has acknowledged.
    pub sent: AtomicU64,
    /// Of them, those that it had already.
    pub again: AtomicU64,
    /// Events that it will never take; they are dead letters of the spool.
    pub refused: AtomicU64,
    /// Events that went unsent because the spool was full.
    pub dropped: AtomicU64,
    /// Batches that were acknowledged.
    pub batches: AtomicU64,
    /// Requests that failed.
    pub failed: AtomicU64,
}

/// How forwarding stands; whoever shows it reads it from here.
#[derive(Default)]
pub struct Forwarding {
    /// What was counted.
    pub counts: Counts,
    link: Mutex<Link>,
    /// Microseconds by which the cluster's clock is ahead of ours.
    ahead: AtomicI64,
    notes: Mutex<VecDeque<String>>,
}

impl Forwarding {
    /// How the connection stands.
    pub fn link(&self) -> Link {
        self.link.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Microseconds by which the cluster's clock is ahead of this node's (negative: behind), as the server said last; 0
    /// where they agree to two seconds.
    pub fn clock_ahead(&self) -> i64 {
        self.ahead.load(Ordering::Relaxed)
    }

    fn learn(&self, ack: &Ack) {
        if let Some(theirs) = ack.now {
            let ahead = theirs.since(now());
            self.ahead.store(if ahead.abs() < AGREE { 0 } else { ahead }, Ordering::Relaxed);
        }
    }

    fn set(&self, new: Link) {
        let mut link = self.link.lock().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *link, new.clone());
        drop(link);
        match (old, new) {
            (Link::Down { .. }, Link::Up) => self.note("the server takes events again".to_owned()),
            // A reason that changes is news; the same one in every round is none.
            (old, Link::Down { why }) if old != (Link::Down { why: why.clone() }) => {
                self.note(format!("the server {why}; events wait in the spool"));
            }
            _ => {}
        }
    }

    fn note(&self, text: String) {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        if notes.back() == Some(&text) {
            return;
        }
        if notes.len() >= NOTES {
            notes.pop_front();
        }
        notes.push_back(text);
    }

    /// Takes the remarks since the last time.
    pub fn take_notes(&self) -> Vec<String> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect()
    }
}

/// Sends what a spool holds.
pub struct Forwarder {
    spool: Spool,
    uplink: Uplink,
    agent: String,
    config: ForwardConfig,
    state: Arc<Forwarding>,
    dice: RandomState,
}

/// Where the sending is.
struct Course {
    cursor: u64,
    /// Whether the server and we agree on it.
    in_step: bool,
    /// What comes before the next event is not there any more, or will never be taken.
    begins: bool,
    most: usize,
    pause: Duration,
    committed: (Instant, u64),
}

impl Forwarder {
    /// From a spool over a connection. `agent`: name of the node.
    ///
    /// # Errors
    /// The spool cannot be read or written.
    pub async fn open(
        spool: Arc<dyn EventLog>,
        uplink: Uplink,
        agent: &str,
        config: ForwardConfig,
    ) -> Result<Self, LogError> {
        let state = Arc::<Forwarding>::default();
        let spool = Spool::open(spool, agent, Arc::clone(&state)).await?;
        Ok(Forwarder { spool, uplink, agent: agent.to_owned(), config, state, dice: RandomState::new() })
    }

    /// How it stands.
    pub fn state(&self) -> Arc<Forwarding> {
        Arc::clone(&self.state)
    }

    /// Sends until `stop`, and then for a short while what is still there. What is not acknowledged stays in the spool.
    ///
    /// # Errors
    /// The spool cannot be read or written any more.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), LogError> {
        let (over, ending) = tokio::sync::watch::channel(None);
        let watch = async {
            stop.await;
            over.send_replace(Some(Instant::now() + Duration::from_secs(self.config.drain_secs)));
            // The rest of the spool decides when it is over.
            std::future::pending::<()>().await;
        };
        tokio::select! {
            ended = self.send(&ending) => ended,
            ended = self.bound() => ended,
            () = watch => Ok(()),
        }
    }

    /// Keeps the spool within its bounds.
    async fn bound(&self) -> Result<(), LogError> {
        loop {
            tokio::time::sleep(Duration::from_secs(self.config.bound_secs.max(1))).await;
            match self.spool.bound(&self.config).await {
                Ok(()) | Err(LogError::Busy { .. }) => {}
                Err(e @ (LogError::Full { .. } | LogError::Other { .. })) => self.state.note(e.to_string()),
                Err(e) => return Err(e),
            }
        }
    }

    async fn send(&self, ending: &tokio::sync::watch::Receiver<Option<Instant>>) -> Result<(), LogError> {
        let mut c = Course {
            cursor: self.spool.committed().await?,
            in_step: false,
            begins: false,
            most: self.config.batch_events.clamp(1, EVENTS),
            pause: Duration::ZERO,
            committed: (Instant::now(), 0),
        };
        loop {
            let until = *ending.borrow();
            if until.is_some_and(|u| Instant::now() >= u || (!c.in_step && c.pause > Duration::ZERO)) {
                break;
            }
            let idle = match self.round(&mut c).await {
                Ok(idle) => idle,
                Err(Trouble::Spool(e)) => return Err(e),
                Err(Trouble::Server(e)) => {
                    self.trouble(&mut c, e).await?;
                    false
                }
            };
            if idle && until.is_some() {
                break;
            }
            if idle || c.committed.0.elapsed() >= COMMIT {
                self.commit(&mut c).await?;
            }
            let left = until.map_or(Duration::MAX, |u| u.saturating_duration_since(Instant::now()));
            let wait = if idle { LOOK } else { c.pause.min(left) };
            if !wait.is_zero() {
                let mut ending = ending.clone();
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    // An end cuts a pause short, once.
                    _ = async { if until.is_some() { std::future::pending().await } else { ending.changed().await } } => {}
                }
            }
        }
        self.commit(&mut c).await
    }

    async fn commit(&self, c: &mut Course) -> Result<(), LogError> {
        if c.cursor > c.committed.1 {
            self.spool.commit(c.cursor).await?;
            c.committed = (Instant::now(), c.cursor);
        }
        Ok(())
    }

    /// Sends one batch; whether there is nothing more to send.
    async fn round(&self, c: &mut Course) -> Result<bool, Trouble> {
        if !c.in_step {
            let ack = self.uplink.through(&self.agent, &self.spool.id()).await?;
            self.state.learn(&ack);
            self.go_to(c, ack.through).await?;
        }
        let page = match self.spool.read(c.cursor, c.most).await {
            Err(LogError::Gone { first, .. }) => {
                (c.cursor, c.begins) = (first.saturating_sub(1), true);
                return Ok(false);
            }
            page => page?,
        };
        let Some((head, events)) = self.batch(c, page) else {
            c.pause = Duration::ZERO;
            return Ok(true);
        };
        let packed = pack(&head, &events).unwrap_or_default();
        if packed.is_empty() || packed.len() > PACKED_BYTES {
            let why = Refusal::TooLarge(format!("{} bytes packed", packed.len()));
            return self.part(c, &head, events, &why).await.map(|()| false);
        }
        match self.uplink.send(packed).await {
            Ok(ack) => {
                self.state.learn(&ack);
                let Ack { through, accepted, duplicates, refused, .. } = ack;
                if through == head.last {
                    (c.cursor, c.begins) = (through, false);
                } else {
                    // It has more than it was given, or less.
                    self.go_to(c, through).await?;
                }
                c.most = (c.most * 2).min(self.config.batch_events.clamp(1, EVENTS));
                c.pause = Duration::ZERO;
                let n = &self.state.counts;
                n.sent.fetch_add((accepted + duplicates) as u64, Ordering::Relaxed);
                n.again.fetch_add(duplicates as u64, Ordering::Relaxed);
                n.refused.fetch_add(refused as u64, Ordering::Relaxed);
                n.batches.fetch_add(1, Ordering::Relaxed);
                self.state.set(Link::Up);
                Ok(false)
            }
            Err(SendError::Refused(Refusal::OutOfStep { through })) => {
                self.go_to(c, through).await?;
                Ok(false)
            }
            Err(SendError::Refused(why @ (Refusal::Bad(_) | Refusal::TooLarge(_)))) => {
                self.part(c, &head, events, &why).await.map(|()| false)
            }
            Err(e) => Err(e.into()),
        }
    }

    /// Goes on behind what the server has.
    async fn go_to(&self, c: &mut Course, through: u64) -> Result<(), LogError> {
        let (first, last) = self.spool.span().await?;
        if through > last {
            // The server knows more than is here: this spool has lost its end, and would give numbers a second time.
            self.spool.rename().await?;
            self.state.note("the spool was set back; it begins anew under another name".to_owned());
            (c.cursor, c.begins) = (first.saturating_sub(1), true);
        } else {
            c.begins = through + 1 < first;
            c.cursor = if c.begins { first - 1 } else { through };
        }
        c.in_step = true;
        c.pause = Duration::ZERO;
        self.state.set(Link::Up);
        Ok(())
    }

    /// As much of a page as goes into one batch.
    fn batch(&self, c: &Course, page: Vec<Record>) -> Option<(Head, Vec<RawEvent>)> {
        let mut bytes = 0;
        let fits = |r: &&Record| {
            bytes += r.event.data.get().len() + 300;
            bytes <= BATCH_BYTES
        };
        let n = page.iter().take_while(fits).count().max(1).min(page.len());
        let last = page.get(n.checked_sub(1)?)?.position.0;
        let events: Vec<RawEvent> = page.into_iter().take(n).map(|r| r.event).collect();
        let head = Head {
            version: VERSION,
            agent: self.agent.clone(),
            spool: self.spool.id(),
            first: c.cursor + 1,
            count: events.len(),
            last,
            begins: c.begins,
        };
        Some((head, events))
    }

    /// A batch is not taken as it is: sent in halves; a single event that is not taken is put aside.
    async fn part(&self, c: &mut Course, head: &Head, events: Vec<RawEvent>, why: &Refusal) -> Result<(), Trouble> {
        if let [event] = events.as_slice() {
            let letter = DeadLetter {
                origin: "forwarder".to_owned(),
                line: Some(head.last),
                reason: format!("the server does not take it: {why}"),
                excerpt: format!("{} of {} at {}", event.kind, event.source, event.timestamp),
            };
            self.spool.bury(letter).await?;
            self.state.counts.refused.fetch_add(1, Ordering::Relaxed);
            self.state.note(format!("an event was put aside, the server does not take it: {why}"));
            (c.cursor, c.begins) = (head.last, true);
        } else {
            c.most = (events.len() / 2).max(1);
        }
        Ok(())
    }

    /// What to do when the server does not take it.
    async fn trouble(&self, c: &mut Course, e: SendError) -> Result<(), LogError> {
        self.state.counts.failed.fetch_add(1, Ordering::Relaxed);
        let doubled = |c: &Course, (least, most): (Duration, Duration)| (c.pause * 2).clamp(least, most);
        c.pause = match &e {
            SendError::Refused(Refusal::Busy { after } | Refusal::Unavailable { after, .. }) => {
                // It was reached, and says itself when to come again.
                (*after).max(AWAY.0)
            }
            SendError::Away(_) => doubled(c, AWAY),
            _ => doubled(c, REFUSED),
        };
        if !matches!(e, SendError::Refused(Refusal::Busy { .. })) {
            // Whoever answers next may be another one.
            c.in_step = false;
            self.uplink.reconnect();
            self.state.set(Link::Down { why: e.to_string() });
        }
        // Agents that were refused together must not come again together.
        let spread = self.dice.hash_one((Instant::now(), &self.agent)) % 256;
        c.pause = c.pause.mul_f64(1.0 + spread as f64 / 1_024.0);
        Ok(())
    }
}

/// What ends a round.
enum Trouble {
    Server(SendError),
    Spool(LogError),
}

impl From<SendError> for Trouble {
    fn from(e: SendError) -> Self {
        Trouble::Server(e)
    }
}

impl From<LogError> for Trouble {
    fn from(e: LogError) -> Self {
        Trouble::Spool(e)
    }
}

/// The system's time.
fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
