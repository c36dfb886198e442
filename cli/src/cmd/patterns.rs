//! `tapio patterns`: the shapes in time that it detects.

use serde::Serialize;
use tapio_engine::patterns::{PATTERNS, Pattern};

use super::Session;
use crate::args::Out;
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
    List(Out),
    /// The manual page of one
    Explain {
        /// Its id, e.g. death_spiral
        id: String,
        #[command(flatten)]
        out: Out,
    },
}

#[derive(Serialize)]
struct Page {
    id: &'static str,
    manual: String,
}

impl Page {
    fn of(p: &Pattern) -> Self {
        Page { id: p.id, manual: p.manual.lines().collect::<Vec<_>>().join(" ") }
    }
}

pub(super) fn run(session: &Session, args: &Args) -> Outcome {
    let screen = &session.screen;
    match &args.what {
        What::List(out) => {
            let pages: Vec<Page> = PATTERNS.iter().map(Page::of).collect();
            screen.show(screen.format(out.output), &pages, |wide| {
                let mut t = Table::new(&["PATTERN", "WHAT"]);
                for p in &pages {
                    t.row([p.id, p.manual.as_str()]);
                }
                t.lay_out(screen.width, if wide { Overflow::Wrap } else { Overflow::Cut }, screen.paint)
            })
        }
        What::Explain { id, out } => {
            let wanted = id.replace('-', "_");
            let Some(p) = PATTERNS.iter().find(|p| p.id == wanted) else {
                let near = tapio_engine::read::near(id, PATTERNS.iter().map(|p| p.id));
                return Err(Failure::NotFound(super::mechanisms::unknown("pattern", id, &near)));
            };
            let page = Page::of(p);
            screen.show(screen.format(out.output), &page, |_| {
                let body = wrap(&page.manual, screen.width.min(100).saturating_sub(2));
                format!("{}\n  {}", screen.paint.strong(p.id), body.join("\n  "))
            })
        }
    }
}
