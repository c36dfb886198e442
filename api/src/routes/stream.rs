//! Incidents as they open, change and are resolved, as server-sent events.
//!
//! Every event has an id; a client that comes back with it in `Last-Event-ID` goes on behind it, as browsers do by
//! themselves. Where that is too long ago, or of another process, an event `reset` says that something may have been
//! missed. Each client has a place in the ring and a queue of a few events; one that is slower than that is dropped.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use http_body_util::channel::{Channel, Sender};
use tokio::time::timeout;

use super::Shared;
use crate::feed::Entry;
use crate::problem::Problem;

/// Pieces that wait for a client.
const QUEUE: usize = 16;
/// Entries that are taken at once.
const BATCH: usize = 32;
/// How long a client waits before it comes back, in milliseconds.
const RETRY: &str = "retry: 2000\n\n";

/// Why a stream was ended from here.
#[derive(Debug, thiserror::Error)]
#[error("the client was too slow")]
struct TooSlow;

/// What happens to incidents, as it happens
///
/// Server-sent events. `event` is `opened`, `updated`, `resolved` or `merged` (of rules of your own `firing`, `over`),
/// `data` one line of JSON as `tapio up -o json` prints it. An event `reset` says that what came before may have been
/// missed: ask for /api/v1/incidents. Lines that begin with `:` are signs of life.
#[utoipa::path(
    get,
    path = "/api/v1/stream",
    operation_id = "stream",
    tag = "incidents",
    params(("Last-Event-ID" = Option<String>, Header, description = "The id of the last event that was seen")),
    responses(
        (status = 200, description = "Events until one of both sides ends it", body = String, content_type = "text/event-stream"),
    )
)]
pub(super) async fn stream(State(app): State<Shared>, headers: HeaderMap) -> Result<Response, Problem> {
    let Ok(place) = Arc::clone(&app.streams).try_acquire_owned() else {
        app.metrics.stream_dropped("overload");
        return Err(Problem::busy("as many streams as the server takes are open already", 10));
    };
    let (sender, body) = Channel::<Bytes, TooSlow>::new(QUEUE);
    let seen = headers.get("last-event-id").map(|id| id.to_str().unwrap_or_default().to_owned());
    tokio::spawn(async move {
        let _held = (place, app.metrics.stream());
        let client = Client { app, sender };
        client.serve(seen).await;
    });
    let mut response = Response::new(Body::new(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Proxies that keep answers back until they are whole would keep this one for ever.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

struct Client {
    app: Shared,
    sender: Sender<Bytes, TooSlow>,
}

/// Why a client is served no longer.
enum End {
    /// It went, or the server ends.
    Gone,
    /// It does not take in what is sent.
    Slow(&'static str),
}

impl Client {
    async fn serve(mut self, seen: Option<String>) {
        let Err(end) = self.tell(seen).await;
        if let End::Slow(reason) = end {
            self.app.metrics.stream_dropped(reason);
            self.sender.abort(TooSlow);
        }
    }

    async fn tell(&mut self, seen: Option<String>) -> Result<Infallible, End> {
        let feed = Arc::clone(&self.app.feed);
        let mut ending = self.app.ending.clone();
        let heartbeat = self.app.config.heartbeat();
        let mut news = feed.watch();
        self.send(Bytes::from_static(RETRY.as_bytes())).await?;
        let number = seen.as_deref().and_then(|id| feed.number(id)).filter(|n| feed.after(*n, 1).is_ok());
        let mut at = number.unwrap_or_else(|| feed.last());
        if seen.is_some_and(|id| !id.is_empty()) && number.is_none() {
            let why = "what came after the last event that was seen is not kept any more";
            let id = feed.id(at);
            self.send(format!("id: {id}\nevent: reset\ndata: {{\"why\":\"{why}\"}}\n\n").into()).await?;
        }
        loop {
            news.borrow_and_update();
            // Behind the ring: nothing can be told without a hole, and the hole is told when it comes back.
            let entries = feed.after(at, BATCH).map_err(|_| End::Slow("behind"))?;
            for e in &entries {
                self.send(event(&feed.id(e.number), e)).await?;
                at = e.number;
            }
            if !entries.is_empty() {
                continue;
            }
            tokio::select! {
                () = async { _ = ending.wait_for(|e| *e).await; } => return Err(End::Gone),
                told = timeout(heartbeat, news.changed()) => match told {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) => return Err(End::Gone),
                    Err(_) => self.send(Bytes::from_static(b": heartbeat\n\n")).await?,
                },
            }
        }
    }

    async fn send(&mut self, text: Bytes) -> Result<(), End> {
        let stall: Duration = self.app.config.stall();
        match timeout(stall, self.sender.send_data(text)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(End::Gone),
            Err(_) => Err(End::Slow("slow")),
        }
    }
}

/// An entry on the wire; its JSON has no line feeds.
fn event(id: &str, e: &Entry) -> Bytes {
    let mut out = format!("id: {id}\nevent: {}\ndata: ", e.event).into_bytes();
    out.extend_from_slice(&e.data);
    out.extend_from_slice(b"\n\n");
    out.into()
}
