//! `tapio check rules`: the rules of a test folder on its scenarios.

use std::path::{Path, PathBuf};

use serde::Serialize;
use tapio_graph::rules::{Finding, Rule};

use super::scenario::Scenario;
use crate::args::{Out, Reading};
use crate::cmd::Session;
use crate::config::Config;
use crate::error::{Failure, Outcome};
use crate::output::text::{clean, count};
use crate::wire::{Watch, analyse};

pub(super) const EXAMPLES: &str = "\
Examples:
  tapio check rules tests
  tapio check rules tests -o json               for a pipeline: every scenario with its findings

A folder of tests:
  tests/tapio.yaml                              the rules; --config FILE names others
  tests/restarts/recording.jsonl.zst            made by `tapio record`
  tests/restarts/expected.json                  {\"findings\": [{\"id\": \"restarts\", \"key\": {\"pod\": \"cart-1\"}, \"state\": \"firing\"}]}
  tests/good-rollout/…                          {\"findings\": []}: must stay silent

Exit codes: 0 all as expected · 1 a scenario differs · 2 the folder or the rules cannot be used";

/// The settings of a test folder.
const SETTINGS: &str = "tapio.yaml";

#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// Folder with tapio.yaml and one folder a scenario
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    #[command(flatten)]
    out: Out,
}

/// How a scenario went.
#[derive(Serialize)]
struct Verdict {
    scenario: String,
    ok: bool,
    differences: Vec<String>,
    findings: Vec<Finding>,
}

pub(super) fn run(session: &Session, args: &Args) -> Outcome {
    let file = session.settings.clone().unwrap_or_else(|| args.dir.join(SETTINGS));
    if !file.is_file() {
        let remedy = "write the rules there, or name their file with --config";
        return Err(Failure::input(format!("there is no {}; {remedy}", file.display())));
    }
    // The folder's own settings are in force for everything.
    let config = Config::load(Some(&file))?;
    let session = &Session {
        screen: crate::output::Screen::new(session.colour, config.output.format),
        config,
        colour: session.colour,
        settings: Some(file.clone()),
        quiet: session.quiet,
    };
    let rules = session.rules()?;
    if rules.is_empty() {
        return Err(Failure::input(format!("{} has no rules; write some under `rules:`", file.display())));
    }
    let scenarios = scenarios(&args.dir, &rules)?;
    let mut verdicts = Vec::new();
    for s in scenarios {
        verdicts.push(play(session, &rules, &s)?);
    }
    let format = session.screen.format(args.out.output);
    session.screen.show(format, &verdicts, |_| lay_out(session, &verdicts))?;
    if verdicts.iter().all(|v| v.ok) { Ok(()) } else { Err(Failure::Matched) }
}

/// The scenarios of a folder, by name; everything that is wrong with any of them at once.
fn scenarios(dir: &Path, rules: &[Rule]) -> Outcome<Vec<Scenario>> {
    let cannot = |e: std::io::Error| Failure::input(format!("cannot read test folder {}: {e}", dir.display()));
    let mut folders: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(cannot)? {
        let path = entry.map_err(cannot)?.path();
        let hidden = path.file_name().is_some_and(|n| n.to_string_lossy().starts_with('.'));
        if path.is_dir() && !hidden {
            folders.push(path);
        }
    }
    folders.sort();
    let ids: Vec<&str> = rules.iter().map(|r| r.id.as_str()).collect();
    let (mut all, mut wrong) = (Vec::new(), Vec::new());
    for folder in &folders {
        match Scenario::read(folder, &ids) {
            Ok(s) => all.push(s),
            Err(why) => wrong.push(why),
        }
    }
    match wrong.is_empty() {
        true if all.is_empty() => {
            let remedy = "make a folder with recording.jsonl and expected.json in it";
            Err(Failure::input(format!("{} holds no scenario; {remedy}", dir.display())))
        }
        true => Ok(all),
        false => Err(Failure::Input(wrong.join("\n"))),
    }
}

fn play(session: &Session, rules: &[Rule], s: &Scenario) -> Outcome<Verdict> {
    let mut watch = Watch::open(session, rules.to_vec())?;
    let inputs = std::slice::from_ref(&s.recording);
    let analysed = analyse(session, inputs, &Reading::default(), true, |mut out| watch.take(&mut out).map(|_| ()))?;
    watch.end(analysed.engine.newest())?;
    let findings = watch.runner().findings();
    let mut differences = s.differences(&findings);
    let off = watch.runner().fenced();
    differences.extend(off.iter().map(|f| format!("rule {} was switched off at {}: {}", f.id, f.at, f.why)));
    Ok(Verdict { scenario: s.name.clone(), ok: differences.is_empty(), differences, findings })
}

fn lay_out(session: &Session, verdicts: &[Verdict]) -> String {
    let p = session.screen.paint;
    let mut out = String::new();
    for v in verdicts {
        let word = if v.ok { p.good("pass") } else { p.bad("FAIL") };
        out.push_str(&format!("{word}  {}  {}\n", clean(&v.scenario), p.faint(&count(v.findings.len(), "finding"))));
        for d in &v.differences {
            out.push_str(&format!("      {}\n", clean(d)));
        }
    }
    let failed = verdicts.iter().filter(|v| !v.ok).count();
    out.push_str(&format!("{}, {failed} failed\n", count(verdicts.len(), "scenario")));
    out
}
