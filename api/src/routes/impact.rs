//! What a change of an object hits, and what manifests would do before anybody applies them.

use axum::Json;
use axum::extract::State;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use tapio_engine::read::whatif::{Asked, WhatIf, whatif};
use tapio_engine::read::{Impact, impact as impact_of};
use utoipa::IntoParams;

use super::Shared;
use super::named::{Named, NamedIn, Target};
use crate::extract::{Params, RawBody, Spot};
use crate::problem::Problem;

/// Types of a body of manifests.
const TYPES: [&str; 4] = ["application/yaml", "application/x-yaml", "text/yaml", "application/json"];

async fn about(app: &Shared, target: Target) -> Result<Json<Impact>, Problem> {
    let found = app.reader.ask(move |e| target.find(e).map(|object| impact_of(e, &object))).await??;
    Ok(Json(found))
}

/// What a change of an object hits
///
/// For objects outside of namespaces, and for names that are in one namespace only.
#[utoipa::path(
    get,
    path = "/api/v1/impact/{kind}/{name}",
    operation_id = "impact",
    tag = "answers",
    params(Named),
    responses(
        (status = 200, description = "Whom it hits", body = ref("#/components/schemas/Impact")),
        (status = 400, description = "It is in several namespaces", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "Nobody knows it", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn impact(State(app): State<Shared>, Spot(named): Spot<Named>) -> Result<Json<Impact>, Problem> {
    about(&app, named.into()).await
}

/// What a change of an object of a namespace hits
#[utoipa::path(
    get,
    path = "/api/v1/impact/{kind}/{namespace}/{name}",
    operation_id = "impact_in_namespace",
    tag = "answers",
    params(NamedIn),
    responses(
        (status = 200, description = "Whom it hits", body = ref("#/components/schemas/Impact")),
        (status = 404, description = "Nobody knows it", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn impact_in(State(app): State<Shared>, Spot(named): Spot<NamedIn>) -> Result<Json<Impact>, Problem> {
    about(&app, named.into()).await
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct How {
    /// Namespace of manifests that name none; `default` where absent.
    #[param(required = false, nullable = false)]
    namespace: Option<String>,
    /// The objects are to be deleted.
    #[serde(default)]
    #[param(required = false)]
    delete: bool,
}

/// What applying manifests would do
///
/// The body holds manifests in YAML (several documents) or JSON; they are taken together as one change. Nothing is
/// applied.
#[utoipa::path(
    post,
    path = "/api/v1/impact",
    operation_id = "what_if",
    tag = "answers",
    params(How),
    request_body(content((String = "application/yaml"), (Object = "application/json")), description = "Manifests"),
    responses(
        (status = 200, description = "What would break, and what becomes of each object", body = ref("#/components/schemas/WhatIf")),
        (status = 400, description = "A parameter or the body cannot be read", body = Problem, content_type = "application/problem+json"),
        (status = 408, description = "The body took too long", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "The body is too large", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "Neither YAML nor JSON", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "A manifest cannot be used; the detail says where", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn what_if(
    State(app): State<Shared>,
    how: Params<How>,
    headers: HeaderMap,
    RawBody(body): RawBody,
) -> Result<Json<WhatIf>, Problem> {
    let given = headers.get(CONTENT_TYPE).and_then(|c| c.to_str().ok()).unwrap_or_default();
    let given = given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if !TYPES.contains(&given.as_str()) {
        let p = Problem::of_status(StatusCode::UNSUPPORTED_MEDIA_TYPE);
        return Err(p.saying("the Content-Type is neither application/yaml nor application/json"));
    }
    let unusable = |why: String| {
        let title = "the manifests cannot be used";
        Problem::unusable("manifests", title, why, "correct them there, and send all of them again")
    };
    let read = app.manifests.clone();
    let manifests = tokio::task::spawn_blocking(move || read(&body));
    let manifests = manifests.await.map_err(|_| Problem::defect())?.map_err(unusable)?;
    let asked = Asked { namespace: how.namespace.clone(), delete: how.delete };
    let found = app.reader.ask(move |e| whatif(e, &manifests, &asked)).await?;
    found.map(Json).map_err(|e| unusable(e.to_string()))
}
