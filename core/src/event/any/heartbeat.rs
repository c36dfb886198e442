//! `Heartbeat`: a collector lives and saw nothing; time goes on. `data` is `{}` or anything, and is not read.
//!
//! It gives no event: the watermark moves by its time alone.

use crate::event::EventDoc;

/// Documentation and samples.
pub const DOC: EventDoc = EventDoc {
    source: "any",
    raw_type: "Heartbeat",
    kinds: &[],
    proof: "documented",
    samples: &[
        r#"{"timestamp":"2024-01-15T10:30:00Z","type":"Heartbeat","source":"cluster_collector","metadata":{"cluster":"main"},"data":{}}"#,
    ],
    about: "a collector lives; nothing but time",
};
