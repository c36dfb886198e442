//! Outside world → [`RawEvent`](tapio_core::raw::RawEvent): recordings, dumps, and what must not leave them.
//!
//! Invariant: nothing leaves this crate that [`redaction`] has not gone over.

mod documents;
mod dump;
mod input;
pub mod manifests;
mod reader;
pub mod recording;
pub mod redaction;
mod yaml;

pub use reader::{Item, Next, Progress, ReadError, ReadOptions, Reader, Skipped, Summary, open};
