//! Up to which number everything of each agent is in the log.
//!
//! It is saved beside the log once a second, with the position up to which it holds. What the log has behind that
//! position came after the save: those events are known by their content until the ledger has passed them.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use tapio_core::id::{Id, IdBuilder};
use tapio_core::ports::{EventLog, LogError, Position};
use tapio_core::raw::RawEvent;
use tokio::sync::{OwnedMutexGuard, RwLock, RwLockReadGuard};

use super::batch::Head;
use super::{Refusal, SOURCES};

/// Our name as a consumer of the log.
pub const CONSUMER: &str = "ingest";
/// Version of the saved form.
const FORM: u32 = 1;
/// Records read at once.
const PAGE: usize = 1_000;
/// Records of the end of a log that are known by their content at most.
const UNSAVED: u64 = 1_000_000;
/// Agents that are known; the one that was silent for longest goes.
const AGENTS: usize = 10_000;
/// While nothing comes, the cursor is moved after so long, so that it does not hold retention.
const IDLE: std::time::Duration = std::time::Duration::from_secs(60);

/// What tells an event from any other, whatever time it was given here.
pub(super) type Mark = Id;

/// How far an agent is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Line {
    spool: String,
    through: u64,
}

struct Entry {
    line: Line,
    at: Instant,
}

/// The entry of an agent; who holds it works on a batch of this agent.
type Held = Arc<tokio::sync::Mutex<Entry>>;

/// How far every agent is.
pub(super) struct Ledger {
    agents: Mutex<BTreeMap<String, Held>>,
    /// Events in the log of which the saved ledger knows nothing.
    unsaved: Mutex<HashSet<Mark>>,
    /// Read by who works on a batch; written by who saves, so that what is saved is whole.
    whole: RwLock<()>,
    saved: Mutex<Saved>,
}

struct Saved {
    at: Instant,
    position: u64,
    lines: BTreeMap<String, Line>,
}

/// What is to be done with a batch.
pub(super) enum Step<'a> {
    /// All of it is here.
    Done { through: u64 },
    /// Take it.
    Take(Fresh<'a>),
}

/// A batch that is worked on.
pub(super) struct Fresh<'a> {
    ledger: &'a Ledger,
    entry: OwnedMutexGuard<Entry>,
    spool: String,
    _whole: RwLockReadGuard<'a, ()>,
}

impl Fresh<'_> {
    /// Whether an event is in the log already.
    pub(super) fn knows(&self, mark: &Mark) -> bool {
        self.ledger.unsaved.lock().unwrap_or_else(PoisonError::into_inner).contains(mark)
    }

    /// Everything up to and with `through` is durable.
    pub(super) fn done(mut self, through: u64) {
        let spool = std::mem::take(&mut self.spool);
        *self.entry = Entry { line: Line { spool, through }, at: Instant::now() };
    }
}

/// What tells an event from any other: its content without the time of its arrival, which is worked out anew each time.
pub(super) fn mark(event: &RawEvent) -> Mark {
    let b = IdBuilder::new("ingest").number(event.timestamp.micros()).text(&event.kind).text(&event.source);
    event.metadata.iter().fold(b, |b, (k, v)| b.text(k).text(v)).text(event.data.get()).finish()
}

impl Ledger {
    /// What stands beside a log and in it.
    pub(super) async fn recover(log: &dyn EventLog) -> Result<Self, LogError> {
        let stats = log.stats().await?;
        let mut at = Position(stats.first.0.saturating_sub(1));
        let saved = match log.load_checkpoint(CONSUMER).await {
            Ok(saved) => saved,
            // The log itself is the better witness, from its beginning.
            Err(LogError::Corrupt { .. }) => None,
            Err(e) => return Err(e),
        };
        let mut lines: BTreeMap<String, Line> = BTreeMap::new();
        if let Some((cursor, FORM, state)) = saved
            && let Ok(read) = serde_json::from_slice(&state)
        {
            lines = read;
            at = at.max(cursor);
        }
        let position = at.0;
        at = at.max(Position(stats.last.0.saturating_sub(UNSAVED)));
        let mut unsaved = HashSet::new();
        loop {
            let page = log.read(at, PAGE).await?;
            let Some(last) = page.last() else { break };
            at = last.position;
            unsaved.extend(page.iter().filter(|r| SOURCES.contains(&r.event.source.as_str())).map(|r| mark(&r.event)));
        }
        let now = Instant::now();
        let held = |line: &Line| Arc::new(tokio::sync::Mutex::new(Entry { line: line.clone(), at: now }));
        Ok(Ledger {
            agents: Mutex::new(lines.iter().map(|(a, l)| (a.clone(), held(l))).collect()),
            unsaved: Mutex::new(unsaved),
            whole: RwLock::new(()),
            saved: Mutex::new(Saved { at: now, position, lines }),
        })
    }

    fn held(&self, agent: &str) -> Held {
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = agents.get(agent) {
            return Arc::clone(held);
        }
        if agents.len() >= AGENTS {
            // One that is worked on now was not silent for long.
            let at = |h: &Held| h.try_lock().map(|e| e.at).ok();
            let oldest = agents.iter().filter_map(|(a, h)| Some((at(h)?, a.clone()))).min().map(|(_, a)| a);
            oldest.and_then(|a| agents.remove(&a));
        }
        let new = Entry { line: Line::default(), at: Instant::now() };
        Arc::clone(agents.entry(agent.to_owned()).or_insert_with(|| Arc::new(tokio::sync::Mutex::new(new))))
    }

    /// Up to which number everything of a spool is here; 0 for one that never sent.
    pub(super) async fn through(&self, agent: &str, spool: &str) -> u64 {
        let held = self.agents.lock().unwrap_or_else(PoisonError::into_inner).get(agent).cloned();
        let Some(held) = held else { return 0 };
        let entry = held.lock().await;
        if entry.line.spool == spool { entry.line.through } else { 0 }
    }

    /// Begins with a batch; waits for another one of the same agent.
    pub(super) async fn begin(&self, head: &Head) -> Result<Step<'_>, Refusal> {
        let whole = self.whole.read().await;
        let entry = self.held(&head.agent).lock_owned().await;
        let through = if entry.line.spool == head.spool { entry.line.through } else { 0 };
        if head.last <= through {
            return Ok(Step::Done { through });
        }
        // It must join; where it overlaps, the agent does not know what is here.
        let joins = head.first == through + 1 || (head.begins && head.first > through);
        if !joins {
            return Err(Refusal::OutOfStep { through });
        }
        Ok(Step::Take(Fresh { ledger: self, entry, spool: head.spool.clone(), _whole: whole }))
    }

    /// Saves what changed; `last`: at the end of all.
    pub(super) async fn save(&self, log: &dyn EventLog, last: bool) -> Result<(), LogError> {
        let whole = self.whole.write().await;
        let held: Vec<(String, Held)> = {
            let agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
            agents.iter().map(|(a, h)| (a.clone(), Arc::clone(h))).collect()
        };
        let mut lines = BTreeMap::new();
        for (agent, h) in held {
            let line = h.lock().await.line.clone();
            if line.through > 0 {
                lines.insert(agent, line);
            }
        }
        let (unchanged, idle, position) = {
            let saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner);
            (saved.lines == lines, saved.at.elapsed() >= IDLE, saved.position)
        };
        if unchanged && !(idle || last) {
            return Ok(());
        }
        let end = log.stats().await?.last;
        // All batches up to here are in the lines: nobody appends for an agent while this is held.
        drop(whole);
        if lines.is_empty() || (unchanged && end.0 == position) {
            return Ok(());
        }
        let state = serde_json::to_vec(&lines).unwrap_or_default();
        log.save_checkpoint(CONSUMER, end, FORM, state).await?;
        let mut saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner);
        *saved = Saved { at: Instant::now(), position: end.0, lines };
        Ok(())
    }

    /// How many agents have sent anything.
    pub(super) fn agents(&self) -> usize {
        self.agents.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}
