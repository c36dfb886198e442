//! The outbox: what is owed to each sink of alerts, in the database of the event log.
//!
//! # How nothing is lost or doubled
//! [`SqliteLog::commit_and_tell`](crate::log::sqlite::SqliteLog::commit_and_tell) moves the engine's cursor and puts
//! what came of it into the outbox in one transaction. A process that is killed before it has told nobody and takes the
//! evidence again; one that is killed behind it finds what it owes. Each alert has a key that is a hash of its meaning,
//! and each sink has a key once. From there delivery is at least once: what was sent when the process was killed, and
//! not yet noted, is sent again with the same key.
//!
//! # What is told
//! `Desk` compares each incident with what was told of it last: opened, escalated (its severity rose), resolved.
//! Everything else that changes is not told, but kept, so that a sink that has to be reminded gets the words of now.
//!
//! # Bounds
//! Each sink has at most [`SinkPlan::max_pending`] alerts that wait; the oldest goes first and is counted. What was
//! told is kept for a while, then removed, except of incidents that are open. Every alert that is not told has a
//! reason in [`Counts`].
//!
//! Time comes from the caller, in every function: nothing here reads a clock.

mod delivery;
mod desk;
mod dispatch;
mod plan;
mod queue;
mod silence;
mod store;
mod tables;

pub use delivery::{Courier, Note, Step};
pub use dispatch::{Clock, Dispatch};
pub use plan::{GroupBy, Plan, SinkPlan};
pub use silence::{Matcher, MatcherError, Operator, Silence};
pub use store::{Counts, Entry, Outbox, OutboxError, Selection, State};
pub use tables::Sighting;

pub(crate) use desk::take;
pub(crate) use tables::create;
