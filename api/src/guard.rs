//! Who may come in, how many at once, and for how long; and the form in which every refusal leaves.
//!
//! From the outside in: the last word (problems, counts), panics, who asks, how many, how long.

mod host;
mod token;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::CACHE_CONTROL;
use tokio::sync::Semaphore;

use crate::config::ApiConfig;
use crate::metrics::Metrics;
use crate::problem::Problem;
pub(crate) use host::Hosts;
pub(crate) use token::Token;
pub use token::TokenError;

/// What decides about requests.
pub(crate) struct Access {
    pub(crate) token: Option<Arc<Token>>,
    /// Names under which we may be asked; none: any.
    pub(crate) hosts: Option<Hosts>,
    requests: Arc<Semaphore>,
    receive: Duration,
    answer: Duration,
    metrics: Metrics,
}

/// In a request's extensions: how long its body may take.
#[derive(Clone, Copy)]
struct ReceiveTime(Duration);

impl Access {
    pub(crate) fn new(config: &ApiConfig, token: Option<Arc<Token>>, hosts: Option<Hosts>, metrics: Metrics) -> Self {
        Access {
            token,
            hosts,
            requests: Arc::new(Semaphore::new(config.max_requests)),
            receive: config.receive(),
            answer: config.answer(),
            metrics,
        }
    }

    /// How long the body of a request may take.
    pub(crate) fn receive_time(request: &Request) -> Duration {
        request.extensions().get::<ReceiveTime>().map_or(Duration::from_secs(10), |t| t.0)
    }
}

/// What probes and browsers ask before they can know a token; nothing of the cluster stands there.
fn is_public(path: &str) -> bool {
    matches!(path, "/livez" | "/readyz" | "/openapi.json" | "/docs") || path.starts_with("/docs/")
}

/// Short, and asked when everything else is at its bound.
fn is_probe(path: &str) -> bool {
    matches!(path, "/livez" | "/readyz" | "/metrics")
}

/// In a response's extensions: it is no refusal, whatever its status.
#[derive(Clone, Copy)]
pub(crate) struct Meant;

/// Whether the request is from somebody who may ask.
pub(crate) async fn admit(State(access): State<Arc<Access>>, mut request: Request, next: Next) -> Response {
    if let Some(hosts) = &access.hosts
        && let Err(problem) = hosts.check(&request)
    {
        access.metrics.refused("host");
        return problem.into_response();
    }
    if let Some(token) = access.token.as_ref().filter(|_| !is_public(request.uri().path()))
        && let Err(problem) = token.check(request.headers())
    {
        access.metrics.refused("unauthorised");
        return problem.into_response();
    }
    request.extensions_mut().insert(ReceiveTime(access.receive));
    next.run(request).await
}

/// How many at once, and for how long.
pub(crate) async fn bound(State(access): State<Arc<Access>>, request: Request, next: Next) -> Response {
    if is_probe(request.uri().path()) {
        return next.run(request).await;
    }
    let Ok(permit) = Arc::clone(&access.requests).try_acquire_owned() else {
        access.metrics.refused("overload");
        return Problem::busy("as many requests as the server takes are at work already", 1).into_response();
    };
    let _held = access.metrics.in_flight();
    let done = tokio::time::timeout(access.receive + access.answer, next.run(request)).await;
    drop(permit);
    done.unwrap_or_else(|_| {
        access.metrics.refused("timeout");
        Problem::busy("the answer took too long", 5).into_response()
    })
}

/// Has the last word: every refusal as a problem with its path, headers that all responses have, counts.
pub(crate) async fn finish(State(metrics): State<Metrics>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let route = request.extensions().get::<MatchedPath>().map_or("none", |m| m.as_str()).to_owned();
    let mut response = next.run(request).await;
    let status = response.status();
    let meant = response.extensions().get::<Meant>().is_some();
    if !meant && (status.is_client_error() || status.is_server_error()) {
        let told = response.extensions_mut().remove::<Problem>();
        let mut problem = told.unwrap_or_else(|| Problem::of_status(status));
        problem.status = status.as_u16();
        problem.instance = Some(path.clone());
        problem.write(&mut response);
        tracing::debug!(%method, path, status = status.as_u16(), problem = problem.name(), detail = problem.detail, "refused");
    } else {
        tracing::debug!(%method, path, status = status.as_u16(), "answered");
    }
    let headers = response.headers_mut();
    headers.insert("x-content-type-options", http::HeaderValue::from_static("nosniff"));
    if !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, http::HeaderValue::from_static("no-store"));
    }
    metrics.answered(&route, &method, status.as_u16(), begun.elapsed());
    response
}

/// A handler that fell over: said without details.
pub(crate) fn fell_over(_: Box<dyn std::any::Any + Send>) -> Response {
    tracing::error!("a request failed by a defect; the panic's message is on standard error");
    Problem::defect().into_response()
}

/// No route.
pub(crate) async fn no_route() -> Problem {
    Problem::of_status(StatusCode::NOT_FOUND)
}
