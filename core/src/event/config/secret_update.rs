//! `SecretUpdate`: a Secret changed. The shape is that of [`config`](super). Only names of keys: a value that came
//! all the same would be skipped unread.

use crate::event::{EventDoc, Malformed, Normalised};
use crate::raw::RawEvent;
use crate::unified::EventKind;

/// Documentation and samples.
pub const DOC: EventDoc = EventDoc {
    source: "config",
    raw_type: "SecretUpdate",
    kinds: &[EventKind::SecretChanged],
    proof: "documented",
    samples: &[
        r#"{"timestamp":"2024-01-15T10:30:00Z","type":"SecretUpdate","source":"config_collector","metadata":{"cluster":"main","node":"node-1"},"data":{"namespace":"shop","name":"cart-env","uid":"7b1d1f2e-0c1a-4a53-9a53-0d5f6c1b2a3e","resourceVersion":"15512","action":"modified","changed":["password"],"by":"kubectl-edit","changedAt":"2024-01-15T10:29:58Z"}}"#,
    ],
    about: "a Secret changed: which keys, by whom",
};

/// Normalises one change.
pub(crate) fn normalise(raw: &RawEvent) -> Result<Normalised<'_>, Malformed> {
    super::normalise(raw, "Secret")
}
