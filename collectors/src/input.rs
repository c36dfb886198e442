//! Bytes from files, folders, archives and standard input: compression and archives are seen by their first bytes.

mod walk;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) use walk::{Found, walk};

/// Bytes of a buffer.
const BUFFER: usize = 128 * 1024;
/// Bytes looked at to tell what a file is.
const HEAD: usize = 8 * 1024;

/// What the first bytes of an input look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// JSON documents, or the text form of a dump.
    Json,
    /// YAML documents of Kubernetes objects.
    Yaml,
    /// A tar archive.
    Tar,
    /// UTF-16 text, as PowerShell's `>` writes it.
    Utf16,
    /// Nothing at all.
    Empty,
    /// Some other text.
    Text,
    /// No text.
    Binary,
}

/// An opened input, decompressed.
pub(crate) struct Input<'a> {
    pub(crate) reader: Box<dyn BufRead + 'a>,
    pub(crate) format: Format,
    /// Whether any compression was taken off.
    pub(crate) compressed: bool,
}

/// Counts the bytes that are read, for the progress.
pub(crate) struct Counted<R> {
    inner: R,
    bytes: Arc<AtomicU64>,
}

impl<R: Read> Counted<R> {
    pub(crate) fn new(inner: R, bytes: Arc<AtomicU64>) -> Self {
        Counted { inner, bytes }
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(to)?;
        self.bytes.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

/// Ends with an error when more than what is left of a common allowance has been read.
struct Bounded<R> {
    inner: R,
    left: Arc<AtomicU64>,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let left = self.left.load(Ordering::Relaxed);
        if left == 0 {
            return Err(io::Error::other(
                "more uncompressed data than allowed in total; raise the limit if it is meant",
            ));
        }
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(to.len());
        let n = self.inner.read(&mut to[..most])?;
        self.left.fetch_sub(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

/// Takes compression off `source` and says what is inside. `left`: bytes that may still be read uncompressed.
pub(crate) fn decode<'a>(source: impl Read + 'a, left: &Arc<AtomicU64>) -> io::Result<Input<'a>> {
    let mut reader: Box<dyn BufRead + 'a> = Box::new(BufReader::with_capacity(BUFFER, source));
    let mut compressed = false;
    // Archives in compressed files, compressed files in archives: three layers are more than anybody makes.
    for _ in 0..3 {
        let (head, rest) = peek(reader)?;
        let decoder: Box<dyn Read + 'a> = if head.starts_with(b"\x1f\x8b") {
            Box::new(flate2::bufread::MultiGzDecoder::new(rest))
        } else if head.starts_with(b"\x28\xb5\x2f\xfd") || is_skippable_frame(&head) {
            Box::new(zstd::stream::read::Decoder::with_buffer(rest)?)
        } else {
            reader = rest;
            break;
        };
        compressed = true;
        reader = Box::new(BufReader::with_capacity(BUFFER, decoder));
    }
    let reader = BufReader::with_capacity(BUFFER, Bounded { inner: reader, left: Arc::clone(left) });
    let (head, reader) = peek(Box::new(reader))?;
    Ok(Input { format: format_of(&head), reader, compressed })
}

/// Opens a file, counting what is read of it.
pub(crate) fn open(path: &Path, bytes: &Arc<AtomicU64>, left: &Arc<AtomicU64>) -> io::Result<Input<'static>> {
    decode(Counted::new(File::open(path)?, Arc::clone(bytes)), left)
}

/// The first bytes, and the whole input again. A pipe is read until it has given one full line or enough bytes.
type Peeked<'a> = (Vec<u8>, Box<dyn BufRead + 'a>);

fn peek<'a>(mut reader: Box<dyn BufRead + 'a>) -> io::Result<Peeked<'a>> {
    let mut head = Vec::new();
    loop {
        let chunk = match reader.fill_buf() {
            Ok(c) => c,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) if head.is_empty() => return Err(e),
            // What came before the failure is still used; the failure comes again behind it.
            Err(_) => break,
        };
        let n = chunk.len();
        head.extend_from_slice(chunk);
        reader.consume(n);
        if n == 0 || head.len() >= HEAD || (head.len() >= 512 && head.contains(&b'\n')) {
            break;
        }
        if head.first() == Some(&b'{') && head.contains(&b'\n') {
            break; // enough, and somebody may be waiting for the first event
        }
    }
    let again = io::Cursor::new(head.clone()).chain(reader);
    Ok((head, Box::new(again)))
}

fn is_skippable_frame(head: &[u8]) -> bool {
    head.len() >= 4 && head[0] & 0xf0 == 0x50 && head[1..4] == [0x2a, 0x4d, 0x18]
}

/// What the first bytes look like.
pub(crate) fn format_of(head: &[u8]) -> Format {
    if head.get(257..262) == Some(b"ustar") {
        return Format::Tar;
    }
    if head.starts_with(&[0xff, 0xfe]) || head.starts_with(&[0xfe, 0xff]) {
        return Format::Utf16;
    }
    let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    let Some(first) = head.iter().position(|b| !b.is_ascii_whitespace()) else { return Format::Empty };
    let text = &head[first..];
    if text.starts_with(b"{") || text.starts_with(b"[") || text.starts_with(b"==== START logs") {
        return Format::Json;
    }
    let yaml = text.split(|b| *b == b'\n').take(200).any(|l| {
        let l = l.strip_prefix(b"- ").unwrap_or(l);
        l.starts_with(b"apiVersion:") || l.starts_with(b"kind:") || l.starts_with(b"items:")
    });
    if yaml {
        return Format::Yaml;
    }
    let odd = text.iter().take(1_024).filter(|b| **b < 9 || (14..32).contains(*b) && **b != 27).count();
    if odd > 0 { Format::Binary } else { Format::Text }
}

/// What was read of a line.
pub(crate) struct Line {
    /// Bytes of the line, also those that were not kept.
    pub(crate) len: usize,
    /// Whether it ended with a line feed (else with the input).
    pub(crate) ended: bool,
}

/// Reads one line into `to`, keeping at most `cap` bytes of it and no line end. `len` 0 and not `ended`: no more lines.
pub(crate) fn next_line(input: &mut dyn BufRead, to: &mut Vec<u8>, cap: usize) -> io::Result<Line> {
    to.clear();
    let mut len = 0;
    loop {
        let chunk = match input.fill_buf() {
            Ok(c) => c,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        if chunk.is_empty() {
            return Ok(Line { len, ended: false });
        }
        let end = chunk.iter().position(|b| *b == b'\n');
        let n = end.unwrap_or(chunk.len());
        let room = cap.saturating_sub(to.len()).min(n);
        to.extend_from_slice(&chunk[..room]);
        len += n;
        input.consume(end.map_or(n, |e| e + 1));
        if end.is_some() {
            if to.len() == len && to.last() == Some(&b'\r') {
                to.pop();
            }
            return Ok(Line { len, ended: true });
        }
    }
}

/// A name from an archive as it may be shown: no control characters, bounded.
pub(crate) fn shown_name(name: &str) -> String {
    name.chars().map(|c| if c.is_control() { '?' } else { c }).take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn text_of(bytes: Vec<u8>) -> (Format, String, bool) {
        let mut input = decode(io::Cursor::new(bytes), &Arc::new(AtomicU64::new(1 << 20))).unwrap();
        let mut s = String::new();
        let ok = input.reader.read_to_string(&mut s).is_ok();
        (input.format, s, ok)
    }

    #[test]
    fn compression_is_seen_by_the_first_bytes() {
        let json = b"{\"a\":1}\n".repeat(9);
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(&json).unwrap();
        let gz = gz.finish().unwrap();
        let zst = zstd::encode_all(&json[..], 3).unwrap();
        let both = zstd::encode_all(&gz[..], 3).unwrap();
        for bytes in [json.clone(), gz.clone(), zst, both, [gz.clone(), gz].concat()] {
            let (format, text, ok) = text_of(bytes);
            assert!(ok && format == Format::Json && text.starts_with("{\"a\":1}\n"));
        }
    }

    #[test]
    fn a_bomb_ends_at_the_allowance() {
        let bomb = zstd::encode_all(&vec![b'{'; 8 << 20][..], 3).unwrap();
        let (_, text, ok) = text_of(bomb);
        assert!(!ok && text.len() <= 1 << 20);
    }

    #[test]
    fn formats_are_told_by_content() {
        for (head, want) in [
            (&b""[..], Format::Empty),
            (b" \n", Format::Empty),
            (b"\xef\xbb\xbf {", Format::Json),
            (b"==== START logs for container a of pod b/c ====\n", Format::Json),
            (b"# by hand\napiVersion: v1\n", Format::Yaml),
            (b"---\n- apiVersion: v1\n", Format::Yaml),
            (b"\xff\xfe{\0", Format::Utf16),
            (b"hello\n", Format::Text),
            (b"\x89PNG\r\n\x1a\n\0\0", Format::Binary),
        ] {
            assert_eq!(format_of(head), want, "{head:?}");
        }
    }
}
