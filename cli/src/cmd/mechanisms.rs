//! `tapio mechanisms`: the manual of causes, from the code's own doc comments.

use serde::Serialize;
use tapio_engine::mechanisms::{FAMILIES, Section, section, sections};

use super::Session;
use crate::args::Out;
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
    List(Out),
    /// The manual section of one
    Explain {
        /// Its id, e.g. config-content-invalid
        id: String,
        #[command(flatten)]
        out: Out,
    },
}

#[derive(Serialize)]
struct Page {
    id: &'static str,
    family: &'static str,
    title: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    required: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    supports: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refuted_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lag: Option<String>,
    #[serde(rename = "do", skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
    /// What the proof of this mechanism rests on.
    rests_on: &'static str,
}

impl Page {
    fn of(family: &'static str, s: &'static Section) -> Self {
        Page {
            id: s.id,
            family,
            title: s.title(),
            required: s.part("Required"),
            supports: s.part("Supports"),
            refuted_by: s.part("Refuted by"),
            lag: s.part("Lag"),
            remedy: s.part("Do"),
            rests_on: s.rests.as_str(),
        }
    }
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
        What::List(out) => {
            let all = FAMILIES.iter().flat_map(|f| f.manual.iter().map(|s| Page::of(f.name, s)));
            let pages: Vec<Page> = all.collect();
            screen.show(screen.format(out.output), &pages, |wide| {
                let mut t = Table::new(&["MECHANISM", "FAMILY", "WHAT"]);
                for p in &pages {
                    t.row([p.id, p.family, p.title]);
                }
                t.lay_out(screen.width, if wide { Overflow::Wrap } else { Overflow::Cut }, screen.paint)
            })
        }
        What::Explain { id, out } => {
            let wanted = id.replace('_', "-");
            let Some(s) = section(&wanted) else {
                let near = tapio_engine::read::near(id, sections().map(|s| s.id));
                return Err(Failure::NotFound(unknown("mechanism", id, &near)));
            };
            let family = FAMILIES.iter().find(|f| f.manual.iter().any(|x| x.id == s.id)).map_or("", |f| f.name);
            let page = Page::of(family, s);
            screen.show(screen.format(out.output), &page, |_| explain(session, &page))
        }
    }
}

fn explain(session: &Session, page: &Page) -> String {
    let screen = &session.screen;
    let mut out = format!("{}  {}\n", screen.paint.strong(page.id), screen.paint.faint(page.family));
    let width = screen.width.min(100);
    let mut lines = |text: &str| {
        for l in wrap(text, width.saturating_sub(2)) {
            out.push_str(&format!("  {l}\n"));
        }
    };
    lines(page.title);
    let rests = page.rests_on.to_owned();
    let parts = [
        ("needs as evidence", page.required.as_ref()),
        ("speaks for it", page.supports.as_ref()),
        ("refuted by", page.refuted_by.as_ref()),
        ("takes effect", page.lag.as_ref()),
        ("do", page.remedy.as_ref()),
        ("its proof rests on", Some(&rests)),
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
