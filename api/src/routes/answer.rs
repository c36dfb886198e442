//! The whole answer, as `tapio analyze` gives it.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use tapio_core::answer::Answer;
use tapio_engine::read::within;
use utoipa::IntoParams;

use super::Shared;
use crate::extract::Params;
use crate::problem::Problem;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Asked {
    /// Only what concerns this namespace.
    #[param(required = false, nullable = false)]
    namespace: Option<String>,
}

/// What is wrong, and why
///
/// Ranked root causes, incidents, what was looked for, and what could not be seen.
#[utoipa::path(
    get,
    path = "/api/v1/answer",
    operation_id = "answer",
    tag = "answers",
    params(Asked),
    responses((status = 200, description = "The answer", body = ref("#/components/schemas/Answer")))
)]
pub(super) async fn answer(State(app): State<Shared>, asked: Params<Asked>) -> Result<Json<Answer>, Problem> {
    let answer = app.reader.ask(|e| e.answer()).await?;
    Ok(Json(match &asked.namespace {
        Some(ns) => within(answer, ns),
        None => answer,
    }))
}
