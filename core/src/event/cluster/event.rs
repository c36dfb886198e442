//! `Event`: an Event object of the API server, in the shape of core/v1 or of events.k8s.io.
//!
//! ```json
//! {"kind":"Event","apiVersion":"v1","metadata":{"name":"cart-1.18ea…","namespace":"shop","uid":"d509…"},
//!  "involvedObject":{"kind":"Pod","namespace":"shop","name":"cart-1","uid":"305c…","fieldPath":"spec.containers{app}"},
//!  "reason":"Unhealthy","message":"Readiness probe failed: …","type":"Warning","count":4,
//!  "firstTimestamp":"…","lastTimestamp":"…","source":{"component":"kubelet","host":"node-1"}}
//! ```
//! events.k8s.io says `regarding`, `note`, `reportingController`, `deprecatedCount` … instead; both are read. The same
//! object also comes as `ObjectAdded` or `ObjectModified`; its deletion means nothing.
//!
//! An Event object repeats as MODIFIED with a higher `count` or `series.count`: each rise is an occurrence, and its id
//! is the Event's uid with that count. Its time is `series.lastObservedTime`, `lastTimestamp`, `eventTime`,
//! `firstTimestamp` or `metadata.creationTimestamp`, whichever is there first. What it is called is decided by reason
//! and text, for `Normal` Events too.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use serde::Deserializer;

use super::event_kind::{self, Judged};
use crate::event::shape::{Text, shape};
use crate::event::{EventDoc, Malformed, Normalised, Payload, about, bare, one, read, shorten};
use crate::id::IdBuilder;
use crate::object::{ObjectRef, canonical_kind};
use crate::raw::RawEvent;
use crate::time::Time;
use crate::unified::{EntityInfo, EventKind, UnifiedEvent};

/// Documentation and samples.
pub const DOC: EventDoc = EventDoc {
    source: "cluster",
    raw_type: "Event",
    kinds: event_kind::KINDS,
    proof: "recorded",
    samples: &[
        include_str!("../samples/event_unhealthy.json"),
        include_str!("../samples/event_failed_scheduling.json"),
    ],
    about: "an Event object of core/v1 or events.k8s.io",
};

/// The same object as the watch brings it.
pub const OBJECT_DOC: EventDoc = EventDoc {
    source: "cluster",
    raw_type: "ObjectAdded, ObjectModified, ObjectDeleted",
    kinds: event_kind::OBJECT_KINDS,
    proof: "recorded",
    samples: &[include_str!("../samples/object_modified_event.json")],
    about: "an object of the API server; an Event object is told as `Event`, a pod's status container by container, \
            any other object by what changed in it",
};

shape! {
    /// An Event of either API.
    #[serde(rename_all = "camelCase")]
    struct Event {
        /// Metadata.
        metadata: EventMeta<'a>,
        /// The object it is about (core/v1).
        involved_object: Option<Reference<'a>>,
        /// The object it is about (events.k8s.io).
        regarding: Option<Reference<'a>>,
        /// A second object.
        related: Option<Reference<'a>>,
        /// One word.
        reason: Text<'a>,
        /// One sentence (core/v1).
        message: Text<'a>,
        /// One sentence (events.k8s.io).
        note: Text<'a>,
        /// `Normal` or `Warning`.
        r#type: Text<'a>,
        /// How often (core/v1).
        count: i64,
        /// How often (events.k8s.io, for old writers).
        deprecated_count: i64,
        /// How often and until when.
        series: Option<Series<'a>>,
        /// First time (core/v1).
        first_timestamp: Text<'a>,
        /// First time (events.k8s.io, for old writers).
        deprecated_first_timestamp: Text<'a>,
        /// Last time (core/v1).
        last_timestamp: Text<'a>,
        /// Last time (events.k8s.io, for old writers).
        deprecated_last_timestamp: Text<'a>,
        /// First time, to the microsecond.
        event_time: Text<'a>,
        /// Who says so (core/v1).
        source: Component<'a>,
        /// Who says so (events.k8s.io, for old writers).
        deprecated_source: Component<'a>,
        /// Who says so (core/v1, new writers).
        reporting_component: Text<'a>,
        /// Who says so (events.k8s.io).
        reporting_controller: Text<'a>,
    }
    /// `metadata` of an Event.
    #[serde(rename_all = "camelCase")]
    struct EventMeta {
        /// Name.
        name: Text<'a>,
        /// Namespace.
        namespace: Text<'a>,
        /// Uid.
        uid: Text<'a>,
        /// When it was written first.
        creation_timestamp: Text<'a>,
        /// Number of its last write.
        resource_version: Text<'a>,
    }
    /// The object that an Event is about.
    #[serde(rename_all = "camelCase")]
    struct Reference {
        /// API version.
        api_version: Text<'a>,
        /// Kind.
        kind: Text<'a>,
        /// Namespace.
        namespace: Text<'a>,
        /// Name.
        name: Text<'a>,
        /// Uid.
        uid: Text<'a>,
        /// Which part of it.
        field_path: Text<'a>,
    }
    /// `series`.
    #[serde(rename_all = "camelCase")]
    struct Series {
        /// How often.
        count: i64,
        /// Until when.
        last_observed_time: Text<'a>,
    }
    /// `source`.
    struct Component {
        /// Which program.
        component: Text<'a>,
        /// On which node.
        host: Text<'a>,
    }
}

impl<'a> Event<'a> {
    /// The object it is about, in whichever field.
    pub fn object(&self) -> Option<&Reference<'a>> {
        let named = |r: &&Reference<'a>| !r.kind.is_empty() && !r.name.is_empty();
        self.involved_object.as_ref().filter(named).or(self.regarding.as_ref().filter(named))
    }

    /// How often it happened.
    pub fn occurrences(&self) -> i64 {
        self.count.max(self.deprecated_count).max(self.series.as_ref().map_or(0, |s| s.count)).max(1)
    }

    /// When it last happened.
    pub fn last(&self) -> Option<Time> {
        let series = self.series.as_ref().and_then(|s| s.last_observed_time.time());
        series
            .or_else(|| self.last_timestamp.time())
            .or_else(|| self.deprecated_last_timestamp.time())
            .or_else(|| self.event_time.time())
            .or_else(|| self.first())
    }

    /// When it first happened.
    pub fn first(&self) -> Option<Time> {
        self.first_timestamp
            .time()
            .or_else(|| self.deprecated_first_timestamp.time())
            .or_else(|| self.event_time.time())
            .or_else(|| self.metadata.creation_timestamp.time())
    }

    /// Its sentence.
    pub fn text(&self) -> &str {
        if self.message.is_empty() { &self.note } else { &self.message }
    }

    /// Who says so.
    pub fn component(&self) -> &str {
        let named = [
            &self.source.component,
            &self.deprecated_source.component,
            &self.reporting_component,
            &self.reporting_controller,
        ];
        named.into_iter().find(|t| !t.is_empty()).map_or("", |t| &**t)
    }
}

impl Reference<'_> {
    /// The container that `fieldPath` names (`spec.containers{app}`).
    pub fn container(&self) -> Option<&str> {
        let (head, rest) = self.field_path.split_once('{')?;
        (head.ends_with("ontainers")).then(|| rest.trim_end_matches('}')).filter(|c| !c.is_empty())
    }

    /// The uid, where it is one: of nodes the kubelet says the name, of static pods a hash, and neither is the API's.
    fn real_uid(&self) -> &str {
        if self.uid.contains('-') && *self.uid != *self.name { &self.uid } else { "" }
    }
}

/// Normalises one Event.
pub(crate) fn normalise(raw: &RawEvent) -> Result<Normalised<'_>, Malformed> {
    let data: Event = read(raw)?;
    let event = unified(raw, &data);
    Ok(one(event, Payload::Event(Box::new(data))))
}

/// What the watch brings: only Events are told here.
pub(crate) fn of_object(raw: &RawEvent) -> Result<Normalised<'_>, Malformed> {
    let is_event = kind_of(raw.data.get()).is_some_and(|k| k == "Event");
    match (is_event, raw.kind.as_str()) {
        (false, _) => Ok(Normalised { events: Vec::new(), payload: Payload::Object }),
        (true, "ObjectDeleted") => Ok(Normalised::default()),
        (true, _) => normalise(raw),
    }
}

fn unified(raw: &RawEvent, data: &Event<'_>) -> UnifiedEvent {
    let count = data.occurrences();
    let at = data.last().unwrap_or(raw.timestamp);
    let (text, combined) = match data.text().trim().strip_prefix("(combined from similar events): ") {
        Some(text) => (text, true),
        None => (data.text().trim(), false),
    };
    let object = data.object();
    let Judged { kind, severity, note } =
        event_kind::judge(object.map_or("", |o| &o.kind), &data.reason, text, &data.r#type);
    let mut id = IdBuilder::new("kubernetes event").text(raw.cluster());
    id = if data.metadata.uid.is_empty() {
        id.text(&data.metadata.namespace).text(&data.metadata.name).text(&data.reason)
    } else {
        id.text(&data.metadata.uid)
    };
    if data.metadata.uid.is_empty() && data.metadata.name.is_empty() {
        // Nothing tells it from another: what it is about, its text and its time must do.
        id = id.text(object.map_or("", |o| &o.name)).text(text).number(at.micros());
    }
    let id = id.number(count).finish();
    let sentence = shorten(if text.is_empty() { &data.reason } else { text }, 1_000);
    let mut event = match object {
        Some(o) => {
            let kind_of = match o.api_version.contains('/') {
                true => Cow::Owned(canonical_kind(&o.api_version, &o.kind)),
                false => Cow::Borrowed(&*o.kind),
            };
            let key = ObjectRef::new(&kind_of, &o.namespace, &o.name);
            let mut event = about(raw, id, kind, at, key, o.real_uid());
            event.message = format!(
                "{} {}{}{}: {sentence}",
                o.kind,
                o.namespace,
                if o.namespace.is_empty() { "" } else { "/" },
                o.name
            );
            if let Some(k8s) = &mut event.k8s {
                k8s.container = o.container().map(str::to_owned);
                k8s.node = match &*data.source.host {
                    "" => k8s.node.take(),
                    host => Some(host.to_owned()),
                };
            }
            if let Some(c) = o.container() {
                event = event.with("container", c);
            } else if !o.field_path.is_empty() {
                event = event.with("field_path", &*o.field_path);
            }
            event
        }
        None => {
            let name = [&*data.metadata.name, data.component(), &*raw.source].into_iter().find(|n| !n.is_empty());
            let entity =
                EntityInfo { kind: "Entity".to_owned(), name: name.unwrap_or("").to_owned(), ..EntityInfo::default() };
            UnifiedEvent { entity: Some(entity), message: sentence.to_owned(), ..bare(raw, id, kind, at) }
        }
    };
    event.severity = severity;
    let notes = &mut event.annotations;
    let mut put = |key: &str, value: &str| {
        if !value.is_empty() {
            notes.insert(key.to_owned(), value.to_owned());
        }
    };
    put("reason", &data.reason);
    put("type", &data.r#type);
    put("component", data.component());
    if let Some((key, value)) = note {
        put(key, value);
    }
    if combined {
        put("combined", "true");
    }
    if count > 1 {
        if let Some(first) = data.first() {
            put("first", &first.to_string());
        }
        put("last", &at.to_string());
    }
    put("count", &count.to_string());
    event
}

/// The `kind` of an object's JSON text, read no further than needed.
pub fn kind_of(json: &str) -> Option<Cow<'_, str>> {
    struct Head<'c, 'a>(&'c Cell<Option<Cow<'a, str>>>);
    impl<'de> serde::de::Visitor<'de> for Head<'_, 'de> {
        type Value = ();
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
            while let Some(key) = map.next_key::<Cow<'de, str>>()? {
                if key == "kind" {
                    self.0.set(Some(map.next_value::<BorrowedText<'de>>()?.0));
                    // Found: the rest of the text is for whoever reads the object.
                    return Err(serde::de::Error::custom("found"));
                }
                map.next_value::<serde::de::IgnoredAny>()?;
            }
            Ok(())
        }
    }
    #[derive(serde::Deserialize)]
    struct BorrowedText<'a>(#[serde(borrow)] Cow<'a, str>);
    let found = Cell::new(None);
    let mut d = serde_json::Deserializer::from_str(json);
    let _ = d.deserialize_map(Head(&found));
    found.into_inner()
}

/// The kinds that an Event can be told as.
pub const fn kinds() -> &'static [EventKind] {
    event_kind::KINDS
}

#[cfg(test)]
mod tests;
