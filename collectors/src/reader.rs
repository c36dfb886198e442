//! Any mix of files, folders, archives and standard input as one stream of events.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tapio_core::raw::{DeadLetter, RawEvent};

use crate::dump::Dumps;
use crate::input::{Format, Found, walk};
use crate::redaction::Redaction;

/// Items that are handed over at once, where reading never has to wait for them: waking the other thread costs more
/// than reading a small event.
const CHUNK: usize = 64;
/// Chunks that may wait between the reading thread and its user: at most 1,024 items.
const QUEUE: usize = 1_024 / CHUNK;
/// Most skipped files that the summary names.
const MAX_NAMED: usize = 1_000;

/// How input is read, and its bounds.
#[derive(Clone, Debug)]
pub struct ReadOptions {
    /// Written as `cluster` into every event's metadata; what recordings say themselves where absent.
    pub cluster: Option<String>,
    /// Bytes of one line of a recording, or of one document outside of lists. Longer ones become dead letters.
    pub max_line_bytes: usize,
    /// Bytes of one object in a list, and of one YAML document's object. Larger ones become dead letters.
    pub max_object_bytes: usize,
    /// Bytes at the end of a log that are read.
    pub log_tail_bytes: usize,
    /// Lines at the end of a log that are kept.
    pub log_tail_lines: usize,
    /// Uncompressed bytes over all inputs; reading ends there.
    pub max_total_bytes: u64,
    /// What must not get out.
    pub redaction: Redaction,
}

impl Default for ReadOptions {
    fn default() -> Self {
        ReadOptions {
            cluster: None,
            max_line_bytes: 32 << 20,
            max_object_bytes: 16 << 20,
            log_tail_bytes: 256 << 10,
            log_tail_lines: 400,
            max_total_bytes: 8 << 30,
            redaction: Redaction::default(),
        }
    }
}

/// What a [`Reader`] gives.
#[derive(Clone, Debug)]
pub enum Item {
    /// An event.
    Event(RawEvent),
    /// Input that could not be used; the rest is.
    Dead(DeadLetter),
}

/// What comes next from a [`Reader`].
#[derive(Clone, Debug)]
pub enum Next {
    /// An event, or input that could not be used.
    Item(Item),
    /// Nothing for the time that was waited.
    Idle,
    /// Nothing any more.
    End,
}

/// How far a [`Reader`] is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes read, as they lie in the files.
    pub bytes: u64,
    /// Bytes of all files; unknown with standard input.
    pub bytes_total: Option<u64>,
    /// Files begun.
    pub files: u64,
    /// Events given out.
    pub events: u64,
    /// Dead letters given out.
    pub dead_letters: u64,
}

/// A file that was not used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Which.
    pub path: String,
    /// Why.
    pub reason: String,
}

/// What a [`Reader`] has seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Files and archive entries that were read.
    pub files: u64,
    /// Those that were not, the first 1,000 by name.
    pub skipped: Vec<Skipped>,
    /// How many were not.
    pub skipped_total: u64,
    /// Events by their type (`ObjectAdded`, `Event`, `ContainerLog`, …).
    pub events: BTreeMap<String, u64>,
    /// Log lines in `ContainerLog` events.
    pub log_lines: u64,
    /// Dead letters.
    pub dead_letters: u64,
}

/// Why input cannot be read at all; the caller shows it and ends.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Nothing was given.
    #[error("no input given; name a dump folder, a recording, an archive, or `-` for standard input")]
    NoInput,
    /// Missing, or not readable.
    #[error("cannot read {path}; check that it exists and that you may read it")]
    Unreadable {
        /// Path as given.
        path: String,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// A folder without files.
    #[error(
        "{path} is an empty folder; give one that holds a dump, e.g. made by `kubectl cluster-info dump -A -o json --output-directory {path}`"
    )]
    Empty {
        /// Path as given.
        path: String,
    },
    /// A folder in which nothing looks like a dump.
    #[error(
        "{path} is no dump: looked for *.json and *.yaml files with Kubernetes objects, recordings, NAMESPACE/POD/CONTAINER.log and archives in {files} files and found none; give the folder that `kubectl cluster-info dump -A -o json --output-directory FOLDER` wrote"
    )]
    NoDump {
        /// Path as given.
        path: String,
        /// Files looked at.
        files: usize,
    },
    /// A file that is none of the known forms.
    #[error(
        "{path} is {found}; expected JSON or YAML of Kubernetes objects, a recording (JSON lines), a dump, or one of these in .gz, .zst or .tar"
    )]
    UnknownForm {
        /// Path as given.
        path: String,
        /// What it looks like.
        found: &'static str,
    },
    /// The system gives no thread.
    #[error("cannot start the reading thread")]
    NoThread(#[source] std::io::Error),
}

/// One input.
pub(crate) enum Source {
    Stdin,
    File(PathBuf),
    Folder { root: PathBuf, files: Vec<Found> },
}

/// The receiver is gone: nobody wants more.
#[derive(Debug)]
pub(crate) struct Stopped;

/// Counters that the reading thread shares with the [`Reader`].
#[derive(Default)]
pub(crate) struct Shared {
    pub(crate) bytes: Arc<AtomicU64>,
    pub(crate) files: AtomicU64,
    events: AtomicU64,
    dead: AtomicU64,
    stopped: AtomicBool,
    summary: Mutex<Summary>,
}

/// Where the reading thread puts what it finds.
pub(crate) struct Output {
    to: SyncSender<Vec<Item>>,
    waiting: RefCell<Vec<Item>>,
    /// Items of a chunk: one, where the input may keep the reader waiting.
    chunk: usize,
    pub(crate) shared: Arc<Shared>,
    pub(crate) options: ReadOptions,
    /// Uncompressed bytes that may still be read.
    pub(crate) left: Arc<AtomicU64>,
}

impl Output {
    fn with_summary(&self, change: impl FnOnce(&mut Summary)) {
        change(&mut self.shared.summary.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Whether somebody still listens.
    pub(crate) fn check(&self) -> Result<(), Stopped> {
        if self.shared.stopped.load(Ordering::Relaxed) { Err(Stopped) } else { Ok(()) }
    }

    fn give(&self, item: Item) -> Result<(), Stopped> {
        let mut waiting = self.waiting.borrow_mut();
        waiting.push(item);
        if waiting.len() < self.chunk {
            Ok(())
        } else {
            self.to.send(std::mem::take(&mut *waiting)).map_err(|_| Stopped)
        }
    }

    /// Gives an event out.
    pub(crate) fn event(&self, mut event: RawEvent) -> Result<(), Stopped> {
        if let Some(cluster) = &self.options.cluster {
            event.metadata.insert("cluster".to_owned(), cluster.clone());
        }
        self.with_summary(|s| {
            if let Some(n) = s.events.get_mut(&event.kind) {
                *n += 1;
            } else if s.events.len() < MAX_NAMED {
                s.events.insert(event.kind.clone(), 1);
            }
        });
        self.shared.events.fetch_add(1, Ordering::Relaxed);
        self.give(Item::Event(event))
    }

    /// Gives a dead letter out. `bytes`: the input itself, masked here.
    pub(crate) fn dead(&self, origin: &str, line: Option<u64>, reason: String, bytes: &[u8]) -> Result<(), Stopped> {
        let excerpt = self.options.redaction.excerpt(bytes);
        self.with_summary(|s| s.dead_letters += 1);
        self.shared.dead.fetch_add(1, Ordering::Relaxed);
        let letter = DeadLetter { origin: origin.to_owned(), line, reason, excerpt };
        self.give(Item::Dead(letter))
    }

    /// Notes a file that is not used.
    pub(crate) fn skip(&self, path: &str, reason: &str) {
        self.with_summary(|s| {
            s.skipped_total += 1;
            if s.skipped.len() < MAX_NAMED {
                s.skipped.push(Skipped { path: path.to_owned(), reason: reason.to_owned() });
            }
        });
    }

    /// Notes a file that is read.
    pub(crate) fn file(&self) {
        self.shared.files.fetch_add(1, Ordering::Relaxed);
        self.with_summary(|s| s.files += 1);
    }

    /// Notes lines of a log.
    pub(crate) fn log_lines(&self, lines: usize) {
        self.with_summary(|s| s.log_lines += lines as u64);
    }
}

impl Drop for Output {
    /// Hands over what is left; also when reading ends with a panic.
    fn drop(&mut self) {
        let _ = self.to.send(self.waiting.take());
    }
}

/// The events of all inputs, in their order. Reading goes on in a thread of its own and ends when this is dropped.
pub struct Reader {
    from: Option<Receiver<Vec<Item>>>,
    chunk: std::vec::IntoIter<Item>,
    thread: Option<JoinHandle<()>>,
    shared: Arc<Shared>,
    bytes_total: Option<u64>,
}

/// Opens inputs: dump folders, recordings, files, archives, `-` for standard input.
///
/// # Errors
/// An input is missing, unreadable, empty, or nothing that Tapio reads. What is wrong deeper inside comes as
/// [`Item::Dead`].
pub fn open(inputs: &[PathBuf], options: ReadOptions) -> Result<Reader, ReadError> {
    if inputs.is_empty() {
        return Err(ReadError::NoInput);
    }
    let shared = Arc::new(Shared::default());
    let left = Arc::new(AtomicU64::new(options.max_total_bytes));
    let mut sources = Vec::new();
    let mut bytes_total = Some(0u64);
    let mut unread = Vec::new();
    for path in inputs {
        if path.as_os_str() == "-" {
            bytes_total = None;
            sources.push(Source::Stdin);
            continue;
        }
        let unreadable = |source| ReadError::Unreadable { path: path.display().to_string(), source };
        let meta = path.metadata().map_err(unreadable)?;
        if meta.is_dir() {
            let (files, skipped) = walk(path).map_err(unreadable)?;
            if files.is_empty() {
                return Err(ReadError::Empty { path: path.display().to_string() });
            }
            if !files.iter().any(looks_useful) {
                return Err(ReadError::NoDump { path: path.display().to_string(), files: files.len() });
            }
            unread.extend(skipped);
            bytes_total = bytes_total.map(|n| n + files.iter().map(|f| f.len).sum::<u64>());
            sources.push(Source::Folder { root: path.clone(), files });
        } else {
            // A pipe must not be opened twice.
            if meta.is_file() {
                check_form(path)?;
                bytes_total = bytes_total.map(|n| n + meta.len());
            } else {
                bytes_total = None;
            }
            sources.push(Source::File(path.clone()));
        }
    }
    let (to, from) = sync_channel(QUEUE);
    let chunk = if bytes_total.is_some() { CHUNK } else { 1 };
    let output = Output { to, waiting: RefCell::default(), chunk, shared: Arc::clone(&shared), options, left };
    for (path, reason) in unread {
        output.skip(&path.display().to_string(), &reason);
    }
    let thread = std::thread::Builder::new()
        .name("reader".to_owned())
        .stack_size(STACK)
        .spawn(move || {
            // Whoever stops listening ends it; there is nobody left to tell.
            let _ = Dumps::new(&output).read(sources);
        })
        .map_err(ReadError::NoThread)?;
    Ok(Reader { from: Some(from), chunk: Vec::new().into_iter(), thread: Some(thread), shared, bytes_total })
}

/// Stack of a thread that reads documents: parsers descend into what is nested, up to their limits, and an unoptimised
/// build needs some tens of KiB a level for that. Only what is used is ever backed by memory.
pub(crate) const STACK: usize = 64 << 20;

/// Refuses a single file that cannot be read, or is of no known form.
fn check_form(path: &Path) -> Result<(), ReadError> {
    let unreadable = |source| ReadError::Unreadable { path: path.display().to_string(), source };
    // Looking at the beginning does not count as reading.
    let input = match crate::input::open(path, &Arc::default(), &Arc::new(AtomicU64::new(1 << 20))) {
        Ok(input) => input,
        // Broken compression becomes a dead letter.
        Err(e) if e.kind() != std::io::ErrorKind::PermissionDenied && std::fs::File::open(path).is_ok() => {
            return Ok(());
        }
        Err(e) => return Err(unreadable(e)),
    };
    let named = path.file_name().is_some_and(|n| crate::dump::is_known_name(&n.to_string_lossy()));
    let found = match input.format {
        Format::Empty => "empty",
        Format::Binary => "a binary file of unknown form",
        Format::Text if !named => "a text of unknown form",
        _ => return Ok(()),
    };
    Err(ReadError::UnknownForm { path: path.display().to_string(), found })
}

/// Whether a file of a folder may be part of a dump: by its name, and by its beginning where it has to be JSON.
fn looks_useful(file: &Found) -> bool {
    if crate::dump::is_known_name(&file.name) {
        return true;
    }
    let left = Arc::new(AtomicU64::new(1 << 20));
    match crate::input::open(&file.path, &Arc::default(), &left) {
        Ok(input) => {
            matches!(input.format, Format::Json | Format::Yaml | Format::Tar | Format::Utf16) || input.compressed
        }
        Err(_) => true,
    }
}

impl Reader {
    /// How far it is.
    pub fn progress(&self) -> Progress {
        Progress {
            bytes: self.shared.bytes.load(Ordering::Relaxed),
            bytes_total: self.bytes_total,
            files: self.shared.files.load(Ordering::Relaxed),
            events: self.shared.events.load(Ordering::Relaxed),
            dead_letters: self.shared.dead.load(Ordering::Relaxed),
        }
    }

    /// What was seen so far; complete when the iterator has ended.
    pub fn summary(&self) -> Summary {
        self.shared.summary.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Reader {
    /// What comes next, if it comes within `patience`: a silent standard input keeps nobody waiting longer.
    pub fn next_within(&mut self, patience: Duration) -> Next {
        loop {
            if let Some(item) = self.chunk.next() {
                return Next::Item(item);
            }
            let Some(from) = &self.from else { return Next::End };
            match from.recv_timeout(patience) {
                Ok(chunk) => self.chunk = chunk.into_iter(),
                Err(RecvTimeoutError::Timeout) => return Next::Idle,
                Err(RecvTimeoutError::Disconnected) => {
                    return self.end().map_or(Next::End, |dead| Next::Item(Item::Dead(dead)));
                }
            }
        }
    }

    /// Joins the reading thread. A panic of it is a defect, but no reason to lose what was read.
    fn end(&mut self) -> Option<DeadLetter> {
        self.from = None;
        self.thread.take()?.join().err().map(|_| {
            self.shared.dead.fetch_add(1, Ordering::Relaxed);
            DeadLetter {
                origin: "reader".to_owned(),
                line: None,
                reason: "reading ended with a defect of tapio; please report it with the input".to_owned(),
                excerpt: String::new(),
            }
        })
    }
}

impl Iterator for Reader {
    type Item = Item;

    fn next(&mut self) -> Option<Item> {
        loop {
            match self.next_within(Duration::MAX) {
                Next::Item(item) => return Some(item),
                Next::Idle => {}
                Next::End => return None,
            }
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        // Its next send fails. It is not waited for: it may be blocked on standard input.
        self.from = None;
    }
}
