//! The manual of mechanisms.

use axum::Json;
use serde::Deserialize;
use tapio_engine::read::{MechanismPage, near};
use utoipa::IntoParams;

use crate::extract::Spot;
use crate::problem::Problem;

/// All mechanisms that it knows
#[utoipa::path(
    get,
    path = "/api/v1/mechanisms",
    operation_id = "mechanisms",
    tag = "manual",
    responses((status = 200, description = "Their pages", body = ref("#/components/schemas/MechanismPages")))
)]
pub(super) async fn list() -> Json<Vec<MechanismPage>> {
    Json(MechanismPage::all())
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct Which {
    /// Its id, e.g. `config-content-invalid`.
    id: String,
}

/// One mechanism
#[utoipa::path(
    get,
    path = "/api/v1/mechanisms/{id}",
    operation_id = "mechanism",
    tag = "manual",
    params(Which),
    responses(
        (status = 200, description = "Its page", body = ref("#/components/schemas/MechanismPage")),
        (status = 404, description = "There is none", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn one(Spot(Which { id }): Spot<Which>) -> Result<Json<MechanismPage>, Problem> {
    MechanismPage::find(&id).map(Json).ok_or_else(|| {
        let all = MechanismPage::all();
        let remedy = match near(&id, all.iter().map(|p| p.id.as_str())).as_slice() {
            [] => "GET /api/v1/mechanisms lists all".to_owned(),
            near => format!("did you mean {}", near.join(", ")),
        };
        Problem::not_found(format!("no mechanism `{id}`"), remedy)
    })
}
