//! Dropping old records: how far it may go, and one bounded step of it.

use rusqlite::Connection;
use tapio_core::ports::Retention;
use tapio_core::time::{SECOND, Time};

use super::fault::Fault;
use super::schema::{Tally, pragma, signed, unsigned};

/// Records that one step drops at most: the writer is free for appends between steps.
const STEP_RECORDS: u64 = 10_000;
/// Payload bytes after which a step ends.
const STEP_BYTES: u64 = 32 << 20;
/// Pages that one step gives back to the file system at most.
const STEP_PAGES: i64 = 2_048;

/// Drops the oldest records that `retention` lets go and nobody needs; updates `tally`. Returns how many went, and
/// whether there may be more.
///
/// Records go from the old end up to the first that must stay, so that what is kept has no holes. By age this means: a
/// record that was stamped with a time in the future (the clock was wrong) holds those behind it until that time.
pub(super) fn step(db: &Connection, tally: &mut Tally, retention: Retention, now: Time) -> Result<(u64, bool), Fault> {
    let Some(needed) = needed_from(db)? else { return Ok((0, false)) };
    let oldest = match retention.max_age_secs {
        0 => i64::MIN,
        secs => now.micros().saturating_sub(i64::try_from(secs).unwrap_or(i64::MAX).saturating_mul(SECOND)),
    };
    let (mut through, mut dropped) = (tally.dropped_through, 0);
    let mut more = false;
    {
        let mut query = db.prepare_cached(
            "SELECT position, appended_at, length(event) FROM records
             WHERE position > ?1 AND position <= ?2 ORDER BY position LIMIT ?3",
        )?;
        let mut rows = query.query([signed(tally.dropped_through), signed(needed), signed(STEP_RECORDS)])?;
        while let Some(row) = rows.next()? {
            let too_old = row.get::<_, i64>(1)? < oldest;
            let too_much = retention.max_bytes > 0 && tally.bytes.saturating_sub(dropped) > retention.max_bytes;
            more = too_old || too_much;
            if !more {
                break;
            }
            through = unsigned(row.get(0)?);
            dropped += unsigned(row.get(2)?);
            if dropped >= STEP_BYTES {
                break;
            }
        }
    }
    if through == tally.dropped_through {
        return Ok((0, false));
    }
    let count = db.prepare_cached("DELETE FROM records WHERE position <= ?1")?.execute([signed(through)])?;
    tally.dropped_through = through;
    tally.bytes = tally.bytes.saturating_sub(dropped);
    Ok((count as u64, more))
}

/// The last position that nobody needs any more: the least of all committed cursors and of all kept checkpoints'
/// cursors, the older ones too, since recovery may have to fall back on them. None while no consumer is known.
fn needed_from(db: &Connection) -> Result<Option<u64>, Fault> {
    let least: Option<i64> = db
        .prepare_cached(
            "SELECT min(cursor) FROM (SELECT cursor FROM consumers UNION ALL SELECT cursor FROM checkpoints)",
        )?
        .query_row([], |row| row.get(0))?;
    Ok(least.map(unsigned))
}

/// Gives pages back to the file system while more than half of the file is free; returns how many went, and whether
/// there may be more.
///
/// Not earlier: a log in balance fills again what it frees, and giving back means moving the newest records into the
/// holes, which costs as many writes as they did.
pub(super) fn shrink(db: &Connection) -> Result<(usize, bool), Fault> {
    let free = pragma(db, "freelist_count")?;
    let used = pragma(db, "page_count")? - free;
    let excess = free - used;
    if excess <= 0 {
        return Ok((0, false));
    }
    let mut step = db.prepare(&format!("PRAGMA incremental_vacuum({})", excess.min(STEP_PAGES)))?;
    let mut rows = step.query([])?;
    while rows.next()?.is_some() {}
    // None goes in a file that was not laid out for it.
    let gone = free - pragma(db, "freelist_count")?;
    Ok((usize::try_from(gone).unwrap_or(0), gone > 0 && excess > gone))
}
