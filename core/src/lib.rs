//! The words of Tapio. What arrives ([`RawEvent`](raw::RawEvent)), what it means
//! ([`UnifiedEvent`](unified::UnifiedEvent)), what it is about ([`object`]), how it stands in the graph
//! ([`ontology`], [`change`]), what is answered ([`answer`]), and the small [`ports`] between the parts.
//!
//! Architecture invariant: nothing here reads a clock, a file or a socket, and nothing depends on another crate of ours.

pub mod alert;
pub mod answer;
pub mod change;
pub mod event;
pub mod id;
pub mod manifest;
pub mod object;
pub mod ontology;
pub mod ports;
pub mod raw;
pub mod time;
pub mod unified;
