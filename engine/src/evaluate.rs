//! What the API's own rules say about objects, worked out without a cluster: pure functions over what was declared.
//!
//! [`policy`] tells whether NetworkPolicies let traffic pass, [`scheduling`] on which nodes a pod could run. They know
//! nothing of symptoms or causes; mechanisms and the read models ask them.

pub mod policy;
pub mod scheduling;
