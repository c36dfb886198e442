//! What stands in the files: no clock in the pure crates, no `mod.rs`, no traces of one machine, no file too long.

use std::path::Path;

use anyhow::Result;

use super::Findings;
use crate::process::output;

/// Lines above which a source file should be split.
const MAX_LINES: usize = 600;

/// What core and engine never name, and why. Looked for in code, not in comments.
const IMPURE: &[(&str, &str)] = &[
    ("Utc::now", "time is data: take it from the event or the watermark"),
    ("Local::now", "time is data: take it from the event or the watermark"),
    ("SystemTime", "time is data: take it from the event or the watermark"),
    ("Instant::now", "time is data: take it from the event or the watermark"),
    ("std::time::Instant", "time is data: take it from the event or the watermark"),
    ("std::fs", "no I/O: files are read in collectors/ and cli/"),
    ("std::net::Tcp", "no I/O: sockets belong in collectors/, bus/ and api/"),
    ("std::net::Udp", "no I/O: sockets belong in collectors/, bus/ and api/"),
    ("std::thread", "no threads: cli/ runs what has to run beside"),
    ("std::env", "only cli/ reads the environment"),
];

/// Folders of machines, in pieces so that this file does not hold them itself.
const MACHINE: &[&str] = &[concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/home", "/")];

/// Where recorded data of clusters stands, which may name paths of its containers.
const RECORDED: &[&str] = &["scenarios/", "core/src/event/samples/"];

/// Where crates come from; a mirror of one machine has no place in the lock file.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

pub(super) fn check(root: &Path, f: &mut Findings) -> Result<()> {
    let list = output(root, "git", &["ls-files", "--cached", "--others", "--exclude-standard"])?;
    for path in list.lines() {
        // A file that git still lists may be gone; one that is no text has nothing to look for.
        let Ok(bytes) = std::fs::read(root.join(path)) else { continue };
        let Ok(text) = String::from_utf8(bytes) else { continue };
        check_file(path, &text, f);
    }
    Ok(())
}

fn check_file(path: &str, text: &str, f: &mut Findings) {
    if path.ends_with("/mod.rs") {
        f.breach(format!("{path}: no mod.rs; write foo.rs beside the folder foo/"));
    }
    if path.ends_with(".rs") {
        let lines = text.lines().count();
        if lines > MAX_LINES {
            f.warn(format!("{path} has {lines} lines; split it by what changes together (limit {MAX_LINES})"));
        }
        if path.starts_with("core/src/") || path.starts_with("engine/src/") {
            impure(path, text, f);
        }
    }
    if path == "Cargo.lock" {
        for source in text.lines().filter_map(|l| l.strip_prefix("source = ")) {
            if source.trim_matches('"') != REGISTRY {
                f.breach(format!("Cargo.lock: {source} is not the public registry; take a released version"));
            }
        }
    }
    if path.starts_with(".cargo/") && (text.contains("[source") || text.contains("[registr")) {
        f.breach(format!("{path}: names a registry; that belongs in the configuration of one machine"));
    }
    if !RECORDED.iter().any(|r| path.starts_with(r)) {
        for (n, line) in text.lines().enumerate() {
            if let Some(found) = MACHINE.iter().find(|m| begins(line, m)) {
                f.breach(format!("{path}:{}: `{found}` is a path of one machine; write a relative one", n + 1));
            }
        }
    }
}

/// Whether the path stands in the line as the beginning of one, and not as the end of another.
fn begins(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(i, _)| {
        let before = line[..i].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | '/' | '}' | '>' | '*' | '~'))
    })
}

fn impure(path: &str, text: &str, f: &mut Findings) {
    for (n, line) in text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        for (word, why) in IMPURE {
            if code.contains(word) {
                f.breach(format!("{path}:{}: `{word}` in a pure crate; {why}", n + 1));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaches(path: &str, text: &str) -> usize {
        let mut f = Findings::default();
        check_file(path, text, &mut f);
        f.breaches.len()
    }

    #[test]
    fn a_clock_is_out_of_bounds_in_the_pure_crates_only_and_only_as_code() {
        let code = "let t = std::time::SystemTime::now();";
        assert_eq!(breaches("engine/src/world.rs", code), 1);
        assert_eq!(breaches("core/src/time.rs", "// never SystemTime::now"), 0);
        assert_eq!(breaches("bus/src/log/sqlite.rs", code), 0);
        assert_eq!(breaches("engine/benches/fold.rs", code), 0);
    }

    #[test]
    fn a_mod_rs_a_machine_path_and_a_mirror_are_found() {
        assert_eq!(breaches("graph/src/gate/mod.rs", ""), 1);
        assert_eq!(breaches("docs/a.md", &format!("see {}x", MACHINE[0])), 1);
        assert_eq!(breaches("docs/a.md", &format!("see net{}x", MACHINE[0])), 0);
        assert_eq!(breaches("scenarios/a/recording.jsonl", &format!("\"{}x\"", MACHINE[1])), 0);
        assert_eq!(breaches("Cargo.lock", &format!("source = \"{REGISTRY}\"")), 0);
        assert_eq!(breaches("Cargo.lock", "source = \"registry+https://mirror.example/index\""), 1);
        assert_eq!(breaches(".cargo/config.toml", "[source.crates-io]"), 1);
    }

    #[test]
    fn a_long_file_is_a_warning() {
        let mut f = Findings::default();
        check_file("cli/src/main.rs", &"\n".repeat(MAX_LINES + 1), &mut f);
        assert_eq!((f.breaches.len(), f.warnings.len()), (0, 1));
    }
}
