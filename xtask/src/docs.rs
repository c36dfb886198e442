//! `cargo xtask docs`: the references in `docs/`, made from the tables and doc comments of the code.

mod events;
mod mechanisms;
mod ontology;
mod patterns;

use std::path::Path;

use anyhow::{Context, Result, bail};

/// The first line of every generated page.
const HEAD: &str = "<!-- Made by `cargo xtask docs` from the code. Do not edit. -->\n\n";

/// Writes the pages, or with `check` says which differ.
///
/// # Errors
/// Where a page cannot be made or written, or differs.
pub(crate) fn run(root: &Path, check: bool) -> Result<()> {
    let pages = [
        ("docs/events.md", events::page(root)?),
        ("docs/mechanisms.md", mechanisms::page()),
        ("docs/patterns.md", patterns::page()),
        ("docs/ontology.md", ontology::page(root)?),
    ];
    let mut differ = Vec::new();
    for (path, body) in pages {
        let text = format!("{HEAD}{}\n", body.trim_end());
        let file = root.join(path);
        if std::fs::read_to_string(&file).is_ok_and(|old| old == text) {
            continue;
        }
        if check {
            differ.push(path);
        } else {
            std::fs::write(&file, text).with_context(|| format!("cannot write {path}"))?;
            println!("wrote {path}");
        }
    }
    if !differ.is_empty() {
        bail!("{} differ from the code; run `cargo xtask docs` and commit the result", differ.join(", "));
    }
    Ok(())
}

/// A text for a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}
