//! Whether it lives, and whether its answers can be relied on.

use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use http::StatusCode;

use super::Shared;
use crate::guard::Meant;
use crate::health::{Part, Readiness};
use crate::problem::Problem;

/// After so long the engine's thread does not come by any more: it hangs.
const HANGS: Duration = Duration::from_secs(180);
/// After so long its answers are old.
const BUSY: Duration = Duration::from_secs(20);

/// Whether the process lives
///
/// Fails where only a restart helps.
#[utoipa::path(
    get,
    path = "/livez",
    operation_id = "livez",
    tag = "operations",
    responses(
        (status = 200, description = "It lives", body = String, content_type = "text/plain"),
        (status = 503, description = "The engine hangs", body = Problem, content_type = "application/problem+json"),
    ),
    security(())
)]
pub(super) async fn livez(State(app): State<Shared>) -> Result<&'static str, Problem> {
    let silent = app.reader.silence();
    if silent > HANGS {
        let detail = format!("the engine's thread was not seen for {} s", silent.as_secs());
        return Err(Problem::unavailable(detail, "restart it, and report it with its log"));
    }
    Ok("ok\n")
}

/// Whether its answers can be relied on
///
/// Names every part; one that is degraded (a kind that may not be watched) does not make the whole unready.
#[utoipa::path(
    get,
    path = "/readyz",
    operation_id = "readyz",
    tag = "operations",
    responses(
        (status = 200, description = "It is ready", body = Readiness),
        (status = 503, description = "It is not; `parts` names what is missing", body = Readiness),
    ),
    security(())
)]
pub(super) async fn readyz(State(app): State<Shared>) -> Response {
    let mut parts = app.health.parts();
    let silent = app.reader.silence();
    parts.push(match silent > BUSY {
        true => Part::not_ready("engine", format!("at work on one piece for {} s", silent.as_secs())),
        false => Part::ready("engine"),
    });
    told(parts, *app.ending.borrow())
}

/// Parts as they are told.
pub(super) fn told(mut parts: Vec<Part>, ending: bool) -> Response {
    if ending {
        parts.push(Part::not_ready("server", "it is ending"));
    }
    let ready = Readiness::of(parts);
    let status = if ready.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Extension(Meant), Json(ready)).into_response()
}
