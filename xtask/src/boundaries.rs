//! `cargo xtask boundaries`: the table of folders, the purity of core and engine, names, sizes and licences.
//!
//! Every breach says what was found, where, and where it belongs instead.

mod crates;
mod licences;
mod sources;

use std::path::Path;

use anyhow::{Result, bail};

use crate::process::{cargo, output};

/// What the checks found.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    breaches: Vec<String>,
    warnings: Vec<String>,
}

impl Findings {
    fn breach(&mut self, text: impl Into<String>) {
        self.breaches.push(text.into());
    }

    fn warn(&mut self, text: impl Into<String>) {
        self.warnings.push(text.into());
    }
}

/// Runs all checks.
///
/// # Errors
/// Where something is out of bounds.
pub(crate) fn run(root: &Path) -> Result<()> {
    let text = output(root, &cargo(), &["metadata", "--format-version", "1", "--locked", "--all-features"])?;
    let metadata = serde_json::from_str(&text)?;
    let mut f = Findings::default();
    crates::check(&metadata, &mut f);
    licences::check(root, &metadata, &mut f);
    sources::check(root, &mut f)?;
    for w in &f.warnings {
        println!("warning: {w}");
    }
    for b in &f.breaches {
        println!("out of bounds: {b}");
    }
    if !f.breaches.is_empty() {
        bail!("{} out of bounds; the table is in docs/architecture.md", f.breaches.len());
    }
    println!("boundaries hold ({} warnings)", f.warnings.len());
    Ok(())
}
