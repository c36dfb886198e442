//! Event logs: append raw events durably, read them from a cursor, commit the cursor.
//!
//! All backends keep the same promises, and one suite (`tests/conformance.rs`) holds them to it:
//!
//! - **Acknowledged is durable.** `append` answers after the batch is on stable storage; a batch is there whole or
//!   not at all.
//! - **Positions grow by one**, from 1, and are never used twice, not even after retention dropped everything.
//! - **Cursors never move backwards**, and retention never drops what a known consumer, or a kept checkpoint of it,
//!   still needs.
//! - **Delivery is at least once.** A future that is dropped half-way may still have appended; ids are hashes of
//!   meaning, so a second delivery is harmless.
//!
//! A new backend is one file here and one line in the suite.

pub mod sqlite;
