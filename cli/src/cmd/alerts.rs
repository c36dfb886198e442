//! `tapio alerts`: what was told, what waits, what could not be told; silences; a test of a sink.
//!
//! It works on the data folder of a `tapio up` that runs, too.

use std::path::PathBuf;

use serde::Serialize;
use tapio_bus::outbox::{Counts, Entry, Matcher, Outbox, Selection, Silence, State};
use tapio_core::time::{MINUTE, SECOND, Time};

use super::Session;
use crate::args::{Cluster, Out};
use crate::config::SinkKind;
use crate::error::{Failure, Outcome};
use crate::output::table::{Overflow, Table};
use crate::output::text::{clean, clean_lines, count};
use crate::wire::alerts::{named, test, wall_clock};
use crate::wire::live::{Source, default_folder, runtime};

pub(super) const EXAMPLES: &str = "\
Examples:
  tapio alerts list --data-dir d                    what was told, waits, or could not be told
  tapio alerts list --data-dir d --state dead -o wide
  tapio alerts resend --data-dir d --sink chat      its dead letters once more
  tapio alerts silence namespace=shop 'name=~cart-.*' --for 2h --comment 'load test'
  tapio alerts silences
  tapio alerts unsilence 3
  tapio alerts test --sink chat --config tapio.yaml

Without --data-dir the folder of the current context is used, as by `tapio up`, which may be running.
Sinks stand in the settings, under `alerts`; docs/alerts.md shows one of each kind.";

#[derive(clap::Args, Debug)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

/// Where the outbox lies.
#[derive(clap::Args, Clone, Debug)]
struct Place {
    /// Folder of `tapio up --data-dir`; else that of the context
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Context whose folder it is; else the current one
    #[arg(long, value_name = "NAME", conflicts_with = "data_dir")]
    context: Option<String>,
    /// File with the contexts; else KUBECONFIG or ~/.kube/config
    #[arg(long, value_name = "FILE", conflicts_with = "data_dir")]
    kubeconfig: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Wanted {
    Pending,
    Sent,
    Dead,
    Silenced,
    Summarised,
    Dropped,
}

impl From<Wanted> for State {
    fn from(w: Wanted) -> Self {
        match w {
            Wanted::Pending => State::Pending,
            Wanted::Sent => State::Sent,
            Wanted::Dead => State::Dead,
            Wanted::Silenced => State::Silenced,
            Wanted::Summarised => State::Summarised,
            Wanted::Dropped => State::Dropped,
        }
    }
}

#[derive(clap::Subcommand, Debug)]
enum What {
    /// Alerts, sink by sink, newest last, and how many there ever were
    List {
        #[command(flatten)]
        place: Place,
        /// Only those of this sink
        #[arg(long, value_name = "NAME")]
        sink: Option<String>,
        /// Only these
        #[arg(long, value_name = "STATE")]
        state: Option<Wanted>,
        /// The newest so many
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: usize,
        #[command(flatten)]
        out: Out,
    },
    /// Sends dead letters again
    Resend {
        #[command(flatten)]
        place: Place,
        /// Only the one whose key begins so; all without it
        #[arg(value_name = "KEY")]
        key: Option<String>,
        /// Only those of this sink
        #[arg(long, value_name = "NAME")]
        sink: Option<String>,
    },
    /// Holds back alerts whose labels match, for a while
    Silence {
        /// LABEL=VALUE, LABEL!=VALUE, LABEL=~REGEX, LABEL!~REGEX; all must hold
        #[arg(value_name = "MATCHER", required = true)]
        matchers: Vec<String>,
        #[command(flatten)]
        place: Place,
        /// For how long: 30m, 2h, 1d
        #[arg(long = "for", value_name = "TIME", value_parser = span, default_value = "2h")]
        span: i64,
        /// Until then, instead
        #[arg(long, value_name = "RFC3339", conflicts_with = "span")]
        until: Option<String>,
        /// Why, for others
        #[arg(long, value_name = "TEXT", default_value = "")]
        comment: String,
        #[command(flatten)]
        out: Out,
    },
    /// The silences
    Silences {
        #[command(flatten)]
        place: Place,
        /// Also those that are over
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        out: Out,
    },
    /// Ends a silence; what it held back is told
    Unsilence {
        /// Its number
        #[arg(value_name = "ID")]
        id: i64,
        #[command(flatten)]
        place: Place,
    },
    /// Sends a test to a sink of the settings
    Test {
        /// Its name
        #[arg(long, value_name = "NAME")]
        sink: String,
        #[command(flatten)]
        at: Cluster,
    },
}

fn span(text: &str) -> Result<i64, String> {
    let wrong = || "give a number with s, m, h or d: 30m, 2h, 1d".to_owned();
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
    let unit = match unit {
        "s" => SECOND,
        "m" => MINUTE,
        "h" => 60 * MINUTE,
        "d" => 24 * 60 * MINUTE,
        _ => return Err(wrong()),
    };
    let span = number.parse::<i64>().ok().filter(|n| *n > 0).and_then(|n| n.checked_mul(unit)).ok_or_else(wrong)?;
    if span > 366 * 24 * 60 * MINUTE { Err("a silence lasts a year at most".to_owned()) } else { Ok(span) }
}

pub(super) fn run(session: &Session, args: &Args) -> Outcome {
    match &args.what {
        What::List { place, sink, state, limit, out } => {
            let which = Selection { sink: sink.clone(), state: state.map(State::from), key: None };
            list(session, &open(place)?, &which, *limit, out)
        }
        What::Resend { place, key, sink } => {
            let which = Selection { sink: sink.clone(), state: None, key: key.clone() };
            let n = open(place)?.resend(&which, wall_clock())?;
            if n == 0 {
                return Err(Failure::NotFound("no such dead letter; see `tapio alerts list --state dead`".to_owned()));
            }
            session.screen.print(&format!("{} sent again as soon as `tapio up` runs", count(n, "alert")))
        }
        What::Silence { matchers, place, span, until, comment, out } => {
            let matchers = matchers
                .iter()
                .map(|m| m.parse::<Matcher>().map_err(|e| Failure::input(e.to_string())))
                .collect::<Outcome<Vec<_>>>()?;
            let now = wall_clock();
            let until = match until {
                Some(text) => Time::parse(text).map_err(|e| Failure::input(e.to_string()))?,
                None => now.plus(*span),
            };
            let author = std::env::var("USER").unwrap_or_default();
            let made = open(place)?.silence(matchers, until, &author, comment, now)?;
            let format = session.screen.format(out.output);
            session.screen.show(format, &made, |_| format!("silence {} until {}", made.id, made.until))
        }
        What::Silences { place, all, out } => silences(session, &open(place)?, *all, out),
        What::Unsilence { id, place } => {
            open(place)?.unsilence(*id, wall_clock()).map_err(|e| Failure::NotFound(e.to_string()))?;
            session.screen.print(&format!("silence {id} is over"))
        }
        What::Test { sink, at } => {
            let s = named(session, sink)?;
            // Only one kind of sink needs a cluster; the others can be tried without any.
            let source = match s.kind {
                SinkKind::KubernetesEvent => Some(Source::open(session, &runtime()?, at, None)?),
                _ => None,
            };
            let cluster = source.as_ref().map_or("test", |c| c.name.as_str());
            test(s, source.as_ref().map(|c| &c.connection), cluster)?;
            session.screen.print(&format!("sink {sink} took the test"))
        }
    }
}

fn open(place: &Place) -> Outcome<Outbox> {
    let dir = match &place.data_dir {
        Some(dir) => dir.clone(),
        None => {
            let target = tapio_cluster::Target { kubeconfig: place.kubeconfig.clone(), context: place.context.clone() };
            let runtime = runtime()?;
            let connection = runtime.block_on(tapio_cluster::Connection::open(target))?;
            default_folder(connection.context())?
        }
    };
    Ok(Outbox::open(&dir.join("log.sqlite"))?)
}

#[derive(Serialize)]
struct Listed {
    alerts: Vec<Entry>,
    counts: std::collections::BTreeMap<String, Counts>,
}

fn list(session: &Session, outbox: &Outbox, which: &Selection, limit: usize, out: &Out) -> Outcome {
    let mut counts = outbox.counts()?;
    if let Some(sink) = &which.sink {
        counts.retain(|name, _| name == sink);
    }
    let found = Listed { alerts: outbox.list(which, limit)?, counts };
    let screen = &session.screen;
    screen.show(screen.format(out.output), &found, |wide| {
        let mut text = String::new();
        if found.alerts.is_empty() {
            text.push_str("no such alerts\n");
        } else if wide {
            for e in &found.alerts {
                let head = format!("{} {} {} {}", short(e), e.sink, e.state.as_str(), e.alert.headline());
                text.push_str(&format!("{}\n", screen.paint.strong(&clean(&head))));
                let how = format!("came {}, {}", e.created, stands(e));
                text.push_str(&format!("  {}\n", screen.paint.faint(&clean(&how))));
                clean_lines(&e.alert.body.text()).lines().for_each(|l| text.push_str(&format!("    {l}\n")));
            }
        } else {
            let mut t = Table::new(&["KEY", "CAME", "SINK", "STATE", "ALERT", "WHY"]);
            for e in &found.alerts {
                t.row([
                    short(e),
                    e.created.to_chrono().format("%m-%d %H:%M:%S").to_string(),
                    e.sink.clone(),
                    e.state.as_str().to_owned(),
                    format!("{} {}", e.alert.transition, e.alert.body.title),
                    stands(e),
                ]);
            }
            text.push_str(&t.lay_out(screen.width, Overflow::Wrap, screen.paint));
        }
        for (sink, c) in &found.counts {
            let ever: Vec<String> = c.ever.iter().map(|(word, n)| format!("{n} {}", word.replace('_', " "))).collect();
            let waits = if c.pending > 0 { format!("{} pending, ", c.pending) } else { String::new() };
            let line = format!("{sink}: {waits}ever {}", if ever.is_empty() { "none".into() } else { ever.join(", ") });
            text.push_str(&format!("{}\n", screen.paint.faint(&clean(&line))));
        }
        text
    })
}

fn short(e: &Entry) -> String {
    e.alert.key.to_string().chars().take(12).collect()
}

/// How a delivery stands, in words.
fn stands(e: &Entry) -> String {
    let tries = if e.tries > 0 { format!("{}, ", count(e.tries as usize, "failed attempt")) } else { String::new() };
    let why = if e.reason.is_empty() { String::new() } else { format!(": {}", e.reason) };
    match e.state {
        State::Pending => format!("{tries}due {}{why}", e.due.clock()),
        _ => format!("{tries}{}{why}", e.done.map(|d| format!("at {}", d.clock())).unwrap_or_default()),
    }
}

fn silences(session: &Session, outbox: &Outbox, all: bool, out: &Out) -> Outcome {
    let now = wall_clock();
    let found: Vec<Silence> = outbox.silences()?.into_iter().filter(|s| all || now < s.until).collect();
    let screen = &session.screen;
    screen.show(screen.format(out.output), &found, |_| {
        if found.is_empty() {
            return "no silences".to_owned();
        }
        let mut t = Table::new(&["ID", "MATCHERS", "UNTIL", "BY", "COMMENT"]);
        for s in &found {
            let matchers: Vec<String> = s.matchers.iter().map(ToString::to_string).collect();
            t.row([
                s.id.to_string(),
                matchers.join(" "),
                s.until.to_chrono().format("%Y-%m-%d %H:%M:%S UTC").to_string(),
                s.author.clone(),
                s.comment.clone(),
            ]);
        }
        t.lay_out(screen.width, Overflow::Wrap, screen.paint)
    })
}
