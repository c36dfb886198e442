//! What the API server says: Events, and what a pod's status means.

pub mod event;
mod event_kind;
pub mod pod;
