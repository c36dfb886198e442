//! What kind of thing a JSON document is: walked in one pass, nothing copied, no type assumed.

use serde::Deserialize;
use serde_json::value::RawValue;
use tapio_core::time::Time;

use crate::json::{Members, decoded};

/// The members that tell documents apart, each as it is written; `null` is none.
#[derive(Default)]
pub(super) struct Shape<'a> {
    pub(super) timestamp: Option<&'a str>,
    pub(super) ts: Option<&'a str>,
    pub(super) event_type: Option<&'a str>,
    pub(super) source: Option<&'a str>,
    pub(super) object: Option<&'a str>,
    pub(super) data: Option<&'a str>,
    pub(super) alerts: Option<&'a str>,
    pub(super) metadata: Option<&'a str>,
    pub(super) kind: Option<&'a str>,
    pub(super) api_version: Option<&'a str>,
    pub(super) labels: Option<&'a str>,
    pub(super) starts_at: Option<&'a str>,
    pub(super) active_at: Option<&'a str>,
    pub(super) collected_at: Option<&'a str>,
}

/// Name, namespace and version of an object.
#[derive(Default)]
pub(super) struct Identity {
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) version: String,
}

/// The text of a member, `""` where it is none.
pub(super) fn text(raw: Option<&str>) -> String {
    let Some(raw) = raw else { return String::new() };
    match raw.strip_prefix('"').and_then(|r| r.strip_suffix('"')) {
        Some(plain) if plain.bytes().all(|b| b >= b' ' && b != b'"' && b != b'\\') => plain.to_owned(),
        _ => serde_json::from_str(raw).unwrap_or_default(),
    }
}

/// What is wrong with a text that was taken for JSON.
pub(super) fn wrong(json: &str) -> Option<String> {
    serde_json::from_str::<serde::de::IgnoredAny>(json).err().map(|e| e.to_string())
}

impl<'a> Shape<'a> {
    /// Of a JSON object, whose members' values are not looked into: what is no JSON within them is found by whoever
    /// takes them ([`wrong`]).
    ///
    /// # Errors
    /// What is wrong.
    pub(super) fn of(json: &'a str) -> Result<Self, String> {
        let mut shape = Shape::default();
        let mut members = Members::of(json, 0);
        while let Some((name, _)) = members.step() {
            let Some(value) = members.value() else { break };
            let place = match decoded(name).as_ref() {
                "timestamp" => &mut shape.timestamp,
                "ts" => &mut shape.ts,
                "type" => &mut shape.event_type,
                "source" => &mut shape.source,
                "object" => &mut shape.object,
                "data" => &mut shape.data,
                "alerts" => &mut shape.alerts,
                "metadata" => &mut shape.metadata,
                "kind" => &mut shape.kind,
                "apiVersion" => &mut shape.api_version,
                "labels" => &mut shape.labels,
                "startsAt" => &mut shape.starts_at,
                "activeAt" => &mut shape.active_at,
                "collected_at" => &mut shape.collected_at,
                _ => continue,
            };
            if place.replace(value).is_some() {
                return Err(format!("duplicate field `{name}`"));
            }
        }
        if !members.is_over() {
            return Err(wrong(json).unwrap_or_else(|| "expected an object".to_owned()));
        }
        for place in [
            &mut shape.timestamp,
            &mut shape.ts,
            &mut shape.event_type,
            &mut shape.source,
            &mut shape.object,
            &mut shape.data,
            &mut shape.alerts,
            &mut shape.metadata,
            &mut shape.kind,
            &mut shape.api_version,
            &mut shape.labels,
            &mut shape.starts_at,
            &mut shape.active_at,
            &mut shape.collected_at,
        ] {
            if *place == Some("null") {
                *place = None;
            }
        }
        Ok(shape)
    }

    /// Name, namespace and version from `metadata`.
    pub(super) fn identity(&self) -> Identity {
        let mut id = Identity::default();
        let mut members = Members::of(self.metadata.unwrap_or_default(), 0);
        while let Some((name, _)) = members.step() {
            let Some(value) = members.value() else { break };
            match decoded(name).as_ref() {
                "name" => id.name = text(Some(value)),
                "namespace" => id.namespace = text(Some(value)),
                "resourceVersion" => id.version = text(Some(value)),
                _ => {}
            }
        }
        id
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
