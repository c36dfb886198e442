//! `docs/mechanisms.md`: the manual of what can be a cause.

use tapio_engine::mechanisms::{FAMILIES, NOT_YET, Section};

use super::cell;

const INTRO: &str = "\
# Mechanisms

A mechanism is a way in which one thing breaks another. A root cause names one of these ids.

A mechanism is proposed only where its required evidence is present. A refuter that is found takes it back. `Rests on`
says how its proof was tested: `recorded` on a recording or case of a real cluster, `captured text` with real texts in
a built story, `documented` after the documentation of the parts involved. A family may have a second, weaker turn: it
is asked only about symptoms that nothing else explains. `tapio mechanisms explain ID` prints the same sections.
";

pub(super) fn page() -> String {
    let mut out = INTRO.to_owned();
    out += "\n| id | family | what it is | rests on |\n| --- | --- | --- | --- |\n";
    for f in FAMILIES {
        for s in f.manual {
            out += &format!("| [`{0}`](#{0}) | {1} | {2} | {3} |\n", s.id, f.name, cell(s.title()), s.rests.as_str());
        }
    }
    for f in FAMILIES {
        out += &format!("\n## {}\n", f.name);
        for s in f.manual {
            out += &section(s);
        }
    }
    if !NOT_YET.is_empty() {
        out += "\n## Not yet\n\nNo mechanism shows these ids. What is missing:\n\n| id | what is missing |\n| --- | --- |\n";
        for (id, missing) in NOT_YET {
            out += &format!("| `{id}` | {} |\n", cell(missing));
        }
    }
    out
}

fn section(s: &Section) -> String {
    let mut out = format!("\n### {}\n\n{}\n\n", s.id, s.title());
    for part in ["Required", "Supports", "Refuted by", "Lag", "Do"] {
        if let Some(text) = s.part(part) {
            out += &format!("- **{part}:** {text}\n");
        }
    }
    out += &format!("- **Rests on:** {}\n", s.rests.as_str());
    if !s.explains.is_empty() {
        let list: Vec<String> = s.explains.iter().map(|t| format!("{t:?}")).collect();
        out += &format!("- **Symptoms:** {}\n", list.join(", "));
    }
    out
}
