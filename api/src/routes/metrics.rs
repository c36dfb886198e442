//! Metrics for Prometheus.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;

use super::Shared;
use crate::metrics::{Metrics, OPENMETRICS};

/// Metrics
///
/// In the OpenMetrics text format, which Prometheus reads.
#[utoipa::path(
    get,
    path = "/metrics",
    operation_id = "metrics",
    tag = "operations",
    responses(
        (status = 200, description = "All of them", body = String, content_type = "application/openmetrics-text"),
    )
)]
pub(super) async fn metrics(State(app): State<Shared>) -> Response {
    app.metrics.questions(app.reader.waiting());
    told(&app.metrics)
}

/// All of them as they are told.
pub(super) fn told(metrics: &Metrics) -> Response {
    ([(CONTENT_TYPE, OPENMETRICS)], metrics.text()).into_response()
}
