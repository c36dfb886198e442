//! The way in over HTTP: what a request at [`PATH`] asks for, and the answer to it. Who listens is not known here.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use serde::Serialize;

use super::{Ingest, Refusal};

/// Where batches are brought.
pub const PATH: &str = "/v1/ingest";

/// Takes a batch (`POST`), or says how far an agent is (`GET …?agent=…&spool=…`). None for `ingest`: this server does
/// not lead, or is just beginning. Needs a running tokio runtime.
pub async fn answer(ingest: Option<Arc<Ingest>>, request: Request<Bytes>) -> Response<Bytes> {
    let Some(ingest) = ingest else {
        let why = "this server does not lead, or is just beginning".to_owned();
        return refusal(&Refusal::Unavailable { why, after: Duration::from_secs(2) });
    };
    let token = bearer(request.headers());
    let taken = match *request.method() {
        Method::POST => ingest.take(token, request.into_body()).await,
        _ => {
            let query = request.uri().query().unwrap_or_default();
            let of = |name: &str| {
                let mut pairs = query.split('&').filter_map(|p| p.split_once('='));
                pairs.find(|(k, _)| *k == name).map_or("", |(_, v)| v)
            };
            ingest.through(token.as_deref(), of("agent"), of("spool")).await
        }
    };
    taken.map_or_else(|r| refusal(&r), |ack| response(StatusCode::OK, "application/json", &ack))
}

/// A refusal as it is told.
pub fn refusal(r: &Refusal) -> Response<Bytes> {
    let status = StatusCode::from_u16(r.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = response(status, "application/problem+json", &r.problem());
    if let Some(after) = r.retry_after() {
        // Whole seconds, and not none.
        let secs = after.as_millis().div_ceil(1_000).max(1);
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(u64::try_from(secs).unwrap_or(u64::MAX)));
    }
    response
}

fn response(status: StatusCode, media: &'static str, body: &impl Serialize) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(serde_json::to_vec(body).unwrap_or_default()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media));
    response
}

fn bearer(headers: &HeaderMap) -> Option<String> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
}
