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
//! | [`transfer`] | a whole graph out of a store and into one: exports, restores |
//! | [`audit`] | what is wrong in a graph |
//! | [`rules`] | questions of users' own, asked over the time of the stream |
//! | [`embedded`] | the store in this process, on marsdb: one file in one folder |
//! | [`neo4j`] | the store on a Neo4j server, over Bolt |
//!
//! Invariants: one writer; a batch is idempotent, and one transaction where the store says nothing else; users' queries
//! cannot write and are bounded in time, rows and (embedded) steps. No value depends on a clock here: it only bounds
//! how long something may take.

pub mod audit;
pub mod embedded;
pub mod gate;
pub mod hash;
pub mod neo4j;
pub mod projection;
pub mod rules;
pub mod statements;
pub mod transfer;

pub use embedded::{EmbeddedConfig, EmbeddedGraph};
pub use neo4j::{Neo4jConfig, Neo4jGraph};
