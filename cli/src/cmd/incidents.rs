//! `tapio incidents`: all of them, newest last.

use serde::Deserialize;
use tapio_core::answer::{Incident, IncidentState};
use tapio_core::object::ObjectRef;
use tapio_engine::read::within;

use super::Session;
use crate::args::{Anywhere, Format, Namespaces, Out, Reading};
use crate::error::Outcome;
use crate::output::incidents::list;
use crate::recall::{Asked, asked, incidents};
use crate::wire::Remote;

pub(super) const EXAMPLES: &str = "\
Examples:
  tapio incidents --data-dir d
  tapio incidents --data-dir d --state open -n shop
  tapio incidents --server http://127.0.0.1:7878 --state open
  tapio incidents --from recording.jsonl.zst -o json
  tapio incidents --graph bolt://localhost:7687

From a graph alone, causes come without what was ruled out and without their path.";

/// Incidents of a page.
const PAGE: usize = 500;

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum State {
    Open,
    Resolved,
}

#[derive(clap::Args, Debug)]
pub(super) struct Args {
    #[command(flatten)]
    place: Anywhere,
    /// Only these
    #[arg(long, value_name = "STATE")]
    state: Option<State>,
    #[command(flatten)]
    namespaces: Namespaces,
    #[command(flatten)]
    reading: Reading,
    #[command(flatten)]
    out: Out,
}

pub(super) fn run(session: &Session, args: &Args) -> Outcome {
    let format = session.screen.format(args.out.output);
    if let Some(server) = args.place.server()? {
        let all = of_server(&server, args)?;
        return show(session, format, &all.iter().collect::<Vec<_>>());
    }
    let mut notes = Vec::new();
    let all: Vec<Incident> = match asked(session, &args.place, &args.reading)? {
        Asked::Engine(known) => {
            notes.extend(known.gaps.iter().map(|g| g.why.clone()));
            let answer = known.engine.answer();
            match &args.namespaces.namespace {
                Some(ns) => within(answer, ns).incidents,
                None => answer.incidents,
            }
        }
        Asked::Graph(graph) => {
            let mut all = incidents(graph.as_ref())?;
            if let Some(ns) = &args.namespaces.namespace {
                all.retain(|i| concerns(i, ns));
            }
            all
        }
    };
    let wanted = |i: &Incident| match args.state {
        None => true,
        Some(State::Open) => i.state == IncidentState::Open,
        Some(State::Resolved) => i.state == IncidentState::Resolved,
    };
    let found: Vec<&Incident> = all.iter().filter(|i| wanted(i)).collect();
    notes.iter().for_each(|n| session.note(n));
    show(session, format, &found)
}

/// Whether an incident has its cause or a symptom in a namespace.
fn concerns(i: &Incident, ns: &str) -> bool {
    let here = |o: &ObjectRef| o.ns() == ns || (o.kind == "Namespace" && o.name == ns);
    i.root_cause.as_ref().is_some_and(|c| here(&c.object)) || i.symptoms.iter().any(|s| here(&s.object))
}

fn show(session: &Session, format: Format, found: &Vec<&Incident>) -> Outcome {
    session.screen.show(format, found, |wide| {
        if found.is_empty() { "no incidents".to_owned() } else { list(&session.screen, found, wide, 0) }
    })
}

/// A page of a server's list.
#[derive(Deserialize)]
struct Page {
    incidents: Vec<Incident>,
    next: Option<String>,
}

/// All pages, oldest first.
fn of_server(server: &Remote, args: &Args) -> Outcome<Vec<Incident>> {
    let mut params = vec![("limit", PAGE.to_string())];
    params.extend(args.namespaces.namespace.as_ref().map(|ns| ("namespace", ns.clone())));
    params.extend(args.state.map(|s| ("state", if s == State::Open { "open" } else { "resolved" }.to_owned())));
    let mut all: Vec<Incident> = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let mut asked = params.clone();
        asked.extend(cursor.map(|c| ("cursor", c)));
        let page: Page = server.get(&["incidents"], &asked)?;
        all.extend(page.incidents);
        cursor = page.next;
        if cursor.is_none() {
            all.reverse();
            return Ok(all);
        }
    }
}
