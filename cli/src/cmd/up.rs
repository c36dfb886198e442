//! `tapio up`: everything in one process beside a kubeconfig; incidents as they come and go, and the HTTP API.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Instant;

use tapio_api::Happening;
use tapio_collectors::cluster::ScopeState;
use tapio_core::answer::{Incident, IncidentState};
use tapio_engine::Outcome as EngineOutcome;
use tapio_graph::rules::News;

use super::Session;
use crate::args::{Cluster, Format, Out};
use crate::error::{Failure, Outcome};
use crate::output::story::Story;
use crate::output::text::count;
use crate::wire::alerts::Alerts;
use crate::wire::api::{self, Api};
use crate::wire::live::{Listener, Live, View, default_folder};
use crate::wire::{Folder, Interrupt, logging};

pub(super) const EXAMPLES: &str = "\
Examples:
  tapio up                                      the current context; incidents as they open and are resolved
  tapio up --context prod -n shop -n pay        two namespaces of another cluster
  tapio up -o json | jq 'select(.transition == \"opened\") | .incident.root_cause'
  tapio up --listen 127.0.0.1:9000              the API at another port; --no-api for none
  tapio why pod/cart-7c9 --server http://127.0.0.1:7878       while it runs
  tapio up --data-dir d                         then, after it ended: tapio incidents --data-dir d, tapio why …

It needs the right to list and watch; `tapio check cluster` says what is missing. It reads no Secret unless the
settings say so, and never a value of one. The API answers this machine alone, unless the settings say otherwise; its
page is at /docs. With `alerts` in the settings it tells Alertmanager, Slack, PagerDuty, webhooks; see
`tapio alerts --help`. Ctrl-C ends it; the same command goes on where it stopped.
Data lie in --data-dir, else in $XDG_DATA_HOME/tapio/CONTEXT or ~/.local/share/tapio/CONTEXT, for a week
(live.keep_hours).";

#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// Keep event log and graph in this folder
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Name of the cluster in answers; else that of the context
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    /// Address of the HTTP API; port 0 takes any that is free [default: 127.0.0.1:7878]
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = api::listen_address, conflicts_with = "no_api")]
    listen: Option<SocketAddr>,
    /// No HTTP API
    #[arg(long)]
    no_api: bool,
    #[command(flatten)]
    at: Cluster,
    #[command(flatten)]
    out: Out,
}

pub(super) fn run(session: &Session, args: &Args) -> Outcome {
    let format = session.screen.format(args.out.output);
    if format == Format::Yaml {
        return Err(Failure::input("a stream has no YAML form; give -o table, wide or json (one object a line)"));
    }
    let log_level = logging::start(session)?;
    let stop = Interrupt::listen()?;
    let mut live = Live::open(session, &args.at, args.cluster.as_deref(), |context| match &args.data_dir {
        Some(dir) => Folder::create(dir),
        None => Folder::create(&default_folder(context)?),
    })?;
    let dir = live.pipeline().folder().dir().display().to_string();
    let connection = std::sync::Arc::clone(&live.state().connection);
    let connection_name = connection.context();
    session.note(&format!("watching {} at {}, data in {dir}", connection.context(), connection.server()));
    let mut api = None;
    if api::wanted(&session.config.api, args.listen, args.no_api) {
        let started = Api::start(session, &mut live, args.listen, log_level)?;
        session.note(&format!("API at {}, its page at {0}/docs", started.url()));
        api = Some(started);
    }
    let mut told = Told::new(session, format);
    told.open_before(&live.pipeline().engine().answer().incidents)?;
    let name = args.cluster.as_deref().unwrap_or(connection_name).to_owned();
    let log = live.pipeline().folder().log();
    let mut alerts = Alerts::start(session, &log, &name, &connection)?;
    if let Some(a) = &alerts {
        live.tell(a.owed());
        session.note(&format!("alerts go to {}", count(a.sinks(), "sink")));
    }
    let mut remarks = Remarks { session, begun: Instant::now(), ready: false, said: false, skewed: 0 };
    let mut listeners: Vec<&mut dyn Listener> = vec![&mut told, &mut remarks];
    listeners.extend(alerts.as_mut().map(|a| a as &mut dyn Listener));
    if let Some(api) = &mut api {
        listeners.push(api);
    }
    live.run(&stop, &mut listeners)?;
    // Couriers end before the log does.
    drop(alerts);
    let events = usize::try_from(live.events()).unwrap_or(usize::MAX);
    session.note(&format!(
        "ended, {} taken in; the same command goes on, `tapio incidents --data-dir {dir}` looks back",
        count(events, "event")
    ));
    Ok(())
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
