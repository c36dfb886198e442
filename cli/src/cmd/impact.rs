//! `tapio impact`: what a change of an object hits.

use tapio_engine::read::impact;

use super::Session;
use crate::args::{From, Out, Reading, Target};
use crate::error::Outcome;
use crate::output::impact::lay_out;
use crate::wire::known;

pub(super) const EXAMPLES: &str = "\
Examples:
  tapio impact configmap/app-config --from dump
  tapio impact secret db -n shop --data-dir d
  tapio impact node/worker-2 --from dump -o json";

#[derive(clap::Args, Debug)]
pub(super) struct Args {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    place: From,
    #[command(flatten)]
    reading: Reading,
    #[command(flatten)]
    out: Out,
}

pub(super) fn run(session: &Session, args: &Args) -> Outcome {
    let known = known(session, &args.place, &args.reading)?;
    let object = super::object::found(&known.engine, &args.target)?;
    let found = impact(&known.engine, &object);
    let format = session.screen.format(args.out.output);
    session.screen.show(format, &found, |wide| lay_out(&session.screen, &found, wide))
}
