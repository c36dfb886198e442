//! Everything else: a type that Tapio has no word for is kept as it came, as an event of kind `unknown`.
//!
//! ```json
//! {"namespace":"shop","pod":"cart-1","container":"app","message":"cache warmed","severity":"info"}
//! ```
//! Nothing is needed, and `data` may be any JSON. Where it is an object with `pod` (and `namespace`), the event is about
//! that pod; else about its `host`, `user`, `process`, `container`, or the node of the metadata. `message` and
//! `severity` (`critical`, `high`, `medium`, `low`, `info`) are taken where they are texts.

use serde::Deserialize;

use crate::event::shape::{Text, shape};
use crate::event::{EventDoc, about, about_entity, fact, shorten};
use crate::object::ObjectRef;
use crate::raw::RawEvent;
use crate::unified::{EntityInfo, EventKind, Severity, UnifiedEvent};

/// Documentation and samples.
pub const DOC: EventDoc = EventDoc {
    source: "any",
    raw_type: "(any other)",
    kinds: &[EventKind::Unknown],
    proof: "documented",
    samples: &[
        r#"{"timestamp":"2024-01-15T10:30:00Z","type":"CacheWarmed","source":"ingest","metadata":{"cluster":"main"},"data":{"namespace":"shop","pod":"cart-5f9dbcfb-82fb7","message":"cache warmed in 12 s"}}"#,
    ],
    about: "a type that Tapio has no word for, kept as it came",
};

shape! {
    /// What an unknown payload may say about itself.
    struct Hints {
        /// Namespace of the pod.
        namespace: Text<'a>,
        /// Pod.
        pod: Text<'a>,
        /// Container.
        container: Text<'a>,
        /// Host.
        host: Text<'a>,
        /// User.
        user: Text<'a>,
        /// Process.
        process: Text<'a>,
        /// What happened.
        message: Text<'a>,
        /// How bad.
        severity: Text<'a>,
    }
}

/// The event of kind `unknown`.
pub(crate) fn event(raw: &RawEvent) -> UnifiedEvent {
    // Whatever cannot be read as hints is no hint; the payload itself stays as it is.
    let hints = Hints::deserialize(&mut serde_json::Deserializer::from_str(raw.data.get())).unwrap_or_default();
    let content = raw.content_id().to_string();
    let mut event = if hints.pod.is_empty() {
        let named = [
            ("Process", &hints.process),
            ("User", &hints.user),
            ("Container", &hints.container),
            ("Host", &hints.host),
        ];
        let (kind, name) = named
            .into_iter()
            .find(|(_, n)| !n.is_empty())
            .map_or_else(|| raw.node().map_or(("Entity", raw.source.as_str()), |n| ("Host", n)), |(k, n)| (k, &**n));
        let mut entity = EntityInfo { kind: kind.to_owned(), name: name.to_owned(), ..EntityInfo::default() };
        for (k, n) in named.into_iter().filter(|(k, n)| !n.is_empty() && *k != kind) {
            entity.attributes.insert(k.to_ascii_lowercase(), (**n).to_owned());
        }
        about_entity(raw, EventKind::Unknown, raw.timestamp, entity, &[&content])
    } else {
        let key = ObjectRef::new("Pod", &hints.namespace, &hints.pod);
        let id = fact(raw, EventKind::Unknown, &key).text(&content).finish();
        let mut event = about(raw, id, EventKind::Unknown, raw.timestamp, key, "");
        if !hints.container.is_empty() {
            event = event.in_container(&hints.container);
        }
        event
    };
    event.severity = match &*hints.severity {
        "critical" => Severity::Critical,
        "high" => Severity::High,
        "medium" => Severity::Medium,
        "low" => Severity::Low,
        _ => Severity::Info,
    };
    event.message = if hints.message.is_empty() {
        format!("{} from {}", raw.kind, raw.source)
    } else {
        shorten(&hints.message, 500).to_owned()
    };
    event.data = Some(raw.data.clone());
    event.with("type", &*raw.kind)
}
