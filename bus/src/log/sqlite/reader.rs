//! Reading: a few threads with a read-only connection each, and what they are asked.
//!
//! Every question runs in one read transaction, so that the mark of retention and the records behind it are of the
//! same moment.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

use rusqlite::{Connection, OptionalExtension};
use tapio_core::ports::{LogStats, Position, Record};
use tapio_core::time::Time;
use tokio::sync::{Semaphore, oneshot};

use super::config::SqliteConfig;
use super::fault::Fault;
use super::letters::{self, Letter};
use super::schema::{self, Tally, signed, unsigned};
use super::writer::checkpoint_hash;

/// Threads that read; one that decodes a long page does not hold up a short question.
pub const READERS: usize = 2;
/// Questions that may wait for a reader; callers beyond that wait in their futures.
pub const READ_QUEUE: usize = 64;
/// Payload bytes after which a page of records ends although more were asked for: 32 MiB.
pub const PAGE_MAX_BYTES: usize = 32 << 20;

type Question = Box<dyn FnOnce(&mut Connection) + Send>;

/// The reading threads.
pub(super) struct Readers {
    // None only while dropping.
    questions: Option<Sender<Question>>,
    room: Arc<Semaphore>,
    threads: Vec<JoinHandle<()>>,
}

impl Readers {
    pub(super) fn start(path: &Path, config: &SqliteConfig) -> Result<Self, Fault> {
        let (questions, incoming) = channel::<Question>();
        let incoming = Arc::new(Mutex::new(incoming));
        let room = Arc::new(Semaphore::new(READ_QUEUE));
        let mut readers = Readers { questions: Some(questions), room, threads: Vec::with_capacity(READERS) };
        for _ in 0..READERS {
            let connection = schema::open_reader(path, config)?;
            let incoming = incoming.clone();
            let thread = Builder::new()
                .name("log-reader".into())
                .spawn(move || serve(connection, &incoming))
                .map_err(|error| Fault::Other(format!("cannot start a reader thread: {error}")))?;
            readers.threads.push(thread);
        }
        Ok(readers)
    }

    pub(super) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let stopped = || Fault::Other("the reader has stopped; open the log again".into());
        let room = self.room.clone().acquire_owned().await.map_err(|_| stopped())?;
        let (answer, answered) = oneshot::channel();
        let question: Question = Box::new(move |db| {
            // Nobody listens when the asking future was dropped.
            let _ = answer.send(question(db));
            // Kept until here, since the question stays in the queue even when nobody waits for it any more.
            drop(room);
        });
        self.questions.as_ref().ok_or_else(stopped)?.send(question).map_err(|_| stopped())?;
        answered.await.map_err(|_| stopped())?
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        drop(self.questions.take());
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn serve(mut db: Connection, incoming: &Mutex<Receiver<Question>>) {
    loop {
        let next = incoming.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(question) = next else { return };
        // A panic ends its question (whose answer is dropped), not the reader.
        let _ = catch_unwind(AssertUnwindSafe(|| question(&mut db)));
    }
}

/// A page of records.
pub(super) struct Page {
    pub(super) records: Vec<Record>,
    /// Letters about those that cannot be decoded.
    pub(super) unreadable: Vec<Letter>,
    /// The last position looked at.
    pub(super) through: Position,
    /// Whether there was nothing more.
    pub(super) at_end: bool,
}

/// At most `max` records after `cursor`.
pub(super) fn page(db: &mut Connection, cursor: Position, max: usize) -> Result<Page, Fault> {
    let moment = db.transaction()?;
    let tally = Tally::load(&moment)?;
    if cursor.0 < tally.dropped_through {
        return Err(Fault::Gone { asked: cursor.0 + 1, first: tally.dropped_through + 1 });
    }
    let mut page = Page { records: Vec::new(), unreadable: Vec::new(), through: cursor, at_end: true };
    let mut bytes = 0;
    let mut query = moment.prepare_cached(
        "SELECT position, appended_at, event FROM records WHERE position > ?1 ORDER BY position LIMIT ?2",
    )?;
    let mut rows = query.query([signed(cursor.0), signed(max as u64)])?;
    while let Some(row) = rows.next()? {
        let position = Position(unsigned(row.get(0)?));
        let event = row.get_ref(2)?.as_bytes().map_err(|error| Fault::Corrupt(error.to_string()))?;
        bytes += event.len();
        match serde_json::from_slice(event) {
            Ok(event) => {
                page.records.push(Record { position, appended_at: Time::from_micros(row.get(1)?), event });
            }
            Err(why) => page.unreadable.push(Letter::about_record(position.0, &why)),
        }
        page.through = position;
        page.at_end = false;
        if bytes >= PAGE_MAX_BYTES {
            break;
        }
    }
    Ok(page)
}

/// How far `consumer` has come.
pub(super) fn committed(db: &Connection, consumer: &str) -> Result<Position, Fault> {
    let cursor = db
        .prepare_cached("SELECT cursor FROM consumers WHERE name = ?1")?
        .query_row([consumer], |row| row.get(0))
        .optional()?;
    Ok(Position(cursor.map_or(0, unsigned)))
}

/// What was found of a consumer's checkpoints.
pub(super) struct Found {
    /// The newest that is as it was saved.
    pub(super) intact: Option<(Position, u32, Vec<u8>)>,
    /// Letters about the newer ones that are not.
    pub(super) damaged: Vec<Letter>,
}

/// The newest intact checkpoint of `consumer`.
pub(super) fn checkpoint(db: &Connection, consumer: &str) -> Result<Found, Fault> {
    let mut query = db.prepare_cached(
        "SELECT seq, cursor, version, state, hash FROM checkpoints WHERE consumer = ?1 ORDER BY seq DESC",
    )?;
    let mut rows = query.query([consumer])?;
    let mut found = Found { intact: None, damaged: Vec::new() };
    while let Some(row) = rows.next()? {
        let (seq, cursor, version): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let state = row.get_ref(3)?.as_bytes().map_err(|error| Fault::Corrupt(error.to_string()))?;
        let hash: Vec<u8> = row.get(4)?;
        if hash == checkpoint_hash(consumer, cursor, version, state).as_bytes() {
            let version = u32::try_from(version).map_err(|error| Fault::Corrupt(error.to_string()))?;
            found.intact = Some((Position(unsigned(cursor)), version, state.to_vec()));
            break;
        }
        found.damaged.push(Letter::about_checkpoint(consumer, seq, unsigned(cursor)));
    }
    Ok(found)
}

/// What the log holds; costs a few look-ups, however long it is.
pub(super) fn stats(db: &mut Connection) -> Result<LogStats, Fault> {
    let moment = db.transaction()?;
    let tally = Tally::load(&moment)?;
    let first = if tally.last > tally.dropped_through { tally.dropped_through + 1 } else { 0 };
    Ok(LogStats {
        first: Position(first),
        last: Position(tally.last),
        bytes: tally.bytes,
        dead_letters: letters::count(&moment)?,
    })
}
