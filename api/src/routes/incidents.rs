//! Incidents: the list by pages, newest first, and one of them.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use tapio_core::answer::{Incident, IncidentState};
use tapio_core::time::Time;
use tapio_core::unified::Severity;
use tapio_engine::read::{Since, within};
use utoipa::{IntoParams, ToSchema};

use super::Shared;
use crate::extract::{Params, Spot};
use crate::page;
use crate::problem::Problem;

/// Shortest beginning of an id that is looked for.
const SHORTEST: usize = 1;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Asked {
    /// `open` or `resolved`; both where absent.
    #[param(inline, required = false, nullable = false)]
    state: Option<StateIs>,
    /// Only what concerns this namespace.
    #[param(required = false, nullable = false)]
    namespace: Option<String>,
    /// Only those that are so severe or worse.
    #[param(inline, required = false, nullable = false)]
    severity: Option<Least>,
    /// Only those that changed since: a time (`2024-01-15T10:30:00Z`), or a span before now (`30m`, `2h`, `1d`).
    #[param(required = false, nullable = false)]
    since: Option<String>,
    /// Incidents of a page, 1 to 1000; 100 where absent.
    #[param(required = false, nullable = false, minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// `next` of the page before.
    #[param(required = false, nullable = false)]
    cursor: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum StateIs {
    Open,
    Resolved,
}

#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Least {
    Info,
    Low,
    Medium,
    High,
    Critical,
}

impl Asked {
    fn since(&self) -> Result<Option<Since>, Problem> {
        super::since(self.since.as_deref())
    }

    fn wants(&self, i: &Incident, since: Option<Time>) -> bool {
        let state = match self.state {
            None => true,
            Some(StateIs::Open) => i.state == IncidentState::Open,
            Some(StateIs::Resolved) => i.state == IncidentState::Resolved,
        };
        let least = match self.severity {
            None | Some(Least::Info) => Severity::Info,
            Some(Least::Low) => Severity::Low,
            Some(Least::Medium) => Severity::Medium,
            Some(Least::High) => Severity::High,
            Some(Least::Critical) => Severity::Critical,
        };
        state && i.severity >= least && since.is_none_or(|s| i.updated_at >= s)
    }
}

/// A page of incidents.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct IncidentPage {
    /// Newest first.
    #[schema(value_type = Vec<Object>)]
    incidents: Vec<Incident>,
    /// The cursor of the next page; none on the last.
    #[schema(required = true)]
    next: Option<String>,
}

/// Incidents, newest first
#[utoipa::path(
    get,
    path = "/api/v1/incidents",
    operation_id = "incidents",
    tag = "incidents",
    params(Asked),
    responses(
        (status = 200, description = "A page of them", body = IncidentPage),
        (status = 400, description = "A parameter cannot be used", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(State(app): State<Shared>, asked: Params<Asked>) -> Result<Json<IncidentPage>, Problem> {
    let limit = page::limit(asked.limit)?;
    let since = asked.since()?;
    let after: Option<(i64, String)> = asked.cursor.as_deref().map(|c| page::behind("incidents", c)).transpose()?;
    let (answer, newest) = app.reader.ask(|e| (e.answer(), e.newest())).await?;
    let answer = match &asked.namespace {
        Some(ns) => within(answer, ns),
        None => answer,
    };
    let since = since.map(|s| s.time(newest));
    // The engine's order, from its end.
    let mut all = answer.incidents;
    all.reverse();
    let begin = match &after {
        None => 0,
        // One that was merged or dropped since is not there any more; what is older than it goes on.
        Some((opened, id)) => all
            .iter()
            .position(|i| i.id.to_string() == *id)
            .map_or_else(|| all.iter().position(|i| i.opened_at.micros() < *opened).unwrap_or(all.len()), |at| at + 1),
    };
    let mut wanted = all.into_iter().skip(begin).filter(|i| asked.wants(i, since));
    let incidents: Vec<Incident> = wanted.by_ref().take(limit).collect();
    let more = wanted.next().is_some();
    let last = incidents.last().filter(|_| more);
    let next = last.map(|i| page::cursor("incidents", &(i.opened_at.micros(), i.id.to_string())));
    Ok(Json(IncidentPage { incidents, next }))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct Which {
    /// Its id, or the beginning of it.
    id: String,
}

/// One incident
#[utoipa::path(
    get,
    path = "/api/v1/incidents/{id}",
    operation_id = "incident",
    tag = "incidents",
    params(Which),
    responses(
        (status = 200, description = "The incident", body = ref("#/components/schemas/Incident")),
        (status = 400, description = "Several begin like this", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is none", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn one(State(app): State<Shared>, Spot(which): Spot<Which>) -> Result<Json<Incident>, Problem> {
    let id = which.id.to_lowercase();
    if id.len() < SHORTEST || id.len() > 32 || !id.bytes().all(|b| b.is_ascii_hexdigit()) {
        let detail = "the id is not up to 32 hexadecimal digits";
        return Err(Problem::parameter("id", detail, "take it from GET /api/v1/incidents"));
    }
    let all = app.reader.ask(|e| e.answer().incidents).await?;
    let mut found: Vec<Incident> = all.into_iter().filter(|i| i.id.to_string().starts_with(&id)).collect();
    match (found.len(), found.pop()) {
        (1, Some(one)) => Ok(Json(one)),
        (_, None) => Err(Problem::not_found(format!("no incident {id}"), "GET /api/v1/incidents lists all")),
        (n, _) => {
            Err(Problem::parameter("id", format!("{id} is the beginning of {n} incidents"), "give more of the id"))
        }
    }
}
