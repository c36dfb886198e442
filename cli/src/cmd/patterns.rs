//! `tapio patterns`: the shapes in time that it detects.

use tapio_engine::read::{PatternPage, near};

use super::Session;
use crate::args::{AtServer, Out};
use crate::error::{Failure, Outcome};
use crate::output::table::{Overflow, Table};
use crate::output::text::wrap;

pub(super) const EXAMPLES: &str = "\
Examples:
  tapio patterns list
  tapio patterns explain death_spiral";

#[derive(clap::Args, Debug)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand, Debug)]
enum What {
    /// All patterns
    List {
        #[command(flatten)]
        at: AtServer,
        #[command(flatten)]
        out: Out,
    },
    /// The manual page of one
    Explain {
        /// Its id, e.g. death_spiral
        id: String,
        #[command(flatten)]
        at: AtServer,
        #[command(flatten)]
        out: Out,
    },
}

pub(super) fn run(session: &Session, args: &Args) -> Outcome {
    let screen = &session.screen;
    match &args.what {
        What::List { at, out } => {
            let pages = match at.open()? {
                Some(server) => server.get(&["patterns"], &[])?,
                None => PatternPage::all(),
            };
            screen.show(screen.format(out.output), &pages, |wide| {
                let mut t = Table::new(&["PATTERN", "WHAT"]);
                for p in &pages {
                    t.row([&p.id, &p.manual]);
                }
                t.lay_out(screen.width, if wide { Overflow::Wrap } else { Overflow::Cut }, screen.paint)
            })
        }
        What::Explain { id, at, out } => {
            let page = match at.open()? {
                Some(server) => Some(server.get(&["patterns", id], &[])?),
                None => PatternPage::find(id),
            };
            let Some(page) = page else {
                let all = PatternPage::all();
                let near = near(id, all.iter().map(|p| p.id.as_str()));
                return Err(Failure::NotFound(super::mechanisms::unknown("pattern", id, &near)));
            };
            screen.show(screen.format(out.output), &page, |_| {
                let body = wrap(&page.manual, screen.width.min(100).saturating_sub(2));
                format!("{}\n  {}", screen.paint.strong(&page.id), body.join("\n  "))
            })
        }
    }
}
