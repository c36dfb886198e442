//! Recordings: JSON lines of RawEvents and of API watches, mixed freely, and the writer of them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};
use tapio_core::raw::{RawEvent, source};
use tapio_core::time::Time;

use crate::dump::newest_in;
use crate::redaction::{Redaction, mask};

/// A RawEvent from its JSON text, redacted. The error says what is wrong.
pub(crate) fn raw_event(json: &str, redaction: &Redaction) -> Result<RawEvent, String> {
    let mut event: RawEvent = serde_json::from_str(json).map_err(|e| {
        format!("not a recorded event: {e}; expected timestamp, type, source, metadata (texts only) and data")
    })?;
    event.data = redaction
        .payload(event.data.get(), &event.kind)
        .map_err(|e| format!("data of the recorded {} cannot be used: {e}", event.kind))?;
    for value in event.metadata.values_mut() {
        if let Some(masked) = mask(value) {
            *value = masked;
        }
    }
    Ok(event)
}

/// The event of a watch line; `None` for a bookmark before any time is known. `last`: time of the line before.
pub(crate) fn watch_line(
    ts: Option<&str>,
    event_type: Option<&str>,
    object: Option<&str>,
    last: Option<Time>,
    redaction: &Redaction,
) -> Result<Option<RawEvent>, String> {
    let text = |raw: Option<&str>| raw.and_then(|r| serde_json::from_str::<String>(r).ok()).unwrap_or_default();
    let ts = match ts {
        Some(raw) => {
            let t: String = serde_json::from_str(raw)
                .map_err(|_| "`ts` is not a text; expected an RFC 3339 time with a zone".to_owned())?;
            Some(Time::parse(&t).map_err(|e| e.to_string())?)
        }
        None => None,
    };
    let object = object.unwrap_or("null");
    let word = text(event_type);
    let event = |kind: &str, timestamp: Time, data: Box<RawValue>| RawEvent {
        timestamp,
        observed_at: None,
        kind: kind.to_owned(),
        source: source::CLUSTER.to_owned(),
        metadata: BTreeMap::new(),
        data,
    };
    match word.as_str() {
        "ADDED" | "MODIFIED" | "DELETED" => {
            let head: Head = serde_json::from_str(object)
                .map_err(|e| format!("the object of the watch line cannot be read: {e}"))?;
            if head.kind.is_empty() {
                return Err("the object of the watch line has no `kind`".to_owned());
            }
            let is_event = head.is_event();
            if head.metadata.name.is_empty() && !is_event {
                return Err(format!("the {} of the watch line has no metadata.name", head.kind));
            }
            let data = redaction
                .object(object, &head.kind)
                .map_err(|e| format!("{} {} cannot be used: {e}", head.kind, head.metadata.name))?;
            let kind = match word.as_str() {
                "DELETED" => "ObjectDeleted",
                _ if is_event => "Event",
                "ADDED" => "ObjectAdded",
                _ => "ObjectModified",
            };
            // A line without a time takes the newest one in its object, never below the line before.
            let at = ts.or_else(|| newest_in(if is_event { "Event" } else { kind }, data.get()).max(last)).ok_or_else(
                || {
                    format!(
                        "{} {} has no time in it, and no line before it; add `ts` to the line",
                        head.kind, head.metadata.name
                    )
                },
            )?;
            Ok(Some(event(kind, at, data)))
        }
        "BOOKMARK" => Ok(ts.or(last).and_then(|at| Some(event("Heartbeat", at, to_raw_value(&json!({})).ok()?)))),
        "ERROR" => {
            let why = Status::words(object);
            let at = ts.or(last).ok_or("a watch error without a time, and no line before it; add `ts` to the line")?;
            Ok(to_raw_value(&json!({ "source": "cluster", "why": why })).ok().map(|data| event("Gap", at, data)))
        }
        other => Err(format!(
            "unknown type `{}` of a watch line; expected ADDED, MODIFIED, DELETED, BOOKMARK or ERROR",
            other.chars().take(40).collect::<String>()
        )),
    }
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Head {
    kind: String,
    #[serde(rename = "apiVersion")]
    api_version: String,
    metadata: HeadMeta,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct HeadMeta {
    name: String,
}

impl Head {
    fn is_event(&self) -> bool {
        self.kind == "Event"
            && (self.api_version.is_empty()
                || self.api_version == "v1"
                || self.api_version.starts_with("events.k8s.io/"))
    }
}

/// What an API server says in place of an object.
#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Status {
    message: String,
    reason: String,
    code: i64,
}

impl Status {
    fn words(json: &str) -> String {
        let s: Status = serde_json::from_str(json).unwrap_or_default();
        let message = mask(&s.message).unwrap_or(s.message);
        match (s.code, s.reason.is_empty()) {
            (0, _) => message,
            (code, true) => format!("{code}: {message}"),
            (code, false) => format!("{code} {}: {message}", s.reason),
        }
    }
}

/// Writes a recording: one event a line, compressed as the file's name says (`.zst`, `.gz`, plain otherwise).
pub struct Writer {
    to: Target,
}

enum Target {
    Plain(BufWriter<File>),
    Gzip(flate2::write::GzEncoder<BufWriter<File>>),
    Zstd(zstd::stream::write::Encoder<'static, BufWriter<File>>),
}

impl Writer {
    /// Creates the file, or empties it.
    ///
    /// # Errors
    /// The file cannot be created.
    pub fn create(path: &Path) -> io::Result<Self> {
        let file = BufWriter::with_capacity(128 << 10, File::create(path)?);
        let to = match path.extension().and_then(|e| e.to_str()) {
            Some("zst") => Target::Zstd(zstd::stream::write::Encoder::new(file, 3)?),
            Some("gz") => Target::Gzip(flate2::write::GzEncoder::new(file, flate2::Compression::default())),
            _ => Target::Plain(file),
        };
        Ok(Writer { to })
    }

    /// Writes one event as one line.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&mut self, event: &RawEvent) -> io::Result<()> {
        let mut line = serde_json::to_vec(event)?;
        // Raw JSON may carry line feeds between its tokens; a line must be one line.
        for b in &mut line {
            if *b == b'\n' || *b == b'\r' {
                *b = b' ';
            }
        }
        line.push(b'\n');
        match &mut self.to {
            Target::Plain(w) => w.write_all(&line),
            Target::Gzip(w) => w.write_all(&line),
            Target::Zstd(w) => w.write_all(&line),
        }
    }

    /// Brings what was written to the file, so that a reader finds it even after a crash.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn flush(&mut self) -> io::Result<()> {
        match &mut self.to {
            Target::Plain(w) => w.flush(),
            Target::Gzip(w) => w.flush(),
            Target::Zstd(w) => w.flush(),
        }
    }

    /// Ends the file. A compressed one that was not ended reads up to its last flush.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn finish(self) -> io::Result<()> {
        match self.to {
            Target::Plain(mut w) => w.flush(),
            Target::Gzip(w) => w.finish()?.flush(),
            Target::Zstd(w) => w.finish()?.flush(),
        }
    }
}
