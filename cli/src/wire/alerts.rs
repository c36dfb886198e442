//! Alerts beside the pipeline: what the engine saw goes into the outbox with the cursor, and couriers on a thread of
//! their own bring it to the sinks. A sink that is slow or away is noticed by nobody else.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tapio_bus::log::sqlite::SqliteLog;
use tapio_bus::outbox::{Clock, Courier, Dispatch, Outbox, OutboxError, Plan, Sighting};
use tapio_bus::sink::alertmanager::{Alertmanager, AlertmanagerConfig};
use tapio_bus::sink::kubernetes_event::{EventWriter, KubernetesEvent};
use tapio_bus::sink::pagerduty::{ENQUEUE, PagerDuty};
use tapio_bus::sink::slack::Slack;
use tapio_bus::sink::stdout::Stdout;
use tapio_bus::sink::webhook::{Webhook, WebhookConfig};
use tapio_bus::sink::{Hidden, Http, HttpConfig};
use tapio_cluster::{ApiError, Connection};
use tapio_core::alert::object_of;
use tapio_core::answer::Incident;
use tapio_core::ports::{AlertSink, BoxFuture, Position, SinkError};
use tapio_core::time::Time;
use tapio_engine::incidents::Transition;
use tapio_engine::{EventProcessor, Outcome as EngineOutcome};
use tapio_graph::rules::News;
use tokio::sync::watch;

use super::live::{Listener, View};
use crate::cmd::Session;
use crate::config::{SinkKind, SinkSettings};
use crate::error::{Failure, Outcome, chain};

/// How long couriers may go on, after an end was asked for, with what is due.
const SETTLE: Duration = Duration::from_secs(5);
/// Between two rounds of removing what is old.
const PRUNE: Duration = Duration::from_secs(600);

/// What the pipeline owes to the outbox.
#[derive(Clone)]
pub(crate) struct Owed {
    plan: Arc<Plan>,
    dispatch: Arc<Dispatch>,
}

impl Owed {
    /// The incidents in what came of a piece of evidence.
    pub(crate) fn of(&self, engine: &EventProcessor, out: &EngineOutcome) -> Vec<Sighting> {
        let seen = |(t, i): &(Transition, Incident)| Sighting {
            incident: i.clone(),
            merged: *t == Transition::Merged,
            uid: uid(engine, i),
        };
        out.incidents.iter().map(seen).collect()
    }

    /// Moves the cursor, and owes what was seen on the way to it, in one step.
    pub(crate) async fn commit(
        &self,
        log: &SqliteLog,
        consumer: &str,
        cursor: u64,
        seen: Vec<Sighting>,
    ) -> Result<(), tapio_core::ports::LogError> {
        let new = log.commit_and_tell(consumer, Position(cursor), Arc::clone(&self.plan), seen).await?;
        if new > 0 {
            self.dispatch.wake();
        }
        Ok(())
    }
}

fn uid(engine: &EventProcessor, incident: &Incident) -> Option<String> {
    let object = object_of(incident)?;
    let uid = engine.world().live(&object).map(|o| o.meta.uid.to_string())?;
    Some(uid).filter(|u| !u.is_empty())
}

/// The couriers, and the pipeline's end of them.
pub(crate) struct Alerts<'a> {
    session: &'a Session,
    plan: Arc<Plan>,
    outbox: Arc<Outbox>,
    dispatch: Arc<Dispatch>,
    stop: Option<watch::Sender<bool>>,
    thread: Option<JoinHandle<()>>,
    reconciled: bool,
    pruned: Option<Instant>,
}

impl<'a> Alerts<'a> {
    /// Starts the couriers of the settings' sinks on the log at `log`. None where nobody is to be told.
    pub(crate) fn start(
        session: &'a Session,
        log: &std::path::Path,
        cluster: &str,
        connection: &Arc<Connection>,
    ) -> Outcome<Option<Self>> {
        let settings = &session.config.alerts;
        if settings.sinks.is_empty() {
            return Ok(None);
        }
        let outbox = Arc::new(Outbox::open(log)?);
        let plan = Arc::new(settings.plan(cluster));
        let dispatch = Arc::new(Dispatch::default());
        let mut couriers = Vec::new();
        for (s, p) in settings.sinks.iter().zip(&plan.sinks) {
            couriers.push(Courier::new(sink(s, Some(connection))?, p.clone(), cluster));
        }
        let (stop, stopped) = watch::channel(false);
        let (theirs, owed) = (Arc::clone(&dispatch), Arc::clone(&outbox));
        let work = move || {
            let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
            let clock: Clock = Arc::new(wall_clock);
            runtime.block_on(theirs.run(owed, couriers, clock, stopped, SETTLE));
            // What still hangs in a look-up of names must not hold up the end.
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new().name("alerts".to_owned()).spawn(work);
        let thread = thread.map_err(|e| Failure::Unreachable(format!("cannot start the thread of alerts: {e}")))?;
        Ok(Some(Alerts {
            session,
            plan,
            outbox,
            dispatch,
            stop: Some(stop),
            thread: Some(thread),
            reconciled: false,
            pruned: None,
        }))
    }

    /// The pipeline's end.
    pub(crate) fn owed(&self) -> Owed {
        Owed { plan: Arc::clone(&self.plan), dispatch: Arc::clone(&self.dispatch) }
    }

    /// How many sinks there are.
    pub(crate) fn sinks(&self) -> usize {
        self.plan.sinks.len()
    }

    /// Once at the beginning, when the engine has caught up: what restarts and new settings have brought out of line.
    /// Now and then: what is old goes.
    fn care(&mut self, view: &View) -> Result<(), OutboxError> {
        if !self.reconciled {
            let known = view.pipeline.engine().answer().incidents;
            if self.outbox.reconcile(&self.plan, &known, wall_clock())? > 0 {
                self.dispatch.wake();
            }
            self.reconciled = true;
        }
        if self.pruned.is_none_or(|at| at.elapsed() >= PRUNE) {
            self.outbox.prune(&self.plan, wall_clock())?;
            self.pruned = Some(Instant::now());
        }
        Ok(())
    }

    fn notes(&self) {
        for n in self.dispatch.take_notes() {
            self.session.note(&format!("sink {} {}", n.sink, n.says));
        }
    }
}

impl Listener for Alerts<'_> {
    fn heard(&mut self, _: &EngineOutcome, _: &[News]) -> Outcome {
        // The pipeline has put it into the outbox, together with its cursor.
        Ok(())
    }

    fn rested(&mut self, view: &View) -> Outcome {
        self.notes();
        match self.care(view) {
            // Another process writes; there is time.
            Err(OutboxError::Busy { .. }) => Ok(()),
            done => Ok(done?),
        }
    }
}

impl Drop for Alerts<'_> {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        self.notes();
    }
}

/// A sink of the settings; `connection`: for sinks that write to the cluster.
pub(crate) fn sink(s: &SinkSettings, connection: Option<&Arc<Connection>>) -> Outcome<Arc<dyn AlertSink>> {
    let config = HttpConfig { timeout_millis: s.timeout_secs * 1_000, ca_file: s.ca_file.clone() };
    let http = || Http::new(&config).map_err(|why| Failure::Unreachable(format!("sink {}: {why}", s.name)));
    let url = || hidden("url", s.url.clone(), s.url_file.clone(), s.url_env.clone());
    let token = || hidden("token", None, s.token_file.clone(), s.token_env.clone());
    let needed = |what: &str, h: Option<Hidden>| {
        h.ok_or_else(|| Failure::input(format!("sink {} has no {what}; `tapio check config` says more", s.name)))
    };
    Ok(match s.kind {
        SinkKind::Alertmanager => {
            let (resend_secs, valid_secs) = s.reminders();
            let config = AlertmanagerConfig { url: needed("url", url())?, token: token(), resend_secs, valid_secs };
            Arc::new(Alertmanager::new(config, http()?))
        }
        SinkKind::Slack => Arc::new(Slack::new(needed("url", url())?, http()?)),
        SinkKind::Pagerduty => {
            let url = url().unwrap_or_else(|| Hidden::of(ENQUEUE));
            Arc::new(PagerDuty::new(url, needed("token", token())?, http()?))
        }
        SinkKind::Webhook => {
            let secret = hidden("signing key", None, s.signing_key_file.clone(), s.signing_key_env.clone());
            Arc::new(Webhook::new(WebhookConfig { url: needed("url", url())?, token: token(), secret }, http()?))
        }
        SinkKind::KubernetesEvent => {
            let connection = connection.ok_or_else(|| {
                Failure::input(format!("sink {} writes to the cluster, and there is no connection to one", s.name))
            })?;
            let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "tapio".to_owned());
            Arc::new(KubernetesEvent::new(Events(Arc::clone(connection)), &host))
        }
        SinkKind::Stdout => Arc::new(Stdout::new()),
    })
}

/// A value from the settings, a file or a variable; read anew each time.
fn hidden(
    what: &'static str,
    value: Option<String>,
    file: Option<PathBuf>,
    variable: Option<String>,
) -> Option<Hidden> {
    match (value, file, variable) {
        (Some(value), ..) => Some(Hidden::of(value)),
        (_, Some(file), _) => Some(Hidden::from(move || {
            std::fs::read_to_string(&file)
                .map_err(|e| format!("its {what} cannot be read from {}: {e}", file.display()))
        })),
        (.., Some(name)) => Some(Hidden::from(move || {
            std::env::var(&name).map_err(|_| format!("its {what} is not in the environment: {name} is not set"))
        })),
        _ => None,
    }
}

/// Events through the Kubernetes client.
struct Events(Arc<Connection>);

impl EventWriter for Events {
    fn create<'a>(&'a self, namespace: &'a str, event: &'a serde_json::Value) -> BoxFuture<'a, Result<(), SinkError>> {
        Box::pin(async move {
            self.0.create_event(namespace, event).await.map_err(|e| {
                let why = chain(&e);
                match e {
                    ApiError::Busy { after, .. } => SinkError::RetryAfter { why, secs: after.as_secs().max(1) },
                    ApiError::Forbidden(_) => SinkError::Off {
                        why: format!("{why}; grant `create` on events.events.k8s.io, or leave the sink out"),
                    },
                    ApiError::NotServed { .. } | ApiError::Untrusted(_) => SinkError::Off { why },
                    ApiError::Refused { .. } => SinkError::Refused { why },
                    _ => SinkError::Retry { why },
                }
            })
        })
    }
}

/// The time, for those who may know it.
pub(crate) fn wall_clock() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

impl From<OutboxError> for Failure {
    fn from(e: OutboxError) -> Self {
        match e {
            OutboxError::Missing(_) | OutboxError::Refused(_) => Failure::Input(chain(&e)),
            _ => Failure::Unreachable(chain(&e)),
        }
    }
}

/// Sends a test to a sink, without the outbox.
pub(crate) fn test(s: &SinkSettings, connection: Option<&Arc<Connection>>, cluster: &str) -> Outcome {
    let sink = sink(s, connection)?;
    let now = wall_clock();
    let alert = tapio_core::alert::Alert::test(&s.name, cluster, now);
    let runtime = super::live::runtime()?;
    let sent = runtime.block_on(async { sink.send(&[alert], now).await });
    sent.map_err(|e| {
        let why = match e {
            SinkError::Retry { why }
            | SinkError::RetryAfter { why, .. }
            | SinkError::Refused { why }
            | SinkError::Off { why } => why,
        };
        Failure::Unreachable(format!("sink {} ({}) did not take the test: {why}", s.name, sink.kind()))
    })
}

/// The settings of a sink, by its name.
pub(crate) fn named<'a>(session: &'a Session, name: &str) -> Outcome<&'a SinkSettings> {
    let sinks = &session.config.alerts.sinks;
    sinks.iter().find(|s| s.name == name).ok_or_else(|| {
        let names: BTreeMap<&str, ()> = sinks.iter().map(|s| (s.name.as_str(), ())).collect();
        let has = match names.len() {
            0 => "the settings have none; give them with --config".to_owned(),
            _ => format!("there are {}", names.into_keys().collect::<Vec<_>>().join(", ")),
        };
        Failure::NotFound(format!("no sink is called {name}; {has}"))
    })
}
