//! How YAML of unknown origin is read: within budgets that stop alias bombs and deep nesting.

use serde_saphyr::Options;

/// The options for one document, with its most nodes, parser events and bytes of scalars.
pub(crate) fn options(max_nodes: usize, max_events: usize, max_total_scalar_bytes: usize) -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: 100,
            max_nodes: max_nodes,
            max_events: max_events,
            max_aliases: 1_000,
            max_anchors: 1_000,
            max_recorded_anchor_events: 100_000,
            max_total_scalar_bytes: max_total_scalar_bytes,
        },
        // A pod named `n`, or a key named `on`, is no boolean.
        strict_booleans: true,
        // Messages must not repeat the text: it may hold values.
        with_snippet: false,
    }
}
