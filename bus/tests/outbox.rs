//! The outbox and its couriers: one alert a transition, in order, once a key, whatever fails and whenever it is killed.
//! Time is what the tests say it is.

#![allow(clippy::unwrap_used, reason = "all of it is test, its fixture too")]

#[path = "outbox/crash.rs"]
mod crash;
#[path = "outbox/fixture.rs"]
mod fixture;
#[path = "outbox/telling.rs"]
mod telling;
#[path = "outbox/waiting.rs"]
mod waiting;
