//! `tapio record`: what was read, redacted, as a recording that can be replayed and passed on.

use std::path::PathBuf;

use tapio_collectors::recording::Writer;
use tapio_collectors::{Item, Next, Summary};

use super::Session;
use crate::args::Reading;
use crate::error::{Failure, Outcome};
use crate::output::text::count;
use crate::wire::{Feed, Interrupt, Letters, options};

pub(super) const EXAMPLES: &str = "\
Examples:
  tapio record dump --to dump.jsonl.zst         a dump as one small file, without secrets
  kubectl get pods,events -A -w --output-watch-events -o json | tapio record - --to watch.jsonl.gz";

#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// Dumps, recordings, or anything else readable; `-` for standard input
    #[arg(value_name = "INPUT", required = true)]
    inputs: Vec<PathBuf>,
    /// File to write; `.zst` and `.gz` are compressed
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
    #[command(flatten)]
    reading: Reading,
}

pub(super) fn run(session: &Session, args: &Args) -> Outcome {
    let stop = Interrupt::listen()?;
    let mut feed = Feed::open(session, &args.inputs, options(&args.reading))?;
    let cannot = |e: std::io::Error| Failure::Unreachable(format!("cannot write {}: {e}", args.to.display()));
    let mut writer = Writer::create(&args.to).map_err(cannot)?;
    let mut letters = Letters::default();
    let mut written: usize = 0;
    while !stop.asked() {
        match feed.next() {
            Next::Item(Item::Event(e)) => {
                writer.write(&e).map_err(cannot)?;
                written += 1;
            }
            Next::Item(Item::Dead(d)) => letters.add(&d),
            Next::Idle => writer.flush().map_err(cannot)?,
            Next::End => break,
        }
    }
    let Summary { files, .. } = feed.finish();
    writer.finish().map_err(cannot)?;
    letters.report(session, None);
    if written == 0 {
        let why = letters.first().map(|d| format!(": {}", d.reason)).unwrap_or_default();
        return Err(Failure::input(format!("nothing could be recorded{why}")));
    }
    let files = usize::try_from(files).unwrap_or(usize::MAX);
    session.note(&format!(
        "{} from {} written to {}",
        count(written, "event"),
        count(files, "file"),
        args.to.display()
    ));
    Ok(())
}
