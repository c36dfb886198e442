//! The tables, beside those of the log, and the words for their rows.

use rusqlite::Connection;
use tapio_core::answer::Incident;

/// An alert is stored once, however many sinks it goes to. `deliveries.state`: see [`super::State`]; `held`: why a
/// pending one waits beyond its time. `told` holds what was said last of each incident.
const TABLES: &str = "
CREATE TABLE IF NOT EXISTS alerts (
  key      TEXT PRIMARY KEY,
  incident TEXT NOT NULL,
  body     TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS alert_deliveries (
  seq        INTEGER PRIMARY KEY AUTOINCREMENT,
  sink       TEXT NOT NULL,
  key        TEXT NOT NULL,
  incident   TEXT NOT NULL,
  transition TEXT NOT NULL,
  grp        TEXT,
  state      TEXT NOT NULL,
  due        INTEGER NOT NULL,
  created    INTEGER NOT NULL,
  done       INTEGER,
  tries      INTEGER NOT NULL DEFAULT 0,
  held       TEXT,
  reason     TEXT NOT NULL DEFAULT '',
  UNIQUE (sink, key)
) STRICT;
CREATE INDEX IF NOT EXISTS alert_deliveries_due ON alert_deliveries (sink, state, due);
CREATE INDEX IF NOT EXISTS alert_deliveries_of ON alert_deliveries (sink, incident, state, seq);
CREATE INDEX IF NOT EXISTS alert_deliveries_key ON alert_deliveries (key);
CREATE TABLE IF NOT EXISTS alert_told (
  incident TEXT PRIMARY KEY,
  open     INTEGER NOT NULL,
  severity TEXT NOT NULL,
  alert    TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS alert_silences (
  id       INTEGER PRIMARY KEY AUTOINCREMENT,
  matchers TEXT NOT NULL,
  until    INTEGER NOT NULL,
  created  INTEGER NOT NULL,
  author   TEXT NOT NULL,
  comment  TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS alert_counts (
  sink   TEXT NOT NULL,
  reason TEXT NOT NULL,
  n      INTEGER NOT NULL,
  PRIMARY KEY (sink, reason)
) STRICT, WITHOUT ROWID;
";

/// Makes the tables where they are not.
pub(crate) fn create(db: &Connection) -> rusqlite::Result<()> {
    let there: i64 =
        db.query_row("SELECT count(*) FROM sqlite_schema WHERE name = 'alert_counts'", [], |row| row.get(0))?;
    if there == 1 {
        return Ok(());
    }
    db.execute_batch(&format!("BEGIN IMMEDIATE;{TABLES}COMMIT;"))
}

/// An incident as it stands after one of its transitions.
#[derive(Clone, Debug, PartialEq)]
pub struct Sighting {
    /// The incident.
    pub incident: Incident,
    /// Whether it was found to be the same as another one and is gone.
    pub merged: bool,
    /// Uid of the object that it is about, where that is known.
    pub uid: Option<String>,
}

/// Adds to a count.
pub(super) fn count(db: &Connection, sink: &str, reason: &str, n: usize) -> rusqlite::Result<()> {
    if n > 0 {
        db.prepare_cached(
            "INSERT INTO alert_counts (sink, reason, n) VALUES (?1, ?2, ?3)
             ON CONFLICT (sink, reason) DO UPDATE SET n = n + excluded.n",
        )?
        .execute(rusqlite::params![sink, reason, i64::try_from(n).unwrap_or(i64::MAX)])?;
    }
    Ok(())
}
