//! A log with its outbox, incidents by number, and a sink that does as it is told.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use tapio_bus::log::sqlite::{SqliteConfig, SqliteLog};
use tapio_bus::outbox::{Courier, Entry, Note, Outbox, Plan, Selection, Sighting, SinkPlan, State, Step};
use tapio_core::alert::{Alert, Transition};
use tapio_core::answer::{Incident, IncidentState, Symptom};
use tapio_core::id::Id;
use tapio_core::object::ObjectRef;
use tapio_core::ports::{AlertSink, BoxFuture, SinkError};
use tapio_core::time::{SECOND, Time};
use tapio_core::unified::Severity;
use tempfile::TempDir;

pub(crate) const START: Time = Time::from_micros(1_700_000_000 * SECOND);

pub(crate) fn secs(n: i64) -> Time {
    START.plus(n * SECOND)
}

/// Incident `n` in namespace `ns`, opened then.
pub(crate) fn incident(n: usize, ns: &str, severity: Severity, opened: Time) -> Incident {
    Incident {
        id: Id::of("incident", &[ns, &n.to_string()]),
        state: IncidentState::Open,
        severity,
        opened_at: opened,
        since: opened,
        updated_at: opened,
        resolved_at: None,
        explained_at: None,
        root_cause: None,
        symptoms: vec![Symptom {
            object: ObjectRef::new("Deployment", ns, &format!("app-{n}")),
            says: "no pod is ready".to_owned(),
            at: opened,
        }],
    }
}

pub(crate) fn over(i: &Incident, at: Time) -> Incident {
    Incident { state: IncidentState::Resolved, resolved_at: Some(at), updated_at: at, ..i.clone() }
}

pub(crate) fn seen(i: &Incident) -> Sighting {
    Sighting { incident: i.clone(), merged: false, uid: None }
}

/// What a sink got: for each message, transition and title.
pub(crate) type Got = Arc<Mutex<Vec<Vec<Alert>>>>;

/// A sink that answers with these in turn, then takes everything.
#[derive(Default)]
pub(crate) struct Told {
    pub(crate) replies: Mutex<VecDeque<Option<SinkError>>>,
    pub(crate) got: Got,
    pub(crate) refreshed: Got,
    pub(crate) refresh: Option<u32>,
    /// Titles that it always fails on.
    pub(crate) poison: Option<String>,
}

impl AlertSink for Told {
    fn kind(&self) -> &'static str {
        "told"
    }

    fn send<'a>(&'a self, alerts: &'a [Alert], _: Time) -> BoxFuture<'a, Result<(), SinkError>> {
        Box::pin(async move {
            let sick = |a: &Alert| self.poison.as_ref().is_some_and(|p| a.body.title.contains(p));
            if alerts.iter().any(sick) {
                return Err(SinkError::Retry { why: "500".to_owned() });
            }
            match self.replies.lock().unwrap().pop_front().flatten() {
                Some(e) => Err(e),
                None => {
                    self.got.lock().unwrap().push(alerts.to_vec());
                    Ok(())
                }
            }
        })
    }

    fn takes_groups(&self) -> bool {
        true
    }

    fn refresh_secs(&self) -> Option<u32> {
        self.refresh
    }

    fn refresh<'a>(&'a self, open: &'a [Alert], _: Time) -> BoxFuture<'a, Result<(), SinkError>> {
        self.refreshed.lock().unwrap().push(open.to_vec());
        Box::pin(async { Ok(()) })
    }
}

/// A log, its outbox, and a plan.
pub(crate) struct Desk {
    pub(crate) outbox: Outbox,
    pub(crate) plan: Plan,
    pub(crate) log: Option<SqliteLog>,
    pub(crate) path: PathBuf,
    _dir: TempDir,
}

impl Desk {
    pub(crate) fn new(sinks: Vec<SinkPlan>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.sqlite");
        let log = SqliteLog::open(&path, SqliteConfig::default()).unwrap();
        let outbox = Outbox::open(&path).unwrap();
        let plan = Plan { cluster: "main".to_owned(), sinks, keep_millis: 3_600_000 };
        Desk { outbox, plan, log: Some(log), path, _dir: dir }
    }

    pub(crate) fn take(&self, i: &Incident, now: Time) -> usize {
        self.outbox.take(&self.plan, &[seen(i)], now).unwrap()
    }

    pub(crate) fn courier(&self, n: usize, sink: Told) -> (Courier, Got, Got) {
        let (got, refreshed) = (Arc::clone(&sink.got), Arc::clone(&sink.refreshed));
        (Courier::new(Arc::new(sink), self.plan.sinks[n].clone(), "main"), got, refreshed)
    }

    pub(crate) fn list(&self, state: Option<State>) -> Vec<Entry> {
        self.outbox.list(&Selection { state, ..Selection::default() }, 100_000).unwrap()
    }

    /// Lets the courier work until it rests; when it wants to look again.
    pub(crate) fn run(&self, courier: &mut Courier, now: Time) -> (Option<Time>, Vec<Note>) {
        let mut notes = Vec::new();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        for _ in 0..10_000 {
            match runtime.block_on(courier.step(&self.outbox, now, &mut notes)).unwrap() {
                Step::Worked => {}
                Step::Rest(until) => return (until, notes),
            }
        }
        panic!("the courier never rests");
    }

    pub(crate) fn count(&self, sink: &str, word: &str) -> u64 {
        self.outbox.counts().unwrap().get(sink).and_then(|c| c.ever.get(word).copied()).unwrap_or(0)
    }
}

/// `opened 1` and so on, message by message.
pub(crate) fn words(got: &Got) -> Vec<String> {
    let of = |a: &Alert| match a.transition {
        Transition::Summary => format!("summary: {}", a.body.title),
        t => format!("{t} {}", a.body.title.rsplit("app-").next().unwrap_or_default()),
    };
    got.lock().unwrap().iter().map(|m| m.iter().map(of).collect::<Vec<_>>().join(", ")).collect()
}
