//! What the lane `alertmanager` needs: Debian's package, put there if this machine lets us.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::process::output;

const PACKAGE: &str = "prometheus-alertmanager";

/// Why there is no Alertmanager, after trying to get one.
pub(super) fn missing(root: &Path) -> Option<String> {
    if found(root) {
        return None;
    }
    match install() {
        Ok(()) if found(root) => None,
        Ok(()) => Some(format!("{PACKAGE} was installed and is not on the path")),
        Err(why) => Some(format!("no Alertmanager: {why}; install {PACKAGE}, or name one in TAPIO_ALERTMANAGER")),
    }
}

fn found(root: &Path) -> bool {
    std::env::var_os("TAPIO_ALERTMANAGER").is_some()
        || ["alertmanager", PACKAGE].iter().any(|name| output(root, name, &["--version"]).is_ok())
}

fn install() -> Result<(), String> {
    let user = Command::new("id").arg("-u").output().map_err(|e| format!("id cannot be run: {e}"))?;
    let root = String::from_utf8_lossy(&user.stdout).trim() == "0";
    for args in [&["update", "-qq"][..], &["install", "-y", "-qq", "--no-install-recommends", PACKAGE][..]] {
        let mut command = if root {
            Command::new("apt-get")
        } else {
            let mut c = Command::new("sudo");
            c.args(["-n", "apt-get"]);
            c
        };
        let ended = command
            .args(args)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        match ended {
            Ok(status) if status.success() => {}
            Ok(status) => return Err(format!("apt-get {} ended with {status}", args[0])),
            Err(e) => return Err(format!("apt-get cannot be run: {e}")),
        }
    }
    Ok(())
}
