//! `tapio graph stats`: what the graph holds.

use std::collections::BTreeMap;

use serde::Serialize;
use tapio_core::ontology::Label;
use tapio_core::time::{Time, span};

use super::Place;
use crate::args::Out;
use crate::cmd::Session;
use crate::error::Outcome;
use crate::output::Screen;
use crate::output::answer::moment;
use crate::output::table::{Overflow, Table};
use crate::wire::{block_on, newest, oldest};

pub(super) const EXAMPLES: &str = "\
Examples:
  tapio graph stats --data-dir d
  tapio graph stats --graph bolt://localhost:7687 -o json
  tapio graph stats --data-dir d --hash         equal graphs have equal hashes, whatever store they are in";

#[derive(clap::Args, Debug)]
pub(super) struct Args {
    #[command(flatten)]
    place: Place,
    /// The hash of the whole graph, too; reads all of it
    #[arg(long)]
    hash: bool,
    #[command(flatten)]
    out: Out,
}

#[derive(Serialize)]
struct Stats {
    store: String,
    format: i64,
    /// On disk; null where the store does not tell.
    bytes: Option<u64>,
    first_event: Option<Time>,
    last_event: Option<Time>,
    nodes_total: u64,
    relations_total: u64,
    /// By label; a node with two labels counts under both.
    nodes: BTreeMap<String, u64>,
    relations: BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hash: Option<String>,
}

pub(super) fn run(session: &Session, args: &Args) -> Outcome {
    let (graph, _folder) = args.place.open(session)?;
    let about = block_on(graph.about())??;
    let counts = block_on(graph.stats())??;
    let hash = if args.hash { Some(block_on(graph.graph_hash())??) } else { None };
    let keyed = Label::ALL.iter().filter_map(|l| counts.nodes.get(l.as_str()));
    let stats = Stats {
        store: about.store,
        format: about.format,
        bytes: about.bytes,
        first_event: oldest(graph.as_ref())?,
        last_event: newest(graph.as_ref())?,
        nodes_total: keyed.sum(),
        relations_total: counts.relations.values().sum(),
        nodes: counts.nodes,
        relations: counts.relations,
        hash,
    };
    let format = session.screen.format(args.out.output);
    session.screen.show(format, &stats, |_| lay_out(&session.screen, &stats))
}

fn lay_out(screen: &Screen, s: &Stats) -> String {
    let mut head = Table::new(&[]);
    head.row(["store", &s.store]);
    head.row(["format", &s.format.to_string()]);
    head.row(["size", &s.bytes.map_or("the server does not tell".to_owned(), size)]);
    let events = match (s.first_event, s.last_event) {
        (Some(a), Some(b)) => format!("{} to {} ({})", moment(a), moment(b), span(b.since(a))),
        _ => "none".to_owned(),
    };
    head.row(["events", &events]);
    if let Some(h) = &s.hash {
        head.row(["hash", h]);
    }
    let mut out = head.lay_out(screen.width, Overflow::Keep, screen.paint);
    for (title, total, list) in [("NODES", s.nodes_total, &s.nodes), ("RELATIONS", s.relations_total, &s.relations)] {
        let mut t = Table::new(&[title, "COUNT"]);
        for (name, n) in list {
            t.row([name.as_str(), &n.to_string()]);
        }
        t.row(["total", &total.to_string()]);
        out.push('\n');
        out.push_str(&t.lay_out(screen.width, Overflow::Keep, screen.paint));
    }
    out
}

/// Bytes for people.
pub(super) fn size(bytes: u64) -> String {
    match bytes {
        0..1_024 => format!("{bytes} B"),
        1_024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1_024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
        _ => format!("{:.1} GiB", bytes as f64 / 1_073_741_824.0),
    }
}
