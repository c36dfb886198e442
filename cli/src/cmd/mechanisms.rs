//! `tapio mechanisms`: the manual of causes, from the code's own doc comments.

use tapio_engine::read::{MechanismPage, near};

use super::Session;
use crate::args::{AtServer, Out};
use crate::error::{Failure, Outcome};
use crate::output::table::{Overflow, Table};
use crate::output::text::wrap;

pub(super) const EXAMPLES: &str = "\
Examples:
  tapio mechanisms list
  tapio mechanisms explain config-content-invalid";

#[derive(clap::Args, Debug)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand, Debug)]
enum What {
    /// All mechanisms, by family
    List {
        #[command(flatten)]
        at: AtServer,
        #[command(flatten)]
        out: Out,
    },
    /// The manual section of one
    Explain {
        /// Its id, e.g. config-content-invalid
        id: String,
        #[command(flatten)]
        at: AtServer,
        #[command(flatten)]
        out: Out,
    },
}

/// What to say about an id that nobody knows.
pub(super) fn unknown(what: &str, id: &str, near: &[String]) -> String {
    let hint = match near {
        [] => format!("`tapio {what}s list` lists all"),
        near => format!("did you mean {}", near.join(", ")),
    };
    format!("no {what} `{id}`; {hint}")
}

pub(super) fn run(session: &Session, args: &Args) -> Outcome {
    let screen = &session.screen;
    match &args.what {
        What::List { at, out } => {
            let pages = match at.open()? {
                Some(server) => server.get(&["mechanisms"], &[])?,
                None => MechanismPage::all(),
            };
            screen.show(screen.format(out.output), &pages, |wide| {
                let mut t = Table::new(&["MECHANISM", "FAMILY", "WHAT"]);
                for p in &pages {
                    t.row([&p.id, &p.family, &p.title]);
                }
                t.lay_out(screen.width, if wide { Overflow::Wrap } else { Overflow::Cut }, screen.paint)
            })
        }
        What::Explain { id, at, out } => {
            let page = match at.open()? {
                Some(server) => Some(server.get(&["mechanisms", id], &[])?),
                None => MechanismPage::find(id),
            };
            let Some(page) = page else {
                let all = MechanismPage::all();
                let near = near(id, all.iter().map(|p| p.id.as_str()));
                return Err(Failure::NotFound(unknown("mechanism", id, &near)));
            };
            screen.show(screen.format(out.output), &page, |_| explain(session, &page))
        }
    }
}

fn explain(session: &Session, page: &MechanismPage) -> String {
    let screen = &session.screen;
    let mut out = format!("{}  {}\n", screen.paint.strong(&page.id), screen.paint.faint(&page.family));
    let width = screen.width.min(100);
    let mut lines = |text: &str| {
        for l in wrap(text, width.saturating_sub(2)) {
            out.push_str(&format!("  {l}\n"));
        }
    };
    lines(&page.title);
    let parts = [
        ("needs as evidence", page.required.as_ref()),
        ("speaks for it", page.supports.as_ref()),
        ("refuted by", page.refuted_by.as_ref()),
        ("takes effect", page.lag.as_ref()),
        ("do", page.remedy.as_ref()),
        ("its proof rests on", Some(&page.rests_on)),
    ];
    for (title, text) in parts {
        let Some(text) = text else { continue };
        out.push_str(&format!("\n{}\n", screen.paint.strong(title)));
        for l in wrap(text, width.saturating_sub(2)) {
            out.push_str(&format!("  {l}\n"));
        }
    }
    out
}
