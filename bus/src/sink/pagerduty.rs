//! PagerDuty, Events API v2: an incident here is an incident there, by the same `dedup_key` for all its transitions.
//!
//! What opens or gets worse is a `trigger`, what is over a `resolve`. A second delivery changes nothing there. A summary
//! of alerts that a rate limit held back has a key of its own, and is resolved by people.

use serde_json::{Value, json};
use tapio_core::alert::{Alert, Transition};
use tapio_core::ports::{AlertSink, BoxFuture, SinkError};
use tapio_core::time::Time;
use tapio_core::unified::Severity;

use super::hidden::Hidden;
use super::http::{Http, Post};

/// Where events go, but for accounts in other regions.
pub const ENQUEUE: &str = "https://events.pagerduty.com/v2/enqueue";
/// Characters of a summary that PagerDuty takes.
const SUMMARY: usize = 1_024;

/// A service of PagerDuty.
#[derive(Debug)]
pub struct PagerDuty {
    url: Hidden,
    routing_key: Hidden,
    http: Http,
}

impl PagerDuty {
    /// The service behind an integration's key, through `http`. `url`: [`ENQUEUE`], or that of another region.
    pub fn new(url: Hidden, routing_key: Hidden, http: Http) -> Self {
        PagerDuty { url, routing_key, http }
    }

    async fn enqueue(&self, alert: &Alert, resolve: bool) -> Result<(), SinkError> {
        let (url, key) = (self.url.get()?, self.routing_key.get()?);
        let body = event(alert, &key, resolve).to_string().into_bytes();
        let sent =
            self.http.post(Post { url: &url, token: None, content: "application/json", header: None, body }).await;
        // The key stands in the body, and an answer may quote it.
        let clean = |why: String| why.replace(&key, "<hidden>");
        sent.map_err(|e| match e {
            SinkError::Retry { why } => SinkError::Retry { why: clean(why) },
            SinkError::RetryAfter { why, secs } => SinkError::RetryAfter { why: clean(why), secs },
            SinkError::Refused { why } => SinkError::Refused { why: clean(why) },
            SinkError::Off { why } => SinkError::Off { why: clean(why) },
        })
    }
}

fn event(a: &Alert, routing_key: &str, resolve: bool) -> Value {
    let dedup_key = a.incident.to_string();
    if resolve {
        return json!({"routing_key": routing_key, "event_action": "resolve", "dedup_key": dedup_key});
    }
    let b = &a.body;
    let summary: String = format!("{}: {}", b.title, b.what).chars().take(SUMMARY).collect();
    let object = a.object.as_ref();
    json!({
        "routing_key": routing_key,
        "event_action": "trigger",
        "dedup_key": dedup_key,
        "client": "Tapio",
        "payload": {
            "summary": summary,
            "source": object.map_or_else(|| a.cluster().to_owned(), ToString::to_string),
            "severity": severity(a.severity),
            "timestamp": a.at,
            "component": object.map_or("", |o| o.name.as_str()),
            "group": object.map_or("", |o| o.ns()),
            "class": b.mechanism.as_deref().unwrap_or("unknown"),
            "custom_details": {
                "cluster": a.cluster(), "what": b.what, "why": b.verdict(), "evidence": b.why, "since": b.since,
                "hits": b.hits, "noticed": b.symptoms, "next": b.next, "labels": a.labels, "transition": a.transition,
                "key": a.key,
            },
        },
    })
}

/// PagerDuty's word for it.
fn severity(s: Severity) -> &'static str {
    match s {
        Severity::Critical => "critical",
        Severity::High => "error",
        Severity::Medium => "warning",
        Severity::Low | Severity::Info => "info",
    }
}

impl AlertSink for PagerDuty {
    fn kind(&self) -> &'static str {
        "pagerduty"
    }

    fn send<'a>(&'a self, alerts: &'a [Alert], _: Time) -> BoxFuture<'a, Result<(), SinkError>> {
        Box::pin(async move {
            for a in alerts {
                self.enqueue(a, a.transition == Transition::Resolved).await?;
                if a.transition == Transition::Test {
                    self.enqueue(a, true).await?;
                }
            }
            Ok(())
        })
    }
}
