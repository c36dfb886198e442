//! `SnapshotTaken`: the moment at which a dump was taken, its "now".
//!
//! ```json
//! {"at":"2024-01-15T10:30:00Z","tool":"kubectl cluster-info dump","context":"prod-west"}
//! ```
//! All optional; `at` absent means the event's own time. It gives no event.

use crate::event::shape::{Text, shape};
use crate::event::{EventDoc, Malformed, Normalised, Payload, read};
use crate::raw::RawEvent;

/// Documentation and samples.
pub const DOC: EventDoc = EventDoc {
    source: "any",
    raw_type: "SnapshotTaken",
    kinds: &[],
    proof: "documented",
    samples: &[
        r#"{"timestamp":"2024-01-15T10:30:00Z","type":"SnapshotTaken","source":"dump","metadata":{"cluster":"main"},"data":{"at":"2024-01-15T10:30:00Z","tool":"kubectl cluster-info dump"}}"#,
    ],
    about: "the moment at which a dump was taken; nothing but time",
};

shape! {
    /// When and by what a dump was taken.
    struct SnapshotTaken {
        /// When.
        at: Text<'a>,
        /// By which tool.
        tool: Text<'a>,
        /// Of which cluster, in the tool's words.
        context: Text<'a>,
    }
}

/// Reads one; there is nothing to tell.
pub(crate) fn normalise(raw: &RawEvent) -> Result<Normalised<'_>, Malformed> {
    Ok(Normalised { events: Vec::new(), payload: Payload::SnapshotTaken(read(raw)?) })
}
