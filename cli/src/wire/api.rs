//! The HTTP API beside a living cluster: a runtime of its own, a desk for questions to the engine, and a listener that
//! brings it what happens.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tapio_api::config::LISTEN;
use tapio_api::metrics::Metered;
use tapio_api::{ApiConfig, Desk, Feed, Happening, LogLevel, Parts, ReadManifests, ServeError, Server, desk};
use tapio_collectors::manifests;
use tapio_collectors::redaction::Redaction;
use tapio_engine::Outcome as EngineOutcome;
use tapio_graph::rules::News;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::live::{Listener, Live, View};
use super::operations::Standing;
use crate::cmd::Session;
use crate::error::{Failure, Outcome, chain};

/// For so long questions are answered before the next batch is taken; one that takes longer is not cut off.
const BUDGET: Duration = Duration::from_millis(50);
/// How long the server may take to end.
const END: Duration = Duration::from_secs(8);

/// An API that is up.
pub(crate) struct Api {
    desk: Desk,
    feed: Arc<Feed>,
    url: String,
    stop: Option<oneshot::Sender<()>>,
    served: Option<JoinHandle<std::io::Result<()>>>,
    runtime: Runtime,
}

impl Api {
    /// Listens and answers; `listen`: an address that somebody asked for; `standing`: what probes and Prometheus are told.
    pub(crate) fn start(
        session: &Session,
        live: &mut Live,
        listen: Option<SocketAddr>,
        standing: &Standing,
        log_level: LogLevel,
    ) -> Outcome<Self> {
        let mut config = session.config.api.clone();
        config.listen = listen.unwrap_or(config.listen);
        let (health, metrics) = standing.shared();
        let its = metrics.clone();
        let graph = live.pipeline_mut().wrap_graph(|g| Arc::new(Metered::new(g, its)));
        let (reader, desk) = desk::desk(&config, live.bell());
        let feed = Arc::new(Feed::new(&config));
        let key = live.pipeline().folder().redaction_key()?;
        let read: ReadManifests = Arc::new(move |body| {
            // Values have to become the same hashes as the cluster's, to be compared with them.
            let redaction = Redaction::with_key(key);
            manifests::read_text("body", body, &redaction).map_err(|e| chain(&e))
        });
        let parts = || Parts {
            reader: reader.clone(),
            graph: Arc::clone(&graph),
            feed: Arc::clone(&feed),
            health: Arc::clone(&health),
            metrics: metrics.clone(),
            manifests: Arc::clone(&read),
            log_level: Some(log_level.clone()),
            query: session.config.query.limits(),
        };
        let server = match Server::bind(&config, parts()) {
            // Nobody chose the port, so any will do: a second cluster is watched beside the first.
            Err(ServeError::Listen { source, .. })
                if listen.is_none() && config.listen == LISTEN && source.kind() == std::io::ErrorKind::AddrInUse =>
            {
                session.note(&format!("{LISTEN} is taken, the API is at a port that is free; --listen chooses one"));
                config.listen.set_port(0);
                Server::bind(&config, parts())
            }
            bound => bound,
        };
        let server = server.map_err(refused)?;
        for w in server.warnings() {
            session.note(&format!("warning: {w}"));
        }
        let url = server.url();
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("api")
            .enable_all()
            .build()
            .map_err(|e| Failure::Unreachable(format!("cannot start the API's runtime: {e}")))?;
        let (stop, stopped) = oneshot::channel::<()>();
        let served = runtime.spawn(server.run(async move {
            // Sent or dropped, it means the same.
            let _ = stopped.await;
        }));
        Ok(Api { desk, feed, url, stop: Some(stop), served: Some(served), runtime })
    }

    /// Where it is.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

impl Listener for Api {
    fn heard(&mut self, out: &EngineOutcome, news: &[News]) -> Outcome {
        out.incidents.iter().for_each(|(t, i)| self.feed.tell(&Happening::of(*t, i)));
        news.iter().filter_map(Happening::of_rule).for_each(|h| self.feed.tell(&h));
        Ok(())
    }

    fn between(&mut self, view: &View) -> Outcome {
        self.desk.serve(view.pipeline.engine(), BUDGET);
        Ok(())
    }

    fn rested(&mut self, view: &View) -> Outcome {
        self.desk.serve(view.pipeline.engine(), BUDGET);
        match self.served.take_if(|s| s.is_finished()) {
            None => Ok(()),
            Some(ended) => match self.runtime.block_on(ended) {
                Ok(Ok(())) => Err(Failure::Unreachable("the API ended by itself".to_owned())),
                Ok(Err(e)) => Err(Failure::Unreachable(format!("the API ended: {e}"))),
                Err(e) => Err(Failure::Unreachable(format!("the API ended with a defect of tapio: {e}"))),
            },
        }
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(served) = self.served.take() {
            // It lets go of the graph when it ends.
            let _ = self.runtime.block_on(async { tokio::time::timeout(END, served).await });
        }
    }
}

/// Settings that are wrong are the user's to correct, an address that is taken is not there.
fn refused(e: ServeError) -> Failure {
    match e {
        ServeError::Listen { .. } => Failure::Unreachable(format!("{}, or --no-api", chain(&e))),
        _ => Failure::input(chain(&e)),
    }
}

/// Reads `ADDRESS:PORT` for clap.
pub(crate) fn listen_address(text: &str) -> Result<SocketAddr, String> {
    let text = text.strip_prefix("localhost:").map_or(text.to_owned(), |port| format!("127.0.0.1:{port}"));
    text.parse().map_err(|_| "give ADDRESS:PORT, e.g. 127.0.0.1:7878, [::1]:7878 or 0.0.0.0:7878".to_owned())
}

/// Whether there is to be one.
pub(crate) fn wanted(config: &ApiConfig, listen: Option<SocketAddr>, off: bool) -> bool {
    !off && (config.enabled || listen.is_some())
}
