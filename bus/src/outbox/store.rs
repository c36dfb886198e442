//! The outbox as its users see it: what waits, what was told, what was not and why, and silences.
//!
//! It has a connection of its own beside the log's writer, and needs no lock of the log: a command line may look at it,
//! and silence or send again, while the process that fills it runs. SQLite lets one write at a time; every write here is
//! short.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior, params};
use serde::Serialize;
use tapio_core::alert::Alert;
use tapio_core::answer::Incident;
use tapio_core::id::Id;
use tapio_core::time::Time;

use super::desk;
use super::plan::Plan;
use super::silence::{Matcher, Silence};
use super::tables::{self, Sighting, count};
use crate::log::sqlite::{APPLICATION_ID, FORMAT};

/// How long another writer is waited for.
const BUSY: Duration = Duration::from_secs(5);
/// Silences that are kept; a new one beyond that is refused.
const MAX_SILENCES: i64 = 1_000;
/// Rows that are kept of what is done, of all sinks.
const MAX_DONE: i64 = 50_000;

/// Why the outbox could not do it.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    /// There is none: nothing was ever told from here.
    #[error("{0} has no outbox of alerts; `tapio up` makes it")]
    Missing(PathBuf),
    /// Another process writes; try again.
    #[error("outbox in {place} is busy: {why}")]
    Busy {
        /// File.
        place: PathBuf,
        /// Detail.
        why: String,
    },
    /// What was asked for is not there, or cannot be.
    #[error("{0}")]
    Refused(String),
    /// Anything else: damaged, full, not ours.
    #[error("outbox in {place}: {why}")]
    Other {
        /// File.
        place: PathBuf,
        /// Detail.
        why: String,
    },
}

/// How a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It waits: for its time, for a sink that is away, for the end of a silence.
    Pending,
    /// The sink has it.
    Sent,
    /// The sink refused it, or could not be reached for too long.
    Dead,
    /// A silence kept it back until it was over.
    Silenced,
    /// It stands in a summary.
    Summarised,
    /// There was no room, or the sink is not in the settings any more.
    Dropped,
}

impl State {
    /// The lower-case word.
    pub const fn as_str(self) -> &'static str {
        match self {
            State::Pending => "pending",
            State::Sent => "sent",
            State::Dead => "dead",
            State::Silenced => "silenced",
            State::Summarised => "summarised",
            State::Dropped => "dropped",
        }
    }

    fn read(word: &str) -> Self {
        let all = [State::Sent, State::Dead, State::Silenced, State::Summarised, State::Dropped];
        all.into_iter().find(|s| s.as_str() == word).unwrap_or(State::Pending)
    }
}

/// One alert for one sink.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Entry {
    /// Place in the order.
    pub seq: i64,
    /// Which sink.
    pub sink: String,
    /// How it stands.
    pub state: State,
    /// When it is tried next, while it waits.
    pub due: Time,
    /// When it came in.
    pub created: Time,
    /// When it was done with.
    pub done: Option<Time>,
    /// How often it was tried in vain.
    pub tries: u32,
    /// Why it waits beyond its time: `silence`, `rate`.
    pub held: Option<String>,
    /// Why the last attempt failed, or what became of it.
    pub reason: String,
    /// The alert.
    pub alert: Alert,
    #[serde(skip)]
    pub(super) group: Option<String>,
}

/// Which deliveries; everything where a field is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Only of this sink.
    pub sink: Option<String>,
    /// Only in this state.
    pub state: Option<State>,
    /// Only those whose key begins so.
    pub key: Option<String>,
}

/// What was counted of one sink.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Deliveries that wait.
    pub pending: u64,
    /// `sent`, `retried`, `dead`, `silenced`, `summarised`, `dropped_full`, …: how many, ever.
    pub ever: std::collections::BTreeMap<String, u64>,
}

/// The outbox in a log's file.
pub struct Outbox {
    db: Mutex<Connection>,
    place: PathBuf,
}

impl Outbox {
    /// Opens the outbox in the event log at `path`, which must be there. Another process may use it, too.
    ///
    /// # Errors
    /// There is none, or the file cannot be used.
    pub fn open(path: &Path) -> Result<Self, OutboxError> {
        let place = path.to_owned();
        if !path.is_file() {
            return Err(OutboxError::Missing(place));
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let opened = Connection::open_with_flags(path, flags).and_then(|db| {
            db.busy_timeout(BUSY)?;
            db.pragma_update(None, "synchronous", "FULL")?;
            // The log's writer folds the WAL.
            db.pragma_update(None, "wal_autocheckpoint", 0)?;
            db.pragma_update(None, "cell_size_check", true)?;
            let id: i64 = db.pragma_query_value(None, "application_id", |row| row.get(0))?;
            let format: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
            Ok((db, id, format))
        });
        let (db, id, format) = opened.map_err(|e| failed(&place, &e))?;
        let other = |why: String| OutboxError::Other { place: place.clone(), why };
        if id != i64::from(APPLICATION_ID) {
            return Err(other("the file is no event log of tapio".to_owned()));
        }
        if format > i64::from(FORMAT) {
            return Err(other(format!("its format is {format}, this version reads up to {FORMAT}; use a newer tapio")));
        }
        tables::create(&db).map_err(|e| failed(&place, &e))?;
        Ok(Outbox { db: Mutex::new(db), place })
    }

    fn db(&self) -> MutexGuard<'_, Connection> {
        // A panic in the middle of a transaction has rolled it back.
        self.db.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does it in one transaction that writes.
    pub(super) fn write<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, OutboxError> {
        let mut db = self.db();
        let done = db.transaction_with_behavior(TransactionBehavior::Immediate).and_then(|tx| {
            let made = work(&tx)?;
            tx.commit()?;
            Ok(made)
        });
        done.map_err(|e| failed(&self.place, &e))
    }

    pub(super) fn read<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, OutboxError> {
        work(&self.db()).map_err(|e| failed(&self.place, &e))
    }

    /// Takes incidents as they were seen; how many alerts are new. The pipeline does the same in the transaction that
    /// moves its cursor.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn take(&self, plan: &Plan, seen: &[Sighting], now: Time) -> Result<usize, OutboxError> {
        self.write(|db| desk::take(db, plan, seen, now))
    }

    /// Brings the outbox into line with all that the engine knows: a sink that is new is told of what is open; what is
    /// told as open and is not is closed. Doing it again adds nothing.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn reconcile(&self, plan: &Plan, known: &[Incident], now: Time) -> Result<usize, OutboxError> {
        self.write(|db| {
            retire(db, plan, now)?;
            desk::reconcile(db, plan, known, now)
        })
    }

    /// Removes what was done with before the plan's time, but of open incidents; and silences that ended before it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn prune(&self, plan: &Plan, now: Time) -> Result<usize, OutboxError> {
        let before = now.plus(-(i64::try_from(plan.keep_millis).unwrap_or(i64::MAX / 1_000) * 1_000)).micros();
        self.write(|db| {
            let gone = db.execute(
                "DELETE FROM alert_deliveries WHERE state <> 'pending'
                   AND (done < ?1 OR seq <= (SELECT coalesce(max(seq), 0) FROM alert_deliveries) - ?2)
                   AND incident NOT IN (SELECT incident FROM alert_told WHERE open = 1)",
                params![before, MAX_DONE],
            )?;
            db.execute("DELETE FROM alerts WHERE key NOT IN (SELECT key FROM alert_deliveries)", [])?;
            db.execute(
                "DELETE FROM alert_told WHERE open = 0 AND incident NOT IN (SELECT incident FROM alert_deliveries)",
                [],
            )?;
            db.execute("DELETE FROM alert_silences WHERE until < ?1", [before])?;
            Ok(gone)
        })
    }

    /// The newest `max` deliveries of a selection, oldest of them first.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn list(&self, which: &Selection, max: usize) -> Result<Vec<Entry>, OutboxError> {
        self.read(|db| {
            let mut query = db.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM alert_deliveries d JOIN alerts a USING (key)
                 WHERE (?1 IS NULL OR d.sink = ?1) AND (?2 IS NULL OR d.state = ?2)
                   AND (?3 IS NULL OR substr(d.key, 1, length(?3)) = ?3)
                 ORDER BY d.seq DESC LIMIT ?4"
            ))?;
            let max = i64::try_from(max).unwrap_or(i64::MAX);
            let found = entries(query.query(params![which.sink, which.state.map(State::as_str), which.key, max])?);
            found.map(|mut list| {
                list.reverse();
                list
            })
        })
    }

    /// What was counted, sink by sink.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn counts(&self) -> Result<std::collections::BTreeMap<String, Counts>, OutboxError> {
        self.read(|db| {
            let mut out: std::collections::BTreeMap<String, Counts> = std::collections::BTreeMap::new();
            let whole = |n: i64| u64::try_from(n).unwrap_or(0);
            let mut query = db.prepare_cached("SELECT sink, reason, n FROM alert_counts")?;
            let mut rows = query.query([])?;
            while let Some(row) = rows.next()? {
                out.entry(row.get(0)?).or_default().ever.insert(row.get(1)?, whole(row.get(2)?));
            }
            let mut query =
                db.prepare_cached("SELECT sink, count(*) FROM alert_deliveries WHERE state = 'pending' GROUP BY sink")?;
            let mut rows = query.query([])?;
            while let Some(row) = rows.next()? {
                out.entry(row.get(0)?).or_default().pending = whole(row.get(1)?);
            }
            Ok(out)
        })
    }

    /// Sends dead letters of a selection again, from `now`; how many. What was told of the same incident after them is
    /// told again, too, so that an incident that is over does not end as open.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn resend(&self, which: &Selection, now: Time) -> Result<usize, OutboxError> {
        self.write(|db| {
            let mut query = db.prepare_cached(
                "SELECT seq, sink, incident FROM alert_deliveries WHERE state = 'dead'
                   AND (?1 IS NULL OR sink = ?1) AND (?2 IS NULL OR substr(key, 1, length(?2)) = ?2)",
            )?;
            let rows = query.query_map(params![which.sink, which.key], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?))
            })?;
            let dead = rows.collect::<rusqlite::Result<Vec<_>>>()?;
            for (seq, sink, incident) in &dead {
                db.prepare_cached(
                    "UPDATE alert_deliveries SET state = 'pending', due = ?4, created = ?4, tries = 0, held = NULL,
                       done = NULL, grp = NULL
                     WHERE sink = ?2 AND incident = ?3 AND seq >= ?1 AND state IN ('dead', 'sent')",
                )?
                .execute(params![seq, sink, incident, now.micros()])?;
                count(db, sink, "sent_again", 1)?;
            }
            Ok(dead.len())
        })
    }

    /// Keeps a silence; its number.
    ///
    /// # Errors
    /// There are too many, it has no matchers, it is over already, or the file cannot be written.
    pub fn silence(
        &self,
        matchers: Vec<Matcher>,
        until: Time,
        author: &str,
        comment: &str,
        now: Time,
    ) -> Result<Silence, OutboxError> {
        if matchers.is_empty() || until <= now {
            return Err(OutboxError::Refused("a silence needs a matcher and an end that is to come".to_owned()));
        }
        let cut = |text: &str| text.chars().filter(|c| !c.is_control()).take(500).collect::<String>();
        let (author, comment) = (cut(author), cut(comment));
        let text = serde_json::to_string(&matchers).map_err(|e| OutboxError::Refused(e.to_string()))?;
        let id = self.write(|db| {
            let there: i64 = db.query_row("SELECT count(*) FROM alert_silences", [], |row| row.get(0))?;
            if there >= MAX_SILENCES {
                return Ok(None);
            }
            db.execute(
                "INSERT INTO alert_silences (matchers, until, created, author, comment) VALUES (?1, ?2, ?3, ?4, ?5)",
                params![text, until.micros(), now.micros(), author, comment],
            )?;
            Ok(Some(db.last_insert_rowid()))
        })?;
        let id =
            id.ok_or_else(|| OutboxError::Refused(format!("there are {MAX_SILENCES} silences; end some first")))?;
        Ok(Silence { id, matchers, until, created: now, author, comment })
    }

    /// Ends a silence now; what it held back is looked at again.
    ///
    /// # Errors
    /// There is no such silence, or it is over; or the file cannot be written.
    pub fn unsilence(&self, id: i64, now: Time) -> Result<(), OutboxError> {
        let ended = self.write(|db| {
            let ended = db.execute(
                "UPDATE alert_silences SET until = ?2 WHERE id = ?1 AND until > ?2",
                params![id, now.micros()],
            )?;
            db.execute(
                "UPDATE alert_deliveries SET due = ?1 WHERE state = 'pending' AND held = 'silence'",
                [now.micros()],
            )?;
            Ok(ended)
        })?;
        if ended == 0 {
            return Err(OutboxError::Refused(format!(
                "there is no silence {id} in force; see `tapio alerts silences`"
            )));
        }
        Ok(())
    }

    /// All silences that are kept, oldest first; those that are over are among them for a while.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn silences(&self) -> Result<Vec<Silence>, OutboxError> {
        self.read(|db| {
            let mut query = db.prepare_cached(
                "SELECT id, matchers, until, created, author, comment FROM alert_silences ORDER BY id",
            )?;
            let mut rows = query.query([])?;
            let mut out = Vec::new();
            while let Some(row) = rows.next()? {
                let text: String = row.get(1)?;
                // One that cannot be read silences nothing: rather told than not.
                let Ok(matchers) = serde_json::from_str(&text) else { continue };
                out.push(Silence {
                    id: row.get(0)?,
                    matchers,
                    until: Time::from_micros(row.get(2)?),
                    created: Time::from_micros(row.get(3)?),
                    author: row.get(4)?,
                    comment: row.get(5)?,
                });
            }
            Ok(out)
        })
    }
}

/// A sink that is not in the settings any more has nothing to wait for.
fn retire(db: &Connection, plan: &Plan, now: Time) -> rusqlite::Result<()> {
    let mut query = db.prepare_cached("SELECT DISTINCT sink FROM alert_deliveries WHERE state = 'pending'")?;
    let names = query.query_map([], |row| row.get::<_, String>(0))?.collect::<rusqlite::Result<Vec<_>>>()?;
    for sink in names.iter().filter(|n| !plan.sinks.iter().any(|s| s.name == **n)) {
        let gone = db.execute(
            "UPDATE alert_deliveries SET state = 'dropped', done = ?2, reason = 'the sink is not in the settings'
             WHERE sink = ?1 AND state = 'pending'",
            params![sink, now.micros()],
        )?;
        count(db, sink, "dropped_no_sink", gone)?;
    }
    Ok(())
}

pub(super) const COLUMNS: &str =
    "d.seq, d.sink, d.state, d.due, d.created, d.done, d.tries, d.held, d.reason, d.grp, a.body, d.key, d.incident";

pub(super) fn entries(mut rows: rusqlite::Rows<'_>) -> rusqlite::Result<Vec<Entry>> {
    let mut out = Vec::new();
    while let Some(row) = rows.next()? {
        let body: String = row.get(10)?;
        let alert = match serde_json::from_str(&body) {
            Ok(alert) => alert,
            Err(e) => unreadable(&row.get::<_, String>(11)?, &row.get::<_, String>(12)?, &e),
        };
        out.push(Entry {
            seq: row.get(0)?,
            sink: row.get(1)?,
            state: State::read(&row.get::<_, String>(2)?),
            due: Time::from_micros(row.get(3)?),
            created: Time::from_micros(row.get(4)?),
            done: row.get::<_, Option<i64>>(5)?.map(Time::from_micros),
            tries: row.get(6)?,
            held: row.get(7)?,
            reason: row.get(8)?,
            group: row.get(9)?,
            alert,
        });
    }
    Ok(out)
}

/// In place of an alert that cannot be read: people learn that there was one.
fn unreadable(key: &str, incident: &str, why: &serde_json::Error) -> Alert {
    let id = |text: &str| text.parse::<Id>().unwrap_or_default();
    let mut alert = Alert::test("", "", Time::MIN);
    alert.key = id(key);
    alert.incident = id(incident);
    alert.body.title = "an alert that cannot be read".to_owned();
    alert.body.what = format!("alert {key} of incident {incident} is damaged in the outbox: {why}");
    alert.body.why.clear();
    alert
}

fn failed(place: &Path, e: &rusqlite::Error) -> OutboxError {
    let why = e.to_string();
    let place = place.to_owned();
    match e.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => {
            OutboxError::Busy { place, why }
        }
        _ => OutboxError::Other { place, why },
    }
}
