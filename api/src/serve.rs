//! The listener: who may reach it, TLS, HTTP/1 and HTTP/2, bounds on connections, and a graceful end.
//!
//! Other addresses than those of this machine alone are refused without a token, unless the settings say otherwise in
//! so many words. A connection that does not send, or does not take in what it asked for, is closed and counted.

mod patient;
mod tls;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tower::ServiceExt;

use crate::config::ApiConfig;
use crate::guard::{Access, Hosts, Token};
use crate::metrics::Metrics;
use crate::routes::{self, App, router};
use crate::{Operations, Parts, guard};
use patient::Patient;
use tls::Tls;

pub use guard::TokenError;
pub use tls::TlsError;

/// How long requests that are at work may still take when the server ends.
const GRACE: Duration = Duration::from_secs(5);
/// Between two looks at the files of token and certificate.
const RENEW: Duration = Duration::from_secs(2);
/// Bytes of a request's head.
const HEAD_BYTES: usize = 64 << 10;
/// Requests at once on one connection of HTTP/2.
const STREAMS: u32 = 64;
/// Between two signs of life that HTTP/2 asks of the other side.
const PING: Duration = Duration::from_secs(20);

/// Why the server cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is taken, or not ours: choose another one.
    #[error("cannot listen on {addr}: {source}; give another address, port 0 takes any that is free")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// The system's reason.
        source: io::Error,
    },
    /// Others could read everything: ask for a token, or say that this is meant.
    #[error(
        "{0} can be reached from other machines, and no token is asked for; set api.token_file, or \
         api.insecure_without_token to let whoever reaches it read everything"
    )]
    Open(SocketAddr),
    /// The token cannot be used.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// Certificate or key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A number in the settings.
    #[error("settings: api.{0}")]
    Settings(String),
}

/// A server that listens, and answers when it is run.
pub struct Server {
    listener: std::net::TcpListener,
    addr: SocketAddr,
    router: Router,
    config: ApiConfig,
    token: Option<Arc<Token>>,
    tls: Option<Arc<Tls>>,
    metrics: Metrics,
    ending: watch::Sender<bool>,
}

impl Server {
    /// Listens. Whoever connects waits until [`Server::run`].
    ///
    /// # Errors
    /// See [`ServeError`].
    pub fn bind(config: &ApiConfig, parts: Parts) -> Result<Self, ServeError> {
        let token = config.token_file.as_deref().map(Token::open).transpose()?.map(Arc::new);
        let local = config.listen.ip().to_canonical().is_loopback();
        if !local && token.is_none() && !config.insecure_without_token {
            return Err(ServeError::Open(config.listen));
        }
        let named = token.is_none() && (local || !config.allowed_hosts.is_empty());
        let hosts = named.then(|| Hosts::new(&config.allowed_hosts));
        let metrics = parts.metrics.clone();
        let access = Arc::new(Access::new(config, token.clone(), hosts, metrics.clone()));
        Server::listen(config, token, metrics, |ending| {
            router(Arc::new(App::new(parts, config.clone(), ending)), access)
        })
    }

    /// Listens for probes, Prometheus and agents. It asks nobody for a token: how it stands is told to whoever reaches
    /// it, and agents are judged by the [`Intake`](crate::Intake).
    ///
    /// # Errors
    /// See [`ServeError`].
    pub fn operations(config: &ApiConfig, operations: Operations) -> Result<Self, ServeError> {
        let metrics = operations.metrics.clone();
        let access = Arc::new(Access::new(config, None, None, metrics.clone()));
        Server::listen(config, None, metrics, |ending| {
            routes::operations(operations, access, config.max_body_bytes, ending)
        })
    }

    fn listen(
        config: &ApiConfig,
        token: Option<Arc<Token>>,
        metrics: Metrics,
        router: impl FnOnce(watch::Receiver<bool>) -> Router,
    ) -> Result<Self, ServeError> {
        config.check().map_err(ServeError::Settings)?;
        let tls = config.tls.as_ref().map(Tls::open).transpose()?.map(Arc::new);
        let listen = || {
            let listener = std::net::TcpListener::bind(config.listen)?;
            listener.set_nonblocking(true)?;
            let addr = listener.local_addr()?;
            Ok((listener, addr))
        };
        let (listener, addr) = listen().map_err(|source| ServeError::Listen { addr: config.listen, source })?;
        let ending = watch::channel(false).0;
        let router = router(ending.subscribe());
        Ok(Server { listener, addr, router, config: config.clone(), token, tls, metrics, ending })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The same as one would type it.
    pub fn url(&self) -> String {
        format!("http{}://{}", if self.tls.is_some() { "s" } else { "" }, self.addr)
    }

    /// What people should know before they rely on it.
    pub fn warnings(&self) -> Vec<String> {
        let mut out = Vec::new();
        if self.addr.ip().to_canonical().is_loopback() {
            return out;
        }
        if self.token.is_none() {
            out.push(format!("whoever reaches {} reads everything: no token is asked for", self.addr));
        } else if self.tls.is_none() {
            out.push("the token goes over the network in clear text; set api.tls, or put a proxy in front".to_owned());
        }
        out
    }

    /// Answers until `stop`; then nothing new is taken, streams are ended, and what is at work has some seconds left.
    ///
    /// # Errors
    /// The listener cannot be used.
    pub async fn run(self, stop: impl Future<Output = ()> + Send) -> io::Result<()> {
        let listener = TcpListener::from_std(self.listener)?;
        let shared = Arc::new(Connections {
            router: self.router,
            tls: self.tls.clone(),
            builder: builder(&self.config),
            receive: self.config.receive(),
            stall: self.config.stall(),
            metrics: self.metrics.clone(),
        });
        let mut tasks = JoinSet::new();
        let mut renew = tokio::time::interval(RENEW);
        let mut stop = std::pin::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => break,
                _ = renew.tick() => renewed(self.token.as_deref(), self.tls.as_deref(), &self.metrics),
                Some(_) = tasks.join_next() => {}
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) if tasks.len() >= self.config.max_connections => {
                        self.metrics.refused("connections");
                        drop(stream);
                    }
                    Ok((stream, _)) => {
                        tasks.spawn(Arc::clone(&shared).serve(stream, self.ending.subscribe()));
                    }
                    Err(e) => {
                        // No files left, or a connection that was gone again: neither is a reason to end.
                        tracing::warn!(error = %e, "a connection could not be taken");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                },
            }
        }
        drop(listener);
        self.ending.send_replace(true);
        let _ = tokio::time::timeout(GRACE, async { while tasks.join_next().await.is_some() {} }).await;
        tasks.shutdown().await;
        Ok(())
    }
}

/// Reads the files again; what cannot be used is said, and the old ones stay.
fn renewed(token: Option<&Token>, tls: Option<&Tls>, metrics: &Metrics) {
    match token.map(Token::renew) {
        Some(Err(e)) => {
            metrics.reload_failed("token");
            tracing::warn!(error = %e, "the old token stays");
        }
        Some(Ok(true)) => tracing::info!("the token was read again"),
        _ => {}
    }
    match tls.map(Tls::renew) {
        Some(Err(e)) => {
            metrics.reload_failed("certificate");
            tracing::warn!(error = %e, "the old certificate stays");
        }
        Some(Ok(true)) => tracing::info!("the certificate was read again"),
        _ => {}
    }
}

fn builder(config: &ApiConfig) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(config.receive()).max_buf_size(HEAD_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .keep_alive_timeout(config.stall())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(u32::try_from(HEAD_BYTES).unwrap_or(u32::MAX));
    builder
}

/// What all connections share.
struct Connections {
    router: Router,
    tls: Option<Arc<Tls>>,
    builder: Builder<TokioExecutor>,
    receive: Duration,
    stall: Duration,
    metrics: Metrics,
}

impl Connections {
    async fn serve(self: Arc<Self>, stream: TcpStream, ending: watch::Receiver<bool>) {
        let _held = self.metrics.connection();
        let _ = stream.set_nodelay(true);
        let stream = Patient::new(stream, self.stall, self.metrics.clone());
        let Some(tls) = &self.tls else { return self.http(stream, ending).await };
        match tokio::time::timeout(self.receive, tls.accept(stream)).await {
            Ok(Ok(stream)) => self.http(stream, ending).await,
            Ok(Err(e)) => {
                self.metrics.refused("handshake");
                tracing::debug!(error = %e, "TLS handshake failed");
            }
            Err(_) => self.metrics.refused("handshake"),
        }
    }

    async fn http<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        &self,
        stream: S,
        mut ending: watch::Receiver<bool>,
    ) {
        let asked = Arc::new(AtomicBool::new(false));
        let its = Arc::clone(&asked);
        let service = self.router.clone().map_request(move |request: Request<Incoming>| {
            its.store(true, Ordering::Relaxed);
            request.map(Body::new)
        });
        let connection = self.builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
        let mut connection = std::pin::pin!(connection);
        let mut first = std::pin::pin!(tokio::time::sleep(self.receive));
        let (mut looked, mut closing) = (false, false);
        loop {
            tokio::select! {
                // Whatever went wrong on it ended it; who asked knows.
                _ = connection.as_mut() => return,
                () = first.as_mut(), if !looked => {
                    looked = true;
                    if !asked.load(Ordering::Relaxed) {
                        self.metrics.refused("silent");
                        return;
                    }
                }
                _ = ending.changed(), if !closing => {
                    closing = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    }
}
