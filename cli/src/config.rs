//! The file of settings: every part's own settings under its name, unknown names refused.

mod alerts;
mod rules;
mod source;

use std::path::Path;

use serde::{Deserialize, Serialize};
use tapio_api::ApiConfig;
use tapio_bus::forward::ForwardConfig;
use tapio_bus::log::sqlite::SqliteConfig;
use tapio_collectors::cluster::ClusterConfig;
use tapio_collectors::cni::CniConfig;
use tapio_collectors::kubelet::KubeletConfig;
use tapio_core::ports::Limits;
use tapio_engine::EngineConfig;
use tapio_graph::EmbeddedConfig;

use crate::args::{Colour, Format};
use crate::error::{Failure, Outcome};
pub(crate) use alerts::{AlertSettings, SinkKind, SinkSettings};
pub(crate) use rules::{Checked, line};
use source::Placed;

/// All settings; each part's defaults are right for most.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// The engine: windows and bounds.
    pub(crate) engine: EngineConfig,
    /// The event log of a data folder.
    pub(crate) log: SqliteConfig,
    /// The graph of a data folder.
    pub(crate) graph: GraphSettings,
    /// What is watched of a living cluster.
    pub(crate) cluster: ClusterConfig,
    /// How long a living cluster's evidence is kept.
    pub(crate) live: LiveSettings,
    /// How an agent keeps and sends what it saw.
    pub(crate) agent: ForwardConfig,
    /// What an agent asks of its kubelet.
    pub(crate) kubelet: KubeletConfig,
    /// Which files of its node an agent looks at.
    pub(crate) cni: CniConfig,
    /// Who is told of incidents.
    pub(crate) alerts: AlertSettings,
    /// The HTTP API of a living cluster.
    pub(crate) api: ApiConfig,
    /// How a data folder is filled.
    pub(crate) replay: ReplaySettings,
    /// Bounds of users' queries.
    pub(crate) query: QuerySettings,
    /// Form of the output.
    pub(crate) output: OutputSettings,
    /// Rules of one's own, as they stand in the file; judged where they are used.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rules: Vec<Placed>,
    /// The file, for places in it.
    #[serde(skip)]
    text: String,
}

/// Settings of the graph store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct GraphSettings {
    /// Queries that run at the same time.
    pub(crate) readers: usize,
    /// Connections to a Neo4j that write side by side.
    pub(crate) neo4j_connections: usize,
    /// Seconds for which a batch is tried again while a Neo4j is busy or away.
    pub(crate) neo4j_patience_secs: u64,
}

impl Default for GraphSettings {
    fn default() -> Self {
        GraphSettings { readers: EmbeddedConfig::default().readers, neo4j_connections: 4, neo4j_patience_secs: 60 }
    }
}

impl GraphSettings {
    /// As the store takes them.
    pub(crate) fn embedded(&self) -> EmbeddedConfig {
        EmbeddedConfig { readers: self.readers }
    }
}

/// How long a living cluster's evidence is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LiveSettings {
    /// Hours for which log and graph are kept; 0: for ever.
    pub(crate) keep_hours: u64,
    /// Bytes of the log above which the oldest go sooner; 0: no bound.
    pub(crate) log_max_bytes: u64,
    /// Seconds between two saves of the engine's state. After a crash so much is read again.
    pub(crate) checkpoint_secs: u64,
}

impl Default for LiveSettings {
    fn default() -> Self {
        LiveSettings { keep_hours: 7 * 24, log_max_bytes: 4 << 30, checkpoint_secs: 300 }
    }
}

/// How a data folder is filled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ReplaySettings {
    /// Events after which the engine's state is saved; a killed replay takes at most so many again.
    pub(crate) checkpoint_events: u64,
    /// Seconds of work after which it is saved, too.
    pub(crate) checkpoint_secs: u64,
}

impl Default for ReplaySettings {
    fn default() -> Self {
        ReplaySettings { checkpoint_events: 50_000, checkpoint_secs: 30 }
    }
}

/// Bounds of a user's query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct QuerySettings {
    /// Milliseconds after which a query is stopped.
    pub(crate) timeout_millis: u64,
    /// Rows after which the result is cut.
    pub(crate) max_rows: usize,
    /// Steps after which a query is stopped.
    pub(crate) max_expansions: u64,
}

impl Default for QuerySettings {
    fn default() -> Self {
        let Limits { timeout_millis, max_rows, max_expansions } = Limits::default();
        QuerySettings { timeout_millis, max_rows, max_expansions }
    }
}

impl QuerySettings {
    /// As the store takes them.
    pub(crate) fn limits(&self) -> Limits {
        let QuerySettings { timeout_millis, max_rows, max_expansions } = *self;
        Limits { timeout_millis, max_rows, max_expansions }
    }
}

/// How answers look where no flag says otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct OutputSettings {
    /// `table`, `wide`, `json` or `yaml`.
    pub(crate) format: Format,
    /// `auto`, `always` or `never`.
    pub(crate) color: Colour,
}

impl Config {
    /// The settings in a file; the defaults without one.
    pub(crate) fn load(path: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = path else { return Ok(Config::default()) };
        let text = std::fs::read_to_string(path)
            .map_err(|e| Failure::input(format!("cannot read settings {}: {e}", path.display())))?;
        Config::parse(&text).map_err(|why| Failure::input(format!("settings {}: {why}", path.display())))
    }

    /// The settings in a YAML text; the error names line and key.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let bare = |l: &str| l.trim().is_empty() || l.trim_start().starts_with('#');
        if text.lines().all(bare) {
            return Ok(Config::default());
        }
        let config = serde_saphyr::from_str::<Config>(text).map_err(|e| e.to_string()).and_then(Config::checked)?;
        Ok(Config { text: text.to_owned(), ..config })
    }

    /// Judges the rules of one's own.
    pub(crate) fn check_rules(&self) -> Outcome<Checked> {
        rules::check(&self.rules, &self.text)
    }

    /// Refuses numbers with which nothing could work.
    fn checked(self) -> Result<Self, String> {
        let least = [
            ("engine.max_buffered", self.engine.max_buffered),
            ("engine.max_objects", self.engine.max_objects),
            ("graph.readers", self.graph.readers),
            ("graph.neo4j_connections", self.graph.neo4j_connections),
            ("query.max_rows", self.query.max_rows),
        ];
        self.api.check().map_err(|e| format!("api.{e}"))?;
        match least.into_iter().find(|(_, n)| *n == 0) {
            Some((key, _)) => Err(format!("{key} is 0; give 1 or more")),
            None => self.alerts.check().map(|()| self),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_means_the_defaults_and_unknown_keys_are_named_with_their_line() {
        assert_eq!(Config::parse("# nothing\n"), Ok(Config::default()));
        let set = Config::parse("engine:\n  lateness_millis: 1\n").unwrap();
        assert_eq!(set.engine.lateness_millis, 1);
        let e = Config::parse("engine:\n  latenes_millis: 1\n").unwrap_err();
        assert!(e.contains("latenes_millis") && e.contains("line 2"), "{e}");
        assert!(Config::parse("query:\n  max_rows: 0\n").unwrap_err().contains("query.max_rows"));
    }
}
