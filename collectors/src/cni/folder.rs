//! The folder of network configuration, as it is at one moment.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read};
use std::path::Path;

use super::network::Network;
use super::state::Readable;

/// Files that are looked at.
const MOST: usize = 256;
/// Bytes of one file.
const BYTES: u64 = 1 << 20;

/// A file of the folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct File {
    /// Keyed hash of the content; of one that cannot be read, none.
    pub(super) hash: String,
    /// What it says, or what is wrong with it.
    pub(super) network: Result<Network, String>,
}

/// The folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Folder {
    /// Its files by name: in the order in which runtimes look.
    pub(super) files: BTreeMap<String, File>,
    /// Whether it was read.
    pub(super) readable: Readable,
}

impl Folder {
    /// Looks at it. `hash` makes one out of a file's content.
    pub(super) fn read(dir: &Path, hash: impl Fn(&str) -> String) -> Self {
        let entries = match std::fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == ErrorKind::NotFound => {
                return Folder { readable: Readable::Absent, ..Folder::default() };
            }
            Err(e) => {
                let why = format!("{}: {e}", dir.display());
                return Folder { readable: Readable::Unreadable { why }, ..Folder::default() };
            }
        };
        let mut names: Vec<String> =
            entries.filter_map(|e| e.ok()?.file_name().into_string().ok()).filter(|n| is_configuration(n)).collect();
        names.sort();
        names.truncate(MOST);
        let mut files = BTreeMap::new();
        for name in names {
            let file = match read(&dir.join(&name)) {
                Ok(bytes) => {
                    let hash = hash(&blake3::hash(&bytes).to_hex());
                    File { hash, network: Network::parse(&bytes) }
                }
                // It went between the list and the look.
                Err(e) if e.kind() == ErrorKind::NotFound => continue,
                Err(e) => File { hash: String::new(), network: Err(format!("cannot be read: {e}")) },
            };
            files.insert(name, file);
        }
        Folder { files, readable: Readable::Read }
    }

    /// The file that runtimes take: the first that can be used.
    pub(super) fn active(&self) -> Option<&str> {
        self.files.iter().find(|(_, f)| f.network.is_ok()).map(|(name, _)| name.as_str())
    }

    /// How many can be used.
    pub(super) fn usable(&self) -> usize {
        self.files.values().filter(|f| f.network.is_ok()).count()
    }
}

/// Whether a runtime would look at it.
fn is_configuration(name: &str) -> bool {
    let end = name.rsplit_once('.').map(|(_, end)| end);
    !name.starts_with('.') && matches!(end, Some("conf" | "conflist" | "json"))
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let meta = std::fs::metadata(path)?;
    // A pipe would never end.
    if !meta.is_file() {
        return Err(std::io::Error::new(ErrorKind::InvalidInput, "no plain file"));
    }
    if meta.len() > BYTES {
        return Err(std::io::Error::new(ErrorKind::InvalidInput, format!("larger than {BYTES} bytes")));
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_usable_file_by_name_is_the_one_that_counts() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        let look = || Folder::read(dir.path(), str::to_owned);
        assert_eq!((look().readable, look().active()), (Readable::Read, None));
        put("20-b.conflist", r#"{"name":"b","plugins":[{"type":"bridge"}]}"#);
        put("10-a.conflist", "{");
        put("00-calico-kubeconfig", "secret");
        put("05-old.conflist.bak", "{}");
        let f = look();
        assert_eq!((f.active(), f.usable(), f.files.len()), (Some("20-b.conflist"), 1, 2));
        std::fs::create_dir(dir.path().join("30-c.conf")).unwrap();
        assert!(look().files["30-c.conf"].network.as_ref().unwrap_err().contains("no plain file"));
        let missing = Folder::read(&dir.path().join("x"), str::to_owned);
        assert_eq!(missing.readable, Readable::Absent);
    }
}
