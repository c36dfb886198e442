//! The outbox as couriers see it: what is next for a sink, and what became of it.

use rusqlite::params;
use tapio_core::alert::Alert;
use tapio_core::time::Time;

use super::desk;
use super::plan::SinkPlan;
use super::store::{COLUMNS, Entry, Outbox, OutboxError, State, entries};
use super::tables::count;

/// Alerts of one message.
const GROUP_MAX: i64 = 50;
/// Whether a delivery says that something is over which the sink was told of, or is no incident's.
const EXEMPT: &str = "(d.transition = 'resolved' AND EXISTS (SELECT 1 FROM alert_deliveries o
  WHERE o.sink = d.sink AND o.incident = d.incident AND o.state = 'sent' AND o.transition <> 'resolved'))";

impl Outbox {
    /// What is to be sent to a sink at `now`: the oldest that is due and has nothing of its incident before it, with
    /// those of its group.
    pub(super) fn next(&self, sink: &str, now: Time) -> Result<Vec<Entry>, OutboxError> {
        self.read(|db| {
            let mut query = db.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM alert_deliveries d JOIN alerts a USING (key)
                 WHERE d.sink = ?1 AND d.state = 'pending' AND d.due <= ?2 AND NOT EXISTS (
                   SELECT 1 FROM alert_deliveries e WHERE e.sink = d.sink AND e.incident = d.incident
                     AND e.state = 'pending' AND e.seq < d.seq)
                 ORDER BY d.seq LIMIT 1"
            ))?;
            let head = entries(query.query(params![sink, now.micros()])?)?;
            let Some(group) = head.first().and_then(|e| e.group.clone()) else { return Ok(head) };
            let mut query = db.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM alert_deliveries d JOIN alerts a USING (key)
                 WHERE d.sink = ?1 AND d.state = 'pending' AND d.due <= ?2 AND d.grp = ?3 AND NOT EXISTS (
                   SELECT 1 FROM alert_deliveries e WHERE e.sink = d.sink AND e.incident = d.incident
                     AND e.state = 'pending' AND e.seq < d.seq AND (e.due > ?2 OR e.grp IS NOT d.grp))
                 ORDER BY d.seq LIMIT ?4"
            ))?;
            entries(query.query(params![sink, now.micros(), group, GROUP_MAX])?)
        })
    }

    /// When something is due for a sink next, if anything waits.
    pub(super) fn next_due(&self, sink: &str) -> Result<Option<Time>, OutboxError> {
        self.read(|db| {
            db.prepare_cached("SELECT min(due) FROM alert_deliveries WHERE sink = ?1 AND state = 'pending'")?
                .query_row([sink], |row| row.get::<_, Option<i64>>(0))
                .map(|due| due.map(Time::from_micros))
        })
    }

    /// How many wait for a sink at `now` that a rate limit may hold back.
    pub(super) fn backlog(&self, sink: &str, now: Time) -> Result<Vec<Entry>, OutboxError> {
        self.read(|db| {
            let mut query = db.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM alert_deliveries d JOIN alerts a USING (key)
                 WHERE d.sink = ?1 AND d.state = 'pending' AND d.due <= ?2 AND d.transition <> 'summary'
                   AND NOT {EXEMPT} ORDER BY d.seq"
            ))?;
            entries(query.query(params![sink, now.micros()])?)
        })
    }

    /// Whether a rate limit must let it through: what was told as open must be told to be over.
    pub(super) fn exempt(&self, seq: i64) -> Result<bool, OutboxError> {
        self.read(|db| {
            db.prepare_cached(&format!("SELECT {EXEMPT} FROM alert_deliveries d WHERE d.seq = ?1"))?
                .query_row([seq], |row| row.get(0))
        })
    }

    /// Notes what became of deliveries.
    pub(super) fn settle(
        &self,
        list: &[Entry],
        state: State,
        word: &str,
        reason: &str,
        now: Time,
    ) -> Result<(), OutboxError> {
        self.write(|db| {
            for e in list {
                db.prepare_cached(
                    "UPDATE alert_deliveries SET state = ?2, done = ?3, reason = ?4, held = NULL WHERE seq = ?1",
                )?
                .execute(params![e.seq, state.as_str(), now.micros(), reason])?;
                count(db, &e.sink, word, 1)?;
            }
            Ok(())
        })
    }

    /// Lets deliveries wait until `due`; `held`: for what, else an attempt has failed.
    pub(super) fn postpone(
        &self,
        list: &[Entry],
        due: Time,
        held: Option<&str>,
        reason: &str,
    ) -> Result<(), OutboxError> {
        self.write(|db| {
            for e in list {
                db.prepare_cached(
                    "UPDATE alert_deliveries SET due = ?2, held = ?3, reason = ?4, tries = tries + ?5 WHERE seq = ?1",
                )?
                .execute(params![e.seq, due.micros(), held, reason, i64::from(held.is_none())])?;
                if held.is_none() {
                    count(db, &e.sink, "retried", 1)?;
                }
            }
            Ok(())
        })
    }

    /// Puts a summary into the place of what it stands for, in one step.
    pub(super) fn summarise(
        &self,
        plan: &SinkPlan,
        list: &[Entry],
        summary: &Alert,
        now: Time,
    ) -> Result<(), OutboxError> {
        self.write(|db| {
            for e in list {
                db.prepare_cached(
                    "UPDATE alert_deliveries SET state = 'summarised', done = ?2, held = NULL, reason = ?3 WHERE seq = ?1",
                )?
                .execute(params![e.seq, now.micros(), format!("stands in summary {}", summary.key)])?;
            }
            count(db, &plan.name, "summarised", list.len())?;
            desk::owe_summary(db, plan, summary, now)
        })
    }

    /// Alerts of incidents that a sink was told are open, and of which nothing waits for it.
    pub(super) fn open_alerts(&self, sink: &str) -> Result<Vec<Alert>, OutboxError> {
        self.read(|db| {
            let mut query = db.prepare_cached(
                "SELECT t.alert FROM alert_told t WHERE t.open = 1
                   AND EXISTS (SELECT 1 FROM alert_deliveries d WHERE d.sink = ?1 AND d.incident = t.incident
                     AND d.state = 'sent' AND d.transition <> 'resolved')
                   AND NOT EXISTS (SELECT 1 FROM alert_deliveries d WHERE d.sink = ?1 AND d.incident = t.incident
                     AND d.state = 'pending')
                 ORDER BY t.incident",
            )?;
            let rows = query.query_map([sink], |row| row.get::<_, String>(0))?;
            let mut out = Vec::new();
            for text in rows {
                out.extend(serde_json::from_str::<Alert>(&text?).ok());
            }
            Ok(out)
        })
    }
}
