//! From agents to a server over real sockets, with everything in between that can go wrong. What arrives is counted:
//! nothing is lost, nothing doubled.

#![allow(clippy::unwrap_used, reason = "all of it is test, its fixture too")]

#[path = "forward/crash.rs"]
mod crash;
#[allow(dead_code, reason = "the small API server can do more than is asked of it here")]
#[path = "../../collectors/tests/cluster/fake_api.rs"]
mod fake_api;
#[path = "forward/faults.rs"]
mod faults;
#[path = "forward/fixture.rs"]
mod fixture;
#[path = "forward/front.rs"]
mod front;
#[path = "forward/hostile.rs"]
mod hostile;
#[path = "forward/trust.rs"]
mod trust;
