//! `tapio why`: the causal chain behind an object's state.

use tapio_api::proof::lacking;
use tapio_core::answer::{Answer, Verdict};
use tapio_core::object::ObjectRef;
use tapio_engine::read::{Scope, claims, why};

use super::Session;
use crate::args::{Format, Out, Reading, Source, Target};
use crate::error::Outcome;
use crate::output::answer::lay_out;
use crate::output::text::clean;
use crate::wire::{block_on, known};

pub(super) const EXAMPLES: &str = "\
Examples:
  tapio why pod/cart-7c9 --from dump
  tapio why deploy cart -n shop --data-dir d
  tapio why svc/cart --from recording.jsonl.zst -o json
  tapio why pod/cart-7c9 --server http://127.0.0.1:7878       of a running `tapio up`

With --data-dir, what the engine says is checked against the graph: a relation that the graph lacks is named.";

#[derive(clap::Args, Debug)]
pub(super) struct Args {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    reading: Reading,
    #[command(flatten)]
    out: Out,
}

pub(super) fn run(session: &Session, args: &Args) -> Outcome {
    let format = session.screen.format(args.out.output);
    if let Some(server) = args.source.server()? {
        let object = server.object(&args.target)?;
        let answer: Answer = server.about("why", &object, &[])?;
        // It stands only where nothing was found.
        let told = matches!(format, Format::Table | Format::Wide) && answer.verdict != Verdict::Found;
        let scope = match &object.namespace {
            _ if !told => Scope::default(),
            Some(ns) => server.get(&["scope"], &[("namespace", ns.clone())])?,
            None => server.get(&["scope"], &[])?,
        };
        return session.screen.show(format, &answer, |wide| text(session, &scope, &object, &answer, wide));
    }
    let known = known(session, &args.source.from, &args.reading)?;
    let object = super::object::found(&known.engine, &args.target)?;
    let mut answer = why(&known.engine, &object);
    answer.gaps.extend(known.gaps.iter().cloned());
    if let Some(graph) = &known.graph {
        let claims = claims(&known.engine, &object);
        answer.gaps.extend(block_on(lacking(graph.as_ref(), claims, known.engine.newest()))??);
    }
    let scope = Scope::of(&known.engine, object.namespace.as_deref());
    session.screen.show(format, &answer, |wide| text(session, &scope, &object, &answer, wide))
}

fn text(session: &Session, scope: &Scope, object: &ObjectRef, answer: &Answer, wide: bool) -> String {
    let screen = &session.screen;
    let mut out = lay_out(screen, answer, scope, wide);
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
