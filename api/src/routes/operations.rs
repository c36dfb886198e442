//! The routes beside people's: whether it lives and is ready, metrics, and the way in for what agents bring.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use http::{HeaderMap, Method, Request, Uri};
use tokio::sync::watch;

use super::{health, metrics};
use crate::extract::RawBody;
use crate::guard::Meant;
use crate::{Intake, Operations};

/// What each of them gets.
struct Own {
    operations: Operations,
    /// True when the server ends.
    ending: watch::Receiver<bool>,
}

/// All of them, without guards.
pub(super) fn routes(operations: Operations, ending: watch::Receiver<bool>) -> Router {
    let intake = operations.intake.clone();
    let router = Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(told))
        .with_state(Arc::new(Own { operations, ending }));
    match intake {
        Some(intake) => router.route(intake.path, get(take).post(take).with_state(intake)),
        None => router,
    }
}

/// Whoever answers lives.
async fn livez() -> &'static str {
    "ok\n"
}

async fn readyz(State(own): State<Arc<Own>>) -> Response {
    health::told(own.operations.health.parts(), *own.ending.borrow())
}

async fn told(State(own): State<Arc<Own>>) -> Response {
    metrics::told(&own.operations.metrics)
}

async fn take(State(intake): State<Intake>, method: Method, uri: Uri, headers: HeaderMap, body: RawBody) -> Response {
    let mut request = Request::new(body.0);
    (*request.method_mut(), *request.uri_mut(), *request.headers_mut()) = (method, uri, headers);
    let answer = (intake.take)(request).await;
    // A refusal there is of a form that agents read.
    (Extension(Meant), answer.map(axum::body::Body::from)).into_response()
}
