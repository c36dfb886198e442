//! Why an object is as it is.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use tapio_core::answer::Answer;
use tapio_engine::read::{claims, why as answer_about};

use super::Shared;
use super::named::{Named, NamedIn, Target};
use crate::extract::Spot;
use crate::problem::Problem;
use crate::proof;

/// What the engine has just said may be on its way into the graph for so long.
const ON_ITS_WAY: Duration = Duration::from_millis(500);

async fn about(app: &Shared, target: Target) -> Result<Json<Answer>, Problem> {
    let asked = move |e: &tapio_engine::EventProcessor| {
        let object = target.find(e)?;
        Ok::<_, Problem>((answer_about(e, &object), claims(e, &object), e.newest()))
    };
    let (mut answer, claims, at) = app.reader.ask(asked).await??;
    let mut lacking = proof::lacking(&*app.graph, claims.clone(), at).await?;
    if !lacking.is_empty() {
        tokio::time::sleep(ON_ITS_WAY).await;
        lacking = proof::lacking(&*app.graph, claims, at).await?;
    }
    answer.gaps.extend(lacking);
    Ok(Json(answer))
}

/// Why an object is as it is
///
/// For objects outside of namespaces, and for names that are in one namespace only.
#[utoipa::path(
    get,
    path = "/api/v1/why/{kind}/{name}",
    operation_id = "why",
    tag = "answers",
    params(Named),
    responses(
        (status = 200, description = "The answer about it", body = ref("#/components/schemas/Answer")),
        (status = 400, description = "It is in several namespaces", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "Nobody knows it", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn why(State(app): State<Shared>, Spot(named): Spot<Named>) -> Result<Json<Answer>, Problem> {
    about(&app, named.into()).await
}

/// Why an object of a namespace is as it is
#[utoipa::path(
    get,
    path = "/api/v1/why/{kind}/{namespace}/{name}",
    operation_id = "why_in_namespace",
    tag = "answers",
    params(NamedIn),
    responses(
        (status = 200, description = "The answer about it", body = ref("#/components/schemas/Answer")),
        (status = 404, description = "Nobody knows it", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn why_in(State(app): State<Shared>, Spot(named): Spot<NamedIn>) -> Result<Json<Answer>, Problem> {
    about(&app, named.into()).await
}
