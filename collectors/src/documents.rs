//! Cuts a stream of bytes into JSON documents without holding more than one of them.
//!
//! A list (`{"kind":"PodList","items":[…]}` or `[…]`) is handed out item by item, so a list of any size needs the
//! memory of one object. Documents may stand on one line each or run over many. After a broken one the scanner takes
//! up again at the next line that begins a document.

use std::io::BufRead;

use crate::input::next_line;
use crate::json::until;

/// Bounds for one document.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Bytes of a document outside of lists.
    pub(crate) document: usize,
    /// Bytes of an item of a list.
    pub(crate) item: usize,
}

/// What the scanner finds.
#[derive(Debug, PartialEq)]
pub(crate) enum Piece<'a> {
    /// A document that is no list; what a list is without its items, when they are over (`items` is then empty).
    Document { line: u64, bytes: &'a [u8], items: u64 },
    /// An item of a list; `head`: what stood before it in the list's document.
    Item { line: u64, bytes: &'a [u8], head: &'a [u8] },
    /// The line that begins the log of a container (`==== START logs for container C of pod NS/P ====`).
    LogStart { line: u64, bytes: &'a [u8] },
    /// Bytes that are no JSON document.
    Broken { line: u64, bytes: &'a [u8], why: String },
}

/// Deepest nesting that is followed; beyond, a document is given up.
const MAX_DEPTH: usize = 100_000;
/// Most bytes kept of what is broken.
const KEPT: usize = 4_096;

/// The state inside of one document.
#[derive(Default)]
struct Open {
    line: u64,
    envelope: Vec<u8>,
    item: Vec<u8>,
    item_line: u64,
    in_item: bool,
    items: u64,
    /// Depth of the list's array, 0 while there is none.
    list_depth: usize,
    stack: Vec<u8>,
    in_string: bool,
    escaped: bool,
    /// Last byte outside of strings that is no space.
    last: u8,
    /// The newest string directly in the outermost object, while it may be a key.
    key: Vec<u8>,
    too_long: bool,
    item_too_long: bool,
    /// Whether nothing stands before the current byte on its line.
    line_start: bool,
}

/// What came out of a chunk.
enum Step {
    /// The chunk is used up.
    More,
    /// The document ended before byte `.0` of the chunk.
    Done(usize),
    /// An item ended before byte `.0` of the chunk.
    Item(usize),
    /// Broken at byte `.0`.
    Broken(usize, &'static str),
}

impl Open {
    fn start(line: u64) -> Self {
        Open { line, ..Open::default() }
    }

    fn put(&mut self, bytes: &[u8], limits: Limits) {
        let (to, limit, too_long) = match self.in_item {
            true => (&mut self.item, limits.item, &mut self.item_too_long),
            false => (&mut self.envelope, limits.document, &mut self.too_long),
        };
        if *too_long || to.len() + bytes.len() > limit {
            if !*too_long {
                // The beginning is kept to be shown.
                let room = KEPT.saturating_sub(to.len()).min(bytes.len());
                to.extend_from_slice(&bytes[..room]);
                to.truncate(KEPT);
            }
            *too_long = true;
            return;
        }
        to.extend_from_slice(bytes);
    }

    fn between_items(&self) -> bool {
        self.list_depth > 0 && self.stack.len() == self.list_depth && !self.in_item
    }

    fn feed(&mut self, chunk: &[u8], line: &mut u64, limits: Limits) -> Step {
        let mut from = 0;
        let mut i = 0;
        while i < chunk.len() {
            if self.in_string {
                if self.escaped {
                    self.escaped = false;
                    i += 1;
                    continue;
                }
                let rest = &chunk[i..];
                let n = until(rest, [b'"', b'\\', b'\n']).unwrap_or(rest.len());
                if self.stack.len() == 1 && self.key.len() < 16 {
                    self.key.extend_from_slice(&rest[..n.min(16)]);
                }
                i += n;
                match chunk.get(i) {
                    None => break,
                    Some(b'"') => self.in_string = false,
                    Some(b'\\') => self.escaped = true,
                    Some(_) => {
                        self.put(&chunk[from..i], limits);
                        return Step::Broken(i, "a line ends inside of a string");
                    }
                }
                i += 1;
                continue;
            }
            let b = chunk[i];
            match b {
                b' ' | b'\t' | b'\r' => {
                    self.line_start = false;
                    i += 1;
                    while chunk.get(i) == Some(&b' ') {
                        i += 1;
                    }
                    continue;
                }
                b'\n' => {
                    *line += 1;
                    self.line_start = true;
                    i += 1;
                    continue;
                }
                b'"' => {
                    self.in_string = true;
                    if self.stack.len() == 1 {
                        self.key.clear();
                    }
                }
                b'{' | b'[' => {
                    let top = self.stack.last().copied();
                    let fits = match self.last {
                        0 | b':' | b'[' => true,
                        b',' => top == Some(b'['),
                        _ => false,
                    };
                    if !fits {
                        self.put(&chunk[from..i], limits);
                        return Step::Broken(i, "a document begins inside of another one");
                    }
                    if self.stack.len() >= MAX_DEPTH {
                        self.put(&chunk[from..i], limits);
                        return Step::Broken(i, "nested more than 100,000 levels deep");
                    }
                    if self.between_items() {
                        from = i; // what stands between items is not kept
                        self.in_item = true;
                        self.item_line = *line;
                    }
                    let is_list = b == b'['
                        && self.list_depth == 0
                        && (self.stack.is_empty()
                            || (self.stack.len() == 1
                                && self.stack[0] == b'{'
                                && self.last == b':'
                                && self.key == b"items"));
                    self.stack.push(b);
                    if is_list {
                        self.list_depth = self.stack.len();
                        self.put(&chunk[from..=i], limits);
                        from = i + 1;
                    }
                }
                b'}' | b']' => {
                    if self.between_items() {
                        from = i;
                    }
                    let open = if b == b'}' { b'{' } else { b'[' };
                    if self.stack.pop() != Some(open) {
                        self.put(&chunk[from..i], limits);
                        return Step::Broken(i, "brackets do not match");
                    }
                    if self.in_item && self.stack.len() == self.list_depth {
                        self.put(&chunk[from..=i], limits);
                        self.last = b;
                        return Step::Item(i + 1);
                    }
                    if self.list_depth > self.stack.len() {
                        self.list_depth = usize::MAX; // over; no second list in one document
                    }
                    if self.stack.is_empty() {
                        self.put(&chunk[from..=i], limits);
                        return Step::Done(i + 1);
                    }
                }
                _ => {}
            }
            self.last = b;
            self.line_start = false;
            i += 1;
        }
        if !self.between_items() {
            self.put(&chunk[from..], limits);
        }
        Step::More
    }

    fn shown(&self) -> &[u8] {
        let bytes = if self.in_item { &self.item } else { &self.envelope };
        bytes.get(..KEPT.min(bytes.len())).unwrap_or(bytes)
    }
}

/// Reads `input` to its end and hands every piece to `sink`. A failing read ends the input; its error is returned
/// after everything before it was handed out.
pub(crate) fn scan<S>(
    input: &mut dyn BufRead,
    limits: Limits,
    sink: &mut dyn FnMut(&mut dyn BufRead, Piece<'_>) -> Result<(), S>,
) -> Result<Option<std::io::Error>, S> {
    let mut line: u64 = 1;
    let mut at_line_start = true;
    let mut recovering = false;
    let mut text = Vec::new();
    loop {
        // Between documents.
        let chunk = match input.fill_buf() {
            Ok(c) => c,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(e) => return Ok(Some(e)),
        };
        let Some(&b) = chunk.first() else { return Ok(None) };
        let separator = matches!(b, b' ' | b'\t' | b'\r' | b'\n') || (b == b',' && !at_line_start);
        if separator || (recovering && matches!(b, b',' | b']' | b'}')) {
            line += u64::from(b == b'\n');
            at_line_start = b == b'\n';
            input.consume(1);
            continue;
        }
        if line == 1 && matches!(b, 0xef | 0xbb | 0xbf) {
            input.consume(1); // a byte order mark
            continue;
        }
        if !matches!(b, b'{' | b'[') || (recovering && !at_line_start) {
            let here = line;
            let (ended, error) = match next_line(input, &mut text, KEPT) {
                Ok(read) => (read.ended, None),
                Err(e) => (false, Some(e)),
            };
            line += u64::from(ended);
            at_line_start = true;
            if text.starts_with(b"==== START logs for container ") {
                recovering = false;
                let mut counter = LineCounter { input, lines: 0 };
                sink(&mut counter, Piece::LogStart { line: here, bytes: &text })?;
                line += counter.lines;
            } else if !recovering && !text.starts_with(b"==== END logs") {
                let why = if text.contains(&0) { "binary data" } else { "not JSON" };
                sink(input, Piece::Broken { line: here, bytes: &text, why: why.to_owned() })?;
            }
            if error.is_some() {
                return Ok(error);
            }
            continue;
        }
        // A document.
        recovering = false;
        at_line_start = false;
        let mut open = Open::start(line);
        loop {
            let chunk = match input.fill_buf() {
                Ok(c) => c,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(e) => {
                    let why = "the input breaks off in the middle of a JSON document".to_owned();
                    sink(&mut std::io::empty(), Piece::Broken { line: open.line, bytes: open.shown(), why })?;
                    return Ok(Some(e));
                }
            };
            if chunk.is_empty() {
                let why = "the input ends in the middle of a JSON document".to_owned();
                sink(input, Piece::Broken { line: open.line, bytes: open.shown(), why })?;
                return Ok(None);
            }
            let n = chunk.len();
            match open.feed(chunk, &mut line, limits) {
                Step::More => input.consume(n),
                Step::Item(to) => {
                    input.consume(to);
                    let (at, limit) = (open.item_line, limits.item);
                    let piece = match open.item_too_long {
                        true => Piece::Broken { line: at, bytes: open.shown(), why: too_long(limit) },
                        false => Piece::Item { line: at, bytes: &open.item, head: &open.envelope },
                    };
                    sink(input, piece)?;
                    open.items += 1;
                    open.item.clear();
                    open.in_item = false;
                    open.item_too_long = false;
                }
                Step::Done(to) => {
                    input.consume(to);
                    let piece = match open.too_long {
                        true => Piece::Broken { line: open.line, bytes: open.shown(), why: too_long(limits.document) },
                        false => Piece::Document { line: open.line, bytes: &open.envelope, items: open.items },
                    };
                    sink(input, piece)?;
                    break;
                }
                Step::Broken(to, why) => {
                    // A bracket that opens the next document is left for it.
                    input.consume(to);
                    sink(input, Piece::Broken { line: open.line, bytes: open.shown(), why: why.to_owned() })?;
                    recovering = true;
                    at_line_start = open.line_start;
                    break;
                }
            }
        }
    }
}

fn too_long(limit: usize) -> String {
    format!("longer than the limit of {limit} bytes")
}

/// Counts the lines that pass through.
struct LineCounter<'a> {
    input: &'a mut dyn BufRead,
    lines: u64,
}

impl std::io::Read for LineCounter<'_> {
    fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        let n = self.input.read(to)?;
        self.lines += to[..n].iter().filter(|b| **b == b'\n').count() as u64;
        Ok(n)
    }
}

impl BufRead for LineCounter<'_> {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        self.input.fill_buf()
    }

    fn consume(&mut self, n: usize) {
        if let Ok(chunk) = self.input.fill_buf() {
            self.lines += chunk[..n.min(chunk.len())].iter().filter(|b| **b == b'\n').count() as u64;
        }
        self.input.consume(n);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { document: 200, item: 60 };

    /// Every piece in words, read through buffers of every small size.
    fn pieces(text: &[u8]) -> Vec<String> {
        let mut all: Vec<Vec<String>> = Vec::new();
        for size in [1, 2, 3, 7, 64, 4_096] {
            let mut got = Vec::new();
            let mut input = std::io::BufReader::with_capacity(size, text);
            let s = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
            scan::<()>(&mut input, LIMITS, &mut |_, p| {
                got.push(match p {
                    Piece::Document { line, bytes, items } => format!("{line} doc {items} {}", s(bytes)),
                    Piece::Item { line, bytes, .. } => format!("{line} item {}", s(bytes)),
                    Piece::LogStart { line, .. } => format!("{line} log"),
                    Piece::Broken { line, why, .. } => format!("{line} broken {why}"),
                });
                Ok(())
            })
            .unwrap();
            all.push(got);
        }
        for one in &all {
            assert_eq!(one, &all[0]);
        }
        all.remove(0)
    }

    #[test]
    fn documents_may_stand_on_one_line_or_on_many() {
        assert_eq!(
            pieces(b"\xef\xbb\xbf{\"a\":1}\r\n{\n \"b\": {\"c\":\"}\\\"{\"}\n}\n\n{\"d\":[]} {}"),
            ["1 doc 0 {\"a\":1}", "2 doc 0 {\n \"b\": {\"c\":\"}\\\"{\"}\n}", "6 doc 0 {\"d\":[]}", "6 doc 0 {}"]
        );
    }

    #[test]
    fn lists_come_item_by_item() {
        assert_eq!(
            pieces(
                b"{\"kind\":\"PodList\",\"items\": [\n{\"items\":[1]},\n{\"b\":2}\n],\"x\":[{}]}\n[{\"c\":3},4, {}]"
            ),
            [
                "2 item {\"items\":[1]}",
                "3 item {\"b\":2}",
                "1 doc 2 {\"kind\":\"PodList\",\"items\": [],\"x\":[{}]}",
                "5 item {\"c\":3}",
                "5 item {}",
                "5 doc 2 []"
            ]
        );
    }

    #[test]
    fn after_a_broken_document_the_next_one_is_read() {
        assert_eq!(
            pieces(b"{\"a\":\"x\n{\"b\":1}\n{\"c\":{\"d\":2\n{\"e\":3}\n]]\n{\"f\":4"),
            [
                "1 broken a line ends inside of a string",
                "2 doc 0 {\"b\":1}",
                "3 broken a document begins inside of another one",
                "4 doc 0 {\"e\":3}",
                "5 broken not JSON",
                "6 broken the input ends in the middle of a JSON document"
            ]
        );
    }

    #[test]
    fn a_document_beyond_the_limit_is_passed_over_without_being_held() {
        let long = "x".repeat(500);
        let text =
            format!("{{\"a\":\"{long}\"}}\n{{\"items\":[{{\"b\":\"{long}\"}},{{\"c\":1}}]}}\n\0bin\n{{\"d\":1}}");
        assert_eq!(
            pieces(text.as_bytes()),
            [
                "1 broken longer than the limit of 200 bytes",
                "2 broken longer than the limit of 60 bytes",
                "2 item {\"c\":1}",
                "2 doc 2 {\"items\":[]}",
                "3 broken binary data",
                "4 doc 0 {\"d\":1}"
            ]
        );
    }
}
