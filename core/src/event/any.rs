//! What any collector can say: that it lives, that a snapshot was taken, that it missed something; and what Tapio has
//! no word for.

pub mod gap;
pub mod heartbeat;
pub mod snapshot_taken;
pub mod unknown;

pub use gap::Gap;
pub use snapshot_taken::SnapshotTaken;
