//! A data folder: `log.sqlite` (event log), `graph/` (graph), `tapio.json` (format, and what went into the log),
//! `rules.json` (what rules of one's own found), `redaction.key` (of a living cluster's hashes), `lock`.
//!
//! # How an input is recognised
//! `tapio.json` notes, before the first append, at which position of the log an input begins, with a fingerprint of
//! the input (names within it, sizes, content). One process appends at a time, so what stands in the log from there up
//! to where the next input begins, or the log ends, is of that input: how much of it was appended needs no note of its
//! own, and no crash can come between the two. A second replay of the same input skips just that many events; standard
//! input has no fingerprint and is new each time.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tapio_collectors::redaction::Redaction;
use tapio_core::id::IdBuilder;
use tapio_core::time::Time;

use crate::error::{Failure, Outcome};

/// Format of a data folder; raised when an older tapio could not go on with it.
pub(crate) const FORMAT: u32 = 1;

const NOTES: &str = "tapio.json";
const RULES: &str = "rules.json";
const KEY: &str = "redaction.key";
const LOCK: &str = "lock";

/// An input that went into the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Input {
    /// As it was given, for people.
    pub(crate) name: String,
    /// Hash of its content; none for standard input.
    pub(crate) fingerprint: Option<String>,
    /// Position in the log of its first event here.
    pub(crate) first: u64,
    /// Position of its last event, once it was read to its end.
    pub(crate) last: Option<u64>,
    /// Whether it is a living cluster, which has no end; the fingerprint is the cluster's.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) live: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Notes {
    format: u32,
    #[serde(default)]
    inputs: Vec<Input>,
    /// Newest time in the stream, for queries.
    #[serde(default)]
    stream_end: Option<Time>,
    /// Address of the Neo4j that holds the graph; none: the graph is in the folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    graph: Option<String>,
    /// Whether the graph is being built from the whole log and is not there yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    rebuilding: bool,
}

/// A data folder that this process holds.
pub(crate) struct Folder {
    dir: PathBuf,
    notes: Notes,
    _lock: File,
}

impl Folder {
    /// Opens a data folder, or makes one.
    pub(crate) fn create(dir: &Path) -> Outcome<Self> {
        let cannot =
            |e: std::io::Error| Failure::Unreachable(format!("cannot make data folder {}: {e}", dir.display()));
        fs::create_dir_all(dir).map_err(cannot)?;
        if !dir.join(NOTES).exists() {
            let ours = |name: &std::ffi::OsStr| name == "lock" || name.to_string_lossy().starts_with("tapio.json");
            let mut others = fs::read_dir(dir).map_err(cannot)?.filter_map(Result::ok);
            if let Some(other) = others.find(|e| !ours(&e.file_name())) {
                return Err(Failure::input(format!(
                    "{} holds {} and is no data folder of tapio; name a new or empty folder",
                    dir.display(),
                    other.file_name().to_string_lossy()
                )));
            }
            let lock = lock(dir)?;
            let notes = Notes { format: FORMAT, inputs: Vec::new(), stream_end: None, graph: None, rebuilding: false };
            let folder = Folder { dir: dir.to_owned(), notes, _lock: lock };
            folder.save()?;
            return Ok(folder);
        }
        Folder::existing(dir)
    }

    /// Opens a data folder that must be there.
    pub(crate) fn existing(dir: &Path) -> Outcome<Self> {
        if !dir.join(NOTES).is_file() {
            return Err(Failure::input(format!(
                "{} is no data folder of tapio; make one with `tapio replay INPUT --data-dir {}`",
                dir.display(),
                dir.display()
            )));
        }
        let lock = lock(dir)?;
        let broken = |why: String| {
            Failure::Unreachable(format!(
                "{} of data folder {} cannot be read: {why}; replay into a new folder",
                NOTES,
                dir.display()
            ))
        };
        let text = fs::read_to_string(dir.join(NOTES)).map_err(|e| broken(e.to_string()))?;
        let format = serde_json::from_str::<serde_json::Value>(&text).ok().and_then(|v| v.get("format")?.as_u64());
        if let Some(found) = format.filter(|f| *f > u64::from(FORMAT)) {
            return Err(Failure::Unreachable(format!(
                "data folder {} has format {found}, this tapio reads up to {FORMAT}; use the newer tapio that wrote it",
                dir.display()
            )));
        }
        let notes = serde_json::from_str(&text).map_err(|e| broken(e.to_string()))?;
        Ok(Folder { dir: dir.to_owned(), notes, _lock: lock })
    }

    /// The process that uses a folder, if one does.
    pub(crate) fn in_use(dir: &Path) -> Outcome<Option<String>> {
        let path = dir.join(LOCK);
        let Ok(mut file) = OpenOptions::new().read(true).write(true).open(&path) else { return Ok(None) };
        match file.try_lock() {
            Ok(()) => Ok(None),
            Err(TryLockError::WouldBlock) => Ok(Some(holder(&mut file))),
            Err(TryLockError::Error(e)) => Err(Failure::Unreachable(format!(
                "cannot lock data folder {}: {e}; check mount options",
                dir.display()
            ))),
        }
    }

    /// The folder.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The event log's file.
    pub(crate) fn log(&self) -> PathBuf {
        self.dir.join("log.sqlite")
    }

    /// The graph's folder.
    pub(crate) fn graph(&self) -> PathBuf {
        self.dir.join("graph")
    }

    /// Address of the Neo4j that holds the graph of this folder.
    pub(crate) fn graph_address(&self) -> Option<&str> {
        self.notes.graph.as_deref()
    }

    /// Notes where the graph is; in a new place it has to be built from the whole log.
    pub(crate) fn set_graph_address(&mut self, address: &str) -> Outcome {
        if self.notes.graph.as_deref() == Some(address) {
            return Ok(());
        }
        self.notes.graph = Some(address.to_owned());
        self.notes.rebuilding = true;
        self.save()
    }

    /// Whether the graph is not there yet, because building it anew was interrupted.
    pub(crate) fn rebuilding(&self) -> bool {
        self.notes.rebuilding
    }

    /// Notes that the graph is being built from the whole log, or is there.
    pub(crate) fn set_rebuilding(&mut self, yes: bool) -> Outcome {
        if self.notes.rebuilding == yes {
            return Ok(());
        }
        self.notes.rebuilding = yes;
        self.save()
    }

    /// What rules of one's own had found; none where there were none.
    pub(crate) fn rules(&self) -> Outcome<Option<Vec<u8>>> {
        let path = self.dir.join(RULES);
        match fs::read(&path) {
            Ok(state) => Ok(Some(state)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Failure::Unreachable(format!("cannot read {}: {e}", path.display()))),
        }
    }

    /// Keeps what they found, whole or not at all.
    pub(crate) fn save_rules(&self, state: &[u8]) -> Outcome {
        self.replace(RULES, state)
    }

    /// Newest time in the stream.
    pub(crate) fn stream_end(&self) -> Option<Time> {
        self.notes.stream_end
    }

    /// Notes the newest time in the stream.
    pub(crate) fn set_stream_end(&mut self, at: Time) -> Outcome {
        if self.notes.stream_end != Some(at) {
            self.notes.stream_end = Some(at);
            self.save()?;
        }
        Ok(())
    }

    /// Refuses a log that is not the one that the notes tell of; `last` is its last position.
    pub(crate) fn check_log(&self, last: u64) -> Outcome {
        match self.notes.inputs.iter().map(|i| i.last.unwrap_or(i.first.saturating_sub(1))).max() {
            Some(noted) if noted > last => Err(Failure::Unreachable(format!(
                "the event log of {} ends at {last}, and {noted} events were noted; put its log.sqlite back, or replay into a new folder",
                self.dir.display()
            ))),
            _ => Ok(()),
        }
    }

    /// The first position behind `cursor` at which an input was at its end.
    pub(crate) fn next_end(&self, cursor: u64) -> Option<u64> {
        self.ends().filter(|e| *e > cursor).min()
    }

    /// Whether an input was at its end just there.
    pub(crate) fn ends_at(&self, cursor: u64) -> bool {
        self.ends().any(|e| e == cursor)
    }

    fn ends(&self) -> impl Iterator<Item = u64> {
        self.notes.inputs.iter().filter_map(|i| i.last.filter(|l| *l >= i.first))
    }

    /// Begins with an input, or goes on with it: how many of its events are in the log, whose last position is `last`.
    /// None: all of them.
    pub(crate) fn begin(&mut self, name: String, fingerprint: Option<String>, last: u64) -> Outcome<Option<u64>> {
        let mut appended = 0;
        if fingerprint.is_some() {
            let starts: Vec<u64> = self.notes.inputs.iter().skip(1).map(|i| i.first).chain([last + 1]).collect();
            for (input, next) in self.notes.inputs.iter().zip(starts) {
                if input.fingerprint == fingerprint {
                    if input.last.is_some() {
                        return Ok(None);
                    }
                    appended += next.saturating_sub(input.first);
                }
            }
        }
        let goes_on = self
            .notes
            .inputs
            .last()
            .is_some_and(|i| i.last.is_none() && fingerprint.is_some() && i.fingerprint == fingerprint);
        if !goes_on {
            self.notes.inputs.push(Input { name, fingerprint, first: last + 1, last: None, live: false });
            self.save()?;
        }
        Ok(Some(appended))
    }

    /// The input begun last was read to its end, which stands at `last`.
    pub(crate) fn end(&mut self, last: u64) -> Outcome {
        if let Some(i) = self.notes.inputs.last_mut() {
            i.last = Some(last);
        }
        self.save()
    }

    /// Whether the log ends within an input that was not read to its end. A living cluster has none.
    pub(crate) fn interrupted(&self) -> Option<&str> {
        self.notes.inputs.last().filter(|i| i.last.is_none() && !i.live).map(|i| i.name.as_str())
    }

    /// Begins with a living cluster, or goes on with it; `last`: last position of the log.
    pub(crate) fn begin_live(&mut self, name: String, identity: String, last: u64) -> Outcome {
        let identity = Some(identity);
        if let Some(other) = self.notes.inputs.iter().find(|i| i.live && i.fingerprint != identity) {
            return Err(Failure::input(format!(
                "data folder {} is of another cluster, {}; name another folder with --data-dir",
                self.dir.display(),
                other.name
            )));
        }
        if !self.notes.inputs.last().is_some_and(|i| i.live) {
            self.notes.inputs.push(Input { name, fingerprint: identity, first: last + 1, last: None, live: true });
            self.save()?;
        }
        Ok(())
    }

    /// Whether a living cluster was ever written into it.
    pub(crate) fn is_live(&self) -> bool {
        self.notes.inputs.iter().any(|i| i.live)
    }

    /// Whether what stands behind `cursor` is a living cluster's, and where that ends, if it does.
    pub(crate) fn stretch(&self, cursor: u64) -> (bool, Option<u64>) {
        let inputs = &self.notes.inputs;
        let live = inputs.iter().rev().find(|i| i.first <= cursor + 1).is_some_and(|i| i.live);
        let next = inputs.iter().find(|i| i.first > cursor + 1 && (live || i.live));
        (live, next.map(|i| i.first - 1))
    }

    /// The key of this folder's hashes, made at the first time: what a live collector redacts must not be found by
    /// trying words against a key that everybody has.
    pub(crate) fn redaction_key(&self) -> Outcome<[u8; 32]> {
        if let Some(key) = key_in(&self.dir)? {
            return Ok(key);
        }
        let key = new_key()?;
        self.replace(KEY, &key)?;
        Ok(key)
    }

    /// The rules whose hashes can be compared with those in a folder: with its own key where a live collector wrote it,
    /// else those of offline runs.
    pub(crate) fn redaction(dir: &Path) -> Outcome<Redaction> {
        Ok(key_in(dir)?.map_or_else(Redaction::default, Redaction::with_key))
    }

    /// Writes the notes whole, durably.
    fn save(&self) -> Outcome {
        self.replace(NOTES, crate::output::json(&self.notes)?.as_bytes())
    }

    /// Writes a file whole, durably.
    fn replace(&self, name: &str, content: &[u8]) -> Outcome {
        let cannot =
            |e: std::io::Error| Failure::Unreachable(format!("cannot write {}: {e}", self.dir.join(name).display()));
        let new = self.dir.join(format!("{name}.new"));
        let mut file = private(&new).map_err(cannot)?;
        file.write_all(content).and_then(|()| file.sync_all()).map_err(cannot)?;
        fs::rename(&new, self.dir.join(name)).map_err(cannot)?;
        // The name, too, must survive a loss of power; not every system lets folders be opened.
        if let Ok(d) = File::open(&self.dir) {
            let _ = d.sync_all();
        }
        Ok(())
    }
}

fn key_in(dir: &Path) -> Outcome<Option<[u8; 32]>> {
    let path = dir.join(KEY);
    match fs::read(&path) {
        Ok(bytes) => <[u8; 32]>::try_from(bytes.as_slice())
            .map(Some)
            .map_err(|_| Failure::Unreachable(format!("{} is damaged; remove it to get a new key", path.display()))),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Failure::Unreachable(format!("cannot read {}: {e}", path.display()))),
    }
}

/// A new key for hashes, from the system's randomness.
pub(crate) fn new_key() -> Outcome<[u8; 32]> {
    let mut key = [0; 32];
    getrandom::fill(&mut key).map_err(|e| Failure::Unreachable(format!("the system gives no random numbers: {e}")))?;
    Ok(key)
}

/// A new file that only its owner may read, where the system can say so.
fn private(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Who holds a lock, as they said in it.
fn holder(file: &mut File) -> String {
    let mut holder = String::new();
    let _ = file.take(32).read_to_string(&mut holder);
    holder.trim().to_owned()
}

/// The right to be the one process that uses the folder; it goes with the process, however that ends.
fn lock(dir: &Path) -> Outcome<File> {
    let path = dir.join(LOCK);
    let cannot = |e: &std::io::Error| {
        Failure::Unreachable(format!("cannot lock data folder {}: {e}; check owner and mount options", dir.display()))
    };
    let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
    let mut file = opened.map_err(|e| cannot(&e))?;
    match file.try_lock() {
        Ok(()) => {
            // For the message of whoever comes next; nothing depends on it.
            let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
            Ok(file)
        }
        Err(TryLockError::WouldBlock) => {
            let holder = holder(&mut file);
            Err(Failure::Unreachable(format!(
                "data folder {} is in use by process {}; wait for it or stop it",
                dir.display(),
                holder
            )))
        }
        Err(TryLockError::Error(e)) => Err(cannot(&e)),
    }
}

/// A hash over inputs: what each folder holds by name, and every byte. None with standard input or a pipe among them.
pub(crate) fn fingerprint(inputs: &[PathBuf], cluster: Option<&str>) -> Outcome<Option<String>> {
    let mut hash = IdBuilder::new("input").text(cluster.unwrap_or(""));
    for input in inputs {
        if input.as_os_str() == "-" {
            return Ok(None);
        }
        // What cannot be read is the reader's to complain about.
        let Ok(meta) = fs::metadata(input) else { return Ok(None) };
        if meta.is_dir() {
            let mut files = Vec::new();
            walk(input, &mut files, 0);
            files.sort();
            for f in files {
                hash = hash.text(&f.strip_prefix(input).unwrap_or(&f).to_string_lossy());
                hash = content(hash, &f);
            }
        } else if meta.is_file() {
            // Its name decides how a single file is read (`…/CONTAINER.log`); its folder does not.
            hash = hash.text(&input.file_name().unwrap_or_default().to_string_lossy());
            hash = content(hash, input);
        } else {
            return Ok(None);
        }
    }
    Ok(Some(hash.finish().to_string()))
}

fn content(mut hash: IdBuilder, path: &Path) -> IdBuilder {
    let Ok(file) = File::open(path) else { return hash };
    let mut file = std::io::BufReader::new(file);
    let mut piece = Vec::new();
    // Pieces of one fixed size, so that the hash does not depend on how the system hands the bytes out.
    while let Ok(1..) = file.by_ref().take(1 << 20).read_to_end(&mut piece) {
        hash = hash.bytes(&piece);
        piece.clear();
    }
    hash
}

fn walk(dir: &Path, files: &mut Vec<PathBuf>, depth: usize) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for e in entries.filter_map(Result::ok) {
        let path = e.path();
        match e.file_type() {
            // Links are not followed: they may lead in a circle.
            Ok(t) if t.is_dir() && depth < 64 => walk(&path, files, depth + 1),
            Ok(t) if t.is_file() => files.push(path),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_of_manifests_compare_with_those_in_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        let hash = || Folder::redaction(dir.path()).map(|r| r.hash("debug"));
        assert_eq!(hash().unwrap(), Redaction::default().hash("debug"), "of a replay");
        fs::write(dir.path().join(KEY), [7; 32]).unwrap();
        assert_eq!(hash().unwrap(), Redaction::with_key([7; 32]).hash("debug"), "of a living cluster");
        fs::write(dir.path().join(KEY), "short").unwrap();
        assert!(matches!(hash(), Err(Failure::Unreachable(why)) if why.contains("redaction.key is damaged")));
    }
}
