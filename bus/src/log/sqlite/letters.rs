//! Dead letters: bounded texts, a bounded table, and one letter only about each damaged thing of the log itself.

use rusqlite::{Connection, params};
use tapio_core::raw::DeadLetter;

use super::fault::Fault;
use super::schema::{signed, unsigned};

/// Bytes to which an excerpt is cut.
pub const EXCERPT_MAX_BYTES: usize = 2_048;
/// Bytes to which a reason is cut.
pub const REASON_MAX_BYTES: usize = 2_048;
/// Bytes to which an origin is cut; the longest path that Linux knows.
pub const ORIGIN_MAX_BYTES: usize = 4_096;

/// The origin of letters about damaged parts of the log itself.
const SELF_ORIGIN: &str = "event log";

/// A dead letter within its bounds.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Letter {
    /// What in the log it is about; a second letter about it is not kept. None: input from outside.
    about: Option<String>,
    letter: DeadLetter,
}

impl Letter {
    pub(super) fn from_input(letter: DeadLetter) -> Self {
        Letter {
            about: None,
            letter: DeadLetter {
                origin: cut(letter.origin, ORIGIN_MAX_BYTES),
                line: letter.line,
                reason: cut(letter.reason, REASON_MAX_BYTES),
                excerpt: cut(letter.excerpt, EXCERPT_MAX_BYTES),
            },
        }
    }

    /// About a record that cannot be decoded. It has no excerpt: what cannot be decoded cannot be masked, and the bytes
    /// are still in the file at the position.
    pub(super) fn about_record(position: u64, why: &dyn std::fmt::Display) -> Self {
        Letter {
            about: Some(format!("record {position}")),
            letter: DeadLetter {
                origin: SELF_ORIGIN.into(),
                line: Some(position),
                reason: cut(format!("record {position} cannot be decoded and is skipped: {why}"), REASON_MAX_BYTES),
                excerpt: String::new(),
            },
        }
    }

    /// About a checkpoint that is not what was saved.
    pub(super) fn about_checkpoint(consumer: &str, seq: i64, cursor: u64) -> Self {
        let reason = format!("checkpoint of consumer {consumer} at position {cursor} is damaged and is skipped");
        Letter {
            about: Some(format!("checkpoint {seq}")),
            letter: DeadLetter {
                origin: SELF_ORIGIN.into(),
                line: None,
                reason: cut(reason, REASON_MAX_BYTES),
                excerpt: String::new(),
            },
        }
    }

    /// About how many bytes it takes in a queue.
    pub(super) fn bytes(&self) -> usize {
        self.letter.origin.len() + self.letter.reason.len() + self.letter.excerpt.len()
    }
}

/// Adds the letters and lets the oldest beyond `cap` go; returns how many went.
pub(super) fn add(db: &Connection, letters: &[Letter], cap: u64) -> Result<u64, Fault> {
    let mut insert = db.prepare_cached(
        "INSERT INTO dead_letters (about, origin, line, reason, excerpt) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (about) DO NOTHING",
    )?;
    for Letter { about, letter } in letters {
        insert.execute(params![about, letter.origin, letter.line.map(signed), letter.reason, letter.excerpt])?;
    }
    // Numbers grow by one and go from the old end only, so that the cap needs no counting.
    let gone = db
        .prepare_cached("DELETE FROM dead_letters WHERE seq <= (SELECT max(seq) FROM dead_letters) - ?1")?
        .execute([signed(cap)])?;
    Ok(gone as u64)
}

/// The newest `max` letters, oldest of them first.
pub(super) fn newest(db: &Connection, max: usize) -> Result<Vec<DeadLetter>, Fault> {
    let mut query = db.prepare_cached(
        "SELECT origin, line, reason, excerpt FROM
           (SELECT * FROM dead_letters ORDER BY seq DESC LIMIT ?1) ORDER BY seq",
    )?;
    let rows = query.query_map([signed(max as u64)], |row| {
        Ok(DeadLetter {
            origin: row.get(0)?,
            line: row.get::<_, Option<i64>>(1)?.map(unsigned),
            reason: row.get(2)?,
            excerpt: row.get(3)?,
        })
    })?;
    rows.collect::<Result<_, _>>().map_err(Fault::from)
}

/// How many are kept.
pub(super) fn count(db: &Connection) -> Result<u64, Fault> {
    let span: Option<i64> = db
        .prepare_cached("SELECT (SELECT max(seq) FROM dead_letters) - (SELECT min(seq) FROM dead_letters) + 1")?
        .query_row([], |row| row.get(0))?;
    Ok(span.map_or(0, unsigned))
}

fn cut(mut text: String, max: usize) -> String {
    if text.len() > max {
        let end = (0..=max).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.shrink_to_fit();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_at_a_character() {
        assert_eq!(cut("abc".into(), 3), "abc");
        assert_eq!(cut("abcd".into(), 3), "abc");
        assert_eq!(cut("aüü".into(), 4), "aü");
        assert_eq!(cut("😀".into(), 3), "");
    }
}
