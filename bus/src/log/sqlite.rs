//! The event log in one SQLite file: what a single node, a laptop or an offline analysis needs, with no service to run.
//!
//! # How it works
//! One writer thread owns the only writing connection. Callers put jobs into a bounded queue; the writer takes what
//! is there, writes it as one transaction (*group commit*) and answers each caller after COMMIT, that is after the
//! fsync of the WAL (`synchronous=FULL`). Two reader threads own read-only connections: thanks to the WAL they never
//! wait for the writer. Futures wait on oneshot channels only, so that they run on any async runtime, or none.
//!
//! # Invariants
//! - Nothing acknowledged is lost by a crash of the process or the machine, and no batch is there by half: a batch
//!   never spans two transactions.
//! - One process owns the file: it holds `<file>.lock`. The lock goes with the process, however it ends; the lock file
//!   stays behind, empty of meaning.
//! - Positions come from a counter in the file and not from the table, so that they are not reused after retention.
//! - Retention drops whole ranges from the oldest end; `dropped_through` marks it, and a read from before the mark
//!   is [`LogError::Gone`].
//! - A record that cannot be decoded does not stop the readers: it goes to the dead letters with its position and
//!   reason, once, and reading goes on behind it. Its bytes stay in the file until retention takes them. A record is
//!   skipped only when its dead letter is durable.
//!
//! # Cost
//! An append costs its share of one fsync. The queue holds [`QUEUE_BYTES`] of payload; when it is full, the
//! append's future waits: that is the back-pressure. A batch larger than the queue is taken when the queue is empty.
//! Opening checks the structure of files up to [`SqliteConfig::check_max_bytes`] by reading them once: about 1 s per
//! GiB from the page cache, else the speed of the disk. Of larger files only both ends are looked at; damage between
//! them shows when it is read. `cargo bench -p tapio-bus` measures all of it next to a plain file.
//! Space that retention frees is used again; the file shrinks only when more than half of it is free.

mod config;
mod fault;
mod letters;
mod reader;
mod retention;
mod schema;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use tapio_core::ports::{BoxFuture, EventLog, LogError, LogStats, Position, Record, Retention};
use tapio_core::raw::{DeadLetter, RawEvent};
use tapio_core::time::Time;

pub use config::SqliteConfig;
use fault::Fault;
use letters::Letter;
pub use letters::{EXCERPT_MAX_BYTES, ORIGIN_MAX_BYTES, REASON_MAX_BYTES};
use reader::Readers;
pub use reader::{PAGE_MAX_BYTES, READ_QUEUE, READERS};
pub use schema::{APPLICATION_ID, FORMAT};
use schema::{Lock, Opened};
pub use writer::QUEUE_BYTES;
use writer::{Done, Rows, Task, Writer};

use crate::outbox::{Plan, Sighting};

/// How many checkpoints of a consumer are kept: the newest, and the one to fall back to when that is damaged.
pub const CHECKPOINTS_KEPT: usize = 2;

/// Where the log takes the time of an append from.
pub type Clock = Box<dyn Fn() -> Time + Send + Sync>;

/// The event log in one SQLite file.
///
/// Dropping it finishes what is queued, folds the WAL into the file and waits for its threads; that takes as long as
/// the disk needs, so drop it outside of latency-sensitive async code.
pub struct SqliteLog {
    place: String,
    letters_dropped: Arc<AtomicU64>,
    // Order of the fields is order of dropping: readers close first, so that the writer is the last connection and
    // folds the WAL into the file; the lock goes last.
    readers: Readers,
    writer: Writer,
    _lock: Lock,
}

impl SqliteLog {
    /// Opens the log at `path`, or creates it there; its folder must exist. Blocks while it recovers and checks.
    ///
    /// # Errors
    /// [`LogError::InUse`] when another process (or another log of this one) holds the file, [`LogError::ReadOnly`]
    /// when it or its folder cannot be written, [`LogError::Corrupt`] when it is damaged or no event log,
    /// [`LogError::NewerVersion`] when a newer Tapio wrote it (the file is then left as it is), [`LogError::Full`]
    /// when there is no space, [`LogError::Other`] for what is left, such as a missing folder.
    pub fn open(path: impl AsRef<Path>, config: SqliteConfig) -> Result<Self, LogError> {
        Self::open_with_clock(path, config, Box::new(wall_clock))
    }

    /// As [`SqliteLog::open`], with append times taken from `clock`.
    ///
    /// # Errors
    /// As [`SqliteLog::open`].
    pub fn open_with_clock(path: impl AsRef<Path>, config: SqliteConfig, clock: Clock) -> Result<Self, LogError> {
        let path = path.as_ref();
        let place = path.display().to_string();
        Self::start(path, place.clone(), config, clock).map_err(|fault| fault.at(&place))
    }

    fn start(path: &Path, place: String, config: SqliteConfig, clock: Clock) -> Result<Self, Fault> {
        let path: PathBuf = schema::resolve(path)?;
        let lock = Lock::take(&path)?;
        let Opened { connection, tally } = schema::open(&path, &config)?;
        let readers = Readers::start(&path, &config)?;
        let letters_dropped = Arc::new(AtomicU64::new(tally.letters_dropped));
        let writer = Writer::start(connection, tally, config, clock, letters_dropped.clone())?;
        Ok(SqliteLog { place, letters_dropped, readers, writer, _lock: lock })
    }

    /// How many dead letters went because of [`SqliteConfig::max_dead_letters`], since the file was created.
    pub fn dead_letters_dropped(&self) -> u64 {
        self.letters_dropped.load(Ordering::Relaxed)
    }

    /// Forgets a consumer that will not come back, with its cursor and checkpoints: it holds retention no longer.
    /// Harmless for one that is not known.
    ///
    /// # Errors
    /// As for any write: [`LogError::Busy`], [`LogError::Full`], [`LogError::ReadOnly`], [`LogError::Corrupt`].
    pub async fn forget_consumer(&self, consumer: &str) -> Result<(), LogError> {
        self.write(Task::Forget { consumer: consumer.to_owned() }).await.map(|_| ())
    }

    /// Moves a consumer's cursor, and owes the alerts that follow from incidents seen on the way there, in one step: a
    /// crash finds both or neither. Returns how many alerts are new; see [`crate::outbox`].
    ///
    /// # Errors
    /// As for any write: [`LogError::Busy`], [`LogError::Full`], [`LogError::ReadOnly`], [`LogError::Corrupt`].
    pub async fn commit_and_tell(
        &self,
        consumer: &str,
        cursor: Position,
        plan: Arc<Plan>,
        seen: Vec<Sighting>,
    ) -> Result<usize, LogError> {
        match self.write(Task::Tell { consumer: consumer.to_owned(), cursor, plan, seen }).await? {
            Done::Told { count } => Ok(count),
            other => Err(other.unexpected().at(&self.place)),
        }
    }

    async fn write(&self, task: Task) -> Result<Done, LogError> {
        self.writer.submit(task).await.map_err(|fault| fault.at(&self.place))
    }

    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut rusqlite::Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, LogError> {
        self.readers.ask(question).await.map_err(|fault| fault.at(&self.place))
    }

    async fn bury_letters(&self, letters: Vec<Letter>) -> Result<(), LogError> {
        if letters.is_empty() {
            return Ok(());
        }
        self.write(Task::Bury { letters }).await.map(|_| ())
    }
}

impl EventLog for SqliteLog {
    fn append(&self, events: Vec<RawEvent>) -> BoxFuture<'_, Result<Position, LogError>> {
        Box::pin(async move {
            // Encoded here and not by the writer: producers share that work among their own threads.
            let rows = Rows::encode(&events).map_err(|fault| fault.at(&self.place))?;
            drop(events);
            if rows.is_empty() {
                return self.ask(|db| reader::stats(db).map(|stats| stats.last)).await;
            }
            match self.write(Task::Append { rows }).await? {
                Done::Appended(position) => Ok(position),
                other => Err(other.unexpected().at(&self.place)),
            }
        })
    }

    /// A page ends early at [`PAGE_MAX_BYTES`] of payload, but holds at least one record if there is one. Where a record
    /// cannot be decoded, its dead letter is written first, so that a read can then fail as a write does.
    fn read(&self, cursor: Position, max: usize) -> BoxFuture<'_, Result<Vec<Record>, LogError>> {
        Box::pin(async move {
            let mut cursor = cursor;
            loop {
                let page = self.ask(move |db| reader::page(db, cursor, max)).await?;
                self.bury_letters(page.unreadable).await?;
                if !page.records.is_empty() || page.at_end {
                    return Ok(page.records);
                }
                // Nothing but unreadable records: an empty answer would mean the end of the log.
                cursor = page.through;
            }
        })
    }

    /// A cursor beyond the last position is refused as [`LogError::Other`]: it was taken from another log.
    fn commit<'a>(&'a self, consumer: &'a str, cursor: Position) -> BoxFuture<'a, Result<(), LogError>> {
        Box::pin(async move { self.write(Task::Commit { consumer: consumer.to_owned(), cursor }).await.map(|_| ()) })
    }

    fn committed<'a>(&'a self, consumer: &'a str) -> BoxFuture<'a, Result<Position, LogError>> {
        let consumer = consumer.to_owned();
        Box::pin(self.ask(move |db| reader::committed(db, &consumer)))
    }

    /// Texts longer than their bounds are cut at a character: [`EXCERPT_MAX_BYTES`] and its neighbours.
    fn bury(&self, letters: Vec<DeadLetter>) -> BoxFuture<'_, Result<(), LogError>> {
        Box::pin(self.bury_letters(letters.into_iter().map(Letter::from_input).collect()))
    }

    fn dead_letters(&self, max: usize) -> BoxFuture<'_, Result<Vec<DeadLetter>, LogError>> {
        Box::pin(self.ask(move |db| letters::newest(db, max)))
    }

    /// Also commits `cursor` for the consumer, and drops its checkpoints but the newest [`CHECKPOINTS_KEPT`].
    fn save_checkpoint<'a>(
        &'a self,
        consumer: &'a str,
        cursor: Position,
        version: u32,
        state: Vec<u8>,
    ) -> BoxFuture<'a, Result<(), LogError>> {
        let task = Task::SaveCheckpoint { consumer: consumer.to_owned(), cursor, version, state };
        Box::pin(async move { self.write(task).await.map(|_| ()) })
    }

    /// A damaged checkpoint is buried as a dead letter and the one before it taken; when all are damaged, that is
    /// [`LogError::Corrupt`].
    fn load_checkpoint<'a>(
        &'a self,
        consumer: &'a str,
    ) -> BoxFuture<'a, Result<Option<(Position, u32, Vec<u8>)>, LogError>> {
        let name = consumer.to_owned();
        Box::pin(async move {
            let found = self.ask(move |db| reader::checkpoint(db, &name)).await?;
            let damaged = found.damaged.len();
            self.bury_letters(found.damaged).await?;
            if found.intact.is_none() && damaged > 0 {
                let why = format!("none of the {damaged} checkpoints of consumer {consumer} is intact");
                return Err(Fault::Corrupt(why).at(&self.place));
            }
            Ok(found.intact)
        })
    }

    /// Works in steps, between which appends go on. While no consumer is known nothing is dropped.
    fn retain(&self, retention: Retention, now: Time) -> BoxFuture<'_, Result<u64, LogError>> {
        Box::pin(async move {
            let mut total = 0;
            loop {
                match self.write(Task::Retain { retention, now }).await? {
                    Done::Dropped { count, more } => {
                        total += count;
                        if !more {
                            break;
                        }
                    }
                    other => return Err(other.unexpected().at(&self.place)),
                }
            }
            while let Done::Shrunk { more: true } = self.write(Task::Shrink).await? {}
            Ok(total)
        })
    }

    fn stats(&self) -> BoxFuture<'_, Result<LogStats, LogError>> {
        Box::pin(self.ask(reader::stats))
    }
}

fn wall_clock() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
