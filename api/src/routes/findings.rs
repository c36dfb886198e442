//! What the patterns have found.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use tapio_core::answer::PatternFinding;
use utoipa::{IntoParams, ToSchema};

use super::Shared;
use crate::extract::Params;
use crate::problem::Problem;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Asked {
    /// Only those of this pattern.
    #[param(required = false, nullable = false)]
    pattern: Option<String>,
}

/// What patterns have found; the engine keeps 2,000 at most.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Findings {
    /// Oldest first.
    #[schema(value_type = Vec<Object>)]
    findings: Vec<PatternFinding>,
}

/// What the patterns have found
#[utoipa::path(
    get,
    path = "/api/v1/findings",
    operation_id = "findings",
    tag = "incidents",
    params(Asked),
    responses((status = 200, description = "All of them", body = Findings))
)]
pub(super) async fn list(State(app): State<Shared>, asked: Params<Asked>) -> Result<Json<Findings>, Problem> {
    let wanted = asked.0.pattern.map(|p| p.replace('-', "_"));
    let mut findings = app.reader.ask(|e| e.patterns()).await?;
    findings.retain(|f| wanted.as_deref().is_none_or(|w| f.pattern == w));
    Ok(Json(Findings { findings }))
}
