//! Tapio over HTTP: the answers of the command line as the same JSON, incidents as they happen, read-only queries,
//! health and metrics.
//!
//! | module | what |
//! | --- | --- |
//! | [`config`] | settings: where it listens, who may ask, and the bounds |
//! | [`desk`] | questions to the engine, answered on the engine's own thread between two batches |
//! | [`feed`] | what happens to incidents, in a bounded ring from which streams resume |
//! | [`health`] | which parts are ready |
//! | [`metrics`] | what is counted and measured, as Prometheus reads it |
//! | [`proof`] | whether the graph holds what the engine claims |
//! | [`problem`] | every error, as RFC 9457 wants it |
//! | [`serve`] | the listener: TLS, HTTP/1 and HTTP/2, limits, a graceful end |
//! | `guard` | who may come in, how many at once, and for how long |
//! | `routes` | one file a path |
//! | `openapi` | the description that the contract test holds the routes to |
//!
//! [`Server::bind`] serves people, [`Server::operations`] probes, Prometheus and agents: health, metrics, and the way in
//! for what agents bring.
//!
//! Invariants: nothing here writes to engine, log or graph; a question that cannot be answered in time is refused and
//! never waits for ever; every queue, body and stream has a bound, and whoever is turned away is counted.

pub mod config;
pub mod desk;
mod extract;
pub mod feed;
mod guard;
pub mod health;
pub mod metrics;
mod openapi;
mod page;
pub mod problem;
pub mod proof;
mod routes;
pub mod serve;

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use tapio_core::manifest::Manifest;
use tapio_core::ports::{BoxFuture, GraphStore, Limits};

pub use config::{ApiConfig, TlsFiles};
pub use desk::{Desk, Reader};
pub use feed::{Feed, Happening};
pub use health::{Health, Part, PartState};
pub use metrics::{Levels, Metrics};
pub use problem::Problem;
pub use serve::{ServeError, Server};

/// Reads the manifests of a request's body; the error says where and what to do.
pub type ReadManifests = Arc<dyn Fn(&[u8]) -> Result<Vec<Manifest>, String> + Send + Sync>;

/// Answers what agents bring, whole; who they are is for it to judge.
pub type TakeBatch = Arc<dyn Fn(Request<Bytes>) -> BoxFuture<'static, Response<Bytes>> + Send + Sync>;

/// Sets the directives of the log; the error says what is wrong with the text.
pub type SetLogLevel = Arc<dyn Fn(&str) -> Result<(), String> + Send + Sync>;

/// How much is logged, and a way to change it.
#[derive(Clone)]
pub struct LogLevel {
    /// The directives that hold now, e.g. `info,tapio=debug`.
    pub get: Arc<dyn Fn() -> String + Send + Sync>,
    /// Sets them; the error says what is wrong with the text.
    pub set: SetLogLevel,
}

/// What the routes answer from.
pub struct Parts {
    /// Questions to the engine.
    pub reader: Reader,
    /// The graph, for reading.
    pub graph: Arc<dyn GraphStore>,
    /// What happens to incidents.
    pub feed: Arc<Feed>,
    /// Which parts are ready.
    pub health: Arc<Health>,
    /// What is counted.
    pub metrics: Metrics,
    /// Reads manifests.
    pub manifests: ReadManifests,
    /// How much is logged; none where that cannot be changed.
    pub log_level: Option<LogLevel>,
    /// Bounds of users' queries.
    pub query: Limits,
}

/// Where agents bring what they saw.
#[derive(Clone)]
pub struct Intake {
    /// The path.
    pub path: &'static str,
    /// Takes it.
    pub take: TakeBatch,
}

/// What a server answers from that tells how it stands and nothing of the cluster.
pub struct Operations {
    /// Which parts are ready.
    pub health: Arc<Health>,
    /// What is counted.
    pub metrics: Metrics,
    /// Where agents bring what they saw; none where there are none.
    pub intake: Option<Intake>,
}
