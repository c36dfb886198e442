//! `tapio demo`: a recorded incident through the whole pipeline, with nothing to set up.
//!
//! The recording is our own: somebody changes a key of a ConfigMap, and the pods that read it at their start fail.

use std::collections::BTreeMap;

use tapio_core::ports::{GraphStore, Query};
use tapio_engine::read::Scope;

use super::Session;
use crate::args::Reading;
use crate::error::{Failure, Outcome};
use crate::output::answer::{lay_out, moment};
use crate::output::incidents::list;
use crate::output::rows;
use crate::wire::{analyse, block_on};

pub(super) const EXAMPLES: &str = "\
Examples:
  tapio demo
  tapio demo -o wide                            with paths, refuters and changes";

/// The recording, redacted as every recording is.
const RECORDING: &[u8] = include_bytes!("../../demo/config-change.jsonl.zst");

/// Which cause stands behind an incident, and what it triggered.
const CYPHER: &str = "\
MATCH (i:Incident)-[r:ROOT_CAUSE]->(cause)
OPTIONAL MATCH (i)-[:BEGAN_WITH]->(first:Event)-[t:TRIGGERED]->(symptom:Event)-[:AFFECTS]->(hit)
RETURN r.mechanism AS mechanism, cause.name AS cause, first.message AS first_event,
       t.via AS via, symptom.type AS triggered, hit.name AS hit, count(symptom) AS times
ORDER BY mechanism, cause, first_event, via, triggered, hit
LIMIT 12";

#[derive(clap::Args, Debug)]
pub(super) struct Args {
    #[command(flatten)]
    out: crate::args::Out,
}

pub(super) fn run(session: &Session, args: &Args) -> Outcome {
    let cannot = |e: std::io::Error| Failure::Unreachable(format!("cannot make a temporary folder: {e}"));
    let dir = tempfile::Builder::new().prefix("tapio-demo-").tempdir().map_err(cannot)?;
    let file = dir.path().join("config-change.jsonl.zst");
    std::fs::write(&file, RECORDING).map_err(cannot)?;
    let graph = tapio_graph::EmbeddedGraph::open(dir.path().join("graph"), session.config.graph.embedded())?;
    block_on(graph.ensure_schema())??;
    let mut waiting = Vec::new();
    let analysed = analyse(session, &[file], &Reading::default(), true, |out| {
        waiting.extend(out.changes);
        if waiting.len() >= 1_000 {
            block_on(graph.apply(std::mem::take(&mut waiting)))??;
        }
        Ok(())
    })?;
    block_on(graph.apply(waiting))??;
    let engine = &analysed.engine;
    let answer = engine.answer();
    let screen = &session.screen;
    let limits = session.config.query.limits();
    let query = Query { text: CYPHER.to_owned(), params: BTreeMap::new(), at: engine.newest(), limits };
    let found = block_on(graph.query(query))??;
    let cypher = rows::lay_out(screen, &found, crate::args::RowFormat::Table)?;
    screen.show(screen.format(args.out.output), &answer, |wide| {
        let p = screen.paint;
        let events: u64 = analysed.summary.events.values().sum();
        let (nodes, edges, _) = engine.size();
        let mut out = format!(
            "{}\n\n",
            p.faint(&format!(
                "{events} recorded events of a real cluster, up to {}, made a graph of {nodes} objects and {edges} relations",
                moment(engine.newest())
            ))
        );
        let incidents: Vec<_> = answer.incidents.iter().collect();
        out.push_str(&list(screen, &incidents, false, 0));
        out.push('\n');
        out.push_str(&lay_out(screen, &answer, &Scope::of(engine, None), wide));
        out.push_str(&format!("\n{}\n", p.strong("the same from the graph, in Cypher")));
        for l in CYPHER.lines() {
            out.push_str(&format!("  {}\n", p.typed(l)));
        }
        out.push('\n');
        out.push_str(&cypher);
        out.push_str(&format!(
            "\nnext: {}\n",
            p.typed("kubectl cluster-info dump -A -o json --output-directory dump && tapio analyze dump")
        ));
        out
    })
}
