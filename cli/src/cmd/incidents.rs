//! `tapio incidents`: all of them, newest last.

use tapio_core::answer::{Incident, IncidentState};
use tapio_engine::read::within;

use super::Session;
use crate::args::{From, Namespaces, Out, Reading};
use crate::error::Outcome;
use crate::output::incidents::list;
use crate::wire::known;

pub(super) const EXAMPLES: &str = "\
Examples:
  tapio incidents --data-dir d
  tapio incidents --data-dir d --state open -n shop
  tapio incidents --from recording.jsonl.zst -o json";

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum State {
    Open,
    Resolved,
}

#[derive(clap::Args, Debug)]
pub(super) struct Args {
    #[command(flatten)]
    place: From,
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
    let known = known(session, &args.place, &args.reading)?;
    let mut answer = known.engine.answer();
    if let Some(ns) = &args.namespaces.namespace {
        answer = within(answer, ns);
    }
    let wanted = |i: &Incident| match args.state {
        None => true,
        Some(State::Open) => i.state == IncidentState::Open,
        Some(State::Resolved) => i.state == IncidentState::Resolved,
    };
    let found: Vec<&Incident> = answer.incidents.iter().filter(|i| wanted(i)).collect();
    for g in &known.gaps {
        session.note(&g.why);
    }
    let format = session.screen.format(args.out.output);
    session.screen.show(format, &found, |wide| {
        if found.is_empty() { "no incidents".to_owned() } else { list(&session.screen, &found, wide, 0) }
    })
}
