//! Who is told by `up` and `server` what a living cluster does: standard output, standard error, sinks of alerts, the
//! HTTP API, metrics.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use tapio_api::{Happening, LogLevel};
use tapio_collectors::cluster::ScopeState;
use tapio_core::answer::{Incident, IncidentState};
use tapio_engine::Outcome as EngineOutcome;
use tapio_graph::rules::News;

use super::Session;
use crate::args::Format;
use crate::error::{Failure, Outcome};
use crate::output::story::Story;
use crate::output::text::count;
use crate::wire::alerts::Alerts;
use crate::wire::api::{self, Api};
use crate::wire::live::{Listener, Live, View};
use crate::wire::operations::Standing;

/// What was asked for.
pub(super) struct Wish {
    /// Name of the cluster in alerts.
    pub(super) cluster: String,
    /// Form of standard output.
    pub(super) format: Format,
    /// Address of the HTTP API.
    pub(super) listen: Option<SocketAddr>,
    /// None of it.
    pub(super) no_api: bool,
    /// How much is logged.
    pub(super) log_level: LogLevel,
}

/// All of them.
pub(super) struct Audience<'a> {
    told: Told<'a>,
    remarks: Remarks<'a>,
    // Couriers and the API end before log and graph do.
    alerts: Option<Alerts<'a>>,
    standing: Standing,
    api: Option<Api>,
}

impl<'a> Audience<'a> {
    /// Gathers them around a living cluster, and tells which incidents an earlier run has left open.
    pub(super) fn gather(session: &'a Session, live: &mut Live<'a>, wish: &Wish, standing: Standing) -> Outcome<Self> {
        let mut api = None;
        if api::wanted(&session.config.api, wish.listen, wish.no_api) {
            let started = Api::start(session, live, wish.listen, &standing, wish.log_level.clone())?;
            session.note(&format!("API at {}, its page at {0}/docs", started.url()));
            api = Some(started);
        }
        let mut told = Told::new(session, wish.format);
        told.open_before(&live.pipeline().engine().answer().incidents)?;
        let log = live.pipeline().folder().log();
        let connection = Arc::clone(&live.state().connection);
        let alerts = Alerts::start(session, &log, &wish.cluster, &connection)?;
        if let Some(a) = &alerts {
            live.tell(a.owed());
            session.note(&format!("alerts go to {}", count(a.sinks(), "sink")));
        }
        Ok(Audience { told, remarks: Remarks::new(session), alerts, standing, api })
    }

    /// In the order in which they are told.
    pub(super) fn listeners(&mut self) -> Vec<&mut dyn Listener> {
        let mut all: Vec<&mut dyn Listener> = vec![&mut self.told, &mut self.remarks, &mut self.standing];
        all.extend(self.alerts.as_mut().map(|a| a as &mut dyn Listener));
        all.extend(self.api.as_mut().map(|a| a as &mut dyn Listener));
        all
    }
}

/// Incidents on standard output.
struct Told<'a> {
    session: &'a Session,
    json: bool,
    story: Story<'a>,
}

impl<'a> Told<'a> {
    fn new(session: &'a Session, format: Format) -> Self {
        let json = format == Format::Json;
        Told { session, json, story: Story::new(session, !json, format == Format::Wide) }
    }

    /// Incidents that an earlier run has left open.
    fn open_before(&mut self, incidents: &[Incident]) -> Outcome {
        for i in incidents.iter().filter(|i| i.state == IncidentState::Open) {
            if self.json {
                self.line(&Happening::open(i))?;
            } else {
                self.story.open(i)?;
            }
        }
        Ok(())
    }

    fn line(&self, happening: &Happening) -> Outcome {
        let text =
            serde_json::to_string(happening).map_err(|e| Failure::Unreachable(format!("cannot write JSON: {e}")))?;
        self.session.screen.print(&text)
    }
}

impl Listener for Told<'_> {
    fn heard(&mut self, out: &EngineOutcome, news: &[News]) -> Outcome {
        if !self.json {
            return self.story.tell(out, news);
        }
        out.incidents.iter().try_for_each(|(t, i)| self.line(&Happening::of(*t, i)))?;
        news.iter().filter_map(Happening::of_rule).try_for_each(|h| self.line(&h))?;
        // Rules that are off are told on stderr in every form.
        self.story.tell(&EngineOutcome::default(), news)
    }
}

/// What stands around it, on standard error.
struct Remarks<'a> {
    session: &'a Session,
    begun: Instant,
    /// The first lists are in the log; the engine has them at the next time.
    ready: bool,
    said: bool,
    skewed: i64,
}

impl<'a> Remarks<'a> {
    fn new(session: &'a Session) -> Self {
        Remarks { session, begun: Instant::now(), ready: false, said: false, skewed: 0 }
    }
}

impl Listener for Remarks<'_> {
    fn heard(&mut self, _: &EngineOutcome, _: &[News]) -> Outcome {
        Ok(())
    }

    fn rested(&mut self, view: &View) -> Outcome {
        let ahead = view.state.connection.clock_ahead() / tapio_core::time::SECOND;
        if (ahead - self.skewed).abs() > 1 {
            self.skewed = ahead;
            let (n, way) = (ahead.unsigned_abs(), if ahead > 0 { "ahead of" } else { "behind" });
            self.session.note(&format!("the API server's clock is {n} s {way} this machine's; its time is used"));
        }
        let Some(millis) = view.state.synced_after_millis().filter(|_| !self.said) else { return Ok(()) };
        if !std::mem::replace(&mut self.ready, true) {
            return Ok(());
        }
        self.said = true;
        let scopes = view.state.scopes();
        let watched = scopes.values().filter(|s| matches!(s, ScopeState::Watching | ScopeState::Listing)).count();
        let refused = scopes.values().filter(|s| matches!(s, ScopeState::Forbidden { .. })).count();
        let refused = match refused {
            0 => String::new(),
            n => format!(", {n} not allowed (see `tapio check cluster`)"),
        };
        self.session.note(&format!(
            "{watched} kinds{refused}; {} known after {:.1} s, first lists took {millis} ms",
            count(view.pipeline.engine().size().0, "object"),
            self.begun.elapsed().as_secs_f64(),
        ));
        Ok(())
    }
}
