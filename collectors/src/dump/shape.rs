//! What kind of thing a JSON document is: read in one pass, nothing copied, no type assumed.

use serde::Deserialize;
use serde_json::value::RawValue;
use tapio_core::time::Time;

/// The members that tell documents apart, each as it is written.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Shape<'a> {
    #[serde(borrow)]
    pub(super) timestamp: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) ts: Option<&'a RawValue>,
    #[serde(borrow, rename = "type")]
    pub(super) event_type: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) source: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) object: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) data: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) alerts: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) metadata: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) kind: Option<&'a RawValue>,
    #[serde(borrow, rename = "apiVersion")]
    pub(super) api_version: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) labels: Option<&'a RawValue>,
    #[serde(borrow, rename = "startsAt")]
    pub(super) starts_at: Option<&'a RawValue>,
    #[serde(borrow, rename = "activeAt")]
    pub(super) active_at: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) collected_at: Option<&'a RawValue>,
}

/// The names in an object's metadata.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Names<'a> {
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow)]
    namespace: Option<&'a RawValue>,
    #[serde(borrow, rename = "resourceVersion")]
    resource_version: Option<&'a RawValue>,
}

/// Name, namespace and version of an object.
pub(super) struct Identity {
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) version: String,
}

/// The text of a member, `""` where it is none.
pub(super) fn text(raw: Option<&RawValue>) -> String {
    raw.and_then(|r| serde_json::from_str(r.get()).ok()).unwrap_or_default()
}

impl Shape<'_> {
    /// Name, namespace and version from `metadata`.
    pub(super) fn identity(&self) -> Identity {
        let names: Names<'_> = self.metadata.and_then(|m| serde_json::from_str(m.get()).ok()).unwrap_or_default();
        Identity { name: text(names.name), namespace: text(names.namespace), version: text(names.resource_version) }
    }

    /// Whether it is a line of a watch.
    pub(super) fn is_watch(&self) -> bool {
        self.object.is_some() && self.event_type.is_some() && self.kind.is_none()
    }

    /// Whether it is a RawEvent, or was meant to be one.
    pub(super) fn is_raw_event(&self) -> bool {
        self.kind.is_none()
            && self.api_version.is_none()
            && self.event_type.is_some()
            && (self.source.is_some() || self.timestamp.is_some() || self.data.is_some())
    }

    /// Whether it is an alert of Alertmanager or Prometheus.
    pub(super) fn is_alert(&self) -> bool {
        self.kind.is_none() && self.labels.is_some() && (self.starts_at.is_some() || self.active_at.is_some())
    }
}

/// `collected_at` of a `meta.json`.
pub(super) fn collected_at(text: &[u8]) -> Result<Time, String> {
    #[derive(Deserialize)]
    struct Meta {
        collected_at: Time,
    }
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    serde_json::from_slice::<Meta>(text)
        .map(|m| m.collected_at)
        .map_err(|e| format!("meta.json must be {{\"collected_at\": \"2024-01-15T10:30:00Z\"}}: {e}; the newest time in the dump is taken instead"))
}

/// The newest of the named times in a JSON object, looked for at its top level.
fn newest_of(json: &str, names: &[&str]) -> Option<Time> {
    let all: std::collections::BTreeMap<std::borrow::Cow<'_, str>, &RawValue> = serde_json::from_str(json).ok()?;
    let time = |raw: &&RawValue| serde_json::from_str::<Time>(raw.get()).ok();
    names.iter().filter_map(|n| all.get(*n).and_then(time)).max()
}

/// When a Kubernetes Event was last seen, in either API group's shape.
pub(super) fn event_time(json: &str) -> Option<Time> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Parts<'a> {
        #[serde(borrow)]
        series: Option<&'a RawValue>,
        #[serde(borrow)]
        metadata: Option<&'a RawValue>,
    }
    let parts: Parts<'_> = serde_json::from_str(json).ok()?;
    let top = newest_of(
        json,
        &["lastTimestamp", "firstTimestamp", "eventTime", "deprecatedLastTimestamp", "deprecatedFirstTimestamp"],
    );
    let series = parts.series.and_then(|s| newest_of(s.get(), &["lastObservedTime"]));
    let meta = parts.metadata.and_then(|m| newest_of(m.get(), &["creationTimestamp"]));
    top.max(series).max(meta)
}

/// When an alert was last touched; its end may be planned, and so says nothing.
pub(super) fn alert_time(json: &str) -> Option<Time> {
    newest_of(json, &["startsAt", "updatedAt", "activeAt"])
}
