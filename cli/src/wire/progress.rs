//! The progress bar: on stderr, only on a terminal, only when it takes longer than a second.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use tapio_collectors::Progress;

/// Work shorter than this needs no bar.
const LONG: Duration = Duration::from_secs(1);

/// A count that may come.
pub(crate) struct Counter {
    wanted: bool,
    since: Instant,
    what: &'static str,
    shown: Option<ProgressBar>,
}

impl Counter {
    /// None yet.
    pub(crate) fn new(session: &crate::cmd::Session, what: &'static str) -> Self {
        let wanted = !session.quiet && std::io::stderr().is_terminal();
        Counter { wanted, since: Instant::now(), what, shown: None }
    }

    /// Shows how many there are.
    pub(crate) fn show(&mut self, n: u64) {
        if self.wanted && self.since.elapsed() >= LONG {
            let bar = self.shown.get_or_insert_with(ProgressBar::new_spinner);
            bar.set_message(format!("{} {n}", self.what));
            bar.tick();
        }
    }

    /// Takes it away.
    pub(crate) fn hide(&mut self) {
        if let Some(bar) = self.shown.take() {
            bar.finish_and_clear();
        }
    }
}

/// A bar that may come.
pub(crate) struct Bar {
    wanted: bool,
    since: Instant,
    shown: Option<ProgressBar>,
}

impl Bar {
    /// None yet.
    pub(crate) fn new(quiet: bool) -> Self {
        Bar { wanted: !quiet && std::io::stderr().is_terminal(), since: Instant::now(), shown: None }
    }

    /// Shows how far the reading is.
    pub(crate) fn show(&mut self, p: Progress) {
        if !self.wanted || self.since.elapsed() < LONG {
            return;
        }
        let bar = self.shown.get_or_insert_with(|| {
            let bar = match p.bytes_total {
                Some(total) => ProgressBar::new(total),
                None => ProgressBar::new_spinner(),
            };
            let form = match p.bytes_total {
                Some(_) => "reading {bar:30} {bytes}/{total_bytes}  {msg}",
                None => "reading {spinner} {bytes}  {msg}",
            };
            // A form that does not parse would only cost the looks.
            if let Ok(style) = ProgressStyle::with_template(form) {
                bar.set_style(style);
            }
            bar
        });
        bar.set_position(p.bytes);
        bar.set_message(format!("{} events", p.events));
    }

    /// Takes it away.
    pub(crate) fn hide(&mut self) {
        if let Some(bar) = self.shown.take() {
            bar.finish_and_clear();
        }
    }
}
