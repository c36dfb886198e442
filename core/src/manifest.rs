//! Manifests: objects as somebody wants them to be, read from files that were never in a cluster.

use serde_json::Value;

/// One object of a manifest file, already without what must not leave a collector.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// The file, or `standard input`.
    pub file: String,
    /// Which document of it, counted from 1.
    pub document: usize,
    /// The line on which that document begins, counted from 1.
    pub line: usize,
    /// The object.
    pub object: Value,
}

impl Manifest {
    /// Where it stands, for people.
    pub fn place(&self) -> String {
        format!("{}, document {} (line {})", self.file, self.document, self.line)
    }
}
