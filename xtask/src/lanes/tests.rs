//! Running cargo's tests with their output shown, and adding up what their closing lines say.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::process::cargo;

/// Tests over all runs.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    passed: u64,
    failed: u64,
    skipped: u64,
}

impl Counts {
    /// Adds a closing line of a test program; other lines say nothing.
    fn add(&mut self, line: &str) {
        let Some(rest) = line.trim().strip_prefix("test result: ") else { return };
        let rest = rest.split_once(". ").map_or(rest, |(_, counts)| counts);
        for part in rest.split(';') {
            let mut words = part.split_whitespace();
            let (Some(Ok(n)), Some(what)) = (words.next().map(str::parse::<u64>), words.next()) else { continue };
            match what {
                "passed" => self.passed += n,
                "failed" => self.failed += n,
                "ignored" => self.skipped += n,
                _ => {}
            }
        }
    }

    pub(super) fn print(&self) {
        if *self != Counts::default() {
            println!("tests: {} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped);
        }
    }
}

/// Runs `cargo args`.
pub(super) fn run(root: &Path, args: &[&str], env: &[(&str, &str)], counts: &mut Counts) -> Result<()> {
    let program = cargo();
    let mut child = Command::new(&program)
        .args(args)
        .envs(env.iter().copied())
        .current_dir(root)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {program}"))?;
    if let Some(out) = child.stdout.take() {
        // Bytes, as a test may print what is no text.
        for line in BufReader::new(out).split(b'\n') {
            let line = line?;
            let line = String::from_utf8_lossy(&line);
            println!("{line}");
            counts.add(&line);
        }
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("cargo {} ended with {status}", args.join(" "));
    }
    Ok(())
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn closing_lines_are_added_up() {
        let mut c = Counts::default();
        c.add("running 3 tests");
        c.add("test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s");
        c.add("test result: FAILED. 1 passed; 4 failed; 0 ignored; 0 measured; 7 filtered out; finished in 0.01s");
        assert_eq!(c, Counts { passed: 3, failed: 4, skipped: 1 });
    }
}
