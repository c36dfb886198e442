//! Opening: whose file it is, which format it has, whether it is sound, and the tables of a new one.
//!
//! The header is read before SQLite sees the file, so that a file of a newer Tapio or of another program is not
//! touched at all. A new file gets its tables, application id and format in one transaction under the rollback
//! journal, and only then the WAL: a crash on the way leaves an empty file or a finished one.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::config::SqliteConfig;
use super::fault::Fault;

/// `application_id` in the header of the file: "TAPL".
pub const APPLICATION_ID: u32 = 0x5441_504C;
/// `user_version` in the header of the file: the newest format this version reads and writes.
pub const FORMAT: u32 = 1;

const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// Bytes of a page in a new file: a leaf holds a dozen usual records, and a lone append rewrites only one of them.
pub(super) const PAGE_BYTES: u32 = 4_096;

/// Bytes to which a WAL that one large transaction blew up is cut back.
const WAL_KEEP_BYTES: u32 = 64 << 20;

const TABLES: &str = "
CREATE TABLE log_state (
  id              INTEGER PRIMARY KEY CHECK (id = 1),
  last_position   INTEGER NOT NULL,
  dropped_through INTEGER NOT NULL,
  bytes           INTEGER NOT NULL,
  letters_dropped INTEGER NOT NULL
) STRICT;
INSERT INTO log_state VALUES (1, 0, 0, 0, 0);
CREATE TABLE records (
  position    INTEGER PRIMARY KEY,
  appended_at INTEGER NOT NULL,
  event       BLOB NOT NULL
) STRICT;
CREATE TABLE consumers (
  name   TEXT PRIMARY KEY,
  cursor INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE checkpoints (
  seq      INTEGER PRIMARY KEY,
  consumer TEXT NOT NULL,
  cursor   INTEGER NOT NULL,
  version  INTEGER NOT NULL,
  state    BLOB NOT NULL,
  hash     BLOB NOT NULL
) STRICT;
CREATE INDEX checkpoints_of_consumer ON checkpoints (consumer, seq, cursor);
CREATE TABLE dead_letters (
  seq     INTEGER PRIMARY KEY,
  about   TEXT UNIQUE,
  origin  TEXT NOT NULL,
  line    INTEGER,
  reason  TEXT NOT NULL,
  excerpt TEXT NOT NULL
) STRICT;
";

/// The counters of the one row of `log_state`; the writer keeps them in memory and writes them with each change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Last position given out.
    pub(super) last: u64,
    /// Last position that retention dropped.
    pub(super) dropped_through: u64,
    /// Payload bytes of the records that are there.
    pub(super) bytes: u64,
    /// Dead letters that went for their cap.
    pub(super) letters_dropped: u64,
}

impl Tally {
    pub(super) fn load(db: &Connection) -> Result<Self, Fault> {
        db.prepare_cached("SELECT last_position, dropped_through, bytes, letters_dropped FROM log_state")?
            .query_row([], |row| {
                Ok(Tally {
                    last: unsigned(row.get(0)?),
                    dropped_through: unsigned(row.get(1)?),
                    bytes: unsigned(row.get(2)?),
                    letters_dropped: unsigned(row.get(3)?),
                })
            })
            .map_err(Fault::from)
    }

    pub(super) fn store(&self, db: &Connection) -> Result<(), Fault> {
        db.prepare_cached(
            "UPDATE log_state SET last_position = ?1, dropped_through = ?2, bytes = ?3, letters_dropped = ?4",
        )?
        .execute([
            signed(self.last),
            signed(self.dropped_through),
            signed(self.bytes),
            signed(self.letters_dropped),
        ])?;
        Ok(())
    }
}

/// SQLite's integers are signed; counters never come near the end, foreign cursors are cut there.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Back from [`signed`]; what is negative was never written by us.
pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// The one spelling of `path` by which two openers meet: links resolved, the file itself possibly not there yet.
pub(super) fn resolve(path: &Path) -> Result<PathBuf, Fault> {
    match fs::canonicalize(path) {
        Ok(found) if found.is_dir() => Err(Fault::Other("is a folder; name a file in it".into())),
        Ok(found) => Ok(found),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let name = path.file_name().ok_or_else(|| Fault::Other("the path has no file name".into()))?;
            let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let folder = fs::canonicalize(folder).map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => Fault::Other("its folder does not exist; create it first".into()),
                _ => Fault::from_io("its folder cannot be opened", &error),
            })?;
            Ok(folder.join(name))
        }
        Err(error) => Err(Fault::from_io("cannot be opened", &error)),
    }
}

/// The right to be the one process that uses the file.
///
/// A lock on a file beside it and not on the file itself: closing any handle of the file would take away the locks that
/// SQLite holds on it in this process.
pub(super) struct Lock {
    file: File,
}

impl Lock {
    pub(super) fn take(path: &Path) -> Result<Self, Fault> {
        let mut name = path.as_os_str().to_owned();
        name.push(".lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&name)
            .map_err(|error| Fault::from_io("its lock file cannot be written", &error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // For the message only: without it the lock is as held as before.
                let _ = Read::by_ref(&mut file).take(32).read_to_string(&mut holder);
                let holder = holder.trim();
                let holder = if holder.is_empty() { "one that is not known" } else { holder };
                return Err(Fault::InUse(format!("process {holder} holds its lock file")));
            }
            Err(TryLockError::Error(error)) => {
                return Err(Fault::Other(format!("its lock file cannot be locked: {error}; use a local disk")));
            }
        }
        // Who holds it, for the message of the next one that comes; a full disk must not prevent opening.
        let _ = file.rewind().and_then(|()| file.set_len(0)).and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(Lock { file })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing would not do: a process that another thread is just starting has a copy of the handle until it runs
        // its program, and the lock would stay as long.
        let _ = self.file.unlock();
    }
}

/// An opened file.
pub(super) struct Opened {
    /// The connection that writes.
    pub(super) connection: Connection,
    /// Its counters.
    pub(super) tally: Tally,
}

/// Opens or creates the file at `path`, which the caller has locked.
pub(super) fn open(path: &Path, config: &SqliteConfig) -> Result<Opened, Fault> {
    look_at_header(path)?;
    open_checked(path, config).map_err(Fault::while_opening)
}

fn open_checked(path: &Path, config: &SqliteConfig) -> Result<Opened, Fault> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut db = Connection::open_with_flags(path, flags)?;
    db.busy_timeout(Duration::from_millis(config.busy_timeout_millis.into()))?;
    if db.is_readonly(rusqlite::MAIN_DB)? {
        // SQLite falls back to reading only when it may not write.
        return Err(Fault::ReadOnly("the file cannot be opened for writing".into()));
    }
    if pragma(&db, "application_id")? == 0 && is_empty(&db)? {
        create(&mut db)?;
    }
    look_at_format(unsigned32(pragma(&db, "application_id")?), unsigned32(pragma(&db, "user_version")?))?;
    let mode: String = db.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        return Err(Fault::Other(format!("the WAL cannot be used here (journal mode stays {mode}); use a local disk")));
    }
    db.pragma_update(None, "synchronous", "FULL")?;
    // The writer checkpoints itself, after it has answered its callers.
    db.pragma_update(None, "wal_autocheckpoint", 0)?;
    db.pragma_update(None, "journal_size_limit", WAL_KEEP_BYTES)?;
    db.pragma_update(None, "cell_size_check", true)?;
    // What a crash left in the WAL goes into the file first, so that the file is checked as it is used.
    db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    check(&db, config)?;
    // Older files have none; they stay readable for who knows nothing of it.
    crate::outbox::create(&db)?;
    let tally = Tally::load(&db)?;
    if config.max_file_bytes > 0 {
        let pages = (config.max_file_bytes / unsigned(pragma(&db, "page_size")?).max(1)).max(1);
        db.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))?;
    }
    Ok(Opened { connection: db, tally })
}

/// A connection that reads beside the writer.
pub(super) fn open_reader(path: &Path, config: &SqliteConfig) -> Result<Connection, Fault> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags)?;
    db.busy_timeout(Duration::from_millis(config.busy_timeout_millis.into()))?;
    db.pragma_update(None, "cell_size_check", true)?;
    Ok(db)
}

/// Looks at the first bytes of the file, where there are any, without SQLite.
fn look_at_header(path: &Path) -> Result<(), Fault> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Fault::from_io("cannot be opened", &error)),
    };
    let mut header = Vec::with_capacity(100);
    file.take(100).read_to_end(&mut header).map_err(|error| Fault::from_io("its header cannot be read", &error))?;
    if header.is_empty() {
        return Ok(());
    }
    if header.len() < 100 || !header.starts_with(MAGIC) {
        return Err(Fault::Corrupt("it is not an SQLite database".into()));
    }
    let number = |at: usize| header[at..at + 4].iter().fold(0_u32, |n, byte| n << 8 | u32::from(*byte));
    // Without an application id it may be a database that nothing was put into yet; SQLite will tell.
    if number(68) == 0 { Ok(()) } else { look_at_format(number(68), number(60)) }
}

fn look_at_format(application_id: u32, format: u32) -> Result<(), Fault> {
    match (application_id, format) {
        (APPLICATION_ID, FORMAT) => Ok(()),
        (APPLICATION_ID, 0) => Err(Fault::Corrupt("it is an event log without a format".into())),
        (APPLICATION_ID, found) => Err(Fault::NewerVersion { found, known: FORMAT }),
        (other, _) => {
            Err(Fault::Corrupt(format!("it is a database of another program (application id {other:#010x})")))
        }
    }
}

fn create(db: &mut Connection) -> Result<(), Fault> {
    db.pragma_update(None, "page_size", PAGE_BYTES)?;
    // Free pages can be given back later only when the file is laid out for it from the beginning.
    db.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    let change = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    change.execute_batch(TABLES)?;
    change.pragma_update(None, "application_id", APPLICATION_ID)?;
    change.pragma_update(None, "user_version", FORMAT)?;
    change.commit()?;
    Ok(())
}

fn check(db: &Connection, config: &SqliteConfig) -> Result<(), Fault> {
    let bytes = unsigned(pragma(db, "page_count")?).saturating_mul(unsigned(pragma(db, "page_size")?));
    if bytes <= config.check_max_bytes {
        let found: String = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if found != "ok" {
            return Err(Fault::Corrupt(found.replace('\n', " ")));
        }
    }
    let tally = Tally::load(db)?;
    let end = |sql: &str| -> Result<Option<u64>, Fault> {
        let mut query = db.prepare(sql)?;
        let mut rows = query.query([])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        // Reads the record itself, too.
        row.get_ref(1)?;
        Ok(Some(unsigned(row.get(0)?)))
    };
    let first = end("SELECT position, event FROM records ORDER BY position LIMIT 1")?;
    let last = end("SELECT position, event FROM records ORDER BY position DESC LIMIT 1")?;
    let expected = (tally.last > tally.dropped_through).then_some((tally.dropped_through + 1, tally.last));
    if first.zip(last) != expected {
        return Err(Fault::Corrupt(format!(
            "its records run from {first:?} to {last:?}, its counters say {expected:?}"
        )));
    }
    Ok(())
}

fn is_empty(db: &Connection) -> Result<bool, Fault> {
    let tables: i64 = db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    Ok(tables == 0)
}

/// The value of a pragma that is one number.
pub(super) fn pragma(db: &Connection, name: &str) -> Result<i64, Fault> {
    db.pragma_query_value(None, name, |row| row.get(0)).map_err(Fault::from)
}

/// The header's ids are 32 bits without a sign, SQLite prints them with one.
fn unsigned32(number: i64) -> u32 {
    u32::try_from(number & 0xFFFF_FFFF).unwrap_or(0)
}
