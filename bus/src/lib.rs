//! What carries Tapio's raw events from the collectors to the engine, and what it says from the engine to people.
//!
//! [`log`] holds the event logs: the durable, ordered carriers behind
//! [`EventLog`](tapio_core::ports::EventLog). [`forward`] brings what an agent's log holds to a server, and [`ingest`]
//! is where it arrives there. [`outbox`] holds what is owed to people, in the same database; [`sink`] the ways to reach
//! them, behind [`AlertSink`](tapio_core::ports::AlertSink).
//!
//! Architecture invariant: a record is acknowledged only when it is durable, every queue here is bounded, and no
//! signature of the logs names an async runtime. Unlike `core` and `engine`, this crate may read the wall clock: it stamps each
//! record with the time of its append.

pub mod forward;
pub mod ingest;
pub mod log;
pub mod outbox;
pub mod sink;
