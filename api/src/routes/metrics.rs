//! Metrics for Prometheus.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;

use super::Shared;
use crate::metrics::OPENMETRICS;

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
    ([(CONTENT_TYPE, OPENMETRICS)], app.metrics.text()).into_response()
}
