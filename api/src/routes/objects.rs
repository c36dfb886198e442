//! Objects: a search by pages, and one of them.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use tapio_engine::read::{FoundObject, Search, search as search_in};
use utoipa::{IntoParams, ToSchema};

use super::Shared;
use super::named::{Named, NamedIn, Target};
use crate::extract::{Params, Spot};
use crate::page;
use crate::problem::Problem;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Asked {
    /// Kind as kubectl takes it.
    #[param(required = false, nullable = false)]
    kind: Option<String>,
    /// Namespace.
    #[param(required = false, nullable = false)]
    namespace: Option<String>,
    /// Part of the name, in any case.
    #[param(required = false, nullable = false)]
    name: Option<String>,
    /// Also what is gone, or was only referred to.
    #[serde(default)]
    #[param(required = false)]
    absent: bool,
    /// Objects of a page, 1 to 1000; 100 where absent.
    #[param(required = false, nullable = false, minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// `next` of the page before.
    #[param(required = false, nullable = false)]
    cursor: Option<String>,
}

/// A page of objects.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ObjectPage {
    /// By kind, namespace and name.
    #[schema(value_type = Vec<Object>)]
    objects: Vec<FoundObject>,
    /// The cursor of the next page; none on the last.
    #[schema(required = true)]
    next: Option<String>,
}

/// Objects that are known
#[utoipa::path(
    get,
    path = "/api/v1/objects",
    operation_id = "objects",
    tag = "objects",
    params(Asked),
    responses(
        (status = 200, description = "A page of them", body = ObjectPage),
        (status = 400, description = "A parameter cannot be used", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn search(State(app): State<Shared>, asked: Params<Asked>) -> Result<Json<ObjectPage>, Problem> {
    let limit = page::limit(asked.limit)?;
    let after = asked.cursor.as_deref().map(|c| page::behind("objects", c)).transpose()?;
    let Params(Asked { kind, namespace, name, absent, .. }) = asked;
    let wanted = Search { kind, namespace, name, absent, after, limit };
    let (objects, more) = app.reader.ask(move |e| search_in(e, &wanted)).await?;
    let next = objects.last().filter(|_| more).map(|o| page::cursor("objects", &o.object));
    Ok(Json(ObjectPage { objects, next }))
}

async fn about(app: &Shared, target: Target) -> Result<Json<FoundObject>, Problem> {
    let found = app.reader.ask(move |e| {
        let object = target.find(e)?;
        let gone =
            || Problem::not_found(format!("nothing is known of {object}"), "GET /api/v1/objects lists what is known");
        e.world().entry(&object).map(FoundObject::of).ok_or_else(gone)
    });
    found.await?.map(Json)
}

/// One object
///
/// For objects outside of namespaces, and for names that are in one namespace only.
#[utoipa::path(
    get,
    path = "/api/v1/objects/{kind}/{name}",
    operation_id = "object",
    tag = "objects",
    params(Named),
    responses(
        (status = 200, description = "The object", body = ref("#/components/schemas/FoundObject")),
        (status = 400, description = "It is in several namespaces", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "Nobody knows it", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn one(State(app): State<Shared>, Spot(named): Spot<Named>) -> Result<Json<FoundObject>, Problem> {
    about(&app, named.into()).await
}

/// One object of a namespace
#[utoipa::path(
    get,
    path = "/api/v1/objects/{kind}/{namespace}/{name}",
    operation_id = "object_in_namespace",
    tag = "objects",
    params(NamedIn),
    responses(
        (status = 200, description = "The object", body = ref("#/components/schemas/FoundObject")),
        (status = 404, description = "Nobody knows it", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn one_in(
    State(app): State<Shared>,
    Spot(named): Spot<NamedIn>,
) -> Result<Json<FoundObject>, Problem> {
    about(&app, named.into()).await
}
