//! Writing: one thread, one connection, one transaction for all that is queued.
//!
//! When a group fails, each of its jobs is tried alone, so that one that cannot be written does not take the others
//! along: with a full disk a cursor may still be committed where a batch has no room.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use rusqlite::{Connection, params};
use tapio_core::ports::{Position, Retention};
use tapio_core::raw::RawEvent;
use tapio_core::time::Time;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::config::SqliteConfig;
use super::fault::Fault;
use super::letters::{self, Letter};
use super::retention;
use super::schema::{PAGE_BYTES, Tally, signed};
use super::{CHECKPOINTS_KEPT, Clock};
use crate::outbox::{Plan, Sighting};

/// Payload bytes that wait for the writer at most: 32 MiB. Callers beyond that wait in their futures.
pub const QUEUE_BYTES: usize = 32 << 20;

/// The queue is counted in blocks of so many bytes; each job takes at least one.
const BLOCK_BYTES: usize = 1_024;

/// Bytes written (about) after which the WAL is folded into the file.
const CHECKPOINT_BYTES: usize = 16 << 20;
/// Frames in the WAL beyond which the writer waits for the readers to leave it, so that it can start anew.
const WAL_MAX_FRAMES: i64 = 16_384;
/// Bytes that a group writes beside its payload: its last leaf, the counters.
const GROUP_OVERHEAD_BYTES: usize = 12 * 1_024;

/// About what an incident takes in the queue.
const SIGHTING_BYTES: usize = 8 * 1_024;

/// Records as they are stored, end to end.
pub(super) struct Rows {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Rows {
    pub(super) fn encode(events: &[RawEvent]) -> Result<Self, Fault> {
        let mut rows = Rows { bytes: Vec::with_capacity(events.len() * 320), ends: Vec::with_capacity(events.len()) };
        for event in events {
            serde_json::to_writer(&mut rows.bytes, event)
                .map_err(|error| Fault::Other(format!("a record cannot be encoded: {error}")))?;
            rows.ends.push(rows.bytes.len());
        }
        Ok(rows)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        self.ends.iter().map(move |end| &self.bytes[std::mem::replace(&mut start, *end)..*end])
    }
}

/// What the writer is asked to do.
pub(super) enum Task {
    Append { rows: Rows },
    Commit { consumer: String, cursor: Position },
    Tell { consumer: String, cursor: Position, plan: Arc<Plan>, seen: Vec<Sighting> },
    SaveCheckpoint { consumer: String, cursor: Position, version: u32, state: Vec<u8> },
    Bury { letters: Vec<Letter> },
    Retain { retention: Retention, now: Time },
    Shrink,
    Forget { consumer: String },
}

impl Task {
    fn bytes(&self) -> usize {
        match self {
            Task::Append { rows } => rows.bytes.len(),
            Task::SaveCheckpoint { state, .. } => state.len(),
            Task::Bury { letters } => letters.iter().map(Letter::bytes).sum(),
            // Incidents are bounded, and few.
            Task::Tell { seen, .. } => seen.len() * SIGHTING_BYTES,
            Task::Commit { .. } | Task::Retain { .. } | Task::Shrink | Task::Forget { .. } => 0,
        }
    }

    fn records(&self) -> usize {
        match self {
            Task::Append { rows } => rows.ends.len(),
            _ => 1,
        }
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Done {
    Written,
    Appended(Position),
    Dropped { count: u64, more: bool },
    Told { count: usize },
    Shrunk { more: bool },
}

impl Done {
    /// For an answer that does not belong to the question.
    pub(super) fn unexpected(self) -> Fault {
        Fault::Other(format!("the writer answered {self:?} to another question"))
    }
}

struct Job {
    task: Task,
    answer: oneshot::Sender<Result<Done, Fault>>,
    // Given back when the job is done.
    _room: OwnedSemaphorePermit,
}

/// The writing thread, seen from its callers.
pub(super) struct Writer {
    // None only while dropping.
    jobs: Option<Sender<Job>>,
    room: Arc<Semaphore>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(
        db: Connection,
        tally: Tally,
        config: SqliteConfig,
        clock: Clock,
        letters_dropped: Arc<AtomicU64>,
    ) -> Result<Self, Fault> {
        let (jobs, incoming) = channel();
        let desk = Desk { db, tally, config, clock, letters_dropped, unfolded: 0 };
        let thread = Builder::new()
            .name("log-writer".into())
            .spawn(move || desk.work(&incoming))
            .map_err(|error| Fault::Other(format!("cannot start the writer thread: {error}")))?;
        let room = Arc::new(Semaphore::new(QUEUE_BYTES / BLOCK_BYTES));
        Ok(Writer { jobs: Some(jobs), room, thread: Some(thread) })
    }

    pub(super) async fn submit(&self, task: Task) -> Result<Done, Fault> {
        let stopped = || Fault::Other("the writer has stopped; open the log again".into());
        // One that is larger than the queue takes all of it.
        let blocks = task.bytes().div_ceil(BLOCK_BYTES).clamp(1, QUEUE_BYTES / BLOCK_BYTES);
        let blocks = u32::try_from(blocks).map_err(|_| stopped())?;
        let room = self.room.clone().acquire_many_owned(blocks).await.map_err(|_| stopped())?;
        let (answer, answered) = oneshot::channel();
        let job = Job { task, answer, _room: room };
        self.jobs.as_ref().ok_or_else(stopped)?.send(job).map_err(|_| stopped())?;
        answered.await.map_err(|_| stopped())?
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What the writing thread works with.
struct Desk {
    db: Connection,
    tally: Tally,
    config: SqliteConfig,
    clock: Clock,
    letters_dropped: Arc<AtomicU64>,
    /// Bytes (about) that were written since the WAL was last folded into the file.
    unfolded: usize,
}

impl Desk {
    fn work(mut self, incoming: &Receiver<Job>) {
        while let Ok(first) = incoming.recv() {
            let group = self.gather(first, incoming);
            self.settle(group);
            if self.unfolded >= CHECKPOINT_BYTES {
                self.fold();
            }
        }
        // All callers are gone and the queue is drained. Failing here loses nothing: the next opening folds the WAL.
        let _ = self.db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    }

    fn gather(&self, first: Job, incoming: &Receiver<Job>) -> Vec<Job> {
        let mut records = first.task.records();
        let mut group = vec![first];
        let wait = Duration::from_micros(self.config.group_max_wait_micros);
        let until = (!wait.is_zero()).then(|| Instant::now() + wait);
        while records < self.config.group_max_records {
            let next = match until {
                None => incoming.try_recv().ok(),
                Some(until) => incoming.recv_timeout(until.saturating_duration_since(Instant::now())).ok(),
            };
            let Some(job) = next else { break };
            records += job.task.records();
            group.push(job);
        }
        group
    }

    /// Writes the group and answers everyone in it.
    fn settle(&mut self, group: Vec<Job>) {
        match self.write(group.iter().map(|job| &job.task)) {
            Ok(done) => {
                for (job, done) in group.into_iter().zip(done) {
                    // Nobody listens when the asking future was dropped; what it asked for is done all the same.
                    let _ = job.answer.send(Ok(done));
                }
            }
            Err(Fault::Full(_) | Fault::Other(_)) if group.len() > 1 => {
                for job in group {
                    let one = self.write(std::iter::once(&job.task));
                    let _ = job.answer.send(one.map(|done| done.first().copied().unwrap_or(Done::Written)));
                }
            }
            Err(fault) => {
                for job in group {
                    let _ = job.answer.send(Err(fault.clone()));
                }
            }
        }
    }

    /// Does the tasks in one transaction; when it returns they are durable, or none of them happened.
    fn write<'a>(&mut self, tasks: impl Iterator<Item = &'a Task>) -> Result<Vec<Done>, Fault> {
        let before = self.tally;
        let result = self.attempt(tasks);
        match &result {
            Ok(_) => self.letters_dropped.store(self.tally.letters_dropped, Ordering::Relaxed),
            Err(_) => {
                self.tally = before;
                // After some errors SQLite has rolled back already.
                if !self.db.is_autocommit() {
                    let _ = self.db.execute_batch("ROLLBACK");
                }
            }
        }
        result
    }

    fn attempt<'a>(&mut self, tasks: impl Iterator<Item = &'a Task>) -> Result<Vec<Done>, Fault> {
        let before = self.tally;
        let now = (self.clock)();
        let mut written = GROUP_OVERHEAD_BYTES;
        self.db.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let done = tasks
            .map(|task| {
                written += task.bytes();
                self.perform(task, now)
            })
            .collect::<Result<Vec<_>, _>>()?;
        if self.tally != before {
            self.tally.store(&self.db)?;
        }
        self.db.prepare_cached("COMMIT")?.execute([])?;
        self.unfolded += written;
        Ok(done)
    }

    fn perform(&mut self, task: &Task, now: Time) -> Result<Done, Fault> {
        let db = &self.db;
        match task {
            Task::Append { rows } => {
                let mut insert =
                    db.prepare_cached("INSERT INTO records (position, appended_at, event) VALUES (?1, ?2, ?3)")?;
                for event in rows.iter() {
                    self.tally.last += 1;
                    insert.execute(params![signed(self.tally.last), now.micros(), event])?;
                }
                self.tally.bytes += rows.bytes.len() as u64;
                Ok(Done::Appended(Position(self.tally.last)))
            }
            Task::Commit { consumer, cursor } => self.commit(consumer, *cursor).map(|()| Done::Written),
            Task::Tell { consumer, cursor, plan, seen } => {
                self.commit(consumer, *cursor)?;
                Ok(Done::Told { count: crate::outbox::take(db, plan, seen, now)? })
            }
            Task::SaveCheckpoint { consumer, cursor, version, state } => {
                self.commit(consumer, *cursor)?;
                let cursor = signed(cursor.0);
                let hash = checkpoint_hash(consumer, cursor, (*version).into(), state);
                db.prepare_cached(
                    "INSERT INTO checkpoints (consumer, cursor, version, state, hash) VALUES (?1, ?2, ?3, ?4, ?5)",
                )?
                .execute(params![consumer, cursor, version, state, hash.as_bytes()])?;
                db.prepare_cached(
                    "DELETE FROM checkpoints WHERE consumer = ?1 AND seq <=
                       (SELECT seq FROM checkpoints WHERE consumer = ?1 ORDER BY seq DESC LIMIT 1 OFFSET ?2)",
                )?
                .execute(params![consumer, CHECKPOINTS_KEPT as i64])?;
                Ok(Done::Written)
            }
            Task::Bury { letters } => {
                self.tally.letters_dropped += letters::add(db, letters, self.config.max_dead_letters)?;
                Ok(Done::Written)
            }
            Task::Retain { retention, now } => {
                let before = self.tally.bytes;
                let (count, more) = retention::step(db, &mut self.tally, *retention, *now)?;
                // What goes is rewritten once more on its way out.
                self.unfolded += usize::try_from(before - self.tally.bytes).unwrap_or(CHECKPOINT_BYTES);
                Ok(Done::Dropped { count, more })
            }
            Task::Shrink => {
                let (pages, more) = retention::shrink(db)?;
                self.unfolded += pages * PAGE_BYTES as usize;
                Ok(Done::Shrunk { more })
            }
            Task::Forget { consumer } => {
                db.execute("DELETE FROM consumers WHERE name = ?1", [consumer])?;
                db.execute("DELETE FROM checkpoints WHERE consumer = ?1", [consumer])?;
                Ok(Done::Written)
            }
        }
    }

    fn commit(&self, consumer: &str, cursor: Position) -> Result<(), Fault> {
        let last = self.tally.last;
        if cursor.0 > last {
            let at = cursor.0;
            return Err(Fault::Other(format!(
                "cursor {at} of consumer {consumer} lies beyond the last position {last}: it belongs to another log; \
                 start the consumer from the beginning of this one"
            )));
        }
        self.db
            .prepare_cached(
                "INSERT INTO consumers (name, cursor) VALUES (?1, ?2)
                 ON CONFLICT (name) DO UPDATE SET cursor = excluded.cursor WHERE excluded.cursor > cursor",
            )?
            .execute(params![consumer, signed(cursor.0)])?;
        Ok(())
    }

    /// Folds the WAL into the file. What cannot be folded now (a reader is in it, the disk is full) stays in the WAL,
    /// durable and readable, and is tried again after as many bytes.
    fn fold(&mut self) {
        self.unfolded = 0;
        let run =
            |mode: &str| self.db.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| row.get::<_, i64>(1));
        if run("PASSIVE").is_ok_and(|frames| frames > WAL_MAX_FRAMES) {
            // Readers that take turns would keep it growing for ever; this waits for them, up to the busy timeout.
            let _ = run("RESTART");
        }
    }
}

/// What tells an intact checkpoint from a damaged one.
pub(super) fn checkpoint_hash(consumer: &str, cursor: i64, version: i64, state: &[u8]) -> blake3::Hash {
    let mut hash = blake3::Hasher::new();
    hash.update(&(consumer.len() as u64).to_le_bytes()).update(consumer.as_bytes());
    hash.update(&cursor.to_le_bytes()).update(&version.to_le_bytes()).update(state);
    hash.finalize()
}
