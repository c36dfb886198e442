//! `tapio analyze`: a snapshot, or anything readable, to ranked root causes.

use std::path::PathBuf;

use tapio_core::answer::{Answer, IncidentState, Verdict};
use tapio_core::unified::Severity;
use tapio_engine::read::Scope;

use super::Session;
use crate::args::{Namespaces, Out, Reading};
use crate::error::{Failure, Outcome};
use crate::output::answer::lay_out;
use crate::output::rules::{WithRules, off};
use crate::wire::{Watch, analyse};

pub(super) const EXAMPLES: &str = "\
Examples:
  kubectl cluster-info dump -A -o json --output-directory dump && tapio analyze dump
  kubectl get all,events -A -o json | tapio analyze -
  tapio analyze dump -n shop                    only what concerns a namespace
  tapio analyze must-gather.tgz -o json         the whole answer, for programs
  tapio analyze dump --fail-on high             exit code 1 if something bad is open";

/// When the exit code is 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum FailOn {
    /// A cause was found.
    Found,
    /// Something is wrong, explained or not.
    Unknown,
    /// An open incident is high or critical.
    High,
    /// An open incident is critical.
    Critical,
}

#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// Dump folders, archives, recordings, JSON or YAML of objects; `-` for standard input
    #[arg(value_name = "DIR|FILE", required = true)]
    inputs: Vec<PathBuf>,
    #[command(flatten)]
    reading: Reading,
    #[command(flatten)]
    namespaces: Namespaces,
    /// Exit with 1 when the answer is like this
    #[arg(long, value_name = "WHEN")]
    fail_on: Option<FailOn>,
    #[command(flatten)]
    out: Out,
}

pub(super) fn run(session: &Session, args: &Args) -> Outcome {
    let mut watch = Watch::where_wanted(session)?;
    let analysed = analyse(session, &args.inputs, &args.reading, watch.is_some(), |mut out| match &mut watch {
        Some(watch) => watch.take(&mut out).map(|_| ()),
        None => Ok(()),
    })?;
    if let Some(watch) = &mut watch {
        watch.end(analysed.engine.newest())?;
        watch.runner().fenced().iter().for_each(|f| session.note(&off(f)));
    }
    let mut answer = analysed.engine.answer();
    let namespace = args.namespaces.namespace.as_deref();
    if let Some(ns) = namespace {
        answer = tapio_engine::read::within(answer, ns);
    }
    let scope = Scope::of(&analysed.engine, namespace);
    let format = session.screen.format(args.out.output);
    let with = WithRules::new(&answer, watch.as_ref().map(Watch::runner));
    session.screen.show(format, &with, |wide| {
        format!("{}{}", lay_out(&session.screen, &answer, &scope, wide), with.lay_out(&session.screen, wide))
    })?;
    match args.fail_on {
        Some(when) if matches(when, &answer) => Err(Failure::Matched),
        _ => Ok(()),
    }
}

fn matches(when: FailOn, answer: &Answer) -> bool {
    let open = |least: Severity| answer.incidents.iter().any(|i| i.state == IncidentState::Open && i.severity >= least);
    match when {
        FailOn::Found => answer.verdict == Verdict::Found,
        FailOn::Unknown => answer.verdict != Verdict::Healthy,
        FailOn::High => open(Severity::High),
        FailOn::Critical => open(Severity::Critical),
    }
}
