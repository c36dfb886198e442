//! The left end: a connection that was tried, and what is to be watched through it.

use std::sync::Arc;
use std::time::Duration;

use tapio_cluster::{ApiError, ConnectError, Connection, Target};
use tapio_collectors::cluster::ClusterConfig;
use tokio::runtime::{Builder, Runtime};

use crate::args::Cluster;
use crate::cmd::Session;
use crate::error::{Failure, Outcome, chain};

/// How long the first answer is waited for.
const FIRST: Duration = Duration::from_secs(10);

/// A cluster that answered.
pub(crate) struct Source {
    /// The connection.
    pub(crate) connection: Arc<Connection>,
    /// The cluster's name in every event.
    pub(crate) name: String,
    /// The server's version.
    pub(crate) version: String,
    /// What tells it from any other cluster.
    pub(crate) identity: String,
    /// What is watched.
    pub(crate) config: ClusterConfig,
}

/// A runtime for everything that talks to the cluster.
pub(crate) fn runtime() -> Outcome<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("collector")
        .enable_all()
        .build()
        .map_err(|e| Failure::Unreachable(format!("cannot start the runtime: {e}")))
}

impl Source {
    /// Connects, and asks the server who it is.
    pub(crate) fn open(session: &Session, runtime: &Runtime, cluster: &Cluster, name: Option<&str>) -> Outcome<Self> {
        Self::try_open(session, runtime, cluster, name)?.map_err(Failure::Unreachable)
    }

    /// The same, where a server that does not answer is no failure, but may be there later.
    pub(crate) fn try_open(
        session: &Session,
        runtime: &Runtime,
        cluster: &Cluster,
        name: Option<&str>,
    ) -> Outcome<Result<Self, String>> {
        let target = Target { kubeconfig: cluster.kubeconfig.clone(), context: cluster.context.clone() };
        runtime.block_on(async {
            let connection = Connection::open(target).await?;
            let asked = async {
                let version = connection.version(FIRST).await?.git_version;
                // Versions are told to anybody; this needs credentials that hold.
                Ok((version, connection.identity().await?))
            };
            let (version, identity) = match asked.await {
                Ok(told) => told,
                Err(e) => {
                    let e: ApiError = e;
                    let (context, server) = (connection.context(), connection.server());
                    return Ok(Err(format!("context {context}, {server}: {e}")));
                }
            };
            let identity = identity.unwrap_or_else(|| connection.server().to_owned());
            let mut config = session.config.cluster.clone();
            if !cluster.namespaces.is_empty() {
                config.namespaces.clone_from(&cluster.namespaces);
            }
            let name = name.unwrap_or(connection.context()).to_owned();
            Ok(Ok(Source { connection: Arc::new(connection), name, version, identity, config }))
        })
    }

    /// For people.
    pub(crate) fn title(&self) -> String {
        format!("{} at {}", self.connection.context(), self.connection.server())
    }
}

impl From<ConnectError> for Failure {
    fn from(e: ConnectError) -> Self {
        Failure::Unreachable(chain(&e))
    }
}

impl From<ApiError> for Failure {
    fn from(e: ApiError) -> Self {
        Failure::Unreachable(chain(&e))
    }
}
