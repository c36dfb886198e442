//! Agent and server as processes, between a small kubelet and a small API server: what the agent saw arrives once,
//! whatever is killed, and both say how they stand.

#![allow(clippy::unwrap_used, reason = "all of it is test, its fixture too")]

#[allow(dead_code, reason = "the small API server can do more than is asked of it here")]
#[path = "../../collectors/tests/cluster/fake_api.rs"]
mod fake_api;
#[allow(dead_code, reason = "the small kubelet can do more than is asked of it here")]
#[path = "../../collectors/tests/kubelet/fake_kubelet.rs"]
mod fake_kubelet;
#[path = "agents/kills.rs"]
mod kills;
#[path = "agents/lease.rs"]
mod lease;
#[path = "agents/place.rs"]
mod place;
#[path = "agents/ports.rs"]
mod ports;
#[path = "agents/trust.rs"]
mod trust;
