//! `docs/ontology.md`: node labels and relations, with the sentences that stand beside them in the code.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use tapio_core::ontology::{Label, Relation};

use super::cell;

const INTRO: &str = "\
# The words of the graph

Every node has a label under which its key is unique. Every Kubernetes object has `uid`, `name`, `namespace`, `cluster`,
`kind`, `created_at`, `updated_at` and `deleted_at`. Events carry `id`, `type`, `severity`, `message`, `timestamp`,
`ts_ms`, `source`, `count` and `data` (JSON text: the graph has no maps).
";

pub(super) fn page(root: &Path) -> Result<String> {
    let path = root.join("core/src/ontology.rs");
    let source = std::fs::read_to_string(&path).context("cannot read core/src/ontology.rs")?;
    let says = sentences(&source);
    let mut out = INTRO.to_owned();
    out += "\n## Labels\n\n| label | key | what it is |\n| --- | --- | --- |\n";
    for l in Label::ALL {
        let what = says.get(l.as_str()).map_or("", String::as_str);
        out += &format!("| `{l}` | `{}` | {} |\n", l.key_property(), cell(what));
    }
    out += "\n## Relations\n\n`TRIGGERED` stands only where a mechanism's required evidence is present. Nearness in \
            time alone writes\n`CORRELATED_WITH`.\n\n| relation | from, to, properties |\n| --- | --- |\n";
    for r in Relation::ALL {
        let what = says.get(r.as_str()).map_or("", String::as_str);
        out += &format!("| `{r}` | {} |\n", cell(what));
    }
    Ok(out)
}

/// The doc comment of each `Variant = "WORD",` by its word.
fn sentences(source: &str) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    let mut comment = Vec::new();
    for line in source.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("///") {
            comment.push(text.trim());
        } else {
            if let Some((_, word)) = line.split_once(" = \"")
                && let Some(word) = word.strip_suffix("\",")
            {
                out.insert(word.to_owned(), comment.join(" "));
            }
            comment.clear();
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_gets_the_comment_above_it_and_no_other() {
        let says = sentences("/// Outer.\nenum X {\n/// One\n/// two.\nA = \"a\",\nB = \"b\",\n}");
        assert_eq!(says["a"], "One two.");
        assert_eq!(says["b"], "");
    }
}
