//! `tapio up`: everything in one process beside a kubeconfig; incidents as they come and go, and the HTTP API.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tapio_api::Metrics;

use super::Session;
use super::audience::{Audience, Wish};
use crate::args::{Cluster, Format, Out};
use crate::error::{Failure, Outcome};
use crate::output::text::count;
use crate::wire::api;
use crate::wire::live::{Live, default_folder};
use crate::wire::operations::Standing;
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
    let connection = Arc::clone(&live.state().connection);
    session.note(&format!("watching {} at {}, data in {dir}", connection.context(), connection.server()));
    let wish = Wish {
        cluster: args.cluster.clone().unwrap_or_else(|| connection.context().to_owned()),
        format,
        listen: args.listen,
        no_api: args.no_api,
        log_level,
    };
    let standing = Standing::new(Arc::default(), Metrics::new());
    let mut audience = Audience::gather(session, &mut live, &wish, standing)?;
    live.run(&stop, &mut audience.listeners())?;
    drop(audience);
    let events = usize::try_from(live.events()).unwrap_or(usize::MAX);
    session.note(&format!(
        "ended, {} taken in; the same command goes on, `tapio incidents --data-dir {dir}` looks back",
        count(events, "event")
    ));
    Ok(())
}
