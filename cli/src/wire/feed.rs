//! Inputs as a stream that can be waited for with patience: whoever reads it can look up from a silent standard input.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tapio_collectors::{Item, Progress, ReadOptions, Summary, open};

use super::progress::Bar;
use crate::cmd::Session;
use crate::error::{Failure, Outcome};

/// Items that wait between the reading thread and the engine.
const QUEUE: usize = 2_048;
/// How long an item is waited for before the caller may look up.
const PATIENCE: Duration = Duration::from_millis(200);
/// Items between two looks at how far the reader is.
const LOOK: u64 = 512;

/// What comes next.
pub(crate) enum Step {
    /// An event or a dead letter.
    Item(Item),
    /// Nothing for a moment.
    Idle,
    /// Nothing any more.
    End,
}

/// The items of all inputs.
pub(crate) struct Feed {
    from: Receiver<Item>,
    progress: Arc<Mutex<Progress>>,
    summary: Arc<Mutex<Summary>>,
    bar: Bar,
    taken: u64,
}

impl Feed {
    /// Opens inputs; what cannot be read at all is said at once.
    pub(crate) fn open(session: &Session, inputs: &[PathBuf], options: ReadOptions) -> Outcome<Self> {
        let mut reader = open(inputs, options)?;
        let (to, from) = sync_channel(QUEUE);
        let progress = Arc::new(Mutex::new(reader.progress()));
        let summary = Arc::new(Mutex::new(Summary::default()));
        let (its_progress, its_summary) = (Arc::clone(&progress), Arc::clone(&summary));
        let pump = move || {
            let mut n: u64 = 0;
            while let Some(item) = reader.next() {
                n += 1;
                if n.is_multiple_of(LOOK) {
                    *its_progress.lock().unwrap_or_else(PoisonError::into_inner) = reader.progress();
                }
                if to.send(item).is_err() {
                    return;
                }
            }
            // Before the channel closes, so that whoever sees the end finds it.
            *its_summary.lock().unwrap_or_else(PoisonError::into_inner) = reader.summary();
            *its_progress.lock().unwrap_or_else(PoisonError::into_inner) = reader.progress();
        };
        let thread = std::thread::Builder::new().name("feed".to_owned()).spawn(pump);
        thread.map_err(|e| Failure::Unreachable(format!("cannot start the feeding thread: {e}")))?;
        Ok(Feed { from, progress, summary, bar: Bar::new(session.quiet), taken: 0 })
    }

    /// The next item, if one comes soon.
    pub(crate) fn next(&mut self) -> Step {
        let step = match self.from.recv_timeout(PATIENCE) {
            Ok(item) => Step::Item(item),
            Err(RecvTimeoutError::Timeout) => Step::Idle,
            Err(RecvTimeoutError::Disconnected) => Step::End,
        };
        self.taken += 1;
        if self.taken.is_multiple_of(LOOK) || matches!(step, Step::Idle) {
            self.bar.show(*self.progress.lock().unwrap_or_else(PoisonError::into_inner));
        }
        step
    }

    /// Takes the progress bar away, so that something else can be printed.
    pub(crate) fn hide(&mut self) {
        self.bar.hide();
    }

    /// What was read; complete at the end.
    pub(crate) fn finish(mut self) -> Summary {
        self.bar.hide();
        self.summary.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
