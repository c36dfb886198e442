//! Outside world → [`RawEvent`](tapio_core::raw::RawEvent): recordings, dumps, and what must not leave them.
//!
//! Invariant: nothing leaves this crate that [`redaction`] has not gone over.

pub mod cluster;
pub mod cni;
mod collector;
mod documents;
mod dump;
mod feed;
mod input;
mod json;
pub mod kubelet;
mod log_desk;
mod log_tail;
pub mod manifests;
mod reader;
pub mod recording;
pub mod redaction;
mod remarks;
mod sight;
mod stamp;
mod yaml;

pub use collector::Collector;
pub use feed::Clock;
pub use reader::{Item, Next, Progress, ReadError, ReadOptions, Reader, Skipped, Summary, open};
