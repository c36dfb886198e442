//! Logs of containers: their last lines, without colours, without secrets.

use std::collections::BTreeMap;
use std::io::BufRead;

use serde::Serialize;
use serde_json::value::to_raw_value;

use super::moment::Moment;
use super::{plain_name, unreadable};
use crate::input::next_line;
use crate::log_tail::{LogTail, MAX_LINE};
use crate::reader::{Output, Stopped};

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

/// Gives out what is left of a log.
fn emit(lines: LogTail, out: &Output, moment: &mut Moment, of: &Of) -> Result<(), Stopped> {
    let (lines, truncated) = lines.finish();
    out.log_lines(lines.len());
    let Of { namespace, pod, container, previous } = of;
    match to_raw_value(&Data { container, lines, namespace, pod, previous: *previous, truncated }) {
        Ok(data) => moment.add(out, "ContainerLog", BTreeMap::new(), data),
        Err(_) => Ok(()),
    }
}

fn empty(out: &Output) -> LogTail {
    LogTail::new(out.options.log_tail_lines, out.options.log_tail_bytes)
}

/// A log of which only the end was read.
pub(super) fn one(out: &Output, moment: &mut Moment, name: &str, origin: &str, tail: Tail<'_>) -> Result<(), Stopped> {
    let Some(of) = of_path(name) else {
        out.skip(origin, "a log outside of NAMESPACE/POD/, so nobody knows whose it is");
        return Ok(());
    };
    let mut bytes = tail.bytes;
    let mut lines = empty(out);
    if tail.cut {
        lines.cut();
        // The first line is whole only where a line ended before it.
        let begin = bytes.iter().position(|b| *b == b'\n').map_or(1, |n| n + 1);
        bytes = bytes.get(begin..).unwrap_or_default();
    }
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    // No more lines are looked at than are kept.
    let begin = memchr::memrchr_iter(b'\n', bytes).nth(lines.most_lines() - 1);
    let bytes = match begin {
        Some(at) => {
            lines.cut();
            &bytes[at + 1..]
        }
        None => bytes,
    };
    if !tail.bytes.is_empty() {
        let ends = memchr::memchr_iter(b'\n', bytes).chain([bytes.len()]);
        let mut from = 0;
        for end in ends {
            let line = &bytes[from..end];
            lines.push(line.strip_suffix(b"\r").unwrap_or(line), line.len());
            from = end + 1;
        }
    }
    emit(lines, out, moment, &of)
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
    let mut lines = empty(out);
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
        Some(of) if any || !sections => emit(lines, out, moment, &of)?,
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
    let mut lines = empty(out);
    let mut buffer = Vec::new();
    // A failing read comes again for whoever reads on.
    while let Ok(read) = next_line(reader, &mut buffer, MAX_LINE) {
        if (!read.ended && read.len == 0) || buffer == end.as_bytes() {
            break;
        }
        lines.push(&buffer, read.len);
    }
    emit(lines, out, moment, &of)
}
