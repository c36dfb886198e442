//! Prometheus Alertmanager, API v2.
//!
//! Alertmanager forgets: an alert that is not sent again before its `endsAt` is taken for resolved. So what is open is
//! sent with an end in the future, and again every [`AlertmanagerConfig::resend_secs`]; what is over with the end that it
//! had. Two alerts with the same labels are one to it, which makes a second delivery harmless. Labels are bounded and
//! stay what they were at the opening; texts are annotations, and may change. When an incident gets worse its label
//! `severity` changes, which is another alert to it: both go in one request, the old one as ended.

use std::collections::BTreeMap;

use serde::Serialize;
use tapio_core::alert::{Alert, Transition};
use tapio_core::ports::{AlertSink, BoxFuture, SinkError};
use tapio_core::time::{SECOND, Time};

use super::hidden::Hidden;
use super::http::{Http, Post};

/// Alerts of one request.
const AT_ONCE: usize = 100;
/// Seconds for which a summary or test is shown.
const SHORT: i64 = 300;

/// How an Alertmanager is told.
#[derive(Clone, Debug)]
pub struct AlertmanagerConfig {
    /// Its address, without `/api/v2/alerts`.
    pub url: Hidden,
    /// A bearer token, where it wants one.
    pub token: Option<Hidden>,
    /// Seconds after which what is open is sent again.
    pub resend_secs: u32,
    /// Seconds after which Alertmanager takes an alert for over that was not sent again.
    pub valid_secs: u32,
}

/// An Alertmanager.
#[derive(Debug)]
pub struct Alertmanager {
    config: AlertmanagerConfig,
    http: Http,
}

/// An alert as the API takes it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Posted {
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<&'static str, String>,
    starts_at: Time,
    ends_at: Time,
}

impl Alertmanager {
    /// An Alertmanager, through `http`.
    pub fn new(config: AlertmanagerConfig, http: Http) -> Self {
        Alertmanager { config, http }
    }

    /// What is posted for alerts at `now`.
    fn posted(&self, alerts: &[Alert], now: Time) -> Vec<Posted> {
        let valid = i64::from(self.config.valid_secs) * SECOND;
        let mut out = Vec::new();
        for a in alerts {
            let annotations = annotations(a);
            if let Some(was) = a.was {
                let mut labels = a.labels.clone();
                labels.insert("severity".to_owned(), was.as_str().to_owned());
                // Its beginning is not needed for an end; it is what Alertmanager has.
                out.push(Posted { labels, annotations: annotations.clone(), starts_at: a.at, ends_at: a.at });
            }
            let ends_at = match (a.transition, a.ends_at) {
                // One that ends in the future would go on until then: the cluster's clock may be ahead.
                (_, Some(end)) => end.min(now).max(a.starts_at.min(now)),
                (Transition::Summary | Transition::Test, None) => now.plus(SHORT * SECOND),
                (_, None) => now.max(a.starts_at).plus(valid),
            };
            out.push(Posted { labels: a.labels.clone(), annotations, starts_at: a.starts_at.min(ends_at), ends_at });
        }
        out
    }

    async fn post(&self, alerts: &[Alert], now: Time) -> Result<(), SinkError> {
        let url = format!("{}/api/v2/alerts", self.config.url.get()?.trim_end_matches('/'));
        let token = self.config.token.as_ref().map(Hidden::get).transpose()?;
        for some in alerts.chunks(AT_ONCE) {
            let body = serde_json::to_vec(&self.posted(some, now))
                .map_err(|e| SinkError::Refused { why: format!("the alert cannot be written: {e}") })?;
            let token = token.as_deref();
            self.http.post(Post { url: &url, token, content: "application/json", header: None, body }).await?;
        }
        Ok(())
    }
}

fn annotations(a: &Alert) -> BTreeMap<&'static str, String> {
    let b = &a.body;
    let mut out = BTreeMap::from([
        ("summary", b.title.clone()),
        ("description", b.text()),
        ("what", b.what.clone()),
        ("since", b.since.clone()),
    ]);
    let mut put = |name, lines: &[String]| {
        if !lines.is_empty() {
            out.insert(name, lines.join("\n"));
        }
    };
    put("evidence", &b.why);
    put("hits", &b.hits);
    put("noticed", &b.symptoms);
    put("next", &b.next);
    if b.mechanism.is_some() {
        out.insert("why", b.verdict());
    }
    out
}

impl AlertSink for Alertmanager {
    fn kind(&self) -> &'static str {
        "alertmanager"
    }

    fn send<'a>(&'a self, alerts: &'a [Alert], now: Time) -> BoxFuture<'a, Result<(), SinkError>> {
        Box::pin(self.post(alerts, now))
    }

    fn takes_groups(&self) -> bool {
        true
    }

    fn refresh_secs(&self) -> Option<u32> {
        Some(self.config.resend_secs)
    }

    fn refresh<'a>(&'a self, open: &'a [Alert], now: Time) -> BoxFuture<'a, Result<(), SinkError>> {
        // An escalation was told when it happened; what is told again is only how it stands.
        Box::pin(async move {
            let open: Vec<Alert> = open.iter().map(|a| Alert { was: None, ..a.clone() }).collect();
            self.post(&open, now).await
        })
    }
}
