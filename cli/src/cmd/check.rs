//! `tapio check`: whether settings would be accepted, and what is in force.

use std::path::PathBuf;

use super::Session;
use crate::args::{Format, Out};
use crate::config::Config;
use crate::error::Outcome;
use crate::output::yaml;

pub(super) const EXAMPLES: &str = "\
Examples:
  tapio check config tapio.yaml                 what is wrong, with line and key; else what is in force
  tapio check config                            the defaults";

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
}

pub(super) fn run(session: &Session, args: &Args) -> Outcome {
    let What::Config { file, out } = &args.what;
    let file = file.as_ref().or(session.settings.as_ref());
    let config = Config::load(file.map(PathBuf::as_path))?;
    match out.output {
        Some(Format::Json) => session.screen.print(&crate::output::json(&config)?),
        _ => {
            let place = file.map_or("the defaults".to_owned(), |f| f.display().to_string());
            session.screen.print(&format!("# in force with {place}\n{}", yaml(&config)?))
        }
    }
}
