//! Remarks of a collector for people, kept until somebody reads them.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// Remarks that are kept; the oldest goes first.
const MOST: usize = 200;

/// Remarks that nobody has read yet, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Remarks(Mutex<VecDeque<String>>);

impl Remarks {
    /// Adds one, where it is not the same as the last.
    pub(crate) fn add(&self, text: String) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.back() == Some(&text) {
            return;
        }
        if all.len() >= MOST {
            all.pop_front();
        }
        all.push_back(text);
    }

    /// Takes those since the last time.
    pub(crate) fn take(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect()
    }
}
