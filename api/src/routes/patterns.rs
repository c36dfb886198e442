//! The manual of patterns.

use axum::Json;
use serde::Deserialize;
use tapio_engine::read::{PatternPage, near};
use utoipa::IntoParams;

use crate::extract::Spot;
use crate::problem::Problem;

/// All patterns that it knows
#[utoipa::path(
    get,
    path = "/api/v1/patterns",
    operation_id = "patterns",
    tag = "manual",
    responses((status = 200, description = "Their pages", body = ref("#/components/schemas/PatternPages")))
)]
pub(super) async fn list() -> Json<Vec<PatternPage>> {
    Json(PatternPage::all())
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct Which {
    /// Its id, e.g. `death_spiral`.
    id: String,
}

/// One pattern
#[utoipa::path(
    get,
    path = "/api/v1/patterns/{id}",
    operation_id = "pattern",
    tag = "manual",
    params(Which),
    responses(
        (status = 200, description = "Its page", body = ref("#/components/schemas/PatternPage")),
        (status = 404, description = "There is none", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn one(Spot(Which { id }): Spot<Which>) -> Result<Json<PatternPage>, Problem> {
    PatternPage::find(&id).map(Json).ok_or_else(|| {
        let all = PatternPage::all();
        let remedy = match near(&id, all.iter().map(|p| p.id.as_str())).as_slice() {
            [] => "GET /api/v1/patterns lists all".to_owned(),
            near => format!("did you mean {}", near.join(", ")),
        };
        Problem::not_found(format!("no pattern `{id}`"), remedy)
    })
}
