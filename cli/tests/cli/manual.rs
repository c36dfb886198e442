//! Help, manuals, settings, completions.

use std::fs;

use crate::running::{run, tapio, text};

const COMMANDS: &[&str] = &[
    "demo",
    "analyze",
    "replay",
    "record",
    "why",
    "impact",
    "timeline",
    "incidents",
    "incident",
    "query",
    "graph",
    "dead-letters",
    "patterns",
    "mechanisms",
    "check",
    "completions",
];

#[test]
fn every_command_has_help_with_examples() {
    let all = run(&["--help"]).ok();
    for command in COMMANDS {
        assert!(all.contains(&format!("  {command} ")), "{command} is not in the table");
        let help = run(&[command, "--help"]).ok();
        assert!(help.contains("Examples:") && help.contains(&format!("tapio {command}")), "{help}");
    }
    assert!(run(&["--version"]).ok().starts_with("tapio "));
    run(&[]).failed(2, "Usage: tapio");
    run(&["nonsense"]).failed(2, "nonsense");
}

#[cfg(unix)]
#[test]
fn as_a_plugin_of_kubectl_it_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let plugin = dir.path().join("kubectl-tapio");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_tapio"), &plugin).unwrap();
    let out = std::process::Command::new(&plugin).args(["why", "--help"]).output().unwrap();
    let help = String::from_utf8(out.stdout).unwrap();
    assert!(help.contains("Usage: kubectl tapio why") && help.contains("  kubectl tapio why pod/"), "{help}");
}

#[test]
fn completions_know_the_commands() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = run(&["completions", shell]).ok();
        assert!(script.contains("dead-letters") && script.contains("data-dir"), "{shell}");
    }
    run(&["completions", "dos"]).failed(2, "dos");
}

#[test]
fn manuals_are_listed_and_explained() {
    let all: serde_json::Value = serde_json::from_str(&run(&["mechanisms", "list", "-o", "json"]).ok()).unwrap();
    assert!(all.as_array().unwrap().len() > 40);
    for m in all.as_array().unwrap() {
        let page = run(&["mechanisms", "explain", m["id"].as_str().unwrap()]).ok();
        assert!(page.contains("needs as evidence") && page.contains("refuted by"), "{page}");
    }
    assert!(run(&["patterns", "list"]).ok().contains("config_cascade"));
    assert!(run(&["patterns", "explain", "death-spiral"]).ok().contains("CrashLoopBackOff"));
    run(&["patterns", "explain", "deth_spiral"]).failed(1, "did you mean death_spiral");
    run(&["mechanisms", "explain", "config-content"]).failed(1, "config-content-invalid");
}

#[test]
fn settings_are_checked_with_line_and_key_and_honoured() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tapio.yaml");
    let shown = run(&["check", "config"]).ok();
    assert!(shown.contains("lateness_millis: 5000"), "{shown}");
    // What it prints is a file of settings itself.
    fs::write(&file, &shown).unwrap();
    run(&["check", "config", text(&file)]).ok();
    for (bad, says) in [
        ("engine:\n  latenes_millis: 1\n", "latenes_millis"),
        ("engine:\n  lateness_millis: soon\n", "line 2"),
        ("engin: {}\n", "engin"),
        ("query:\n  max_rows: 0\n", "query.max_rows"),
        ("engine: [\n", "line"),
    ] {
        fs::write(&file, bad).unwrap();
        run(&["check", "config", text(&file)]).failed(2, says);
        run(&["demo", "--config", text(&file)]).failed(2, "tapio.yaml");
    }
    fs::write(&file, "output:\n  format: json\n").unwrap();
    let out = tapio(&["patterns", "list"]).env("TAPIO_CONFIG", &file).output().unwrap();
    assert!(out.stdout.starts_with(b"["), "the settings of the environment");
    run(&["check", "config", "/nowhere.yaml"]).failed(2, "/nowhere.yaml");
}
