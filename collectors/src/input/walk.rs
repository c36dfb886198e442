//! The files of a folder, in a fixed order; links are followed only inside of it, and never twice.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

/// Deepest folder below the given one.
const MAX_DEPTH: usize = 16;
/// Most files of one folder tree.
const MAX_FILES: usize = 1_000_000;

/// A file below a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// Its path below the folder, parts joined by `/`.
    pub(crate) name: String,
    /// Bytes.
    pub(crate) len: u64,
}

/// What could not be looked at, and why.
pub(crate) type Left = (PathBuf, String);

/// What a folder holds: its files, and what could not be looked at with the reason.
pub(crate) fn walk(root: &Path) -> io::Result<(Vec<Found>, Vec<Left>)> {
    let home = root.canonicalize()?;
    let mut files = Vec::new();
    let mut skipped = Vec::new();
    let mut seen = BTreeSet::from([home.clone()]);
    // The folder itself must be readable; below it, what is not is only said.
    let first = std::fs::read_dir(root)?;
    descend(first, "", 0, &home, &mut seen, &mut files, &mut skipped);
    files.sort_by(|a: &Found, b| a.name.cmp(&b.name));
    Ok((files, skipped))
}

fn descend(
    folder: std::fs::ReadDir,
    prefix: &str,
    depth: usize,
    home: &Path,
    seen: &mut BTreeSet<PathBuf>,
    files: &mut Vec<Found>,
    skipped: &mut Vec<Left>,
) {
    let mut entries: Vec<PathBuf> = folder.filter_map(|e| e.ok().map(|e| e.path())).collect();
    entries.sort();
    for path in entries {
        let Some(part) = path.file_name().map(|n| n.to_string_lossy().into_owned()) else { continue };
        let name = if prefix.is_empty() { part } else { format!("{prefix}/{part}") };
        let link = path.symlink_metadata().is_ok_and(|m| m.is_symlink());
        let meta = match path.metadata() {
            Ok(m) => m,
            Err(e) => {
                skipped.push((path, e.to_string()));
                continue;
            }
        };
        if link && !path.canonicalize().is_ok_and(|real| real.starts_with(home)) {
            skipped.push((path, "a link that leads out of the folder".to_owned()));
            continue;
        }
        if meta.is_dir() {
            let fresh = path.canonicalize().is_ok_and(|real| seen.insert(real));
            if !fresh || depth >= MAX_DEPTH {
                skipped.push((path, "seen before, or nested too deeply".to_owned()));
                continue;
            }
            match std::fs::read_dir(&path) {
                Ok(inner) => descend(inner, &name, depth + 1, home, seen, files, skipped),
                Err(e) => skipped.push((path, e.to_string())),
            }
        } else if meta.is_file() && files.len() < MAX_FILES {
            files.push(Found { path, name, len: meta.len() });
        } else {
            skipped.push((path, "no regular file".to_owned()));
        }
    }
}
