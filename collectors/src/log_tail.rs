//! The last lines of a log, bounded and without secrets, however the log comes.

use std::borrow::Cow;
use std::collections::VecDeque;

use crate::redaction::LineMask;

/// Bytes of a line that are kept.
pub(crate) const MAX_LINE: usize = 4_096;

/// The last lines of a log, as they come.
pub(crate) struct LogTail {
    last: VecDeque<String>,
    bytes: usize,
    most_lines: usize,
    most_bytes: usize,
    truncated: bool,
}

impl LogTail {
    /// Nothing yet.
    pub(crate) fn new(most_lines: usize, most_bytes: usize) -> Self {
        LogTail { last: VecDeque::new(), bytes: 0, most_lines: most_lines.max(1), most_bytes, truncated: false }
    }

    /// Lines that are kept at most.
    pub(crate) fn most_lines(&self) -> usize {
        self.most_lines
    }

    /// Notes that older lines were left out.
    pub(crate) fn cut(&mut self) {
        self.truncated = true;
    }

    /// Takes a line; `len` bytes long before it was cut to what `bytes` holds.
    pub(crate) fn push(&mut self, bytes: &[u8], len: usize) {
        let bytes = bytes.get(..MAX_LINE.min(bytes.len())).unwrap_or(bytes);
        let text = std::str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed);
        let mut text = match text.bytes().any(|b| b < b' ' && b != b'\t' || b >= 0x7f) {
            true => without_escapes(&text),
            // Nearly all lines.
            false => text.into_owned(),
        };
        if len > MAX_LINE {
            text.push_str(" …");
        }
        self.bytes += text.len() + 1;
        self.last.push_back(text);
        while self.last.len() > self.most_lines || (self.bytes > self.most_bytes && self.last.len() > 1) {
            self.truncated = true;
            if let Some(gone) = self.last.pop_front() {
                self.bytes -= gone.len() + 1;
            }
        }
    }

    /// The lines, oldest first, secrets masked; and whether older ones were left out.
    pub(crate) fn finish(self) -> (Vec<String>, bool) {
        let mut mask = LineMask::default();
        (self.last.into_iter().map(|l| mask.line(&l).unwrap_or(l)).collect(), self.truncated)
    }
}

/// Terminal colours and other control sequences say nothing.
fn without_escapes(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => match chars.next() {
                // CSI: parameters up to a letter.
                Some('[') => while chars.next().is_some_and(|c| !('@'..='~').contains(&c)) {},
                // OSC: up to BEL or ESC \.
                Some(']') => {
                    while let Some(c) = chars.next() {
                        if c == '\u{7}' || (c == '\u{1b}' && chars.next_if_eq(&'\\').is_some()) {
                            break;
                        }
                    }
                }
                _ => {}
            },
            '\t' => out.push('\t'),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}
