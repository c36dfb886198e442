//! `tapio timeline`: what happened to an object and around it, in order.

use tapio_engine::read::{Since, Span, Timeline, timeline};

use super::Session;
use crate::args::{Out, Reading, Source, Target};
use crate::error::Outcome;
use crate::output::timeline::lay_out;
use crate::wire::known;

pub(super) const EXAMPLES: &str = "\
Examples:
  tapio timeline pod/cart-7c9 --from dump
  tapio timeline deploy/cart --data-dir d --since 30m
  tapio timeline deploy/cart --data-dir d --related false";

#[derive(clap::Args, Debug)]
pub(super) struct Args {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    source: Source,
    /// Not before: a time (2024-01-15T10:30:00Z), or a span before the end of the stream (90s, 30m, 2h, 1d)
    #[arg(long, value_name = "TIME", value_parser = str::parse::<Since>)]
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

pub(super) fn run(session: &Session, args: &Args) -> Outcome {
    let format = session.screen.format(args.out.output);
    if let Some(server) = args.source.server()? {
        let object = server.object(&args.target)?;
        let mut params = vec![("limit", args.limit.to_string()), ("related", args.related.to_string())];
        params.extend(args.since.map(|s| ("since", s.to_string())));
        let told: Timeline = server.about("timeline", &object, &params)?;
        return session.screen.show(format, &told, |wide| lay_out(&session.screen, &told, wide));
    }
    let known = known(session, &args.source.from, &args.reading)?;
    let object = super::object::found(&known.engine, &args.target)?;
    let since = args.since.map(|s| s.time(known.engine.newest()));
    let told = timeline(&known.engine, &object, Span { since, related: args.related, limit: args.limit });
    session.screen.show(format, &told, |wide| lay_out(&session.screen, &told, wide))
}
