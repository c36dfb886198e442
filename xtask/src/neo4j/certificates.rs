//! The certificate of a server, and the authority that signed it: made for one run, trusted by nobody else.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::done;

/// Makes `ca.crt`, and `public.crt` with `private.key` for the name `localhost`, in a new folder.
///
/// The address 127.0.0.1 does not stand in it, so that a name that does not fit can be tried, too.
pub(super) fn make(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    let openssl = |args: &[&str]| done(Command::new("openssl").args(args).current_dir(folder));
    let key = ["-newkey", "rsa:2048", "-nodes", "-sha256"];
    let authority = ["-x509", "-days", "2", "-subj", "/CN=Tapio test authority", "-keyout", "ca.key", "-out", "ca.crt"];
    openssl(&[&["req"][..], &key, &authority].concat())?;
    let asked = ["-subj", "/CN=localhost", "-keyout", "private.key", "-out", "public.csr"];
    openssl(&[&["req"][..], &key, &asked].concat())?;
    std::fs::write(folder.join("names"), "subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\n")?;
    let signed = ["-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "names", "-out", "public.crt"];
    openssl(&[&["x509", "-req", "-in", "public.csr", "-days", "2", "-sha256"][..], &signed].concat())
}
