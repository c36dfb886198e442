//! What listens for a test's server: the route of the way in behind plain HTTP or TLS, and moods.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use tapio_bus::ingest::{Ingest, route};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

/// What a server says before it says what is true.
pub(crate) enum Mood {
    Well,
    /// So many requests get this answer.
    Ill(AtomicUsize, Response<Bytes>),
}

pub(crate) struct Front {
    pub(crate) ingest: Arc<Ingest>,
    pub(crate) mood: Mood,
}

/// An answer with a body of its own.
pub(crate) fn answer(status: u16, retry_after: Option<u32>, body: &str) -> Response<Bytes> {
    let mut answer = Response::builder().status(status);
    if let Some(secs) = retry_after {
        answer = answer.header("retry-after", secs);
    }
    answer.body(Bytes::copy_from_slice(body.as_bytes())).unwrap()
}

impl Front {
    async fn serve(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let (head, body) = request.into_parts();
        let Ok(body) = body.collect().await else { return Ok(answer(400, None, "").map(Full::new)) };
        if let Mood::Ill(times, answer) = &self.mood
            && times.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok()
        {
            return Ok(answer.clone().map(Full::new));
        }
        let request = Request::from_parts(head, body.to_bytes());
        Ok(route::answer(Some(Arc::clone(&self.ingest)), request).await.map(Full::new))
    }
}

/// Answers until the other end of `stop` is gone; what is under way then is finished.
pub(crate) async fn listen(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    front: Arc<Front>,
    mut stop: oneshot::Receiver<()>,
) {
    let graceful = GracefulShutdown::new();
    loop {
        let stream = tokio::select! {
            _ = &mut stop => break,
            accepted = listener.accept() => accepted.unwrap().0,
        };
        let (front, tls, watcher) = (Arc::clone(&front), tls.clone(), graceful.watcher());
        tokio::spawn(async move {
            match tls {
                None => speak(stream, front, watcher).await,
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        speak(stream, front, watcher).await;
                    }
                }
            }
        });
    }
    drop(listener);
    graceful.shutdown().await;
}

async fn speak<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    front: Arc<Front>,
    watcher: hyper_util::server::graceful::Watcher,
) {
    let service = hyper::service::service_fn(move |r| Arc::clone(&front).serve(r));
    let builder = Builder::new(TokioExecutor::new());
    let _ = watcher.watch(builder.serve_connection(TokioIo::new(stream), service).into_owned()).await;
}
