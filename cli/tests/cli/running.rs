//! Running the binary as a shell would.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The recording of the demo: real, small, with one cause.
pub(crate) fn recording() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/config-change.jsonl.zst")
}

/// The binary, away from the settings and colours of whoever runs the tests.
pub(crate) fn tapio(args: &[&str]) -> Command {
    let mut c = Command::new(env!("CARGO_BIN_EXE_tapio"));
    c.args(args).env_remove("TAPIO_CONFIG").env_remove("CLICOLOR_FORCE").stdin(Stdio::null());
    c
}

/// What came of a run.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    pub(crate) fn of(o: Output) -> Self {
        Ran {
            code: o.status.code().unwrap_or(-1),
            out: String::from_utf8(o.stdout).unwrap(),
            err: String::from_utf8(o.stderr).unwrap(),
        }
    }

    /// It went well; gives stdout.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, 0, "{}", self.err);
        self.out
    }

    /// It ended with this code and said this.
    #[track_caller]
    pub(crate) fn failed(self, code: i32, says: &str) {
        assert_eq!(self.code, code, "{}\n{}", self.out, self.err);
        assert!(self.err.contains(says), "expected `{says}` in: {}", self.err);
        assert!(!self.err.contains("panicked"), "{}", self.err);
    }
}

/// Runs it to its end.
pub(crate) fn run(args: &[&str]) -> Ran {
    Ran::of(tapio(args).output().unwrap())
}

/// Runs it with this on standard input.
#[allow(dead_code, reason = "not every suite needs it")]
pub(crate) fn run_with(args: &[&str], input: &[u8]) -> Ran {
    let mut child = tapio(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || {
        let _ = stdin.write_all(&input);
    });
    let ran = Ran::of(child.wait_with_output().unwrap());
    writer.join().unwrap();
    ran
}

/// A path as an argument.
pub(crate) fn text(p: &Path) -> &str {
    p.to_str().unwrap()
}
