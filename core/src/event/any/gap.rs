//! `Gap`: a source saw nothing for a while, or lost events; what happened meanwhile is not known.
//!
//! ```json
//! {"source":"cluster_collector","what":"watch of pods","from":"2024-01-15T10:29:00Z","to":"2024-01-15T10:30:00Z",
//!  "lost":12,"reason":"resource version too old"}
//! ```
//! All optional; `source` absent means the event's own, `to` its own time.

use crate::event::shape::{Text, shape};
use crate::event::{EventDoc, Malformed, Normalised, Payload, about_entity, one, read, shorten};
use crate::raw::RawEvent;
use crate::time::span;
use crate::unified::{EntityInfo, EventKind, Severity};

/// Documentation and samples.
pub const DOC: EventDoc = EventDoc {
    source: "any",
    raw_type: "Gap",
    kinds: &[EventKind::SourceGap],
    proof: "documented",
    samples: &[
        r#"{"timestamp":"2024-01-15T10:30:00Z","type":"Gap","source":"cluster_collector","metadata":{"cluster":"main"},"data":{"what":"watch of pods","from":"2024-01-15T10:29:00Z","to":"2024-01-15T10:30:00Z","reason":"resource version too old"}}"#,
    ],
    about: "a source saw nothing for a while, or lost events",
};

shape! {
    /// What a source missed.
    struct Gap {
        /// Which source.
        source: Text<'a>,
        /// Which part of it.
        what: Text<'a>,
        /// The last time at which it saw all.
        from: Text<'a>,
        /// The time from which it sees all again.
        to: Text<'a>,
        /// How many events were lost, where that is known.
        lost: Option<i64>,
        /// Why.
        reason: Text<'a>,
    }
}

/// Normalises one gap.
pub(crate) fn normalise(raw: &RawEvent) -> Result<Normalised<'_>, Malformed> {
    let data: Gap = read(raw)?;
    let source = if data.source.is_empty() { raw.source.as_str() } else { &data.source };
    let name = match (&*data.what, raw.node()) {
        ("", None) => source.to_owned(),
        ("", Some(node)) => format!("{source} on {node}"),
        (what, None) => format!("{source} ({what})"),
        (what, Some(node)) => format!("{source} on {node} ({what})"),
    };
    let to = data.to.time().unwrap_or(raw.timestamp);
    let long = data.from.time().map_or_else(String::new, |from| format!(" for {}", span(to.since(from))));
    let lost = data.lost.map_or_else(String::new, |n| format!(", {n} events lost"));
    let why = if data.reason.is_empty() { String::new() } else { format!(": {}", shorten(&data.reason, 300)) };
    let message = format!("{name} was blind{long}{lost}{why}");
    let entity = EntityInfo { kind: "Entity".to_owned(), name, ..EntityInfo::default() };
    let mut event =
        about_entity(raw, EventKind::SourceGap, to, entity, &[&data.from, &data.reason]).saying(Severity::Low, message);
    if let Some(from) = data.from.time() {
        event = event.with("from", from.to_string());
    }
    Ok(one(event, Payload::Gap(data)))
}
