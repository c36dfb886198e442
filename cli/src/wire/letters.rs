//! Input that could not be used, as people are told of it: the first few with place and remedy, then how many.

use tapio_core::raw::DeadLetter;

use crate::cmd::Session;
use crate::output::text::{clean, count, shorten};

/// Named on stderr.
const NAMED: usize = 5;

/// Dead letters of one run.
#[derive(Default)]
pub(crate) struct Letters {
    first: Vec<DeadLetter>,
    total: usize,
}

/// `file:line`, or `file`.
pub(crate) fn place(d: &DeadLetter) -> String {
    match d.line {
        Some(line) => format!("{}:{line}", d.origin),
        None => d.origin.clone(),
    }
}

impl Letters {
    /// One more.
    pub(crate) fn add(&mut self, letter: &DeadLetter) {
        self.total += 1;
        if self.first.len() < NAMED {
            self.first.push(letter.clone());
        }
    }

    /// More.
    pub(crate) fn add_all(&mut self, letters: &[DeadLetter]) {
        letters.iter().for_each(|l| self.add(l));
    }

    /// The first one.
    pub(crate) fn first(&self) -> Option<&DeadLetter> {
        self.first.first()
    }

    /// Tells of them on stderr; `kept`: the data folder that has them all.
    pub(crate) fn report(&self, session: &Session, kept: Option<&std::path::Path>) {
        for d in &self.first {
            session.note(&format!("not used: {}: {}", clean(&place(d)), shorten(&clean(&d.reason), 400)));
        }
        if self.total > self.first.len() {
            let how = match kept {
                Some(dir) => format!("`tapio dead-letters --data-dir {}` lists them", dir.display()),
                None => "`tapio replay --data-dir DIR` keeps them all".to_owned(),
            };
            let more = self.total - self.first.len();
            session.note(&format!("not used: {more} more, {} in all; {how}", count(self.total, "piece")));
        }
    }
}
