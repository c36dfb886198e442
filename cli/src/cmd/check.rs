//! `tapio check`: whether settings would be accepted and what is in force, and whether rules find what they should.

mod rules;
mod scenario;

use std::path::PathBuf;

use super::Session;
use crate::args::{Format, Out};
use crate::config::{Config, line};
use crate::error::Outcome;
use crate::output::yaml;

pub(super) const EXAMPLES: &str = "\
Examples:
  tapio check config tapio.yaml                 what is wrong, with line and key; else what is in force
  tapio check config                            the defaults
  tapio check rules tests                       the rules in tests/tapio.yaml, on the scenarios beside it
  tapio check rules tests --config tapio.yaml   other rules, on the same scenarios";

#[derive(clap::Args, Debug)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand, Debug)]
enum What {
    /// A file of settings
    Config {
        /// The file; that of --config or TAPIO_CONFIG, else the defaults, without one
        file: Option<PathBuf>,
        #[command(flatten)]
        out: Out,
    },
    /// Rules of your own, on recorded scenarios
    #[command(after_help = rules::EXAMPLES)]
    Rules(rules::Args),
}

pub(super) fn run(session: &Session, args: &Args) -> Outcome {
    match &args.what {
        What::Config { file, out } => config(session, file.as_ref().or(session.settings.as_ref()), out),
        What::Rules(args) => rules::run(session, args),
    }
}

fn config(session: &Session, file: Option<&PathBuf>, out: &Out) -> Outcome {
    let config = Config::load(file.map(PathBuf::as_path))?;
    let place = file.map_or("the defaults".to_owned(), |f| f.display().to_string());
    let checked = config.check_rules()?;
    for p in &checked.warnings {
        session.note(&format!("warning: {}", line(&place, p)));
    }
    let rules = checked.into_rules(&place)?;
    match out.output {
        Some(Format::Json) => session.screen.print(&crate::output::json(&config)?),
        _ => {
            let n = match rules.len() {
                0 => String::new(),
                n => format!(", {}", crate::output::text::count(n, "rule")),
            };
            session.screen.print(&format!("# in force with {place}{n}\n{}", yaml(&config)?))
        }
    }
}
