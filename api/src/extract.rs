//! What a request brings, read with errors of our own: path, query, JSON, bytes.

use std::ops::Deref;

use axum::extract::rejection::{BytesRejection, JsonRejection};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use bytes::Bytes;
use http::StatusCode;
use http::request::Parts;
use serde::de::DeserializeOwned;

use crate::guard::Access;
use crate::problem::Problem;

/// The parameters behind `?`; unknown ones are refused.
pub(crate) struct Params<T>(pub(crate) T);

impl<T> Deref for Params<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(v)) => Ok(Params(v)),
            Err(e) => {
                let text = e.body_text();
                let why = text.strip_prefix("Failed to deserialize query string: ").unwrap_or(&text);
                // `limit: invalid digit …`: the parameter's name stands first where it is known.
                let field = why.split_once(": ").map(|(f, _)| f).filter(|f| !f.contains(' ')).unwrap_or("");
                Err(Problem::parameter(field, why, "see /docs for the parameters of this path"))
            }
        }
    }
}

/// The parts of the path.
pub(crate) struct Spot<T>(pub(crate) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Spot<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Path::<T>::from_request_parts(parts, state).await {
            Ok(Path(v)) => Ok(Spot(v)),
            Err(e) => Err(Problem::parameter("", e.body_text(), "write the path in UTF-8, with % where needed")),
        }
    }
}

/// A body of JSON, which has to be here in time.
pub(crate) struct JsonBody<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let time = Access::receive_time(&request);
        let read = tokio::time::timeout(time, axum::Json::<T>::from_request(request, state));
        match read.await.map_err(|_| Problem::slow())? {
            Ok(axum::Json(v)) => Ok(JsonBody(v)),
            Err(JsonRejection::MissingJsonContentType(_)) => {
                let p = Problem::of_status(StatusCode::UNSUPPORTED_MEDIA_TYPE);
                Err(p.saying("the Content-Type is not application/json"))
            }
            Err(JsonRejection::BytesRejection(e)) => Err(bytes_problem(&e)),
            Err(e) => {
                let text = e.body_text();
                let why = text.split_once(": ").map_or(text.as_str(), |(_, why)| why);
                Err(Problem::body(why, "send one JSON object as /docs describes it"))
            }
        }
    }
}

/// A body as bytes, which has to be here in time.
pub(crate) struct RawBody(pub(crate) Bytes);

impl<S: Send + Sync> FromRequest<S> for RawBody {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let time = Access::receive_time(&request);
        let read = tokio::time::timeout(time, Bytes::from_request(request, state));
        let read = read.await.map_err(|_| Problem::slow())?;
        read.map(RawBody).map_err(|e| bytes_problem(&e))
    }
}

fn bytes_problem(e: &BytesRejection) -> Problem {
    match e.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Problem::of_status(StatusCode::PAYLOAD_TOO_LARGE),
        _ => Problem::body(e.body_text(), "send it again, as a whole"),
    }
}
