//! The file of authorities, looked at before the driver gets it: the driver takes a file without a certificate as one
//! that trusts nobody, and reads a folder for ever.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use tapio_core::ports::StoreError;

/// Longest file that is read; the whole list of a Linux distribution is a quarter of it.
const MAX: u64 = 1 << 20;

/// Looks whether a file can be what is asked for.
///
/// # Errors
/// [`StoreError::Refused`] with what is wrong with it.
pub(super) fn check(file: &Path) -> Result<(), StoreError> {
    let refused = |why: String| {
        StoreError::Refused(format!(
            "{} cannot be the certificates of authorities: {why}; give a file in PEM form, as `openssl x509` prints it",
            file.display()
        ))
    };
    let meta = std::fs::metadata(file).map_err(|e| refused(e.to_string()))?;
    if !meta.is_file() {
        return Err(refused("it is no file".to_owned()));
    }
    let mut bytes = Vec::new();
    let opened = File::open(file).map_err(|e| refused(e.to_string()))?;
    opened.take(MAX + 1).read_to_end(&mut bytes).map_err(|e| refused(e.to_string()))?;
    if bytes.len() as u64 > MAX {
        return Err(refused(format!("it has more than {MAX} bytes")));
    }
    let text = String::from_utf8_lossy(&bytes);
    if !text.contains("-----BEGIN CERTIFICATE-----") {
        return Err(refused("no certificate stands in it".to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_no_certificate_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let with = |name: &str, text: &str| {
            let file = dir.path().join(name);
            std::fs::write(&file, text).unwrap();
            check(&file).map_err(|e| e.to_string())
        };
        assert!(with("key", "-----BEGIN PRIVATE KEY-----").unwrap_err().contains("no certificate stands in it"));
        assert!(with("long", &"x".repeat(2 << 20)).unwrap_err().contains("more than"));
        assert!(check(dir.path()).unwrap_err().to_string().contains("no file"));
        assert!(check(&dir.path().join("none")).unwrap_err().to_string().contains("none"));
        with("good", "-----BEGIN CERTIFICATE-----\n").unwrap();
    }
}
