//! `tapio incident`: one of them with everything about it.

use tapio_core::answer::Incident;

use super::Session;
use crate::args::{From, Out, Reading};
use crate::error::{Failure, Outcome};
use crate::output::incidents::{one, short};
use crate::wire::known;

pub(super) const EXAMPLES: &str = "\
Examples:
  tapio incident 3f9a --data-dir d
  tapio incident 3f9a --from recording.jsonl.zst -o json";

#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// Its id, or the beginning of it
    id: String,
    #[command(flatten)]
    place: From,
    #[command(flatten)]
    reading: Reading,
    #[command(flatten)]
    out: Out,
}

pub(super) fn run(session: &Session, args: &Args) -> Outcome {
    let known = known(session, &args.place, &args.reading)?;
    let answer = known.engine.answer();
    let id = args.id.to_lowercase();
    let found: Vec<&Incident> = answer.incidents.iter().filter(|i| i.id.to_string().starts_with(&id)).collect();
    let ids = |l: &[&Incident]| l.iter().map(|i| short(i)).collect::<Vec<_>>().join(", ");
    match found.as_slice() {
        [i] => {
            for g in &known.gaps {
                session.note(&g.why);
            }
            let format = session.screen.format(args.out.output);
            session.screen.show(format, i, |wide| one(&session.screen, i, wide))
        }
        [] => {
            let all: Vec<&Incident> = answer.incidents.iter().take(10).collect();
            let hint =
                if all.is_empty() { "there is none at all".to_owned() } else { format!("there are {}", ids(&all)) };
            Err(Failure::NotFound(format!("no incident {}; {hint}", args.id)))
        }
        many => Err(Failure::input(format!("{} is the beginning of {}; give more of it", args.id, ids(many)))),
    }
}
