//! `tapio incident`: one of them with everything about it.

use tapio_core::answer::Incident;

use super::Session;
use crate::args::{Anywhere, Out, Reading};
use crate::error::{Failure, Outcome};
use crate::output::incidents::{one, short};
use crate::recall::{Asked, asked, incidents};

pub(super) const EXAMPLES: &str = "\
Examples:
  tapio incident 3f9a --data-dir d
  tapio incident 3f9a --server http://127.0.0.1:7878
  tapio incident 3f9a --from recording.jsonl.zst -o json
  tapio incident 3f9a --graph bolt://localhost:7687";

#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// Its id, or the beginning of it
    id: String,
    #[command(flatten)]
    place: Anywhere,
    #[command(flatten)]
    reading: Reading,
    #[command(flatten)]
    out: Out,
}

pub(super) fn run(session: &Session, args: &Args) -> Outcome {
    let format = session.screen.format(args.out.output);
    if let Some(server) = args.place.server()? {
        let i: Incident = server.get(&["incidents", &args.id], &[])?;
        return session.screen.show(format, &i, |wide| one(&session.screen, &i, wide));
    }
    let (all, notes) = match asked(session, &args.place, &args.reading)? {
        Asked::Engine(known) => {
            let notes: Vec<String> = known.gaps.iter().map(|g| g.why.clone()).collect();
            (known.engine.answer().incidents, notes)
        }
        Asked::Graph(graph) => (incidents(graph.as_ref())?, Vec::new()),
    };
    let id = args.id.to_lowercase();
    let found: Vec<&Incident> = all.iter().filter(|i| i.id.to_string().starts_with(&id)).collect();
    let ids = |l: &[&Incident]| l.iter().map(|i| short(i)).collect::<Vec<_>>().join(", ");
    match found.as_slice() {
        [i] => {
            notes.iter().for_each(|n| session.note(n));
            session.screen.show(format, i, |wide| one(&session.screen, i, wide))
        }
        [] => {
            let some: Vec<&Incident> = all.iter().take(10).collect();
            let hint =
                if some.is_empty() { "there is none at all".to_owned() } else { format!("there are {}", ids(&some)) };
            Err(Failure::NotFound(format!("no incident {}; {hint}", args.id)))
        }
        many => Err(Failure::input(format!("{} is the beginning of {}; give more of it", args.id, ids(many)))),
    }
}
