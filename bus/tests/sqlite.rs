//! What is particular to the log in an SQLite file: opening what is no log, or not ours, or not writable; a full disk;
//! crashes; damaged records and checkpoints; the size of the file. What all logs promise is in `conformance.rs`.

#![allow(clippy::unwrap_used, reason = "all of it is test, its fixture too")]

#[path = "sqlite/crash.rs"]
mod crash;
#[path = "sqlite/damage.rs"]
mod damage;
#[path = "sqlite/fixture.rs"]
mod fixture;
#[path = "sqlite/opening.rs"]
mod opening;
#[path = "sqlite/space.rs"]
mod space;
