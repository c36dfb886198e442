//! `tapio impact`: what a change of an object hits, and what manifests would do before anybody applies them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use tapio_core::unified::Severity;
use tapio_engine::read::whatif::{self, WhatIf, whatif};
use tapio_engine::read::{Impact, impact};

use super::Session;
use crate::args::{Anywhere, Out, Reading, Target};
use crate::error::{Failure, Outcome};
use crate::output;
use crate::recall::{self, Asked, asked};
use crate::wire::{Folder, Remote, options};

pub(super) const EXAMPLES: &str = "\
Examples:
  tapio impact configmap/app-config --from dump
  tapio impact secret db -n shop --data-dir d
  tapio impact node/worker-2 --from dump -o json
  tapio impact cm/app-config --graph bolt://localhost:7687    by what the graph holds: no containers, no immutability

  tapio impact -f new.yaml --from dump                    what would applying it hit and break?
  tapio impact -f deploy/ -n shop --from dump --fail-on high
  helm template shop ./chart | tapio impact -f - -n shop --from dump
  tapio impact -f new.yaml --server http://127.0.0.1:7878  on the cluster that `tapio up` watches
  tapio impact -f old.yaml --delete --from dump           and deleting it?

Exit codes: 0 ran · 1 object not found, or --fail-on matched · 2 unreadable manifests or usage";

/// When the exit code is 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum FailOn {
    /// Something would stop, or be refused.
    High,
    /// Something might stop.
    Medium,
    /// Anything was found.
    Low,
}

impl FailOn {
    fn severity(self) -> Severity {
        match self {
            FailOn::High => Severity::High,
            FailOn::Medium => Severity::Medium,
            FailOn::Low => Severity::Low,
        }
    }
}

#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// KIND/NAME or KIND NAME, as kubectl takes them: `pod/cart-7c9`, `deploy cart`; this or -f
    #[arg(value_name = "KIND/NAME", required_unless_present = "filename", conflicts_with = "filename", num_args = 1..=2)]
    target: Vec<String>,
    /// Manifests that somebody is about to apply: files, folders, `-` for standard input; taken together as one change
    #[arg(short, long, value_name = "FILE|DIR", action = clap::ArgAction::Append)]
    filename: Vec<PathBuf>,
    /// The objects of the manifests are to be deleted
    #[arg(long, requires = "filename", conflicts_with = "target")]
    delete: bool,
    /// Exit with 1 when a finding is at least so severe
    #[arg(long, value_name = "SEVERITY", requires = "filename", conflicts_with = "target")]
    fail_on: Option<FailOn>,
    /// The object's namespace, needed only where several have one of that name; with -f the namespace of manifests that
    /// name none
    #[arg(short, long, value_name = "NS")]
    namespace: Option<String>,
    #[command(flatten)]
    place: Anywhere,
    #[command(flatten)]
    reading: Reading,
    #[command(flatten)]
    out: Out,
}

pub(super) fn run(session: &Session, args: &Args) -> Outcome {
    if !args.filename.is_empty() {
        return manifests(session, args);
    }
    let target = Target { target: args.target.clone(), namespace: args.namespace.clone() };
    let format = session.screen.format(args.out.output);
    if let Some(server) = args.place.server()? {
        let object = server.object(&target)?;
        let found: Impact = server.about("impact", &object, &[])?;
        return session.screen.show(format, &found, |wide| output::impact::lay_out(&session.screen, &found, wide));
    }
    let found = match asked(session, &args.place, &args.reading)? {
        Asked::Engine(known) => impact(&known.engine, &super::object::found(&known.engine, &target)?),
        Asked::Graph(graph) => recall::impact(graph.as_ref(), &recall::found(graph.as_ref(), &target)?)?,
    };
    session.screen.show(format, &found, |wide| output::impact::lay_out(&session.screen, &found, wide))
}

/// What the manifests would do.
fn manifests(session: &Session, args: &Args) -> Outcome {
    let stdin = |paths: &[PathBuf]| paths.iter().filter(|p| p.as_os_str() == "-").count();
    if stdin(&args.filename) + stdin(&args.place.source.from.from) > 1 {
        return Err(Failure::input("standard input can be read once; give `-` to either -f or --from"));
    }
    if let Some(server) = args.place.server()? {
        return tell(session, args, &of_server(&server, args)?);
    }
    // The manifests first: a slip in them should not cost the reading of a large dump.
    let redaction = match &args.place.source.from.data_dir {
        Some(dir) => Folder::redaction(dir)?,
        None => options(&args.reading).redaction,
    };
    let manifests = tapio_collectors::manifests::read(&args.filename, &redaction)
        .map_err(|e| Failure::input(crate::error::chain(&e)))?;
    let Asked::Engine(known) = asked(session, &args.place, &args.reading)? else {
        return Err(Failure::input(
            "what manifests would do needs the objects themselves, which a graph does not hold; give --from or a --data-dir \
             with its event log",
        ));
    };
    let asked = whatif::Asked { namespace: args.namespace.clone(), delete: args.delete };
    let found = whatif(&known.engine, &manifests, &asked).map_err(|e| Failure::input(e.to_string()))?;
    tell(session, args, &found)
}

/// What a server says to the manifests. It hashes their values with its own key, to compare them with the cluster's;
/// those of Secrets stay here.
fn of_server(server: &Remote, args: &Args) -> Outcome<WhatIf> {
    let manifests = tapio_collectors::manifests::read_without_secrets(&args.filename)
        .map_err(|e| Failure::input(crate::error::chain(&e)))?;
    // One a line, so that the server's places lead back to files.
    let body: String = manifests.iter().map(|m| format!("{}\n", m.object)).collect();
    let mut params: Vec<_> = args.namespace.iter().map(|ns| ("namespace", ns.clone())).collect();
    params.push(("delete", args.delete.to_string()));
    let places: BTreeMap<String, String> = manifests
        .iter()
        .enumerate()
        .map(|(n, m)| (format!("body, document {} (line {})", n + 1, n + 1), m.place()))
        .collect();
    let back = |place: &str| places.get(place).cloned().unwrap_or_else(|| place.to_owned());
    let found = server.post(&["impact"], &params, "application/json", body.into_bytes());
    let mut found: WhatIf = found.map_err(|e| match e {
        Failure::Input(text) => {
            let at = places.iter().find(|(place, _)| text.starts_with(place.as_str()));
            Failure::Input(at.map_or(text.clone(), |(place, file)| text.replacen(place, file, 1)))
        }
        e => e,
    })?;
    found.findings.iter_mut().for_each(|f| f.place = back(&f.place));
    found.changes.iter_mut().for_each(|c| c.place = back(&c.place));
    Ok(found)
}

/// Shows it; the exit code says whether it is as bad as was feared.
fn tell(session: &Session, args: &Args, found: &WhatIf) -> Outcome {
    let format = session.screen.format(args.out.output);
    session.screen.show(format, found, |wide| output::whatif::lay_out(&session.screen, found, wide))?;
    match args.fail_on {
        Some(least) if found.worst.is_some_and(|w| w >= least.severity()) => Err(Failure::Matched),
        _ => Ok(()),
    }
}
