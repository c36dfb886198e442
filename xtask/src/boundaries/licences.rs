//! Licences: ours stands there, and everything that is linked may be linked with it.

use std::path::Path;

use serde_json::Value;

use super::Findings;

/// Licences that may be linked into an Apache-2.0 program without further duties than keeping their text.
const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    // Data: the list of root certificates that the TLS of the Neo4j driver takes on systems without one (not Linux).
    // Its only duty is to keep the text.
    "CDLA-Permissive-2.0",
    "CC0-1.0",
    // Certificates of public authorities, as data, in builds for wasm32 only.
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

pub(super) fn check(root: &Path, metadata: &Value, f: &mut Findings) {
    match std::fs::read_to_string(root.join("LICENSE")) {
        Ok(text) if text.contains("Apache License") => {}
        _ => f.breach("LICENSE is missing or not the Apache License; it stands at the top level".to_owned()),
    }
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let name = package["name"].as_str().unwrap_or_default();
        let licence = package["license"].as_str().unwrap_or_default();
        if package["source"].is_null() {
            if licence != "Apache-2.0" {
                f.breach(format!("crate {name} says licence `{licence}`; write `license.workspace = true`"));
            }
        } else if !allows(licence) {
            f.breach(format!(
                "crate {name} has licence `{licence}`, which is not on the list in xtask/src/boundaries/licences.rs; \
                 take another crate, or add the licence there and in deny.toml with a reason"
            ));
        }
    }
}

/// Whether an SPDX expression can be met with allowed licences alone.
fn allows(expression: &str) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    let ok = any(&words, &mut at);
    ok && at == words.len() && !words.is_empty()
}

fn any(words: &[&str], at: &mut usize) -> bool {
    let mut ok = all(words, at);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        // Both sides are read, so that the place moves on.
        ok |= all(words, at);
    }
    ok
}

fn all(words: &[&str], at: &mut usize) -> bool {
    let mut ok = one(words, at);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        ok &= one(words, at);
    }
    ok
}

fn one(words: &[&str], at: &mut usize) -> bool {
    let Some(word) = words.get(*at) else { return false };
    *at += 1;
    if *word == "(" {
        let ok = any(words, at);
        *at += 1;
        return ok;
    }
    if words.get(*at) == Some(&"WITH") {
        let name = format!("{word} WITH {}", words.get(*at + 1).unwrap_or(&""));
        *at += 2;
        return ALLOWED.contains(&name.as_str());
    }
    ALLOWED.contains(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_met_or_not() {
        for (expression, ok) in [
            ("MIT", true),
            ("MIT/Apache-2.0", true),
            ("MIT OR GPL-3.0-only", true),
            ("GPL-3.0-only", false),
            ("MPL-2.0", false),
            ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
            ("(MIT OR Apache-2.0) AND GPL-2.0-only", false),
            ("Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT", true),
            ("GPL-2.0-only WITH Classpath-exception-2.0", false),
            ("", false),
        ] {
            assert_eq!(allows(expression), ok, "{expression}");
        }
    }
}
