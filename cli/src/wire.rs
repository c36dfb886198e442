//! Opening inputs, stores and engines, and joining them: input → (event log) → engine → (graph).
//!
//! Evidence reaches the engine in chunks of [`CHUNK`] events, cut at fixed places of the stream and not where time or
//! a buffer happened to cut it: so what comes too late for the engine's window comes too late in every run alike, and
//! an interrupted replay that goes on ends with the same bytes as one that was not interrupted.

pub(crate) mod agent;
pub(crate) mod alerts;
pub(crate) mod api;
mod feed;
mod folder;
mod interrupt;
mod letters;
pub(crate) mod live;
pub(crate) mod logging;
pub(crate) mod operations;
mod pipeline;
mod progress;
mod remote;
mod store;
mod watch;

use std::path::PathBuf;

use tapio_collectors::{Item, Next, ReadOptions, Summary};
use tapio_core::answer::Gap;
use tapio_engine::{EngineConfig, EventProcessor, Outcome as EngineOutcome};

use crate::args::{From as Where, Reading};
use crate::cmd::Session;
use crate::error::{Failure, Outcome};
pub(crate) use feed::Feed;
pub(crate) use folder::{Folder, fingerprint, new_key};
pub(crate) use interrupt::Interrupt;
pub(crate) use letters::{Letters, place};
pub(crate) use pipeline::{Pipeline, block_on, newest_of, progress_of};
pub(crate) use progress::Counter;
pub(crate) use remote::Remote;
pub(crate) use store::{Graph, address, neo4j, newest, of_folder, oldest, server};
pub(crate) use watch::Watch;

/// Events that the engine takes at once.
pub(crate) const CHUNK: usize = 256;

/// How input is read.
pub(crate) fn options(reading: &Reading) -> ReadOptions {
    ReadOptions { cluster: reading.cluster.clone(), ..ReadOptions::default() }
}

/// An engine with the settings; `project`: whether it hands out changes for a graph.
pub(crate) fn engine(session: &Session, project: bool) -> EventProcessor {
    EventProcessor::new(EngineConfig { project, ..session.config.engine.clone() })
}

/// An engine for one collector's stream, which comes in order: there is nothing to wait for.
pub(crate) fn live_engine(session: &Session) -> EventProcessor {
    EventProcessor::new(EngineConfig { project: true, lateness_millis: 0, ..session.config.engine.clone() })
}

/// What the engine made of inputs.
pub(crate) struct Analysed {
    /// The engine at the end of the input.
    pub(crate) engine: EventProcessor,
    /// What was read.
    pub(crate) summary: Summary,
}

/// Reads inputs to their end and thinks about them, in memory. `each` gets what comes of every chunk.
pub(crate) fn analyse(
    session: &Session,
    inputs: &[PathBuf],
    reading: &Reading,
    project: bool,
    mut each: impl FnMut(EngineOutcome) -> Outcome,
) -> Outcome<Analysed> {
    let mut feed = Feed::open(session, inputs, options(reading))?;
    let mut engine = engine(session, project);
    let mut letters = Letters::default();
    let mut chunk = Vec::with_capacity(CHUNK);
    let mut step = |engine: &mut EventProcessor, letters: &mut Letters, chunk: &mut Vec<_>| {
        let out = engine.process(chunk.drain(..));
        letters.add_all(&out.dead);
        each(out)
    };
    loop {
        match feed.next() {
            Next::Item(Item::Event(e)) => chunk.push(e),
            Next::Item(Item::Dead(d)) => letters.add(&d),
            Next::Idle => {}
            Next::End => break,
        }
        if chunk.len() >= CHUNK {
            step(&mut engine, &mut letters, &mut chunk)?;
        }
    }
    step(&mut engine, &mut letters, &mut chunk)?;
    let out = engine.finish();
    letters.add_all(&out.dead);
    each(out)?;
    let summary = feed.finish();
    letters.report(session, None);
    usable(&engine, &summary, inputs, &letters)?;
    Ok(Analysed { engine, summary })
}

/// Fails if nothing of the input could be used.
pub(crate) fn usable(engine: &EventProcessor, summary: &Summary, inputs: &[PathBuf], letters: &Letters) -> Outcome {
    let told = |(kind, n): (&String, &u64)| if matches!(kind.as_str(), "SnapshotTaken" | "Heartbeat") { 0 } else { *n };
    let events: u64 = summary.events.iter().map(told).sum();
    let stats = engine.stats();
    if events > 0 && stats.dead < stats.raw {
        return Ok(());
    }
    let names: Vec<String> = inputs
        .iter()
        .map(|p| if p.as_os_str() == "-" { "standard input".to_owned() } else { p.display().to_string() })
        .collect();
    let why = letters.first().map(|d| format!(": {}", d.reason)).unwrap_or_default();
    Err(Failure::input(format!(
        "nothing in {} could be used{why}; give a dump made by `kubectl cluster-info dump -A -o json --output-directory DIR`, the output of `kubectl get … -o json`, or a recording",
        names.join(", ")
    )))
}

/// What a question is asked of.
pub(crate) struct Known {
    /// The engine at the end of what is known.
    pub(crate) engine: EventProcessor,
    /// The graph beside it, where there is a data folder.
    pub(crate) graph: Option<Graph>,
    /// What an interrupted replay left open.
    pub(crate) gaps: Vec<Gap>,
}

/// Takes the data of a question from a data folder, or analyses inputs on the spot.
pub(crate) fn known(session: &Session, place: &Where, reading: &Reading) -> Outcome<Known> {
    match &place.data_dir {
        Some(dir) => pipeline::look(session, Folder::existing(dir)?),
        None => {
            let analysed = analyse(session, &place.from, reading, false, |_| Ok(()))?;
            Ok(Known { engine: analysed.engine, graph: None, gaps: Vec::new() })
        }
    }
}
