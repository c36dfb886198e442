//! Where agents bring what they saw: decode, check, bound, append, and never twice.
//!
//! ```text
//!  agent's spool ──▶ batch (zstd, JSON lines) ──▶ gate ──▶ [ 8 batches ] ──▶ check ──▶ event log ──▶ acknowledge
//!                                                                               └──▶ dead letters
//! ```
//!
//! This knows no HTTP server: [`Ingest::take`] gets a token and bytes, and gives an [`Ack`] or a [`Refusal`] with the
//! status that stands for it. Whoever listens puts [`route::answer`] behind [`route::PATH`].
//!
//! # How nothing is lost and nothing doubled
//! An agent numbers its events by the positions of its spool, and goes on sending from there until they are
//! acknowledged; that happens when they are durable here. Per agent a ledger knows up to which number all is
//! there. What comes again below it is passed over, and what comes behind a hole is refused with the number to go back
//! to. After a crash the ledger may be some batches behind the log; what was appended since then is known by its
//! content, and passed over by that.
//!
//! # What an agent may say
//! It comes from a node, which may be in hostile hands: it speaks only as collectors of a node do, only of its own
//! node (as its token says), and of no time ahead of the server's. The rest is dead letters.

mod batch;
mod gate;
mod ledger;
pub mod route;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tapio_core::ports::{EventLog, LogError, Position};
use tapio_core::raw::{DeadLetter, RawEvent, source};
use tapio_core::time::{SECOND, Time};
use tokio::sync::{Semaphore, watch};

pub use batch::{Batch, EVENTS, Head, PACKED_BYTES, PLAIN_BYTES, VERSION, pack, unpack};
pub use gate::{AUDIENCE, Accounts, Gate, Sender, SharedToken};
pub use ledger::CONSUMER;
use ledger::{Ledger, Step};

/// Batches that are worked on at the same time; more are told to come again.
pub const AT_ONCE: usize = 8;
/// What the collectors of a node are called.
const SOURCES: &[&str] = &[source::KUBELET, source::CNI, source::EBPF];
/// An event may be ahead of us by so much, in microseconds: clocks of answers tell whole seconds.
const AGREE: i64 = 2 * SECOND;

/// What was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// Up to this number everything is durable here.
    pub through: u64,
    /// Events that are new.
    #[serde(default)]
    pub accepted: usize,
    /// Events that were there already.
    #[serde(default)]
    pub duplicates: usize,
    /// Events that may not be said; they are dead letters here.
    #[serde(default)]
    pub refused: usize,
    /// The cluster's time, by which the agent's collectors set their clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now: Option<Time>,
}

/// Why a batch was not taken; each is what the agent must do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Read the token again, try slowly.
    #[error("{0}")]
    Unauthorised(String),
    /// Only people can help; try slowly.
    #[error("{0}")]
    Forbidden(String),
    /// The batch is wrong as it is: send it in parts.
    #[error("{0}")]
    Bad(String),
    /// Send less at once.
    #[error("{0}")]
    TooLarge(String),
    /// Go on behind this number.
    #[error("events up to {through} are here; go on behind them")]
    OutOfStep {
        /// Up to there everything is here.
        through: u64,
    },
    /// Wait a little.
    #[error("busy; come again in {} s", .after.as_secs_f32())]
    Busy {
        /// How long.
        after: Duration,
    },
    /// Wait longer: something is in the way here.
    #[error("{why}")]
    Unavailable {
        /// What.
        why: String,
        /// How long.
        after: Duration,
    },
}

impl Refusal {
    /// The HTTP status that stands for it.
    pub fn status(&self) -> u16 {
        match self {
            Refusal::Unauthorised(_) => 401,
            Refusal::Forbidden(_) => 403,
            Refusal::Bad(_) => 400,
            Refusal::TooLarge(_) => 413,
            Refusal::OutOfStep { .. } => 409,
            Refusal::Busy { .. } => 429,
            Refusal::Unavailable { .. } => 503,
        }
    }

    /// For `Retry-After`.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Refusal::Busy { after } | Refusal::Unavailable { after, .. } => Some(*after),
            _ => None,
        }
    }

    /// Its name among counts.
    pub fn reason(&self) -> &'static str {
        match self {
            Refusal::Unauthorised(_) => "unauthorised",
            Refusal::Forbidden(_) => "forbidden",
            Refusal::Bad(_) => "bad",
            Refusal::TooLarge(_) => "too-large",
            Refusal::OutOfStep { .. } => "out-of-step",
            Refusal::Busy { .. } => "busy",
            Refusal::Unavailable { .. } => "unavailable",
        }
    }

    fn remedy(&self) -> &'static str {
        match self {
            Refusal::Unauthorised(_) => "read the token again from its file",
            Refusal::Forbidden(_) => "send as the node that the token is of, or correct the server's --agent-account",
            Refusal::Bad(_) => "see docs/adr/0012; agent and server should be of one version",
            Refusal::TooLarge(_) => "send it in parts",
            Refusal::OutOfStep { .. } => "go on behind `through`",
            Refusal::Busy { .. } | Refusal::Unavailable { .. } => "come again as Retry-After says",
        }
    }

    /// As a problem document (RFC 9457).
    pub fn problem(&self) -> serde_json::Value {
        let reason = self.reason();
        let mut problem = serde_json::json!({
            "type": format!("urn:tapio:problem:ingest-{reason}"), "title": "the batch was not taken",
            "status": self.status(), "detail": self.to_string(), "remedy": self.remedy(),
        });
        if let Refusal::OutOfStep { through } = self {
            problem["through"] = (*through).into();
        }
        problem
    }
}

/// What was counted; each grows only.
#[derive(Debug, Default)]
pub struct Counts {
    /// Events that are new.
    pub accepted: AtomicU64,
    /// Events that were there already.
    pub duplicates: AtomicU64,
    /// Events that may not be said.
    pub refused: AtomicU64,
    /// Batches that were acknowledged.
    pub batches: AtomicU64,
    /// Events whose time was ahead of the server's.
    pub ahead: AtomicU64,
}

impl Counts {
    /// Events by what became of them.
    pub fn told(&self) -> [(&'static str, u64); 4] {
        let n = |c: &AtomicU64| c.load(Ordering::Relaxed);
        [
            ("accepted", n(&self.accepted)),
            ("duplicate", n(&self.duplicates)),
            ("refused", n(&self.refused)),
            ("ahead_of_time", n(&self.ahead)),
        ]
    }
}

/// The place where batches are taken.
pub struct Ingest {
    log: Arc<dyn EventLog>,
    gate: Arc<Gate>,
    cluster: String,
    ledger: Ledger,
    room: Semaphore,
    appended: watch::Sender<Position>,
    closed: AtomicBool,
    /// Microseconds by which the cluster's clock is ahead of ours.
    clock: Box<dyn Fn() -> i64 + Send + Sync>,
    /// What was counted.
    pub counts: Counts,
}

impl Ingest {
    /// Opens on a log, with what it knows of earlier batches. `cluster`: the name that every event gets; `appended`: is
    /// told how far the log is; `clock`: microseconds by which the cluster's clock is ahead of ours.
    ///
    /// # Errors
    /// The log cannot be read.
    pub async fn open(
        log: Arc<dyn EventLog>,
        gate: Arc<Gate>,
        cluster: &str,
        appended: watch::Sender<Position>,
        clock: Box<dyn Fn() -> i64 + Send + Sync>,
    ) -> Result<Self, LogError> {
        let ledger = Ledger::recover(&*log).await?;
        let cluster = cluster.to_owned();
        let room = Semaphore::new(AT_ONCE);
        let (closed, counts) = (AtomicBool::new(false), Counts::default());
        Ok(Ingest { log, gate, cluster, ledger, room, appended, closed, clock, counts })
    }

    /// Up to which number everything of an agent's spool is here.
    ///
    /// # Errors
    /// As [`Ingest::take`].
    pub async fn through(&self, token: Option<&str>, agent: &str, spool: &str) -> Result<Ack, Refusal> {
        self.is_open()?;
        let sender = self.gate.admit(token).await?;
        may_speak(&sender, agent)?;
        if !batch::is_name(spool) {
            return Err(Refusal::Bad("`spool` is no name".to_owned()));
        }
        Ok(Ack { through: self.ledger.through(agent, spool).await, now: Some(self.now()), ..Ack::default() })
    }

    /// Takes a batch: its new events are durable when it is done. Needs a running tokio runtime.
    ///
    /// # Errors
    /// See [`Refusal`]; nothing of the batch was taken then.
    pub async fn take(self: &Arc<Self>, token: Option<String>, packed: Bytes) -> Result<Ack, Refusal> {
        let this = Arc::clone(self);
        // On a task of its own: who goes away in the middle must not stop it between the log and the ledger.
        let taken = tokio::spawn(async move { this.take_whole(token.as_deref(), &packed).await }).await;
        let defect =
            |e| Refusal::Unavailable { why: format!("a defect of tapio: {e}"), after: Duration::from_secs(30) };
        taken.unwrap_or_else(|e| Err(defect(e)))
    }

    async fn take_whole(&self, token: Option<&str>, packed: &[u8]) -> Result<Ack, Refusal> {
        self.is_open()?;
        let sender = self.gate.admit(token).await?;
        let _room = self.room.try_acquire().map_err(|_| Refusal::Busy { after: Duration::from_millis(500) })?;
        let Batch { head, lines } = unpack(packed)?;
        may_speak(&sender, &head.agent)?;
        let step = self.ledger.begin(&head).await?;
        let fresh = match step {
            Step::Done { through } => {
                self.counts.duplicates.fetch_add(lines.len() as u64, Ordering::Relaxed);
                return Ok(Ack { through, duplicates: lines.len(), now: Some(self.now()), ..Ack::default() });
            }
            Step::Take(fresh) => fresh,
        };
        let mut ack = Ack { through: head.last, now: Some(self.now()), ..Ack::default() };
        let (mut events, mut letters) = (Vec::new(), Vec::new());
        for line in lines {
            match line.and_then(|e| self.checked(e, &head)) {
                Ok((mark, event)) => {
                    if fresh.knows(&mark) {
                        ack.duplicates += 1;
                    } else {
                        events.push(event);
                    }
                }
                Err(letter) => letters.push(letter),
            }
        }
        (ack.accepted, ack.refused) = (events.len(), letters.len());
        if !letters.is_empty() {
            self.log.bury(letters).await.map_err(|e| of_log(&e))?;
        }
        if !events.is_empty() {
            let at = self.log.append(events).await.map_err(|e| of_log(&e))?;
            self.appended.send_if_modified(|p| {
                let more = at > *p;
                *p = at.max(*p);
                more
            });
        }
        fresh.done(head.last);
        let count = |counter: &AtomicU64, n: usize| _ = counter.fetch_add(n as u64, Ordering::Relaxed);
        count(&self.counts.accepted, ack.accepted);
        count(&self.counts.duplicates, ack.duplicates);
        count(&self.counts.refused, ack.refused);
        count(&self.counts.batches, 1);
        Ok(ack)
    }

    /// How many agents have sent anything.
    pub fn agents(&self) -> usize {
        self.ledger.agents()
    }

    /// Keeps the ledger every now and then until `stop`, and once more at the end; from then on nothing is taken.
    pub async fn keep(&self, stop: impl Future<Output = ()>) -> Result<(), LogError> {
        tokio::pin!(stop);
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = &mut stop => break,
                // What cannot be kept now is kept later, or found in the log.
                _ = tick.tick() => drop(self.ledger.save(&*self.log, false).await),
            }
        }
        self.closed.store(true, Ordering::SeqCst);
        self.ledger.save(&*self.log, true).await
    }

    fn is_open(&self) -> Result<(), Refusal> {
        match self.closed.load(Ordering::SeqCst) {
            true => {
                Err(Refusal::Unavailable { why: "this server is ending".to_owned(), after: Duration::from_secs(1) })
            }
            false => Ok(()),
        }
    }

    fn now(&self) -> Time {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Time::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX)).plus((self.clock)())
    }

    /// An event as it goes into the log, and what tells it from any other; or why it may not be said.
    fn checked(&self, mut event: RawEvent, head: &Head) -> Result<(ledger::Mark, RawEvent), DeadLetter> {
        let refuse = |why: String| DeadLetter {
            origin: format!("agent {}", head.agent),
            line: None,
            reason: why,
            excerpt: format!("{} at {}", event.kind, event.timestamp),
        };
        if !SOURCES.contains(&event.source.as_str()) {
            return Err(refuse(format!("source `{}` is not one of a node: {}", event.source, SOURCES.join(", "))));
        }
        if event.metadata.get("node").is_some_and(|n| *n != head.agent) {
            return Err(refuse("it is said of another node than the agent's".to_owned()));
        }
        event.metadata.insert("node".to_owned(), head.agent.clone());
        event.metadata.insert("cluster".to_owned(), self.cluster.clone());
        let mark = ledger::mark(&event);
        let now = self.now();
        // An event of the future would move the time of all.
        if event.seen_at() > now.plus(AGREE) {
            self.counts.ahead.fetch_add(1, Ordering::Relaxed);
            event.observed_at = Some(now);
        }
        Ok((mark, event))
    }
}

/// Whether a sender may speak for an agent.
fn may_speak(sender: &Sender, agent: &str) -> Result<(), Refusal> {
    match &sender.node {
        Some(node) if node != agent => {
            Err(Refusal::Forbidden(format!("the token is of a pod on node {node}, and speaks for {agent}")))
        }
        _ => Ok(()),
    }
}

/// What an agent is to do while the log cannot be written.
fn of_log(e: &LogError) -> Refusal {
    match e {
        LogError::Busy { .. } => Refusal::Busy { after: Duration::from_secs(1) },
        e => Refusal::Unavailable { why: e.to_string(), after: Duration::from_secs(10) },
    }
}
