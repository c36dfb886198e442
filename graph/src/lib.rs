//! Tapio's graph stores.
//!
//! The engine says what should stand in the graph ([`tapio_core::change::GraphChange`]); this crate writes it, and
//! answers Cypher about it. The parts, from left to right:
//!
//! | module | what |
//! | --- | --- |
//! | [`projection`] | a batch of changes folded into few grouped steps, order kept where it matters |
//! | [`statements`] | the catalog: every Cypher text Tapio itself runs, as data, and the schema |
//! | [`gate`] | users' Cypher: refuses writes, pins the clock, closes the differences between stores |
//! | [`hash`] | one hash over a whole graph, equal on every store |
//! | [`rules`] | questions of users' own, asked over the time of the stream |
//! | [`embedded`] | the store in this process, on marsdb: one file in one folder |
//!
//! Invariants: one writer; a batch is one transaction and idempotent; users' queries cannot write and are bounded in
//! time, rows and steps. Nothing here starts a runtime or reads a clock.

pub mod embedded;
pub mod gate;
pub mod hash;
pub mod projection;
pub mod rules;
pub mod statements;

pub use embedded::{EmbeddedConfig, EmbeddedGraph};
