//! CPU time of this process and of the server, as Linux counts it; zeros elsewhere.

use std::path::PathBuf;

/// Ticks a second of every Linux that Rust runs on.
const TICKS: f64 = 100.0;

/// CPU time up to a moment, or between two, in seconds.
#[derive(Clone, Copy, Default)]
pub(crate) struct Cpu {
    pub(crate) ours: f64,
    pub(crate) server: f64,
}

impl Cpu {
    pub(crate) fn now() -> Self {
        let home = std::env::var_os("TAPIO_NEO4J_TEST_HOME").map(PathBuf::from);
        let pid = home.and_then(|h| std::fs::read_to_string(h.join("pid")).ok());
        Cpu { ours: of("self"), server: pid.map_or(0.0, |p| of(p.trim())) }
    }

    pub(crate) fn since(self) -> Self {
        let now = Cpu::now();
        Cpu { ours: now.ours - self.ours, server: now.server - self.server }
    }
}

fn of(process: &str) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // Behind the name, which may hold anything: user and system time are the 12th and 13th field.
    let rest = text.rsplit(')').next().unwrap_or_default();
    let fields: Vec<f64> = rest.split_whitespace().skip(11).take(2).filter_map(|f| f.parse().ok()).collect();
    fields.iter().sum::<f64>() / TICKS
}
