//! Every error, as RFC 9457 wants it: what, where, what to do.
//!
//! A handler gives a [`Problem`]; the outermost layer writes it, and makes one of every other refusal (of the router,
//! of an extractor), so that no error leaves in another form.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use tapio_core::object::ObjectRef;
use tapio_core::ports::StoreError;
use utoipa::ToSchema;

use crate::desk::Unanswered;

/// The media type of errors.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// Why a request was not answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Problem {
    /// What kind of problem: `urn:tapio:problem:NAME`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The same in words.
    pub title: String,
    /// The status of the response.
    pub status: u16,
    /// What is wrong with this request.
    pub detail: String,
    /// The path that was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, nullable = false)]
    pub instance: Option<String>,
    /// Parameter or place in the body that is to blame.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, nullable = false)]
    pub field: Option<String>,
    /// What to do.
    pub remedy: String,
    /// Objects that may have been meant.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false, value_type = Vec<Object>)]
    pub near: Vec<ObjectRef>,
    /// Seconds to wait before asking again.
    #[serde(skip)]
    retry_after: Option<u64>,
}

impl Problem {
    fn new(status: StatusCode, kind: &str, title: &str, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Problem {
            kind: format!("urn:tapio:problem:{kind}"),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            instance: None,
            field: None,
            remedy: remedy.into(),
            near: Vec::new(),
            retry_after: None,
        }
    }

    /// A parameter, or a part of the path, that cannot be used.
    pub(crate) fn parameter(field: &str, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        let p = Problem::new(StatusCode::BAD_REQUEST, "bad-parameter", "a parameter cannot be used", detail, remedy);
        Problem { field: Some(field.to_owned()).filter(|f| !f.is_empty()), ..p }
    }

    /// A body that is not of the form that it should have.
    pub(crate) fn body(detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Problem::new(StatusCode::BAD_REQUEST, "bad-body", "the body cannot be read", detail, remedy)
    }

    /// A body that can be read and not used.
    pub(crate) fn unusable(kind: &str, title: &str, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, kind, title, detail, remedy)
    }

    /// Nothing of that name.
    pub(crate) fn not_found(detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Problem::new(StatusCode::NOT_FOUND, "not-found", "there is no such thing", detail, remedy)
    }

    /// No token, or a wrong one.
    pub(crate) fn unauthorised(detail: impl Into<String>) -> Self {
        let remedy = "send `Authorization: Bearer TOKEN`, with the token of the server's token file";
        Problem::new(StatusCode::UNAUTHORIZED, "unauthorised", "a token is needed", detail, remedy)
    }

    /// Somebody who may not ask at all.
    pub(crate) fn forbidden(detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Problem::new(StatusCode::FORBIDDEN, "forbidden", "the request comes from where it may not", detail, remedy)
    }

    /// Not now.
    pub(crate) fn busy(detail: impl Into<String>, secs: u64) -> Self {
        let remedy = format!("ask again in {secs} s");
        let p = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "not at the moment", detail, remedy);
        Problem { retry_after: Some(secs), ..p }
    }

    /// Something that this server cannot do as it was started.
    pub(crate) fn unavailable(detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "not here", detail, remedy)
    }

    /// A body that took too long to come.
    pub(crate) fn slow() -> Self {
        Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "slow-request",
            "the request took too long to arrive",
            "head and body were not here in time",
            "send it again, as a whole",
        )
    }

    /// A defect; what it was stands in the log and not here.
    pub(crate) fn defect() -> Self {
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "defect",
            "the request failed by a defect of tapio",
            "what went wrong stands in the server's log",
            "report it, with the log's lines of that moment",
        )
    }

    /// With objects that may have been meant.
    #[must_use]
    pub(crate) fn near(self, near: Vec<ObjectRef>) -> Self {
        Problem { near, ..self }
    }

    /// What a status of somebody else's making says.
    pub(crate) fn of_status(status: StatusCode) -> Self {
        let (kind, title, detail, remedy) = match status {
            StatusCode::NOT_FOUND => {
                ("not-found", "there is no such thing", "no route has this path", "GET /openapi.json or /docs for all")
            }
            StatusCode::METHOD_NOT_ALLOWED => (
                "method-not-allowed",
                "the path is not for this method",
                "the path is there for other methods",
                "see the Allow header, or /docs",
            ),
            StatusCode::PAYLOAD_TOO_LARGE => (
                "too-large",
                "the body is too large",
                "the body has more bytes than the server takes",
                "send less, or raise api.max_body_bytes in the server's settings",
            ),
            StatusCode::UNSUPPORTED_MEDIA_TYPE => (
                "media-type",
                "the body is of a type that is not taken",
                "the Content-Type is missing or another one",
                "see /docs for the types of this path",
            ),
            s if s.is_client_error() => ("bad-request", "the request cannot be used", "it was refused", "see /docs"),
            _ => return Problem::defect(),
        };
        Problem::new(status, kind, title, detail, remedy)
    }

    /// With other words for what is wrong.
    #[must_use]
    pub(crate) fn saying(self, detail: impl Into<String>) -> Self {
        Problem { detail: detail.into(), ..self }
    }

    /// The name behind `urn:tapio:problem:`, a label of few values.
    pub(crate) fn name(&self) -> &str {
        self.kind.rsplit(':').next().unwrap_or_default()
    }

    /// Writes it into a response, whose headers stay.
    pub(crate) fn write(&self, response: &mut Response) {
        let body = serde_json::to_vec(self).unwrap_or_default();
        let headers = response.headers_mut();
        headers.remove(CONTENT_LENGTH);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if let Some(secs) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(secs));
        }
        if self.status == StatusCode::UNAUTHORIZED.as_u16() {
            headers.insert(http::header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"tapio\""));
        }
        *response.body_mut() = Body::from(body);
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = status.into_response();
        self.write(&mut response);
        // The outermost layer writes it again with the path.
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Unanswered> for Problem {
    fn from(e: Unanswered) -> Self {
        match e {
            Unanswered::Full | Unanswered::Late => Problem::busy(e.to_string(), 1),
            Unanswered::Gone => Problem::busy("the server is ending", 5),
            Unanswered::Defect => Problem::defect(),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(e: StoreError) -> Self {
        match &e {
            StoreError::Refused(why) => Problem::unusable(
                "query-refused",
                "the query is wrong or not allowed",
                why.clone(),
                "correct it there; queries only read",
            ),
            StoreError::Limit(why) => Problem::unusable(
                "query-limit",
                "the query was stopped at a bound",
                why.clone(),
                "ask for less: labels, WHERE, LIMIT; the bounds are in the server's settings under `query`",
            ),
            StoreError::Busy { .. } => Problem::busy(e.to_string(), 1),
            StoreError::Unavailable { .. } => Problem::busy(e.to_string(), 5),
            _ => {
                tracing::error!(error = %e, "the graph could not be asked");
                Problem::defect()
            }
        }
    }
}
