//! What was looked at.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use tapio_engine::read::Scope;
use utoipa::IntoParams;

use super::Shared;
use crate::extract::Params;
use crate::problem::Problem;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Asked {
    /// Only what lies in this namespace.
    #[param(required = false, nullable = false)]
    namespace: Option<String>,
}

/// How much was looked at, for answers that found nothing
#[utoipa::path(
    get,
    path = "/api/v1/scope",
    operation_id = "scope",
    tag = "objects",
    params(Asked),
    responses((status = 200, description = "Counts", body = ref("#/components/schemas/Scope")))
)]
pub(super) async fn scope(State(app): State<Shared>, asked: Params<Asked>) -> Result<Json<Scope>, Problem> {
    let namespace = asked.0.namespace;
    Ok(Json(app.reader.ask(move |e| Scope::of(e, namespace.as_deref())).await?))
}
