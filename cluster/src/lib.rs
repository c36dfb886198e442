//! The Kubernetes client: whom to talk to and as whom, requests whose answers stay raw bytes, what the credentials
//! allow, what the server serves, who leads by a Lease, and whose a token is.
//!
//! Answers are not read into types here. Whoever asks decides what of an object may be looked at: the bytes of an
//! object go through redaction before anything else sees them.
//!
//! Invariants: every request has a time limit and every answer a bound; a failure says what its caller has to do
//! ([`ApiError`]); no value of a Secret is asked for by anything in here.

mod account;
mod connection;
mod error;
mod events;
mod kubelet;
mod lease;
mod request;
mod resource;
mod rights;
mod served;

pub use account::Account;
pub use connection::{Connection, Target};
pub use error::{ApiError, ConnectError};
pub use events::event_resource;
pub use kubelet::KubeletTarget;
pub use lease::{Candidate, LeaseTiming, Standing};
pub use request::{Chunks, Line, Lines};
pub use resource::Resource;
pub use rights::{Ask, Verdict};
pub use served::{ServedGroup, ServerVersion};
