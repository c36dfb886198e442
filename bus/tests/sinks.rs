//! Each sink against a server that behaves well, or not; what it sends of a real incident, byte for byte; and what the
//! couriers make of it all.

#![allow(clippy::unwrap_used, reason = "all of it is test, its fixture too")]

#[path = "sinks/faults.rs"]
mod faults;
#[path = "sinks/golden.rs"]
mod golden;
#[path = "sinks/server.rs"]
mod server;
