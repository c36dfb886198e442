//! The command itself, killed in the middle of a story and started again.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use libtest_mimic::Failed;
use tapio_core::answer::Answer;

use crate::judge;
use crate::running::{Ran, run, tapio, text};

/// Killed by SIGKILL while it plays, it ends in the bytes of a run that nobody disturbed, and in this process's answer.
pub(crate) fn killed_and_restarted(recording: &Path, in_process: &Answer) -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let data = dir.path().join("data");
    let in_memory = run(&["replay", text(recording), "-q", "-o", "json"]).ok();
    let args = ["replay", text(recording), "--data-dir", text(&data), "-q", "-o", "json"];
    // A minute of the story a second: it is still playing when it is killed.
    let mut child = tapio(&args).args(["--speed", "60"]).stdout(Stdio::null()).spawn()?;
    std::thread::sleep(Duration::from_millis(1_500));
    child.kill()?;
    if child.wait()?.code().is_some() {
        return Err("it was over before it could be killed".into());
    }
    let again = Ran::of(tapio(&args).output()?).ok();
    judge::bytes(&in_memory, &again)?;
    let answer: Answer = serde_json::from_str(&again)?;
    judge::bytes(&serde_json::to_string_pretty(in_process)?, &serde_json::to_string_pretty(&answer)?)
}
