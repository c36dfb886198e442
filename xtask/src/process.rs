//! Running other programs.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Cargo, as it was called.
pub(crate) fn cargo() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())
}

/// What a program prints; an error with its own words where it fails.
pub(crate) fn output(root: &Path, program: &str, args: &[&str]) -> Result<String> {
    let done = Command::new(program)
        .args(args)
        .current_dir(root)
        .output()
        .with_context(|| format!("cannot start {program}"))?;
    if !done.status.success() {
        bail!("{program} {} failed:\n{}", args.join(" "), String::from_utf8_lossy(&done.stderr));
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

/// Runs cargo with its output shown.
pub(crate) fn run_cargo(root: &Path, args: &[&str], env: &[(&str, &str)]) -> Result<()> {
    let program = cargo();
    let status = Command::new(&program)
        .args(args)
        .envs(env.iter().copied())
        .current_dir(root)
        .status()
        .with_context(|| format!("cannot start {program}"))?;
    if !status.success() {
        bail!("cargo {} ended with {status}", args.join(" "));
    }
    Ok(())
}

/// Where cargo puts what it builds.
pub(crate) fn target(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |t| root.join(PathBuf::from(t)))
}

/// The product's binary, built for release.
pub(crate) fn release_binary(root: &Path) -> Result<PathBuf> {
    run_cargo(root, &["build", "--release", "--locked", "-p", "tapio"], &[])?;
    Ok(target(root).join("release/tapio"))
}

/// What one run of a program cost.
pub(crate) struct Measured {
    pub(crate) millis: f64,
    /// Most memory seen, as looked at every millisecond; 0 where the system does not tell.
    pub(crate) resident_mib: f64,
    /// Exit code; none where a signal ended it.
    pub(crate) status: Option<i32>,
    pub(crate) answer: Vec<u8>,
}

/// Runs a program and takes its time and memory.
pub(crate) fn measure(program: &Path, args: &[&str]) -> Result<Measured> {
    let start = Instant::now();
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))?;
    let status_file = format!("/proc/{}/status", child.id());
    let out = child.stdout.take();
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        out.map(|mut o| o.read_to_end(&mut bytes));
        bytes
    });
    let mut resident_kib = 0.0f64;
    let status = loop {
        let text = std::fs::read_to_string(&status_file).unwrap_or_default();
        let peak = text.lines().find_map(|l| l.strip_prefix("VmHWM:")?.trim().split(' ').next()?.parse::<f64>().ok());
        resident_kib = resident_kib.max(peak.unwrap_or_default());
        if let Some(status) = child.try_wait()? {
            break status;
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    let millis = start.elapsed().as_secs_f64() * 1_000.0;
    let answer = reader.join().unwrap_or_default();
    Ok(Measured { millis, resident_mib: resident_kib / 1_024.0, status: status.code(), answer })
}
