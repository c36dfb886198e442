//! Flags that several commands share.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::error::{Failure, Outcome};
use crate::wire::Remote;

/// Form of the output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// For people: the cause first, shortened.
    #[default]
    Table,
    /// For people: everything.
    Wide,
    /// For programs.
    Json,
    /// For programs and people.
    Yaml,
}

/// Form of a query's rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum RowFormat {
    /// Columns, cut to the terminal's width.
    #[default]
    Table,
    /// Columns, never cut.
    Wide,
    /// `{columns, rows, truncated}`.
    Json,
    /// The same as YAML.
    Yaml,
    /// RFC 4180, with a header line.
    Csv,
}

/// When to colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Colour {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Flags of every command.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Everywhere")]
pub(crate) struct Global {
    /// File of settings; see `check config`
    #[arg(long, global = true, value_name = "FILE", env = "TAPIO_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// When to colour: auto (on a terminal, unless NO_COLOR is set), always, never
    #[arg(long, global = true, value_name = "WHEN", hide_possible_values = true)]
    pub(crate) color: Option<Colour>,
    /// Say nothing beside the answer: no progress, no notes
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
}

/// The form of an answer.
#[derive(Args, Clone, Debug)]
pub(crate) struct Out {
    /// Form of the output
    #[arg(short, long, value_name = "FORM")]
    pub(crate) output: Option<Format>,
}

/// How input is read.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Reading {
    /// Name of the cluster that the input is from; what a recording says itself where absent
    #[arg(long, value_name = "NAME")]
    pub(crate) cluster: Option<String>,
}

/// Which namespaces an answer is about.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Namespaces {
    /// Only what concerns this namespace
    #[arg(short, long, value_name = "NS")]
    pub(crate) namespace: Option<String>,
    /// All namespaces, which is the default
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    pub(crate) all_namespaces: bool,
}

/// A living cluster.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Cluster")]
pub(crate) struct Cluster {
    /// File with the cluster's address and credentials; else KUBECONFIG, ~/.kube/config, or the pod's own account
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Context in it; else the current one
    #[arg(long, value_name = "NAME")]
    pub(crate) context: Option<String>,
    /// Only this namespace; may be given several times
    #[arg(short, long = "namespace", value_name = "NS")]
    pub(crate) namespaces: Vec<String>,
}

/// Whom a server is shown to be, and as whom it is asked.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Trust {
    /// File with the server's token
    #[arg(long, value_name = "FILE", env = "TAPIO_TOKEN_FILE", hide_env_values = true)]
    pub(crate) token_file: Option<PathBuf>,
    /// Authorities for the server's certificate, in PEM; else those of this machine
    #[arg(long, value_name = "FILE", env = "TAPIO_CA_FILE", hide_env_values = true)]
    pub(crate) ca_file: Option<PathBuf>,
}

/// A running server, for questions that can be answered without one.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct AtServer {
    /// Ask a running `tapio up`, e.g. http://127.0.0.1:7878
    #[arg(long, value_name = "URL")]
    pub(crate) server: Option<String>,
    #[command(flatten)]
    pub(crate) trust: Trust,
}

impl AtServer {
    /// The server, where one is named.
    pub(crate) fn open(&self) -> Outcome<Option<Remote>> {
        self.server.as_deref().map(|url| Remote::open(url, &self.trust)).transpose()
    }
}

/// Where the data of a question comes from.
#[derive(Args, Clone, Debug)]
#[group(id = "where", multiple = false)]
pub(crate) struct From {
    /// Folder made by `replay --data-dir`
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Dumps or recordings, analysed on the spot; `-` for standard input
    #[arg(long, value_name = "INPUT", num_args = 1..)]
    pub(crate) from: Vec<PathBuf>,
    /// A running `tapio up`, e.g. http://127.0.0.1:7878; that of TAPIO_SERVER where nothing else is named
    #[arg(long, value_name = "URL")]
    pub(crate) server: Option<String>,
}

/// Where the data of a question comes from, and what a server needs.
#[derive(Args, Clone, Debug)]
pub(crate) struct Source {
    #[command(flatten)]
    pub(crate) from: From,
    #[command(flatten)]
    trust: Trust,
}

impl Source {
    /// The server that is to be asked; none where the data are here.
    pub(crate) fn server(&self) -> Outcome<Option<Remote>> {
        if self.from.data_dir.is_some() || !self.from.from.is_empty() {
            return Ok(None);
        }
        let set = || std::env::var("TAPIO_SERVER").ok().filter(|v| !v.is_empty());
        match self.from.server.clone().or_else(set) {
            Some(url) => Remote::open(&url, &self.trust).map(Some),
            None => {
                Err(Failure::input("say whom to ask: --data-dir DIR, --from INPUT…, or --server URL (or TAPIO_SERVER)"))
            }
        }
    }
}

/// Where the data of a question comes from, for questions that a graph alone can answer.
#[derive(Args, Clone, Debug)]
pub(crate) struct Anywhere {
    #[command(flatten)]
    pub(crate) source: Source,
    /// A Neo4j that a replay filled: bolt://HOST:7687, bolt+s:// for TLS, ?database=NAME behind it
    #[arg(long, value_name = "URL", group = "where", value_parser = crate::wire::address)]
    pub(crate) graph: Option<tapio_graph::neo4j::Address>,
}

impl Anywhere {
    /// The server that is to be asked; none where the data are elsewhere.
    pub(crate) fn server(&self) -> Outcome<Option<Remote>> {
        if self.graph.is_some() { Ok(None) } else { self.source.server() }
    }
}

/// An object as kubectl takes it.
#[derive(Args, Clone, Debug)]
pub(crate) struct Target {
    /// KIND/NAME or KIND NAME, as kubectl takes them: `pod/cart-7c9`, `deploy cart`
    #[arg(value_name = "KIND/NAME", required = true, num_args = 1..=2)]
    pub(crate) target: Vec<String>,
    /// Its namespace; needed only where several have an object of that name
    #[arg(short, long, value_name = "NS")]
    pub(crate) namespace: Option<String>,
}

impl Target {
    /// Kind and name as typed.
    pub(crate) fn parts(&self) -> Result<(&str, &str), crate::error::Failure> {
        let split = match self.target.as_slice() {
            [one] => one.split_once('/'),
            [kind, name] if !kind.contains('/') => Some((kind.as_str(), name.as_str())),
            _ => None,
        };
        split.filter(|(k, n)| !k.is_empty() && !n.is_empty() && !n.contains('/')).ok_or_else(|| {
            crate::error::Failure::input(format!(
                "`{}` names no object; give KIND/NAME, e.g. pod/cart-7c9 or deployment/cart",
                self.target.join(" ")
            ))
        })
    }
}
