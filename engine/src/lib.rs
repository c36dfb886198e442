//! The thinking: a deterministic fold from raw events to a live graph, its causes and incidents.
//!
//! The way of the data: [`processor`] orders evidence and applies it to the [`world`]; once a second of stream time
//! [`diagnosis`] asks the [`mechanisms`] for hypotheses and chooses the roots; what the API's own rules say is worked out
//! in [`evaluate`]. [`incidents`] follow roots over time, [`patterns`] beside them; [`project`] turns what changed into
//! graph changes, [`answer`] into what people read.
//!
//! Architecture invariant: no clock, no I/O, no threads, no randomness, no order of a hash map in anything seen.

pub mod answer;
pub mod checkpoint;
pub mod diagnosis;
pub mod evaluate;
pub mod incidents;
pub mod mechanisms;
pub mod patterns;
pub mod processor;
pub mod project;
pub mod read;
pub mod world;

pub use processor::{EngineConfig, EventProcessor, Outcome, Stats};
