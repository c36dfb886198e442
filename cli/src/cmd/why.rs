//! `tapio why`: the causal chain behind an object's state.

use std::collections::{BTreeMap, BTreeSet};

use tapio_core::answer::{Answer, Gap, Verdict};
use tapio_core::object::ObjectRef;
use tapio_core::ontology::Relation;
use tapio_core::ports::{Cell, GraphStore, Limits, Query};
use tapio_core::time::Time;
use tapio_engine::EventProcessor;
use tapio_engine::read::{Claimed, claims, why};

use super::Session;
use crate::args::{From, Out, Reading, Target};
use crate::error::Outcome;
use crate::output::answer::{Scope, lay_out};
use crate::output::text::{clean, count};
use crate::wire::{block_on, known};

pub(super) const EXAMPLES: &str = "\
Examples:
  tapio why pod/cart-7c9 --from dump
  tapio why deploy cart -n shop --data-dir d
  tapio why svc/cart --from recording.jsonl.zst -o json

With --data-dir, what the engine says is checked against the graph: a relation that the graph lacks is named.";

/// Claims that are checked against the graph.
const CHECKED: usize = 200;

#[derive(clap::Args, Debug)]
pub(super) struct Args {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    place: From,
    #[command(flatten)]
    reading: Reading,
    #[command(flatten)]
    out: Out,
}

pub(super) fn run(session: &Session, args: &Args) -> Outcome {
    let known = known(session, &args.place, &args.reading)?;
    let object = super::object::found(&known.engine, &args.target)?;
    let mut answer = why(&known.engine, &object);
    answer.gaps.extend(known.gaps.iter().cloned());
    if let Some(graph) = &known.graph {
        answer.gaps.extend(lacking(&known.engine, graph.as_ref(), &object)?);
    }
    let format = session.screen.format(args.out.output);
    session.screen.show(format, &answer, |wide| text(session, &known.engine, &object, &answer, wide))
}

fn text(session: &Session, engine: &EventProcessor, object: &ObjectRef, answer: &Answer, wide: bool) -> String {
    let screen = &session.screen;
    let mut out = lay_out(screen, answer, &Scope::of(engine, object.namespace.as_deref()), wide);
    if answer.verdict == Verdict::Healthy {
        out = out.replacen("nothing is wrong", &format!("nothing is wrong with {}", clean(&object.to_string())), 1);
    }
    // How it reached this object, where it is not the cause itself.
    let steps: Vec<String> = answer
        .root_causes
        .first()
        .filter(|c| c.object != *object && !wide)
        .map(|c| c.path.iter().map(|s| format!("{} -[{}]-> {}", s.from, s.via, s.to)).collect())
        .unwrap_or_default();
    if !steps.is_empty() {
        out.push_str(&format!("\n{}\n", screen.paint.strong("how it got here")));
        for s in steps {
            out.push_str(&format!("  {}\n", clean(&s)));
        }
    }
    out
}

/// What the engine claims and the graph does not hold.
fn lacking(engine: &EventProcessor, graph: &dyn GraphStore, object: &ObjectRef) -> Outcome<Vec<Gap>> {
    let at = engine.newest();
    let mut missing: BTreeMap<(String, &'static str), usize> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for c in claims(engine, object).into_iter().take(CHECKED) {
        if seen.insert((c.from.clone(), c.relation, c.to.clone())) && !holds(graph, &c, at)? {
            *missing.entry((c.says.clone(), c.relation.as_str())).or_default() += 1;
        }
    }
    Ok(missing
        .into_iter()
        .map(|((says, relation), n)| Gap {
            source: "graph".to_owned(),
            node: None,
            from: None,
            to: None,
            why: format!(
                "the graph lacks {} {relation} of {says}, which the engine claims; build it again: remove the folder's graph/ and run `tapio replay --data-dir`",
                count(n, "relation")
            ),
        })
        .collect())
}

fn holds(graph: &dyn GraphStore, c: &Claimed, at: Time) -> Outcome<bool> {
    let text = match c.relation {
        Relation::Triggered => {
            "MATCH (a:Event {id: $from})-[r:TRIGGERED]->(b:Event {id: $to}) RETURN r.via AS via LIMIT 1".to_owned()
        }
        _ => format!(
            "MATCH (a:{} {{id: $from}})-[r:{}]->(b:{}) WHERE b.name = $to RETURN r.mechanism AS mechanism LIMIT 1",
            c.from.label, c.relation, c.to.label
        ),
    };
    let params = BTreeMap::from([
        ("from".to_owned(), Cell::Text(c.from.key.clone())),
        ("to".to_owned(), Cell::Text(c.to.key.clone())),
    ]);
    let rows = block_on(graph.query(Query { text, params, at, limits: Limits::default() }))??;
    Ok(!rows.rows.is_empty())
}
