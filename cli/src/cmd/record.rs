//! `tapio record`: a living cluster, or what was read, redacted, as a recording that can be replayed and passed on.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tapio_collectors::recording::Writer;
use tapio_collectors::{Item, Next, Summary};

use super::Session;
use crate::args::{Cluster, Reading};
use crate::error::{Failure, Outcome};
use crate::output::text::count;
use crate::wire::live::{default_recording, record};
use crate::wire::{Feed, Interrupt, Letters, options};

pub(super) const EXAMPLES: &str = "\
Examples:
  tapio record                                  the current context's cluster, until Ctrl-C
  tapio record --for 10m -o outage.jsonl.zst    ten minutes of it
  tapio record --context prod -n shop           one namespace of another cluster
  tapio record dump -o dump.jsonl.zst           a dump as one small file, without secrets
  kubectl get pods,events -A -w --output-watch-events -o json | tapio record - -o watch.jsonl.gz

`tapio replay FILE` plays it. Values of a living cluster become hashes with a key of this recording alone, so that they
can be compared within it and not be guessed.";

#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// Dumps, recordings, or anything else readable; `-` for standard input; without it, the cluster
    #[arg(value_name = "INPUT")]
    inputs: Vec<PathBuf>,
    /// File to write; `.zst` and `.gz` are compressed; of a cluster by default tapio-CONTEXT-TIME.jsonl.zst
    #[arg(short = 'o', long = "output", alias = "to", value_name = "FILE")]
    to: Option<PathBuf>,
    /// End after so long: 30s, 10m, 2h
    #[arg(long = "for", value_name = "TIME", value_parser = span, conflicts_with = "inputs")]
    span: Option<Duration>,
    #[command(flatten)]
    reading: Reading,
    #[command(flatten)]
    at: Cluster,
}

/// `90s`, `10m`, `2h`, or seconds.
fn span(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.char_indices().find(|(_, c)| !c.is_ascii_digit()) {
        Some((at, _)) => text.split_at(at),
        None => (text, "s"),
    };
    let secs = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        _ => 0,
    };
    match number.parse::<u64>().ok().and_then(|n| n.checked_mul(secs)) {
        Some(n) if n > 0 => Ok(Duration::from_secs(n)),
        _ => Err("give a time above 0, e.g. 90s, 10m or 2h".to_owned()),
    }
}

pub(super) fn run(session: &Session, args: &Args) -> Outcome {
    let stop = Interrupt::listen()?;
    match (&args.to, args.inputs.is_empty()) {
        (to, true) => cluster(session, args, to.as_deref(), &stop),
        (Some(to), false) => files(session, args, to, &stop),
        (None, false) => Err(Failure::input("name the file to write with -o, e.g. -o recording.jsonl.zst")),
    }
}

fn cluster(session: &Session, args: &Args, to: Option<&Path>, stop: &Interrupt) -> Outcome {
    let until = args.span.map(|s| Instant::now() + s);
    let over = || stop.asked() || until.is_some_and(|u| Instant::now() >= u);
    let name = args.reading.cluster.as_deref();
    let open = |context: &str| match to {
        Some(to) => to.to_owned(),
        None => default_recording(context),
    };
    let (path, events) = record(session, &args.at, name, open, &over)?;
    session.note(&format!("{} written to {}", count(events, "event"), path.display()));
    Ok(())
}

fn files(session: &Session, args: &Args, to: &Path, stop: &Interrupt) -> Outcome {
    let mut feed = Feed::open(session, &args.inputs, options(&args.reading))?;
    let cannot = |e: std::io::Error| Failure::Unreachable(format!("cannot write {}: {e}", to.display()));
    let mut writer = Writer::create(to).map_err(cannot)?;
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
    session.note(&format!("{} from {} written to {}", count(written, "event"), count(files, "file"), to.display()));
    Ok(())
}
