//! `tapio replay`: recordings over their own time, in memory or through the stores of a data folder.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tapio_collectors::{Item, Next, Summary};
use tapio_core::answer::IncidentState;
use tapio_core::raw::RawEvent;
use tapio_core::time::Time;
use tapio_engine::read::Scope;
use tapio_engine::{EventProcessor, Outcome as EngineOutcome};
use tapio_graph::neo4j::Address;
use tapio_graph::rules::{News, Runner, State};

use super::Session;
use crate::args::{Format, Out, Reading};
use crate::error::{Failure, Outcome};
use crate::output::answer::lay_out;
use crate::output::rules::WithRules;
use crate::output::story::Story;
use crate::output::text::count;
use crate::wire::{CHUNK, Feed, Folder, Interrupt, Letters, Pipeline, Watch, engine, options, usable};

pub(super) const EXAMPLES: &str = "\
Examples:
  tapio replay recording.jsonl.zst              incidents as they opened and were resolved
  tapio replay recording.jsonl.zst --speed 60   a minute of it every second
  tapio replay recording.jsonl.zst --data-dir d keep log and graph, for why, incidents and query
  tapio replay --data-dir d                     go on where an interrupted replay stopped
  tapio replay recording.jsonl.zst --data-dir d --graph bolt://localhost:7687
                                                the same with the graph in a Neo4j; its user and password are
                                                TAPIO_NEO4J_USER, and TAPIO_NEO4J_PASSWORD or TAPIO_NEO4J_PASSWORD_FILE
  tapio replay recording.jsonl.zst --config f   with the rules of your own in f
  kubectl get pods,events -A -w --output-watch-events -o json | tapio replay -

A second replay of the same input into the same folder appends nothing. A killed one goes on where it stopped when it
is started again, and ends in the same state. Standard input cannot be recognised and is appended each time.";

#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// Recordings, dumps, or anything else readable; `-` for standard input
    #[arg(value_name = "FILE", required_unless_present = "data_dir")]
    inputs: Vec<PathBuf>,
    /// Keep event log and graph in this folder
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Keep the graph in this Neo4j: bolt://HOST:7687, bolt+s:// for TLS, ?database=NAME behind it. The folder notes it
    #[arg(long, value_name = "URL", requires = "data_dir", value_parser = crate::wire::address)]
    graph: Option<Address>,
    /// Play it N times as fast as it happened; without it, as fast as possible
    #[arg(long, value_name = "N", value_parser = speed)]
    speed: Option<f64>,
    /// Print counts at the end
    #[arg(long)]
    stats: bool,
    #[command(flatten)]
    reading: Reading,
    #[command(flatten)]
    out: Out,
}

fn speed(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(n) if n.is_finite() && n > 0.0 => Ok(n),
        _ => Err("give a number above 0, e.g. 60 for a minute a second".to_owned()),
    }
}

pub(super) fn run(session: &Session, args: &Args) -> Outcome {
    let stop = Interrupt::listen()?;
    let format = session.screen.format(args.out.output);
    let mut story = Story::new(session, matches!(format, Format::Table | Format::Wide), format == Format::Wide);
    match &args.data_dir {
        None => in_memory(session, args, format, &stop, &mut story),
        Some(dir) => in_folder(session, args, format, &stop, &mut story, Folder::create(dir)?),
    }
}

/// An engine in memory, with what is beside it.
struct Play<'a, 'b> {
    engine: EventProcessor,
    watch: Option<Watch>,
    letters: Letters,
    story: &'a mut Story<'b>,
}

impl Play<'_, '_> {
    fn take(&mut self, chunk: &mut Vec<RawEvent>, feed: &mut Feed) -> Outcome {
        let out = self.engine.process(chunk.drain(..));
        self.keep(out, feed)
    }

    fn keep(&mut self, mut out: EngineOutcome, feed: &mut Feed) -> Outcome {
        self.letters.add_all(&out.dead);
        let news = self.watch.as_mut().map_or(Ok(Vec::new()), |w| w.take(&mut out))?;
        if !out.incidents.is_empty() || !news.is_empty() {
            feed.hide();
        }
        self.story.tell(&out, &news)
    }

    fn finish(&mut self, feed: &mut Feed) -> Outcome {
        let out = self.engine.finish();
        self.keep(out, feed)?;
        let at = self.engine.newest();
        match &mut self.watch {
            Some(watch) => self.story.tell(&EngineOutcome::default(), &watch.end(at)?),
            None => Ok(()),
        }
    }
}

fn in_memory(session: &Session, args: &Args, format: Format, stop: &Interrupt, story: &mut Story) -> Outcome {
    let watch = Watch::where_wanted(session)?;
    let mut feed = Feed::open(session, &args.inputs, options(&args.reading))?;
    let engine = engine(session, watch.is_some());
    let mut play = Play { engine, watch, letters: Letters::default(), story };
    let mut pace = args.speed.map(Pace::new);
    // Whoever watches a stream wants to see what came, not what a full chunk would show.
    let prompt = pace.is_some() || args.inputs.iter().any(|i| i.as_os_str() == "-");
    let mut chunk = Vec::with_capacity(CHUNK);
    let mut ended = false;
    while !ended && !stop.asked() {
        let mut flush = false;
        match feed.next() {
            Next::Item(Item::Event(e)) => {
                if let Some(wait) = pace.as_mut().and_then(|p| p.wait(&e)) {
                    play.take(&mut chunk, &mut feed)?;
                    rest(wait, stop);
                }
                chunk.push(e);
                flush = chunk.len() >= CHUNK;
            }
            Next::Item(Item::Dead(d)) => play.letters.add(&d),
            Next::Idle => flush = prompt,
            Next::End => ended = true,
        }
        if flush {
            play.take(&mut chunk, &mut feed)?;
        }
    }
    play.take(&mut chunk, &mut feed)?;
    play.finish(&mut feed)?;
    let summary = feed.finish();
    let Play { engine, watch, letters, story } = play;
    letters.report(session, None);
    if ended {
        usable(&engine, &summary, &args.inputs, &letters)?;
    }
    conclude(session, args, format, &engine, Some(&summary), watch.as_ref().map(Watch::runner), story)?;
    if ended { Ok(()) } else { Err(Failure::Interrupted("interrupted; what came before is above".to_owned())) }
}

fn in_folder(
    session: &Session,
    args: &Args,
    format: Format,
    stop: &Interrupt,
    story: &mut Story,
    folder: Folder,
) -> Outcome {
    let dir = folder.dir().to_owned();
    let mut pipeline = Pipeline::open(session, folder, args.graph.as_ref())?;
    pipeline.tell_recovery();
    let mut letters = Letters::default();
    let mut summary = None;
    let mut ended = true;
    if !args.inputs.is_empty() {
        let names: Vec<String> = args.inputs.iter().map(|p| p.display().to_string()).collect();
        let cluster = args.reading.cluster.as_deref();
        // Opened first: what cannot be read must not be noted as an input.
        let feed = Feed::open(session, &args.inputs, options(&args.reading))?;
        let fingerprint = crate::wire::fingerprint(&args.inputs, cluster)?;
        match pipeline.begin(names.join(", "), fingerprint)? {
            None => session.note(&format!("{} is in {} already, nothing to append", names.join(", "), dir.display())),
            Some(had) => {
                if had > 0 {
                    session.note(&format!(
                        "{} of {} are in {} already",
                        count_of(had),
                        names.join(", "),
                        dir.display()
                    ));
                }
                (summary, ended) = fill(&mut pipeline, args, feed, had, stop, &mut letters, story)?;
            }
        }
    }
    let mut each = |out: &EngineOutcome, news: &[News]| {
        letters.add_all(&out.dead);
        story.tell(out, news)
    };
    pipeline.advance(&mut each)?;
    pipeline.ask_new(&mut each)?;
    pipeline.save()?;
    letters.report(session, Some(&dir));
    if !ended {
        return Err(Failure::Interrupted(format!(
            "interrupted after {}; run the same command again to go on",
            count_of(pipeline.last())
        )));
    }
    if let Some(s) = &summary {
        usable(pipeline.engine(), s, &args.inputs, &letters)?;
    }
    conclude(session, args, format, pipeline.engine(), summary.as_ref(), pipeline.rules(), story)?;
    if args.stats {
        session.note(&format!("log: {} in {}", count_of(pipeline.last()), pipeline.folder().log().display()));
        let g = crate::wire::block_on(pipeline.graph().stats())??;
        let list = |m: &BTreeMap<String, u64>| m.iter().map(|(k, n)| format!("{k} {n}")).collect::<Vec<_>>().join(", ");
        session.note(&format!("graph nodes: {}", list(&g.nodes)));
        session.note(&format!("graph relations: {}", list(&g.relations)));
    }
    Ok(())
}

fn count_of(n: u64) -> String {
    count(usize::try_from(n).unwrap_or(usize::MAX), "event")
}

/// Brings an input into the log, behind the `had` events that are there already, and the engine along with it.
fn fill(
    pipeline: &mut Pipeline,
    args: &Args,
    mut feed: Feed,
    had: u64,
    stop: &Interrupt,
    letters: &mut Letters,
    story: &mut Story,
) -> Outcome<(Option<Summary>, bool)> {
    let mut pace = args.speed.map(Pace::new);
    let mut skip = had;
    let (mut dead, mut chunk) = (Vec::new(), Vec::with_capacity(CHUNK));
    let mut ended = false;
    while !ended && !stop.asked() {
        match feed.next() {
            Next::Item(Item::Event(_)) if skip > 0 => skip -= 1,
            Next::Item(Item::Event(e)) => {
                if let Some(wait) = pace.as_mut().and_then(|p| p.wait(&e)) {
                    pipeline.append(std::mem::take(&mut dead), std::mem::take(&mut chunk))?;
                    rest(wait, stop);
                }
                chunk.push(e);
            }
            // Those before an event that is in the log were kept with it.
            Next::Item(Item::Dead(d)) => {
                letters.add(&d);
                if skip == 0 {
                    dead.push(d);
                }
            }
            Next::Idle => {}
            Next::End => ended = true,
        }
        if chunk.len() >= CHUNK || ended || dead.len() >= CHUNK {
            pipeline.append(std::mem::take(&mut dead), std::mem::take(&mut chunk))?;
            pipeline.advance(&mut |out, news| {
                letters.add_all(&out.dead);
                if !out.incidents.is_empty() || !news.is_empty() {
                    feed.hide();
                }
                story.tell(out, news)
            })?;
        }
    }
    if ended {
        pipeline.end()?;
    } else {
        pipeline.append(dead, chunk)?;
    }
    Ok((Some(feed.finish()), ended))
}

/// Plays in time.
struct Pace {
    speed: f64,
    begun: Option<(Instant, Time)>,
}

impl Pace {
    fn new(speed: f64) -> Self {
        Pace { speed, begun: None }
    }

    /// How long until this event is due, if it is not yet.
    fn wait(&mut self, e: &RawEvent) -> Option<Duration> {
        let at = e.seen_at();
        let (began, first) = *self.begun.get_or_insert_with(|| (Instant::now(), at));
        let micros = u64::try_from(at.since(first)).ok()?;
        let due = Duration::from_micros(micros).div_f64(self.speed);
        due.checked_sub(began.elapsed()).filter(|d| *d > Duration::from_millis(5))
    }
}

/// Sleeps, and looks up now and then.
fn rest(mut wait: Duration, stop: &Interrupt) {
    const LOOK: Duration = Duration::from_millis(100);
    while !wait.is_zero() && !stop.asked() {
        let nap = wait.min(LOOK);
        std::thread::sleep(nap);
        wait -= nap;
    }
}

/// What it was in all, and the answer as of the end.
fn conclude(
    session: &Session,
    args: &Args,
    format: Format,
    engine: &EventProcessor,
    summary: Option<&Summary>,
    rules: Option<&Runner>,
    story: &Story,
) -> Outcome {
    let answer = engine.answer();
    let with = WithRules::new(&answer, rules);
    let scope = Scope::of(engine, None);
    session.screen.show(format, &with, |wide| {
        let open = answer.incidents.iter().filter(|i| i.state == IncidentState::Open).count();
        let over = answer.incidents.len() - open;
        let mut out = if story.events > 0 { "\n".to_owned() } else { String::new() };
        let all = count(answer.incidents.len(), "incident");
        let end = crate::output::answer::moment(engine.newest());
        out.push_str(&format!("{all}: {open} open, {over} resolved; the stream ends {end}\n\n"));
        out.push_str(&lay_out(&session.screen, &answer, &scope, wide));
        out.push_str(&with.lay_out(&session.screen, wide));
        out
    })?;
    if args.stats {
        let s = engine.stats();
        let (nodes, edges, waiting) = engine.size();
        session.note(&format!(
            "engine: {} raw, {} duplicates, {} late, {} dead, {} of unknown type, {} events, {} parked, {} unresolved, {} stale, {} looks, {} fenced, {} dropped",
            s.raw, s.duplicates, s.late, s.dead, s.unknown_types, s.events, s.parked, s.unresolved, s.stale, s.looks, s.fenced, s.dropped
        ));
        if let Some(runner) = rules {
            let found = runner.findings();
            let firing = found.iter().filter(|f| f.state == State::Firing).count();
            let (n, left_out) = runner.counts();
            let over = found.len() - firing;
            let off = runner.fenced().len();
            session.note(&format!(
                "rules: {n}, {off} fenced; findings: {firing} firing, {over} over, {left_out} left out"
            ));
        }
        session.note(&format!("live graph: {nodes} nodes, {edges} edges; {waiting} waiting in the window"));
        if let Some(summary) = summary {
            let list: Vec<String> = summary.events.iter().map(|(k, n)| format!("{k} {n}")).collect();
            session.note(&format!(
                "read: {} files, {} skipped, {} log lines; {}",
                summary.files,
                summary.skipped_total,
                summary.log_lines,
                list.join(", ")
            ));
        }
    }
    Ok(())
}
