//! The commands: one file each, and this table.

mod agent;
mod alerts;
mod analyze;
mod audience;
mod check;
mod completions;
mod dead_letters;
mod demo;
mod graph;
mod impact;
mod incident;
mod incidents;
mod mechanisms;
mod object;
mod patterns;
mod query;
mod record;
mod replay;
mod server;
mod timeline;
mod up;
mod why;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::args::Global;
use crate::config::Config;
use crate::error::{Failure, Outcome};
use crate::output::Screen;

/// Why it broke, what a change will hit, what happened when: root causes for Kubernetes from a knowledge graph
#[derive(Parser, Debug)]
#[command(name = "tapio", version, arg_required_else_help = true, after_help = EXAMPLES, max_term_width = 110)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  tapio demo                                    see it work, without a cluster
  tapio up                                      watch the cluster of the current context
  kubectl cluster-info dump -A -o json --output-directory dump && tapio analyze dump
  tapio why pod/cart-7c9 --from dump            why is this pod as it is
  tapio impact configmap/app --from dump        who reads it, and when a change takes effect

Exit codes: 0 ran · 1 object not found, or --fail-on matched · 2 bad input or usage · 3 a store cannot be reached";

/// Every command, in the order of the help.
#[derive(Subcommand, Debug)]
enum Command {
    /// Plays a recorded incident through the whole pipeline, and shows the answer and the query behind it
    #[command(after_help = demo::EXAMPLES)]
    Demo(demo::Args),
    /// Watches a living cluster: incidents as they open and are resolved
    #[command(after_help = up::EXAMPLES)]
    Up(up::Args),
    /// The role behind agents in a cluster: watches it, takes in what agents send, leads by a Lease
    #[command(after_help = server::EXAMPLES)]
    Server(server::Args),
    /// The role on a node: sees what only the node knows, keeps it, and brings it to a server
    #[command(after_help = agent::EXAMPLES)]
    Agent(agent::Args),
    /// Ranked root causes of a dump, or of anything else that can be read
    #[command(after_help = analyze::EXAMPLES)]
    Analyze(analyze::Args),
    /// Plays recordings: incidents over the time of the stream
    #[command(after_help = replay::EXAMPLES)]
    Replay(replay::Args),
    /// Writes a recording of a living cluster, or of what can be read, without secrets
    #[command(after_help = record::EXAMPLES)]
    Record(record::Args),
    /// The causal chain behind an object's state
    #[command(after_help = why::EXAMPLES)]
    Why(why::Args),
    /// What a change of an object hits, how, and when it takes effect
    #[command(after_help = impact::EXAMPLES)]
    Impact(impact::Args),
    /// What happened to an object, in order
    #[command(after_help = timeline::EXAMPLES)]
    Timeline(timeline::Args),
    /// All incidents
    #[command(after_help = incidents::EXAMPLES)]
    Incidents(incidents::Args),
    /// One incident, by the beginning of its id
    #[command(after_help = incident::EXAMPLES)]
    Incident(incident::Args),
    /// Read-only Cypher on the graph
    #[command(after_help = query::EXAMPLES)]
    Query(query::Args),
    /// The graph as a whole: what it holds, what is wrong in it, exports, backups
    #[command(after_help = graph::EXAMPLES)]
    Graph(graph::Args),
    /// Input that could not be used
    #[command(after_help = dead_letters::EXAMPLES)]
    DeadLetters(dead_letters::Args),
    /// Alerts: what was told, what waits, silences, dead letters, a test of a sink
    #[command(after_help = alerts::EXAMPLES)]
    Alerts(alerts::Args),
    /// The patterns that it detects
    #[command(after_help = patterns::EXAMPLES)]
    Patterns(patterns::Args),
    /// The mechanisms that it knows: what each needs as evidence, what refutes it, what to do
    #[command(after_help = mechanisms::EXAMPLES)]
    Mechanisms(mechanisms::Args),
    /// Validates settings, tests rules of your own, says what may be seen of a cluster
    #[command(after_help = check::EXAMPLES)]
    Check(check::Args),
    /// Completions for a shell
    #[command(after_help = completions::EXAMPLES)]
    Completions(completions::Args),
}

/// What every command gets.
pub(crate) struct Session {
    /// The settings.
    pub(crate) config: Config,
    /// Where answers go.
    pub(crate) screen: Screen,
    /// When to colour.
    pub(crate) colour: crate::args::Colour,
    /// The file that the settings are from.
    pub(crate) settings: Option<std::path::PathBuf>,
    /// Nothing on stderr but errors.
    pub(crate) quiet: bool,
}

impl Session {
    /// A remark for people, on stderr.
    pub(crate) fn note(&self, text: &str) {
        if !self.quiet {
            eprintln!("{}", crate::output::text::clean(text));
        }
    }

    /// The rules of one's own, if all are right; doubts about them are remarks.
    pub(crate) fn rules(&self) -> Outcome<Vec<tapio_graph::rules::Rule>> {
        let file = self.settings.as_ref().map(|f| f.display().to_string()).unwrap_or_default();
        let checked = self.config.check_rules()?;
        for p in &checked.warnings {
            self.note(&format!("warning: {}", crate::config::line(&file, p)));
        }
        checked.into_rules(&file)
    }
}

/// Whether we were called as a plugin of kubectl.
fn as_plugin() -> bool {
    let called = std::env::args_os().next().unwrap_or_default();
    std::path::Path::new(&called).file_stem().is_some_and(|n| n.to_string_lossy().starts_with("kubectl-"))
}

/// The command line as it was called: as a plugin of kubectl, usage and examples say so.
fn command() -> clap::Command {
    let command = Cli::command();
    if !as_plugin() {
        return command.bin_name("tapio");
    }
    let renamed = |c: clap::Command| match c.get_after_help().map(ToString::to_string) {
        Some(text) => {
            c.after_help(text.replace("  tapio ", "  kubectl tapio ").replace("&& tapio", "&& kubectl tapio"))
        }
        None => c,
    };
    renamed(command).bin_name("kubectl tapio").mut_subcommands(renamed)
}

/// Reads the command line and runs the command.
pub(crate) fn run() -> Outcome {
    let parsed = command().try_get_matches().and_then(|mut m| Cli::from_arg_matches_mut(&mut m));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(e) => {
            let shown = e.print();
            return match e.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => shown.map_err(Failure::from),
                // Said already, in clap's own words.
                _ => std::process::exit(2),
            };
        }
    };
    // The file that is to be checked may be the broken one.
    let lenient = matches!(cli.command, Command::Check(_) | Command::Completions(_));
    let config = if lenient { Config::default() } else { Config::load(cli.global.config.as_deref())? };
    let colour = cli.global.color.unwrap_or(config.output.color);
    let screen = Screen::new(colour, config.output.format);
    let session = Session { config, screen, colour, settings: cli.global.config, quiet: cli.global.quiet };
    match cli.command {
        Command::Demo(a) => demo::run(&session, &a),
        Command::Up(a) => up::run(&session, &a),
        Command::Server(a) => server::run(&session, &a),
        Command::Agent(a) => agent::run(&session, &a),
        Command::Analyze(a) => analyze::run(&session, &a),
        Command::Replay(a) => replay::run(&session, &a),
        Command::Record(a) => record::run(&session, &a),
        Command::Why(a) => why::run(&session, &a),
        Command::Impact(a) => impact::run(&session, &a),
        Command::Timeline(a) => timeline::run(&session, &a),
        Command::Incidents(a) => incidents::run(&session, &a),
        Command::Incident(a) => incident::run(&session, &a),
        Command::Query(a) => query::run(&session, &a),
        Command::Graph(a) => graph::run(&session, &a),
        Command::DeadLetters(a) => dead_letters::run(&session, &a),
        Command::Alerts(a) => alerts::run(&session, &a),
        Command::Patterns(a) => patterns::run(&session, &a),
        Command::Mechanisms(a) => mechanisms::run(&session, &a),
        Command::Check(a) => check::run(&session, &a),
        Command::Completions(a) => completions::run(&session, &a),
    }
}
