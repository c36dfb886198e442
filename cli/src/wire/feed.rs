//! Inputs as a stream that can be waited for with patience: whoever reads it can look up from a silent standard input.

use std::path::PathBuf;
use std::time::Duration;

use tapio_collectors::{Next, ReadOptions, Reader, Summary, open};

use super::progress::Bar;
use crate::cmd::Session;
use crate::error::Outcome;

/// How long an item is waited for before the caller may look up.
const PATIENCE: Duration = Duration::from_millis(200);
/// Items between two looks at how far the reader is.
const LOOK: u64 = 512;

/// The items of all inputs, with a bar that says how far they are read.
pub(crate) struct Feed {
    reader: Reader,
    bar: Bar,
    taken: u64,
}

impl Feed {
    /// Opens inputs; what cannot be read at all is said at once.
    pub(crate) fn open(session: &Session, inputs: &[PathBuf], options: ReadOptions) -> Outcome<Self> {
        Ok(Feed { reader: open(inputs, options)?, bar: Bar::new(session.quiet), taken: 0 })
    }

    /// The next item, if one comes soon.
    pub(crate) fn next(&mut self) -> Next {
        let next = self.reader.next_within(PATIENCE);
        self.taken += 1;
        if self.taken.is_multiple_of(LOOK) || matches!(next, Next::Idle) {
            self.bar.show(self.reader.progress());
        }
        next
    }

    /// Takes the progress bar away, so that something else can be printed.
    pub(crate) fn hide(&mut self) {
        self.bar.hide();
    }

    /// What was read; complete at the end.
    pub(crate) fn finish(mut self) -> Summary {
        self.bar.hide();
        self.reader.summary()
    }
}
