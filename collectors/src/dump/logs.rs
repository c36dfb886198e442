//! Logs of containers: their last lines, without colours, without secrets.

use std::collections::{BTreeMap, VecDeque};
use std::io::BufRead;

use serde::Serialize;
use serde_json::value::to_raw_value;

use super::moment::Moment;
use super::{plain_name, unreadable};
use crate::input::next_line;
use crate::reader::{Output, Stopped};
use crate::redaction::LineMask;

/// Bytes of a line that are kept.
const MAX_LINE: usize = 4_096;

/// The end of a log.
pub(super) struct Tail<'a> {
    /// Its bytes; with `cut`, beginning one byte before.
    pub(super) bytes: &'a [u8],
    /// Whether anything stands before.
    pub(super) cut: bool,
}

/// What a `ContainerLog` says.
#[derive(Serialize)]
struct Data<'a> {
    container: &'a str,
    lines: Vec<String>,
    namespace: &'a str,
    pod: &'a str,
    previous: bool,
    truncated: bool,
}

/// Which container a log is of.
struct Of {
    namespace: String,
    pod: String,
    container: String,
    previous: bool,
}

/// Namespace, pod and container of `NS/POD/CONTAINER.log`, `NS/POD/CONTAINER.previous.log`, `NS/POD/logs.txt`.
fn of_path(name: &str) -> Option<Of> {
    let mut parts = name.rsplit('/').skip(1);
    let (pod, namespace) = (parts.next()?, parts.next()?);
    let file = plain_name(name);
    let stem = file.strip_suffix(".log").unwrap_or("");
    let (container, previous) = match stem.strip_suffix(".previous") {
        Some(c) => (c, true),
        None => (stem, false),
    };
    Some(Of { namespace: namespace.to_owned(), pod: pod.to_owned(), container: container.to_owned(), previous })
}

/// The last lines of a log, as they come.
struct Lines {
    last: VecDeque<String>,
    bytes: usize,
    most_lines: usize,
    most_bytes: usize,
    truncated: bool,
}

impl Lines {
    fn new(out: &Output) -> Self {
        let o = &out.options;
        Lines {
            last: VecDeque::new(),
            bytes: 0,
            most_lines: o.log_tail_lines.max(1),
            most_bytes: o.log_tail_bytes,
            truncated: false,
        }
    }

    /// Takes a line; `len` bytes long before it was cut to what `bytes` holds.
    fn push(&mut self, bytes: &[u8], len: usize) {
        let text = String::from_utf8_lossy(bytes.get(..MAX_LINE.min(bytes.len())).unwrap_or(bytes));
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

    fn emit(self, out: &Output, moment: &mut Moment, of: &Of) -> Result<(), Stopped> {
        let mut mask = LineMask::default();
        let lines: Vec<String> = self.last.into_iter().map(|l| mask.line(&l).unwrap_or(l)).collect();
        out.log_lines(lines.len());
        let Of { namespace, pod, container, previous } = of;
        let truncated = self.truncated;
        match to_raw_value(&Data { container, lines, namespace, pod, previous: *previous, truncated }) {
            Ok(data) => moment.add(out, "ContainerLog", BTreeMap::new(), data),
            Err(_) => Ok(()),
        }
    }
}

/// A log of which only the end was read.
pub(super) fn one(out: &Output, moment: &mut Moment, name: &str, origin: &str, tail: Tail<'_>) -> Result<(), Stopped> {
    let Some(of) = of_path(name) else {
        out.skip(origin, "a log outside of NAMESPACE/POD/, so nobody knows whose it is");
        return Ok(());
    };
    let mut bytes = tail.bytes;
    let mut lines = Lines::new(out);
    if tail.cut {
        lines.truncated = true;
        // The first line is whole only where a line ended before it.
        let begin = bytes.iter().position(|b| *b == b'\n').map_or(1, |n| n + 1);
        bytes = bytes.get(begin..).unwrap_or_default();
    }
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    // No more lines are looked at than are kept.
    let begin = bytes.iter().rposition({
        let mut left = lines.most_lines;
        move |b| {
            left -= usize::from(*b == b'\n' && left > 0);
            left == 0
        }
    });
    let bytes = match begin {
        Some(at) => {
            lines.truncated = true;
            &bytes[at + 1..]
        }
        None => bytes,
    };
    if !tail.bytes.is_empty() {
        for line in bytes.split(|b| *b == b'\n') {
            lines.push(line.strip_suffix(b"\r").unwrap_or(line), line.len());
        }
    }
    lines.emit(out, moment, &of)
}

/// A log that can only be read from its beginning: compressed, in an archive, or with sections for containers.
pub(super) fn stream(
    out: &Output,
    moment: &mut Moment,
    name: &str,
    origin: &str,
    reader: &mut dyn BufRead,
) -> Result<(), Stopped> {
    let of = of_path(name);
    let mut lines = Lines::new(out);
    let mut buffer = Vec::new();
    let (mut any, mut sections, mut at) = (false, false, 0u64);
    let failed = loop {
        let read = match next_line(reader, &mut buffer, MAX_LINE) {
            Ok(read) => read,
            Err(e) => break Some(e),
        };
        if !read.ended && read.len == 0 {
            break None;
        }
        at += 1;
        if header(&buffer).is_some() {
            sections = true;
            section(out, moment, origin, at, &buffer, reader)?;
            continue;
        }
        any = true;
        lines.push(&buffer, read.len);
    };
    match of {
        Some(of) if any || !sections => lines.emit(out, moment, &of)?,
        None if !sections => out.skip(origin, "a log outside of NAMESPACE/POD/, so nobody knows whose it is"),
        _ => {}
    }
    match failed {
        Some(e) => out.dead(origin, Some(at), unreadable(&e), b""),
        None => Ok(()),
    }
}

/// Container, namespace and pod in `==== START logs for container C of pod NS/P ====`.
fn header(line: &[u8]) -> Option<Of> {
    let text = std::str::from_utf8(line).ok()?;
    let rest = text.strip_prefix("==== START logs for container ")?;
    let rest = rest.trim_end().strip_suffix("====")?.trim_end();
    let (container, place) = rest.split_once(" of pod ")?;
    let (namespace, pod) = place.split_once('/')?;
    Some(Of { namespace: namespace.to_owned(), pod: pod.to_owned(), container: container.to_owned(), previous: false })
}

/// The log behind the line `start`, up to its end line.
pub(super) fn section(
    out: &Output,
    moment: &mut Moment,
    origin: &str,
    line: u64,
    start: &[u8],
    reader: &mut dyn BufRead,
) -> Result<(), Stopped> {
    let Some(of) = header(start) else {
        let why = "expected `==== START logs for container C of pod NAMESPACE/POD ====`";
        return out.dead(origin, Some(line), why.to_owned(), start);
    };
    let end = format!("==== END logs for container {} of pod {}/{} ====", of.container, of.namespace, of.pod);
    let mut lines = Lines::new(out);
    let mut buffer = Vec::new();
    // A failing read comes again for whoever reads on.
    while let Ok(read) = next_line(reader, &mut buffer, MAX_LINE) {
        if (!read.ended && read.len == 0) || buffer == end.as_bytes() {
            break;
        }
        lines.push(&buffer, read.len);
    }
    lines.emit(out, moment, &of)
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
