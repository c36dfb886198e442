//! A courier: brings one sink what it is owed. Each sink has its own, so that one that is slow or away holds up nobody.
//!
//! # The schedule
//! After a failure the sink as a whole rests for 1 s, 2 s, 4 s … up to 1 min, so that a server which is away is not
//! stormed. The alert that failed waits as long again, and up to 5 min, so that one which a server cannot digest does
//! not hold back the others. Nothing is random: the same times give the same schedule. Within an incident the order
//! is kept.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tapio_core::alert::{Alert, Transition};
use tapio_core::ports::{AlertSink, SinkError};
use tapio_core::time::{MINUTE, SECOND, Time};

use super::desk::worst;
use super::plan::SinkPlan;
use super::silence::Silence;
use super::store::{Entry, Outbox, OutboxError, State};

/// Longest pause between two attempts at one alert.
const MAX_BACK_OFF: i64 = 5 * MINUTE;
/// Longest rest of a sink after failures.
const MAX_REST: i64 = MINUTE;
/// Longest pause that a server may ask for.
const MAX_ASKED: u64 = 3_600;
/// After which a sink that is switched off is tried again.
const OFF: i64 = 10 * MINUTE;
/// Within which a rate is measured.
const WINDOW: i64 = MINUTE;
/// Longest time for one message, over all of a sink's own limits.
const LIMIT: Duration = Duration::from_secs(60);
/// Titles in a summary.
const TITLES: usize = 20;

/// What a courier has to say to people, once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The sink.
    pub sink: String,
    /// What happened to it.
    pub says: String,
}

/// What came of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Something was done; there may be more.
    Worked,
    /// Nothing to do before then; none: until something comes in.
    Rest(Option<Time>),
}

/// Brings one sink what it is owed.
pub struct Courier {
    sink: Arc<dyn AlertSink>,
    plan: SinkPlan,
    cluster: String,
    failures: u32,
    not_before: Option<Time>,
    /// What was said last about the sink's trouble.
    said: Option<String>,
    /// When messages went, within the window.
    sent: VecDeque<Time>,
    refreshed: Option<Time>,
}

impl Courier {
    /// A courier for a sink.
    pub fn new(sink: Arc<dyn AlertSink>, plan: SinkPlan, cluster: &str) -> Self {
        Courier {
            sink,
            plan,
            cluster: cluster.to_owned(),
            failures: 0,
            not_before: None,
            said: None,
            sent: VecDeque::new(),
            refreshed: None,
        }
    }

    /// The sink's name.
    pub fn name(&self) -> &str {
        &self.plan.name
    }

    /// Does one thing that is due at `now`: a message, a reminder, a decision. `notes` gets what people should know.
    ///
    /// # Errors
    /// The outbox cannot be read or written; what was sent and could not be noted is sent again.
    pub async fn step(&mut self, outbox: &Outbox, now: Time, notes: &mut Vec<Note>) -> Result<Step, OutboxError> {
        if let Some(at) = self.not_before.filter(|at| now < *at) {
            return Ok(Step::Rest(Some(at)));
        }
        let batch = outbox.next(&self.plan.name, now)?;
        if batch.is_empty() {
            return self.remind(outbox, now, notes).await;
        }
        if let Some(step) = self.hushed(outbox, &batch, now)? {
            return Ok(step);
        }
        if let Some(step) = self.limited(outbox, &batch, now)? {
            return Ok(step);
        }
        self.deliver(outbox, &batch, now, notes).await
    }

    /// Holds back what a silence covers.
    fn hushed(&self, outbox: &Outbox, batch: &[Entry], now: Time) -> Result<Option<Step>, OutboxError> {
        let silences: Vec<Silence> = outbox.silences()?.into_iter().filter(|s| now < s.until).collect();
        let mut any = false;
        for e in batch.iter().filter(|e| matches!(e.alert.transition, Transition::Opened | Transition::Escalated)) {
            let covers = silences.iter().filter(|s| s.covers(&e.alert.labels, now)).max_by_key(|s| s.until);
            if let Some(s) = covers {
                outbox.postpone(
                    std::slice::from_ref(e),
                    s.until,
                    Some("silence"),
                    &format!("silence {} until {}", s.id, s.until),
                )?;
                any = true;
            }
        }
        Ok(any.then_some(Step::Worked))
    }

    /// Holds to the rate: the last message of a minute is a summary of all that waits.
    fn limited(&mut self, outbox: &Outbox, batch: &[Entry], now: Time) -> Result<Option<Step>, OutboxError> {
        let max = self.plan.max_per_minute as usize;
        if max == 0 {
            return Ok(None);
        }
        while self.sent.front().is_some_and(|at| now.since(*at) >= WINDOW) {
            self.sent.pop_front();
        }
        let Some(head) = batch.first() else { return Ok(None) };
        if outbox.exempt(head.seq)? {
            return Ok(None);
        }
        let room = max.saturating_sub(self.sent.len());
        if room == 0 {
            let free = self.sent.front().map_or(now, |at| at.plus(WINDOW)).max(now.plus(SECOND));
            let waiting = outbox.backlog(&self.plan.name, now)?;
            let why = format!("{max} messages a minute are allowed");
            // A summary is none of those that wait to be summed up.
            outbox.postpone(batch, free, Some("rate"), &why)?;
            outbox.postpone(&waiting, free, Some("rate"), &why)?;
            return Ok(Some(Step::Worked));
        }
        if room > 1 || head.alert.transition == Transition::Summary {
            return Ok(None);
        }
        let waiting = outbox.backlog(&self.plan.name, now)?;
        if waiting.len() <= batch.len() {
            return Ok(None);
        }
        let alerts: Vec<Alert> = waiting.iter().map(|e| e.alert.clone()).collect();
        let titles = alerts.iter().rev().take(TITLES).map(|a| format!("{} {}", a.at.clock(), a.headline())).collect();
        let summary = Alert::summary(&self.plan.name, &self.cluster, alerts.len(), worst(&alerts), titles, now);
        outbox.summarise(&self.plan, &waiting, &summary, now)?;
        Ok(Some(Step::Worked))
    }

    async fn deliver(
        &mut self,
        outbox: &Outbox,
        batch: &[Entry],
        now: Time,
        notes: &mut Vec<Note>,
    ) -> Result<Step, OutboxError> {
        let alerts: Vec<Alert> = batch.iter().map(|e| e.alert.clone()).collect();
        let sent = attempt(Arc::clone(&self.sink), alerts, now, false).await;
        self.sent.push_back(now);
        if self.sent.len() > self.plan.max_per_minute.max(1) as usize {
            self.sent.pop_front();
        }
        match sent {
            Ok(()) => {
                outbox.settle(batch, State::Sent, "sent", "", now)?;
                self.well(notes);
            }
            Err(SinkError::Refused { why }) => {
                outbox.settle(batch, State::Dead, "dead_refused", &why, now)?;
                // It answers: the others may go on.
                self.failures = 0;
                notes.push(self.note(format!("refused an alert: {why}; see `tapio alerts list --state dead`")));
            }
            Err(e) => {
                self.failed(&e, now, notes);
                let give_up = i64::try_from(self.plan.give_up_millis).unwrap_or(i64::MAX / 1_000) * 1_000;
                let (old, young): (Vec<Entry>, Vec<Entry>) =
                    batch.iter().cloned().partition(|e| now.since(e.created) >= give_up);
                outbox.settle(&old, State::Dead, "dead_gave_up", &e.to_string(), now)?;
                for entry in young {
                    let due = match &e {
                        // The sink as a whole is left alone, which is enough.
                        SinkError::Off { .. } | SinkError::RetryAfter { .. } => self.not_before.unwrap_or(now),
                        // Behind the rest of the sink, so that others come first.
                        _ => self.not_before.unwrap_or(now).plus(back_off(entry.tries, MAX_BACK_OFF)),
                    };
                    outbox.postpone(std::slice::from_ref(&entry), due, None, &e.to_string())?;
                }
            }
        }
        Ok(Step::Worked)
    }

    /// Tells a sink that forgets what is open.
    async fn remind(&mut self, outbox: &Outbox, now: Time, notes: &mut Vec<Note>) -> Result<Step, OutboxError> {
        let due = outbox.next_due(&self.plan.name)?;
        let Some(secs) = self.sink.refresh_secs() else { return Ok(Step::Rest(due)) };
        let every = i64::from(secs) * SECOND;
        if let Some(next) = self.refreshed.map(|at| at.plus(every)).filter(|next| now < *next) {
            return Ok(Step::Rest(Some(due.map_or(next, |d| d.min(next)))));
        }
        let open = outbox.open_alerts(&self.plan.name)?;
        if !open.is_empty() {
            match attempt(Arc::clone(&self.sink), open, now, true).await {
                Ok(()) => self.well(notes),
                Err(e) => {
                    self.failed(&e, now, notes);
                    return Ok(Step::Worked);
                }
            }
        }
        self.refreshed = Some(now);
        let next = now.plus(every);
        Ok(Step::Rest(Some(due.map_or(next, |d| d.min(next)))))
    }

    fn well(&mut self, notes: &mut Vec<Note>) {
        self.failures = 0;
        self.not_before = None;
        if self.said.take().is_some() {
            notes.push(self.note("takes alerts again".to_owned()));
        }
    }

    fn failed(&mut self, e: &SinkError, now: Time, notes: &mut Vec<Note>) {
        let rest = match e {
            SinkError::RetryAfter { secs, .. } => i64::try_from((*secs).clamp(1, MAX_ASKED)).unwrap_or(1) * SECOND,
            SinkError::Off { .. } => OFF,
            _ => back_off(self.failures, MAX_REST),
        };
        self.failures = self.failures.saturating_add(1);
        self.not_before = Some(now.plus(rest));
        // Once a trouble; what changes with every attempt is not a new one.
        let kind = format!("{:?}", std::mem::discriminant(e));
        if self.said.as_ref() != Some(&kind) {
            self.said = Some(kind);
            notes.push(self.note(format!("does not take alerts: {e}")));
        }
    }

    fn note(&self, says: String) -> Note {
        Note { sink: self.plan.name.clone(), says }
    }
}

/// The pause after so many failures: 1 s, 2 s, 4 s …
fn back_off(failures: u32, most: i64) -> i64 {
    SECOND.saturating_mul(1 << failures.min(20)).min(most)
}

/// One attempt, fenced: a sink that hangs or panics is one that failed.
async fn attempt(sink: Arc<dyn AlertSink>, alerts: Vec<Alert>, now: Time, reminder: bool) -> Result<(), SinkError> {
    let work = tokio::spawn(async move {
        let sent = if reminder { sink.refresh(&alerts, now) } else { sink.send(&alerts, now) };
        tokio::time::timeout(LIMIT, sent).await
    });
    match work.await {
        Ok(Ok(sent)) => sent,
        Ok(Err(_)) => Err(SinkError::Retry { why: format!("no answer within {} s", LIMIT.as_secs()) }),
        Err(e) if e.is_panic() => Err(SinkError::Retry { why: "the sink failed by a defect of tapio".to_owned() }),
        Err(_) => Err(SinkError::Retry { why: "the attempt was broken off".to_owned() }),
    }
}
