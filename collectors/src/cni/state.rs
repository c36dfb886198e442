//! How the CNI collector stands.

use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use crate::feed::Notes;
use crate::remarks::Remarks;

/// What was counted; each grows only.
#[derive(Debug, Default)]
pub struct CniCounts {
    /// Events in the sink.
    pub events: AtomicU64,
    /// Input that could not be used.
    pub dead_letters: AtomicU64,
    /// Looks at the files.
    pub looks: AtomicU64,
}

/// Whether the folder of the configuration is seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum Readable {
    /// Not looked at yet.
    #[default]
    Waiting,
    /// It is read.
    Read,
    /// It is not there.
    Absent,
    /// It cannot be read.
    Unreadable {
        /// Why.
        why: String,
    },
}

/// How the collector stands.
#[derive(Default)]
pub struct CniState {
    /// What was counted.
    pub counts: CniCounts,
    folder: Mutex<Readable>,
    notes: Remarks,
}

impl CniState {
    /// Whether the folder of the configuration is seen.
    pub fn folder(&self) -> Readable {
        self.folder.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_folder(&self, new: Readable) {
        *self.folder.lock().unwrap_or_else(PoisonError::into_inner) = new;
    }

    /// Takes the remarks since the last time.
    pub fn take_notes(&self) -> Vec<String> {
        self.notes.take()
    }
}

impl Notes for CniState {
    fn note(&self, text: String) {
        self.notes.add(text);
    }

    fn counts(&self) -> (&AtomicU64, &AtomicU64) {
        (&self.counts.events, &self.counts.dead_letters)
    }
}
