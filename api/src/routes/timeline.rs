//! What happened to an object.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use tapio_engine::read::{Span, Timeline, timeline as timeline_of};
use utoipa::IntoParams;

use super::Shared;
use super::named::{Named, NamedIn, Target};
use crate::extract::{Params, Spot};
use crate::problem::Problem;

/// Happenings where nobody says how many.
const LIMIT: usize = 200;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Asked {
    /// Not before: a time (`2024-01-15T10:30:00Z`), or a span before the end of the stream (`30m`, `2h`, `1d`).
    #[param(required = false, nullable = false)]
    since: Option<String>,
    /// The newest so many; 0 for all, 200 where absent.
    #[param(required = false, nullable = false)]
    limit: Option<usize>,
    /// Whether to tell of owners, pods, and what they read, too; true where absent.
    #[param(required = false, nullable = false)]
    related: Option<bool>,
}

async fn about(app: &Shared, target: Target, asked: &Asked) -> Result<Json<Timeline>, Problem> {
    let since = super::since(asked.since.as_deref())?;
    let (limit, related) = (asked.limit.unwrap_or(LIMIT), asked.related.unwrap_or(true));
    let told = move |e: &tapio_engine::EventProcessor| {
        let object = target.find(e)?;
        let since = since.map(|s| s.time(e.newest()));
        Ok(timeline_of(e, &object, Span { since, related, limit }))
    };
    app.reader.ask(told).await?.map(Json)
}

/// What happened to an object, in order
///
/// For objects outside of namespaces, and for names that are in one namespace only.
#[utoipa::path(
    get,
    path = "/api/v1/timeline/{kind}/{name}",
    operation_id = "timeline",
    tag = "answers",
    params(Named, Asked),
    responses(
        (status = 200, description = "What happened", body = ref("#/components/schemas/Timeline")),
        (status = 400, description = "It is in several namespaces, or a parameter cannot be used", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "Nobody knows it", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn timeline(
    State(app): State<Shared>,
    Spot(named): Spot<Named>,
    asked: Params<Asked>,
) -> Result<Json<Timeline>, Problem> {
    about(&app, named.into(), &asked).await
}

/// What happened to an object of a namespace, in order
#[utoipa::path(
    get,
    path = "/api/v1/timeline/{kind}/{namespace}/{name}",
    operation_id = "timeline_in_namespace",
    tag = "answers",
    params(NamedIn, Asked),
    responses(
        (status = 200, description = "What happened", body = ref("#/components/schemas/Timeline")),
        (status = 400, description = "A parameter cannot be used", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "Nobody knows it", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn timeline_in(
    State(app): State<Shared>,
    Spot(named): Spot<NamedIn>,
    asked: Params<Asked>,
) -> Result<Json<Timeline>, Problem> {
    about(&app, named.into(), &asked).await
}
