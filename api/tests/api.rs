//! The API over real sockets, in front of a real engine and a real graph.

#![allow(clippy::unwrap_used, reason = "a test may")]

#[path = "api/access.rs"]
mod access;
#[path = "api/contract.rs"]
mod contract;
#[path = "api/hostile.rs"]
mod hostile;
#[path = "api/place.rs"]
mod place;
#[path = "api/stream.rs"]
mod stream;
