//! Checkpoints: the whole state as bytes, so that recovery need not read the log from its beginning.
//!
//! A checkpoint and the tail of the log after it give the same state as the whole log. A version that is not this one's
//! means: read the log from its beginning.

use crate::processor::{EventProcessor, State};

/// Version of the bytes; raised whenever the state changes its shape.
pub const VERSION: u32 = 6;

/// Why a checkpoint cannot be used; the remedy is always to read the log from its beginning.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// Written by another version.
    #[error("checkpoint has version {found}, this tapio reads {VERSION}")]
    Version {
        /// Version found.
        found: u32,
    },
    /// Cannot be written or read.
    #[error("checkpoint is unreadable: {0}")]
    Unreadable(String),
}

impl EventProcessor {
    /// The whole state.
    ///
    /// # Errors
    /// If the state cannot be written, which is a defect.
    pub fn checkpoint(&self) -> Result<Vec<u8>, CheckpointError> {
        rmp_serde::to_vec_named(&self.state).map_err(|e| CheckpointError::Unreadable(e.to_string()))
    }

    /// An engine that goes on from a checkpoint.
    ///
    /// # Errors
    /// If the version or the bytes are not this one's.
    pub fn restore(version: u32, bytes: &[u8]) -> Result<Self, CheckpointError> {
        if version != VERSION {
            return Err(CheckpointError::Version { found: version });
        }
        let state: State = rmp_serde::from_slice(bytes).map_err(|e| CheckpointError::Unreadable(e.to_string()))?;
        Ok(Self::from_state(state))
    }
}
