//! The desk: an incident comes in, and what is owed because of it goes into the outbox. Runs inside of the caller's
//! transaction.

use rusqlite::{Connection, OptionalExtension, params};
use tapio_core::alert::{Alert, Transition};
use tapio_core::answer::{Incident, IncidentState};
use tapio_core::time::Time;
use tapio_core::unified::Severity;

use super::plan::{Plan, SinkPlan};
use super::tables::{Sighting, count};

/// What was told of an incident last.
struct Told {
    open: bool,
    alert: Alert,
}

/// Takes what was seen, and owes what follows from it; the number of alerts that are new. Taking it again adds nothing.
pub(crate) fn take(db: &Connection, plan: &Plan, seen: &[Sighting], now: Time) -> rusqlite::Result<usize> {
    let mut new = 0;
    for Sighting { incident, merged, uid } in seen {
        let told = told(db, incident)?;
        let over = *merged || incident.state == IncidentState::Resolved;
        let open = told.as_ref().filter(|t| t.open);
        let transition = match (over, open) {
            (false, None) => Transition::Opened,
            (false, Some(t)) if incident.severity > t.alert.severity => Transition::Escalated,
            (true, Some(_)) => Transition::Resolved,
            (false, Some(t)) => {
                // Nothing to tell; whoever is reminded of it gets today's words.
                let fresh = Alert::of(incident, t.alert.transition, &plan.cluster, Some(beginning(t)), None);
                let same = Alert {
                    key: t.alert.key,
                    at: t.alert.at,
                    starts_at: t.alert.starts_at,
                    uid: uid.clone().or_else(|| t.alert.uid.clone()),
                    ..fresh
                };
                keep(db, &same, true)?;
                continue;
            }
            (true, None) => continue,
        };
        let was = open.map(|t| t.alert.severity);
        let mut alert = Alert::of(incident, transition, &plan.cluster, open.map(beginning), was);
        if *merged && incident.state == IncidentState::Open {
            alert.body.what = format!("it is part of another incident, which goes on; {}", alert.body.what);
        }
        alert.uid = uid.clone().or_else(|| told.as_ref().and_then(|t| t.alert.uid.clone()));
        new += owe(db, plan, &alert, now)?;
    }
    Ok(new)
}

/// Brings the outbox into line with what the engine knows: tells of open incidents that a sink was never told of, and
/// closes those that are told as open and are not open any more. `known`: every incident that the engine has.
pub(super) fn reconcile(db: &Connection, plan: &Plan, known: &[Incident], now: Time) -> rusqlite::Result<usize> {
    let open = |i: &&Incident| i.state == IncidentState::Open;
    let seen: Vec<Sighting> =
        known.iter().map(|i| Sighting { incident: i.clone(), merged: false, uid: None }).collect();
    let mut new = take(db, plan, &seen, now)?;
    let ids: std::collections::BTreeSet<String> = known.iter().filter(open).map(|i| i.id.to_string()).collect();
    for told in all_open(db)? {
        if ids.contains(&told.incident.to_string()) {
            new += owe_rest(db, plan, &told, now)?;
            continue;
        }
        let mut alert = told.clone();
        alert.transition = Transition::Resolved;
        alert.at = now;
        alert.key = tapio_core::alert::key(told.incident, Transition::Resolved, told.at);
        alert.ends_at = Some(now.max(told.starts_at));
        alert.body.what = format!("it is not known any more, and closed for that; it was: {}", told.body.what);
        new += owe(db, plan, &alert, now)?;
    }
    Ok(new)
}

fn beginning(t: &Told) -> (&std::collections::BTreeMap<String, String>, Time) {
    (&t.alert.labels, t.alert.starts_at)
}

fn told(db: &Connection, incident: &Incident) -> rusqlite::Result<Option<Told>> {
    let row = db
        .prepare_cached("SELECT open, alert FROM alert_told WHERE incident = ?1")?
        .query_row([incident.id.to_string()], |row| Ok((row.get::<_, bool>(0)?, row.get::<_, String>(1)?)))
        .optional()?;
    // What cannot be read counts as never told: twice is better than not at all.
    Ok(row.and_then(|(open, text)| Some(Told { open, alert: serde_json::from_str(&text).ok()? })))
}

/// Alerts of all incidents that are told as open, oldest first.
fn all_open(db: &Connection) -> rusqlite::Result<Vec<Alert>> {
    let mut query = db.prepare_cached("SELECT alert FROM alert_told WHERE open = 1 ORDER BY incident")?;
    let rows = query.query_map([], |row| row.get::<_, String>(0))?;
    let mut out = Vec::new();
    for text in rows {
        out.extend(serde_json::from_str::<Alert>(&text?).ok());
    }
    out.sort_by_key(|a| (a.starts_at, a.incident));
    Ok(out)
}

fn keep(db: &Connection, alert: &Alert, open: bool) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT INTO alert_told (incident, open, severity, alert) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (incident) DO UPDATE SET open = excluded.open, severity = excluded.severity, alert = excluded.alert",
    )?
    .execute(params![alert.incident.to_string(), open, alert.severity.as_str(), json(alert)?])?;
    Ok(())
}

/// Owes an alert to every sink that it concerns, and notes it as the last word on its incident.
fn owe(db: &Connection, plan: &Plan, alert: &Alert, now: Time) -> rusqlite::Result<usize> {
    store(db, alert)?;
    let mut new = 0;
    for sink in &plan.sinks {
        new += match alert.transition {
            Transition::Resolved => close(db, sink, alert, now)?,
            _ if sink.wants(alert) => deliver(db, sink, alert, now)?,
            _ => 0,
        };
    }
    keep(db, alert, alert.transition != Transition::Resolved)?;
    Ok(new)
}

/// Owes an open alert to the sinks that were never told of its incident: those that are new.
fn owe_rest(db: &Connection, plan: &Plan, alert: &Alert, now: Time) -> rusqlite::Result<usize> {
    let mut new = 0;
    for sink in plan.sinks.iter().filter(|s| s.wants(alert)) {
        if !knows(db, &sink.name, alert, None)? {
            store(db, alert)?;
            new += deliver(db, sink, alert, now)?;
        }
    }
    Ok(new)
}

/// Whether a sink has deliveries of the incident, in a state if given.
fn knows(db: &Connection, sink: &str, alert: &Alert, state: Option<&str>) -> rusqlite::Result<bool> {
    db.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM alert_deliveries
           WHERE sink = ?1 AND incident = ?2 AND (?3 IS NULL OR state = ?3) AND transition <> 'resolved')",
    )?
    .query_row(params![sink, alert.incident.to_string(), state], |row| row.get(0))
}

/// Tells a sink that an incident is over, if it was told that it began.
fn close(db: &Connection, sink: &SinkPlan, alert: &Alert, now: Time) -> rusqlite::Result<usize> {
    if !knows(db, &sink.name, alert, None)? {
        return Ok(0);
    }
    // What a silence kept back until the end need not be told at all.
    let hushed = db
        .prepare_cached(
            "UPDATE alert_deliveries SET state = 'silenced', done = ?3
             WHERE sink = ?1 AND incident = ?2 AND state = 'pending' AND held = 'silence'",
        )?
        .execute(params![sink.name, alert.incident.to_string(), now.micros()])?;
    count(db, &sink.name, "silenced", hushed)?;
    let any = |state| knows(db, &sink.name, alert, Some(state));
    if hushed > 0 && !any("sent")? && !any("pending")? && !any("summarised")? {
        return Ok(0);
    }
    deliver(db, sink, alert, now)
}

fn store(db: &Connection, alert: &Alert) -> rusqlite::Result<()> {
    db.prepare_cached("INSERT INTO alerts (key, incident, body) VALUES (?1, ?2, ?3) ON CONFLICT (key) DO NOTHING")?
        .execute(params![alert.key.to_string(), alert.incident.to_string(), json(alert)?])?;
    Ok(())
}

fn deliver(db: &Connection, sink: &SinkPlan, alert: &Alert, now: Time) -> rusqlite::Result<usize> {
    let group = sink.group_by.of(&alert.labels);
    let wait = if group.is_some() { i64::try_from(sink.group_wait_millis).unwrap_or(0) * 1_000 } else { 0 };
    // The first of a group decides when it goes.
    let first: Option<i64> = match &group {
        None => None,
        Some(g) => db
            .prepare_cached(
                "SELECT min(due) FROM alert_deliveries
                 WHERE sink = ?1 AND state = 'pending' AND grp = ?2 AND tries = 0 AND held IS NULL",
            )?
            .query_row(params![sink.name, g], |row| row.get(0))?,
    };
    let due = first.unwrap_or(now.micros().saturating_add(wait));
    let new = db
        .prepare_cached(
            "INSERT INTO alert_deliveries (sink, key, incident, transition, grp, state, due, created)
             VALUES (?1, ?2, ?3, ?4, ?5, 'pending', ?6, ?7) ON CONFLICT (sink, key) DO NOTHING",
        )?
        .execute(params![
            sink.name,
            alert.key.to_string(),
            alert.incident.to_string(),
            alert.transition.as_str(),
            group,
            due,
            now.micros()
        ])?;
    bound(db, sink, now)?;
    Ok(new)
}

/// Lets the oldest that wait for a sink go where there are too many.
fn bound(db: &Connection, sink: &SinkPlan, now: Time) -> rusqlite::Result<()> {
    let waiting: i64 = db
        .prepare_cached("SELECT count(*) FROM alert_deliveries WHERE sink = ?1 AND state = 'pending'")?
        .query_row([&sink.name], |row| row.get(0))?;
    let over = waiting - i64::from(sink.max_pending);
    if over <= 0 {
        return Ok(());
    }
    let gone = db
        .prepare_cached(
            "UPDATE alert_deliveries SET state = 'dropped', done = ?3, reason = 'too many wait for this sink'
             WHERE seq IN (SELECT seq FROM alert_deliveries WHERE sink = ?1 AND state = 'pending' ORDER BY seq LIMIT ?2)",
        )?
        .execute(params![sink.name, over, now.micros()])?;
    count(db, &sink.name, "dropped_full", gone)
}

/// Owes a summary to one sink.
pub(super) fn owe_summary(db: &Connection, sink: &SinkPlan, alert: &Alert, now: Time) -> rusqlite::Result<()> {
    store(db, alert)?;
    let alone = SinkPlan { group_by: super::GroupBy::None, ..sink.clone() };
    deliver(db, &alone, alert, now).map(|_| ())
}

/// The worst severity in a list of alerts.
pub(super) fn worst(alerts: &[Alert]) -> Severity {
    alerts.iter().map(|a| a.severity).max().unwrap_or_default()
}

fn json(alert: &Alert) -> rusqlite::Result<String> {
    serde_json::to_string(alert).map_err(|e| rusqlite::Error::ToSqlConversionFailure(Box::new(e)))
}
