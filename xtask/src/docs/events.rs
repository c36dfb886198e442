//! `docs/events.md`: every raw event, the shape of its data, and what it can mean.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tapio_core::event::{CATALOG, EventDoc};

use super::cell;

const INTRO: &str = "\
# Events

Everything arrives as a `RawEvent`: one JSON object a line.

| field | what it is |
| --- | --- |
| `timestamp` | when it happened at the source, RFC 3339 with any fraction |
| `observed_at` | when the collector saw it; optional. The engine's clock runs on it, or on `timestamp` where it is absent |
| `type` | the collector's word for what it is, see below |
| `source` | which collector saw it |
| `metadata` | flat text facts; `node`, `cluster`, `pod_uid`, `container_id` are known keys |
| `data` | the payload, below for each type |

Unknown types are kept as events of kind `unknown`. Unknown fields are skipped, `null` means absent. A known field of a
wrong type makes the event unusable: it goes to the dead letters with the field's path. Watch lines
(`{\"ts\":…,\"type\":\"ADDED\",\"object\":{…}}`, and what `kubectl get -w --output-watch-events -o json` prints) may be mixed in.

`recorded` samples were seen on a cluster; `documented` ones are written after documentation.
";

pub(super) fn page(root: &Path) -> Result<String> {
    let shapes = shapes(root)?;
    let mut out = INTRO.to_owned();
    out += "\n| source | type | meaning | samples |\n| --- | --- | --- | --- |\n";
    for d in CATALOG {
        out += &format!("| {} | {} | {} | {} |\n", d.source, cell(d.raw_type), kinds(d), d.proof);
    }
    for d in CATALOG {
        out += &format!("\n## {}\n\n{}.\n\n", d.raw_type, capital(d.about.trim_end_matches('.')));
        out += &format!("- Source: {}\n- Meaning: {}\n- Samples: {}\n", d.source, kinds(d), d.proof);
        if let Some(shape) = shapes.get(d.raw_type) {
            out += &format!("\n{shape}\n");
        }
        for sample in d.samples {
            out += &format!("\n```json\n{}\n```\n", sample.trim());
        }
    }
    Ok(out)
}

fn kinds(d: &EventDoc) -> String {
    if d.kinds.is_empty() {
        return "nothing but time".to_owned();
    }
    d.kinds.iter().map(|k| format!("`{}`", k.as_str())).collect::<Vec<_>>().join(" · ")
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |c| c.to_uppercase().chain(chars).collect())
}

/// The module documentation of each event file, by the raw type that the file declares.
fn shapes(root: &Path) -> Result<BTreeMap<String, String>> {
    let mut out = BTreeMap::new();
    for file in files(&root.join("core/src/event"))? {
        let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let documentation: Vec<&str> = text
            .lines()
            .take_while(|l| l.starts_with("//!"))
            .map(|l| l.trim_start_matches("//!").strip_prefix(' ').unwrap_or(""))
            .collect();
        for line in text.lines() {
            if let Some(rest) = line.trim().strip_prefix("raw_type: \"") {
                let name = rest.trim_end_matches("\",").to_owned();
                out.insert(name, unlinked(documentation.join("\n").trim()));
            }
        }
    }
    Ok(out)
}

/// Links of rustdoc lead nowhere on a page: ``[`x`](path)`` becomes `` `x` ``.
fn unlinked(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, link)) = rest.split_once("[`") {
        out += before;
        match link.split_once("`](").and_then(|(word, tail)| Some((word, tail.split_once(')')?.1))) {
            Some((word, tail)) if !word.contains('\n') => {
                out += &format!("`{word}`");
                rest = tail;
            }
            _ => {
                out += "[`";
                rest = link;
            }
        }
    }
    out + rest
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut out = Vec::new();
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            out.extend(files(&path)?);
        } else if path.extension().is_some_and(|e| e == "rs") {
            out.push(path);
        }
    }
    out.sort();
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_of_rustdoc_become_words() {
        assert_eq!(unlinked("as [`a`](super::b), [x] and [`c`]"), "as `a`, [x] and [`c`]");
    }
}
