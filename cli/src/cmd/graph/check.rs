//! `tapio graph check`: what is wrong in the graph, and whether it is where its event log is.

use serde::Serialize;
use tapio_graph::audit::audit;

use super::Place;
use crate::args::Out;
use crate::cmd::Session;
use crate::error::{Failure, Outcome};
use crate::output::Screen;
use crate::output::text::clean;
use crate::wire::{Folder, block_on, progress_of};

pub(super) const EXAMPLES: &str = "\
Examples:
  tapio graph check --data-dir d
  tapio graph check --graph bolt://localhost:7687 -o json

Looked at: format, constraints and indexes, keys and ids, events that affect nothing, incidents without symptoms, causes
without a mechanism, relations between the wrong labels; with --data-dir also whether all of the event log is in the
graph. All of the graph is read.

Exit codes: 0 nothing is wrong · 1 something is · 3 the graph cannot be opened";

#[derive(clap::Args, Debug)]
pub(super) struct Args {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    out: Out,
}

#[derive(Serialize)]
struct Report {
    store: String,
    format: i64,
    nodes: u64,
    relations: u64,
    ok: bool,
    findings: Vec<Finding>,
}

#[derive(Serialize)]
struct Finding {
    what: String,
    count: u64,
    examples: Vec<String>,
}

pub(super) fn run(session: &Session, args: &Args) -> Outcome {
    let (graph, folder) = args.place.open(session)?;
    let about = block_on(graph.about())??;
    let audit = block_on(audit(graph.as_ref()))??;
    let mut findings: Vec<Finding> =
        audit.findings.into_iter().map(|f| Finding { what: f.what, count: f.count, examples: f.examples }).collect();
    if let Some(folder) = &folder {
        findings.extend(against_log(session, folder, audit.nodes)?);
    }
    let (store, format) = (about.store, about.format);
    let ok = findings.is_empty();
    let report = Report { store, format, nodes: audit.nodes, relations: audit.relations, ok, findings };
    let form = session.screen.format(args.out.output);
    session.screen.show(form, &report, |_| lay_out(&session.screen, &report))?;
    if ok { Ok(()) } else { Err(Failure::Matched) }
}

/// Whether the graph holds what the log does.
fn against_log(session: &Session, folder: &Folder, nodes: u64) -> Outcome<Vec<Finding>> {
    let mut findings = Vec::new();
    let mut add = |what: String, count: u64| {
        let remedy = format!("tapio replay --data-dir {}", folder.dir().display());
        findings.push(Finding { what, count, examples: vec![remedy] });
    };
    let at = progress_of(session, folder)?;
    if folder.rebuilding() {
        add("the graph is being built from the event log, and is not all there".to_owned(), 1);
    }
    if at.committed < at.last {
        add("events of the log are not in the graph".to_owned(), at.last - at.committed);
    }
    if at.committed > 0 && nodes == 0 {
        add(format!("the graph is empty, and {} events of the log are noted as being in it", at.committed), 1);
    }
    Ok(findings)
}

fn lay_out(screen: &Screen, r: &Report) -> String {
    let p = screen.paint;
    let looked = format!("{} nodes and {} relations, {}, format {}", r.nodes, r.relations, r.store, r.format);
    if r.ok {
        return format!("{}  {}\n", p.good("nothing is wrong"), p.faint(&clean(&looked)));
    }
    let mut out = String::new();
    for f in &r.findings {
        out.push_str(&format!("{}  {}\n", p.bad(&format!("{}×", f.count)), clean(&f.what)));
        for e in &f.examples {
            out.push_str(&format!("    {}\n", p.faint(&clean(e))));
        }
    }
    out.push_str(&format!("{}\n", p.faint(&clean(&looked))));
    out
}
