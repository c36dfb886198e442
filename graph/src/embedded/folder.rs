//! The folder of a graph: one file of marsdb, one file with the format's version, and what can be wrong with them.
//!
//! marsdb reports most troubles as text inside storage errors; here they become the decision that the caller has to
//! take. The version file is read before marsdb touches anything, because opening writes.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use marsdb::{Database, Error, QueryError};
use tapio_core::ports::StoreError;

/// Format of the graph in the folder; raised when an older Tapio could not read it.
pub const FORMAT: i64 = 1;

/// marsdb's file.
pub const GRAPH_FILE: &str = "graph.redb";
/// The file that holds [`FORMAT`] as text.
pub const VERSION_FILE: &str = "graph.version";

/// Opens or creates the graph in a folder.
///
/// # Errors
/// [`StoreError::NewerVersion`], [`StoreError::InUse`], [`StoreError::Corrupt`], [`StoreError::NotWritable`].
pub(super) fn open(dir: &Path) -> Result<Database, StoreError> {
    let io = |e: io::Error| unwritable(dir, &e);
    fs::create_dir_all(dir).map_err(io)?;
    let version = dir.join(VERSION_FILE);
    match fs::read_to_string(&version) {
        Ok(text) => check_version(dir, &text)?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) if e.kind() == io::ErrorKind::InvalidData => {
            return Err(corrupt(dir, format!("{VERSION_FILE} is not text")));
        }
        Err(e) => return Err(io(e)),
    }
    let file = dir.join(GRAPH_FILE);
    // Asked before marsdb does, whose error would not tell a missing right from a damaged file.
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&file).map_err(io)?;
    // A file that is no graph at all can make redb panic in its checks; that is a damaged file too.
    let opened = std::panic::catch_unwind(|| Database::open(&file));
    let db = match opened {
        Ok(Ok(db)) => db,
        Ok(Err(e)) => return Err(cannot_open(dir, &e)),
        Err(_) => return Err(corrupt(dir, format!("{GRAPH_FILE} is damaged"))),
    };
    if !version.exists() {
        fs::write(&version, format!("{FORMAT}\n")).map_err(io)?;
    }
    Ok(db)
}

fn check_version(dir: &Path, text: &str) -> Result<(), StoreError> {
    let found: i64 = text
        .trim()
        .parse()
        .map_err(|_| corrupt(dir, format!("{VERSION_FILE} holds no number but `{}`", short(text))))?;
    match found {
        FORMAT => Ok(()),
        found if found > FORMAT => Err(StoreError::NewerVersion { place: place(dir), found, known: FORMAT }),
        found => Err(corrupt(dir, format!("{VERSION_FILE} says format {found}, which never was"))),
    }
}

/// Copies the graph into an empty or new folder.
///
/// # Errors
/// [`StoreError::NotWritable`] if the folder holds anything or cannot be written.
pub(super) fn backup(db: &Database, to: &Path) -> Result<(), StoreError> {
    let io = |e: io::Error| unwritable(to, &e);
    fs::create_dir_all(to).map_err(io)?;
    if fs::read_dir(to).map_err(io)?.next().is_some() {
        let why = "the folder is not empty, name a new one".to_owned();
        return Err(StoreError::NotWritable { place: place(to), why });
    }
    db.backup_to(to.join(GRAPH_FILE)).map_err(|e| store_error(to, e))?;
    // Written last: a folder with a version holds a whole graph.
    fs::write(to.join(VERSION_FILE), format!("{FORMAT}\n")).map_err(io)
}

fn cannot_open(dir: &Path, error: &Error) -> StoreError {
    let why = error.to_string();
    if why.contains("already open") || why.contains("Cannot acquire lock") {
        let why = "one process at a time may open it, stop the other or ask it through its socket".to_owned();
        return StoreError::InUse { place: place(dir), why };
    }
    if let Some(newer) = newer_marsdb(dir, &why) {
        return newer;
    }
    // That the file can be read and written was tried before, so other I/O errors speak of what is in it.
    if is_io(&why) && !why.contains("Not a redb database") && !why.contains("magic") {
        return StoreError::NotWritable { place: place(dir), why };
    }
    corrupt(dir, why)
}

/// `unsupported database format version 3; this build supports 2..=2`, from marsdb itself.
fn newer_marsdb(dir: &Path, why: &str) -> Option<StoreError> {
    let rest = why.split_once("unsupported database format version ")?.1;
    let found: i64 = rest.split(';').next()?.trim().parse().ok()?;
    let known: i64 = rest.rsplit("..=").next()?.trim().parse().ok()?;
    (found > known).then(|| StoreError::NewerVersion { place: place(dir), found, known })
}

/// An error of marsdb while the graph is open.
pub(super) fn store_error(dir: &Path, error: Error) -> StoreError {
    let place = place(dir);
    match error {
        Error::Query(QueryError::Timeout) => StoreError::Limit("it took longer than its time limit".to_owned()),
        Error::Query(QueryError::Cancelled) => StoreError::Limit("nobody waits for its answer any more".to_owned()),
        Error::Query(QueryError::ResourceLimit(why)) => StoreError::Limit(format!("{why}; narrow the pattern")),
        Error::Query(QueryError::Graph(e)) => store_error(dir, Error::Graph(e)),
        Error::Query(e) => {
            // Its parser says so, too.
            let why = e.to_string().replacen("syntax error: syntax error:", "syntax error:", 1);
            StoreError::Refused(format!("the embedded store cannot run this: {why}"))
        }
        Error::Graph(e) => {
            let why = e.to_string();
            if why.contains("corrupt") {
                StoreError::Corrupt { place, why }
            } else if is_io(&why) {
                StoreError::NotWritable { place, why }
            } else {
                StoreError::Other { place, why }
            }
        }
        e => StoreError::Other { place, why: e.to_string() },
    }
}

fn is_io(why: &str) -> bool {
    ["I/O error", "Permission denied", "No space left", "Read-only file system", "Previous I/O"]
        .iter()
        .any(|w| why.contains(w))
}

fn unwritable(dir: &Path, error: &io::Error) -> StoreError {
    StoreError::NotWritable { place: place(dir), why: format!("{error}; check space, owner and mount options") }
}

fn corrupt(dir: &Path, why: String) -> StoreError {
    StoreError::Corrupt { place: place(dir), why }
}

/// The folder as errors name it.
pub(super) fn place(dir: &Path) -> String {
    PathBuf::from(dir).display().to_string()
}

fn short(text: &str) -> String {
    text.trim().chars().take(20).collect()
}
