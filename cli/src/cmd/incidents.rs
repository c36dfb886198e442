//! `tapio incidents`: all of them, newest last.

use tapio_core::answer::{Incident, IncidentState};
use tapio_core::object::ObjectRef;
use tapio_engine::read::within;

use super::Session;
use crate::args::{Anywhere, Namespaces, Out, Reading};
use crate::error::Outcome;
use crate::output::incidents::list;
use crate::recall::{Asked, asked, incidents};

pub(super) const EXAMPLES: &str = "\
Examples:
  tapio incidents --data-dir d
  tapio incidents --data-dir d --state open -n shop
  tapio incidents --from recording.jsonl.zst -o json
  tapio incidents --graph bolt://localhost:7687

From a graph alone, causes come without what was ruled out and without their path.";

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
    let format = session.screen.format(args.out.output);
    session.screen.show(format, &found, |wide| {
        if found.is_empty() { "no incidents".to_owned() } else { list(&session.screen, &found, wide, 0) }
    })
}

/// Whether an incident has its cause or a symptom in a namespace.
fn concerns(i: &Incident, ns: &str) -> bool {
    let here = |o: &ObjectRef| o.ns() == ns || (o.kind == "Namespace" && o.name == ns);
    i.root_cause.as_ref().is_some_and(|c| here(&c.object)) || i.symptoms.iter().any(|s| here(&s.object))
}
