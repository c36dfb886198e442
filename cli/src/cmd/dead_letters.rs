//! `tapio dead-letters`: input that could not be used, with place and reason.

use std::path::PathBuf;

use tapio_bus::log::sqlite::SqliteLog;
use tapio_core::ports::EventLog;

use super::Session;
use crate::args::Out;
use crate::error::Outcome;
use crate::output::table::{Overflow, Table};
use crate::output::text::{clean, clean_lines};
use crate::wire::{Folder, block_on, place};

pub(super) const EXAMPLES: &str = "\
Examples:
  tapio dead-letters --data-dir d
  tapio dead-letters --data-dir d --limit 1000 -o json";

#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// Folder made by `replay --data-dir`
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// The newest so many
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    #[command(flatten)]
    out: Out,
}

pub(super) fn run(session: &Session, args: &Args) -> Outcome {
    let folder = Folder::existing(&args.data_dir)?;
    let log = SqliteLog::open(folder.log(), session.config.log)?;
    let letters = block_on(log.dead_letters(args.limit))??;
    let screen = &session.screen;
    screen.show(screen.format(args.out.output), &letters, |wide| {
        if letters.is_empty() {
            return "no dead letters".to_owned();
        }
        if !wide {
            let mut t = Table::new(&["PLACE", "REASON"]);
            letters.iter().for_each(|d| t.row([place(d), d.reason.clone()]));
            return t.lay_out(screen.width, Overflow::Wrap, screen.paint);
        }
        let mut out = String::new();
        for d in &letters {
            out.push_str(&format!("{}\n  {}\n", screen.paint.strong(&clean(&place(d))), clean(&d.reason)));
            for l in clean_lines(&d.excerpt).lines() {
                out.push_str(&screen.paint.faint(&format!("    {l}")));
                out.push('\n');
            }
        }
        out
    })
}
