//! The last lines of failing containers' logs, from the node itself: by the kubelet, or from a mounted folder.
//!
//! The kubelet serves the node's log folder at `/logs/`, where `pods/NS_POD_UID/CONTAINER/N.log` is the log of run N in
//! the form of the runtime: time, stream, `F` or `P` (whole or part of a line), text. Asking for the end of a file
//! costs one small request. Everything else of a kubelet that gives logs wants `nodes/proxy`, which is never asked for.

use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::time::Duration;

use tapio_cluster::{ApiError, Connection};

use super::trouble::Trouble;
use crate::log_desk::{Want, Why};
use crate::log_tail::LogTail;

/// The time before each line is read, too.
const OVERHEAD: usize = 2;
/// Bytes that a kubelet may send that knows no ranges.
const MOST: usize = 8 << 20;

/// Lines of a log, and whether older ones were left out.
pub(super) type Lines = (Vec<String>, bool);

/// Path of a run's log below the folder; none where a name is none of Kubernetes'.
fn path(want: &Want, uid: &str) -> Option<String> {
    let name = |s: &str| {
        !s.is_empty()
            && s.len() <= 253
            && !s.starts_with('.')
            && s.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'))
    };
    let parts = [&want.namespace, &want.pod, &want.container];
    (parts.into_iter().all(|s| name(s)) && name(uid)).then(|| {
        let Want { namespace, pod, container, run, .. } = want;
        format!("{namespace}_{pod}_{uid}/{container}/{run}.log")
    })
}

/// Which run is looked at, from why it is.
pub(super) fn is_previous(want: &Want) -> bool {
    want.why == Why::Before
}

/// Reads a log by the kubelet. None where there is none.
pub(super) async fn from_kubelet(
    connection: &Connection,
    want: &Want,
    lines: usize,
    bytes: usize,
    limit: Duration,
) -> Result<Option<Lines>, Trouble> {
    let Some(path) = path(want, &want.uid) else { return Ok(None) };
    match connection.end_of(&format!("/logs/pods/{path}"), bytes.saturating_mul(OVERHEAD), MOST, limit).await {
        Ok((text, cut)) => Ok(Some(tail(&text, cut, lines, bytes))),
        // Runs that are gone, and their pods. An empty file has no end that could be asked for (416).
        Err(ApiError::NotServed { .. } | ApiError::Refused { code: 416, .. }) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// Reads a log from the folder. None where there is none.
pub(super) async fn from_folder(
    folder: &Path,
    want: &Want,
    lines: usize,
    bytes: usize,
) -> Result<Option<Lines>, Trouble> {
    let Some(path) = path(want, &want.uid) else { return Ok(None) };
    let file = folder.join(path);
    let read = tokio::task::spawn_blocking(move || end_of_file(&file, bytes.saturating_mul(OVERHEAD))).await;
    match read {
        Ok(Ok((text, cut))) => Ok(Some(tail(&text, cut, lines, bytes))),
        Ok(Err(e)) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Ok(Err(e)) if e.kind() == std::io::ErrorKind::PermissionDenied => Err(Trouble::Forbidden(e.to_string())),
        Ok(Err(e)) => Err(Trouble::Failed(e.to_string())),
        Err(e) => Err(Trouble::Failed(e.to_string())),
    }
}

fn end_of_file(file: &Path, bytes: usize) -> std::io::Result<(Vec<u8>, bool)> {
    let mut file = std::fs::File::open(file)?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(std::io::Error::new(std::io::ErrorKind::NotFound, "no plain file"));
    }
    let begin = meta.len().saturating_sub(bytes as u64);
    file.seek(SeekFrom::Start(begin))?;
    let mut text = Vec::new();
    file.take(bytes as u64).read_to_end(&mut text)?;
    Ok((text, begin > 0))
}

/// The last lines of a log in the runtime's form.
fn tail(text: &[u8], cut: bool, lines: usize, bytes: usize) -> Lines {
    let mut tail = LogTail::new(lines.max(1), bytes);
    let mut all = text.split(|b| *b == b'\n');
    if cut {
        // The first line has no beginning.
        all.next();
        tail.cut();
    }
    let mut part: Vec<u8> = Vec::new();
    for line in all.filter(|l| !l.is_empty()) {
        match entry(line) {
            Some((false, text)) if part.len() + text.len() <= bytes => part.extend_from_slice(text),
            Some((false, _)) => {}
            Some((true, text)) if part.is_empty() => tail.push(text, text.len()),
            Some((true, text)) => {
                part.extend_from_slice(text);
                tail.push(&part, part.len());
                part.clear();
            }
            // Another runtime's form is shown as it is.
            None => tail.push(line, line.len()),
        }
    }
    if !part.is_empty() {
        tail.push(&part, part.len());
    }
    tail.finish()
}

/// Whether a line is whole, and its text without what the runtime put in front.
fn entry(line: &[u8]) -> Option<(bool, &[u8])> {
    let mut parts = line.splitn(4, |b| *b == b' ');
    let (time, stream, tag) = (parts.next()?, parts.next()?, parts.next()?);
    let text = parts.next().unwrap_or_default();
    let is_time = time.first().is_some_and(u8::is_ascii_digit) && time.contains(&b'T');
    let is_stream = matches!(stream, b"stdout" | b"stderr");
    match tag.first() {
        Some(b'F') if is_time && is_stream => Some((true, text.strip_suffix(b"\r").unwrap_or(text))),
        Some(b'P') if is_time && is_stream => Some((false, text)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "2026-11-21T09:00:00.1Z stdout F old\n2026-11-21T09:00:01.1Z stdout F started\n2026-11-21T09:00:02Z stderr P first half, \n2026-11-21T09:00:02Z stderr F second half\n2026-11-21T09:00:03Z stderr F password=hunter2 refused\n";

    #[test]
    fn parts_are_joined_secrets_masked_and_a_line_without_beginning_is_left_out() {
        let (lines, cut) = tail(LOG.as_bytes(), false, 200, 1 << 16);
        assert_eq!(lines[..3], ["old", "started", "first half, second half"]);
        assert!(!lines[3].contains("hunter2") && lines[3].contains("refused"), "{}", lines[3]);
        assert!(!cut);
        let (lines, cut) = tail(&LOG.as_bytes()[10..], true, 2, 1 << 16);
        assert_eq!((lines.len(), cut), (2, true));
        assert_eq!(tail(b"no form at all", false, 9, 99).0, ["no form at all"]);
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        let want = |container: &str| Want {
            namespace: "n".into(),
            pod: "p".into(),
            uid: "u".into(),
            node: String::new(),
            container: container.into(),
            run: 2,
            why: Why::Before,
        };
        assert_eq!(path(&want("c"), "u").as_deref(), Some("n_p_u/c/2.log"));
        for bad in ["", "..", "a/b", "a%2fb", ".hidden", "a b", "ü"] {
            assert_eq!(path(&want(bad), "u"), None, "{bad}");
        }
    }

    #[test]
    fn the_end_of_a_file_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("0.log");
        std::fs::write(&file, LOG).unwrap();
        let (text, cut) = end_of_file(&file, 60).unwrap();
        assert_eq!((text.len(), cut), (60, true));
        assert!(end_of_file(dir.path(), 60).is_err());
    }

    #[test]
    fn hostile_bytes_make_lines_and_no_panic() {
        for n in 0..LOG.len() {
            let mut bytes = LOG.as_bytes()[n..].to_vec();
            for (i, b) in bytes.iter_mut().enumerate().filter(|(i, _)| i % 7 == n % 7) {
                *b = b.wrapping_mul(31).wrapping_add(u8::try_from(i % 256).unwrap());
            }
            let (lines, _) = tail(&bytes, n % 2 == 0, 3, 64);
            assert!(lines.len() <= 3);
        }
    }
}
