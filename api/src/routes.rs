//! The routes: one file a path, and this table.

mod answer;
mod findings;
mod health;
mod impact;
mod incidents;
mod log_level;
mod mechanisms;
mod metrics;
mod named;
mod objects;
mod operations;
mod patterns;
mod query;
mod scope;
mod stream;
mod timeline;
mod why;

use std::ops::Deref;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use tapio_engine::read::Since;
use tokio::sync::{Semaphore, watch};
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use utoipa_swagger_ui::SwaggerUi;

use crate::config::ApiConfig;
use crate::guard::{self, Access};
use crate::metrics::Metrics;
use crate::problem::Problem;
use crate::{Operations, Parts, openapi};

/// What every route gets.
pub(crate) struct App {
    parts: Parts,
    config: ApiConfig,
    /// Places for streams.
    streams: Arc<Semaphore>,
    /// True when the server ends.
    ending: watch::Receiver<bool>,
}

/// Shared by all requests.
pub(crate) type Shared = Arc<App>;

impl App {
    pub(crate) fn new(parts: Parts, config: ApiConfig, ending: watch::Receiver<bool>) -> Self {
        let streams = Arc::new(Semaphore::new(config.max_streams));
        App { parts, config, streams, ending }
    }
}

impl Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.parts
    }
}

/// All routes behind all guards.
pub(crate) fn router(app: Shared, access: Arc<Access>) -> Router {
    let (metrics, max_body) = (app.metrics.clone(), app.config.max_body_bytes);
    let (router, described) = OpenApiRouter::with_openapi(openapi::head())
        .routes(routes!(answer::answer))
        .routes(routes!(incidents::list))
        .routes(routes!(incidents::one))
        .routes(routes!(stream::stream))
        .routes(routes!(why::why))
        .routes(routes!(why::why_in))
        .routes(routes!(impact::what_if))
        .routes(routes!(impact::impact))
        .routes(routes!(impact::impact_in))
        .routes(routes!(timeline::timeline))
        .routes(routes!(timeline::timeline_in))
        .routes(routes!(objects::search))
        .routes(routes!(objects::one))
        .routes(routes!(objects::one_in))
        .routes(routes!(scope::scope))
        .routes(routes!(findings::list))
        .routes(routes!(query::query))
        .routes(routes!(patterns::list))
        .routes(routes!(patterns::one))
        .routes(routes!(mechanisms::list))
        .routes(routes!(mechanisms::one))
        .routes(routes!(log_level::get, log_level::put))
        .routes(routes!(health::livez))
        .routes(routes!(health::readyz))
        .routes(routes!(metrics::metrics))
        .split_for_parts();
    let described = openapi::complete(described);
    let router = router
        .merge(SwaggerUi::new("/docs").external_url_unchecked("/openapi.json", described))
        .fallback(guard::no_route)
        .with_state(app);
    guarded(router, access, metrics, max_body)
}

/// What tells how a server stands, and takes in what agents bring, behind the same guards.
pub(crate) fn operations(
    operations: Operations,
    access: Arc<Access>,
    max_body: usize,
    ending: watch::Receiver<bool>,
) -> Router {
    let metrics = operations.metrics.clone();
    guarded(operations::routes(operations, ending).fallback(guard::no_route), access, metrics, max_body)
}

fn guarded(router: Router, access: Arc<Access>, metrics: Metrics, max_body: usize) -> Router {
    // From the inside out.
    router
        .layer(DefaultBodyLimit::max(max_body))
        .layer(from_fn_with_state(Arc::clone(&access), guard::bound))
        .layer(from_fn_with_state(access, guard::admit))
        .layer(CatchPanicLayer::custom(guard::fell_over))
        .layer(from_fn_with_state(metrics, guard::finish))
}

/// A `since` that was asked for.
fn since(text: Option<&str>) -> Result<Option<Since>, Problem> {
    let parsed = text.map(str::parse::<Since>).transpose();
    parsed.map_err(|remedy| Problem::parameter("since", "since is neither a time nor a span", remedy))
}
