//! Whether the API server can be reached, for all watches together.
//!
//! The first that loses it says so; one probe asks for it while the others wait, instead of forty knocking at once.
//! How long it was away becomes a fact when it is back.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tapio_core::time::{SECOND, Time};
use tokio::sync::watch;

/// Watches break a moment before or after the loss is noticed.
const SLACK: i64 = 2 * SECOND;

/// Since when, and why, nobody answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// The last time at which something was heard, by this machine's clock.
    pub from: Time,
    /// Why.
    pub why: String,
}

/// Whether the API server can be reached.
pub struct Reach {
    lost: watch::Sender<Option<Lost>>,
    heard: Mutex<Instant>,
    /// The last absence that was told: from when to when.
    told: Mutex<Option<(Time, Time)>>,
    /// Watches that brought nothing since then are taken for dead.
    suspect: watch::Sender<Option<Instant>>,
}

impl Reach {
    pub(crate) fn new() -> Self {
        Reach {
            lost: watch::channel(None).0,
            heard: Mutex::new(Instant::now()),
            told: Mutex::new(None),
            suspect: watch::channel(None).0,
        }
    }

    /// Something was heard.
    pub(crate) fn heard(&self) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// How long nothing was heard.
    pub fn silence(&self) -> Duration {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    /// Nobody answers; `from`: the last moment at which all was seen.
    pub(crate) fn lose(&self, why: String, from: Time) {
        self.lost.send_if_modified(|lost| {
            let first = lost.is_none();
            if first {
                *lost = Some(Lost { from, why });
            }
            first
        });
    }

    /// Somebody answers again; since when nobody did.
    pub(crate) fn regain(&self) -> Option<Lost> {
        self.heard();
        self.lost.send_replace(None)
    }

    /// An absence was told as a fact.
    pub(crate) fn told(&self, from: Time, to: Time) {
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = Some((from, to));
    }

    /// Whether what was missed since `at` was told with the last absence: a server that was restarted has forgotten
    /// where every watch stood, which is no news of forty kinds.
    pub(crate) fn has_told(&self, at: Time) -> bool {
        let told = *self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.is_some_and(|(from, to)| (from.plus(-SLACK)..=to.plus(SLACK)).contains(&at))
    }

    /// Whether it can be reached, as far as is known.
    pub fn is_up(&self) -> bool {
        self.lost.borrow().is_none()
    }

    /// Since when, and why, it cannot be reached.
    pub fn lost(&self) -> Option<Lost> {
        self.lost.borrow().clone()
    }

    /// Waits until it is there.
    pub(crate) async fn back(&self) {
        let mut lost = self.lost.subscribe();
        // The sender lives as long as self.
        let _ = lost.wait_for(Option::is_none).await;
    }

    /// Waits until it is lost.
    pub(crate) async fn gone(&self) {
        let mut lost = self.lost.subscribe();
        let _ = lost.wait_for(Option::is_some).await;
    }

    /// Ends every watch that brought nothing since `before`.
    pub(crate) fn suspect(&self, before: Instant) {
        self.suspect.send_replace(Some(before));
    }

    pub(crate) fn suspicions(&self) -> watch::Receiver<Option<Instant>> {
        self.suspect.subscribe()
    }
}
