//! How much is logged, changed while it runs.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Shared;
use crate::LogLevel;
use crate::extract::JsonBody;
use crate::problem::Problem;

/// Longest text of directives.
const MAX: usize = 1_000;

/// How much is logged.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Level {
    /// `error`, `warn`, `info`, `debug`, `trace`, or directives such as `info,tapio_api=debug`.
    level: String,
}

fn of(app: &Shared) -> Result<&LogLevel, Problem> {
    let not_here = || {
        Problem::unavailable(
            "the log level of this process cannot be changed",
            "start it by `tapio up`, or see its log",
        )
    };
    app.log_level.as_ref().ok_or_else(not_here)
}

/// How much is logged
#[utoipa::path(
    get,
    path = "/api/v1/log-level",
    operation_id = "log_level",
    tag = "operations",
    responses((status = 200, description = "The level", body = Level))
)]
pub(super) async fn get(State(app): State<Shared>) -> Result<Json<Level>, Problem> {
    Ok(Json(Level { level: (of(&app)?.get)() }))
}

/// Changes how much is logged
///
/// Until the process ends.
#[utoipa::path(
    put,
    path = "/api/v1/log-level",
    operation_id = "set_log_level",
    tag = "operations",
    request_body(content = Level, content_type = "application/json"),
    responses(
        (status = 200, description = "The level that holds now", body = Level),
        (status = 400, description = "The body cannot be read", body = Problem, content_type = "application/problem+json"),
        (status = 408, description = "The body took too long", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "The body is too large", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "The body is no JSON", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "No level", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn put(State(app): State<Shared>, JsonBody(wanted): JsonBody<Level>) -> Result<Json<Level>, Problem> {
    let log = of(&app)?;
    let set = if wanted.level.len() > MAX { Err("it is too long".to_owned()) } else { (log.set)(&wanted.level) };
    set.map_err(|why| {
        let remedy = "give error, warn, info, debug or trace, or directives such as info,tapio_api=debug";
        Problem::unusable("log-level", "the level cannot be used", why, remedy)
    })?;
    tracing::info!(level = wanted.level, "the log level was changed");
    Ok(Json(Level { level: (log.get)() }))
}
