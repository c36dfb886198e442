//! `docs/patterns.md`: the manual of the detectors.

use tapio_engine::patterns::PATTERNS;

pub(super) fn page() -> String {
    let mut out = "# Patterns\n\nA pattern is a shape in time that people know by name. It is a detector and never a \
                   root cause.\n`tapio patterns explain ID` prints the same pages.\n"
        .to_owned();
    for p in PATTERNS {
        out += &format!("\n## {}\n\n{}\n", p.id, p.manual.trim());
    }
    out
}
