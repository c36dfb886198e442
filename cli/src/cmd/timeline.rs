//! `tapio timeline`: what happened to an object and around it, in order.

use serde::Serialize;
use tapio_core::object::ObjectRef;
use tapio_core::time::{SECOND, Time};
use tapio_engine::read::{Item, Span, timeline};

use super::Session;
use crate::args::{From, Out, Reading, Target};
use crate::error::Outcome;
use crate::output::timeline::lay_out;
use crate::wire::known;

pub(super) const EXAMPLES: &str = "\
Examples:
  tapio timeline pod/cart-7c9 --from dump
  tapio timeline deploy/cart --data-dir d --since 30m
  tapio timeline deploy/cart --data-dir d --related false";

/// A point in time, or a span before the end of the stream.
#[derive(Clone, Copy, Debug)]
enum Since {
    At(Time),
    Before(i64),
}

#[derive(clap::Args, Debug)]
pub(super) struct Args {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    place: From,
    /// Not before: a time (2024-01-15T10:30:00Z), or a span before the end of the stream (90s, 30m, 2h, 1d)
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<Since>,
    /// The newest so many; 0 for all
    #[arg(long, value_name = "N", default_value_t = 200)]
    limit: usize,
    /// Whether to tell of owners, pods, and what they read, too
    #[arg(long, value_name = "BOOL", default_value_t = true, num_args = 0..=1, default_missing_value = "true", action = clap::ArgAction::Set)]
    related: bool,
    #[command(flatten)]
    reading: Reading,
    #[command(flatten)]
    out: Out,
}

#[derive(Serialize)]
struct Told<'a> {
    object: &'a ObjectRef,
    items: &'a [Item],
    /// Older ones that the limit left out.
    left_out: usize,
}

fn since(text: &str) -> Result<Since, String> {
    if let Ok(t) = Time::parse(text) {
        return Ok(Since::At(t));
    }
    let unit = match text.chars().last() {
        Some('s') => SECOND,
        Some('m') => 60 * SECOND,
        Some('h') => 3_600 * SECOND,
        Some('d') => 86_400 * SECOND,
        _ => 0,
    };
    match text.get(..text.len().saturating_sub(1)).and_then(|n| n.parse::<u32>().ok()) {
        Some(n) if unit > 0 => Ok(Since::Before(i64::from(n) * unit)),
        _ => Err("give a time like 2024-01-15T10:30:00Z, or a span like 90s, 30m, 2h, 1d".to_owned()),
    }
}

pub(super) fn run(session: &Session, args: &Args) -> Outcome {
    let known = known(session, &args.place, &args.reading)?;
    let object = super::object::found(&known.engine, &args.target)?;
    let since = args.since.map(|s| match s {
        Since::At(t) => t,
        Since::Before(micros) => known.engine.newest().plus(-micros),
    });
    let (items, left_out) = timeline(&known.engine, &object, Span { since, related: args.related, limit: args.limit });
    let told = Told { object: &object, items: &items, left_out };
    let format = session.screen.format(args.out.output);
    session.screen.show(format, &told, |wide| lay_out(&session.screen, &object, &items, left_out, wide))
}
