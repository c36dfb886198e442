//! Read-only Cypher, through the gate of the graph and within its bounds.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use tapio_core::ports::{Cell, Limits, Query, Rows};
use tapio_core::time::Time;
use utoipa::ToSchema;

use super::Shared;
use crate::extract::JsonBody;
use crate::problem::Problem;

/// A question.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Question {
    /// Cypher that only reads.
    query: String,
    /// Values for `$name`; a text that is a time is one.
    #[serde(default)]
    #[schema(required = false, value_type = Object)]
    params: BTreeMap<String, Cell>,
    /// What `datetime()` and `timestamp()` stand for; the end of the stream where absent.
    #[serde(default)]
    #[schema(required = false, value_type = Option<String>, format = DateTime)]
    at: Option<Time>,
    /// Fewer milliseconds than the server allows.
    #[serde(default)]
    #[schema(required = false)]
    timeout_millis: Option<u64>,
    /// Fewer rows than the server allows.
    #[serde(default)]
    #[schema(required = false)]
    max_rows: Option<usize>,
}

/// Read-only Cypher on the graph
///
/// What writes is refused, with line and column. A query that meets a bound of time or steps is stopped; rows beyond
/// the bound are cut off, and `truncated` says so.
#[utoipa::path(
    post,
    path = "/api/v1/query",
    operation_id = "query",
    tag = "graph",
    request_body(content = Question, content_type = "application/json"),
    responses(
        (status = 200, description = "Its rows", body = ref("#/components/schemas/Rows")),
        (status = 400, description = "The body cannot be read", body = Problem, content_type = "application/problem+json"),
        (status = 408, description = "The body took too long", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "The body is too large", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "The body is no JSON", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The query is wrong, not allowed, or met a bound", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn query(
    State(app): State<Shared>,
    JsonBody(asked): JsonBody<Question>,
) -> Result<Json<Rows>, Problem> {
    let bounds = app.query;
    let limits = Limits {
        timeout_millis: asked.timeout_millis.unwrap_or(u64::MAX).min(bounds.timeout_millis),
        max_rows: asked.max_rows.unwrap_or(usize::MAX).min(bounds.max_rows),
        max_expansions: bounds.max_expansions,
    };
    let Some(at) = asked.at.or_else(|| app.reader.newest()) else {
        return Err(Problem::busy("nothing was seen yet, so datetime() has no meaning", 5));
    };
    let query = Query { text: asked.query, params: asked.params, at, limits };
    Ok(Json(app.graph.query(query).await?))
}
