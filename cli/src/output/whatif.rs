//! What manifests would do, for people who are about to apply them: what breaks first, then who is hit and when.

use tapio_core::answer::FieldChange;
use tapio_core::object::ObjectRef;
use tapio_core::unified::Severity;
use tapio_engine::read::whatif::{Action, Finding, ObjectChange, WhatIf};

use super::Screen;
use super::table::{Overflow, Table};
use super::text::{clean, count, shorten, wrap};

/// Findings shown where not everything is wanted.
const FINDINGS: usize = 20;
/// Names in one line, fields of one object and rows of hits, where not everything is wanted.
const NAMES: usize = 8;
/// Rows of hits shown where not everything is wanted.
const HITS: usize = 30;
/// Characters of a value.
const VALUE: usize = 48;

/// The answer as text.
pub(crate) fn lay_out(screen: &Screen, w: &WhatIf, wide: bool) -> String {
    let mut out = head(screen, w);
    let most = if wide { usize::MAX } else { FINDINGS };
    for f in w.findings.iter().take(most) {
        finding(screen, f, wide, &mut out);
    }
    if w.findings.len() > most {
        out.push_str(&format!("\nand {} more, less severe; -o wide shows all\n", w.findings.len() - most));
    }
    hits(screen, w, wide, &mut out);
    changes(screen, w, wide, &mut out);
    out
}

fn head(screen: &Screen, w: &WhatIf) -> String {
    let p = screen.paint;
    let of = |a: Action| w.changes.iter().filter(|c| c.action == a).count();
    let parts = [
        (Action::New, "new"),
        (Action::Changed, "changed"),
        (Action::Deleted, "deleted"),
        (Action::Unchanged, "unchanged"),
        (Action::Absent, "not there"),
    ];
    let parts: Vec<String> =
        parts.into_iter().filter(|(a, _)| of(*a) > 0).map(|(a, word)| format!("{} {word}", of(a))).collect();
    let objects = format!("{}: {}", count(w.changes.len(), "object"), parts.join(", "));
    let by = |s: Severity| w.findings.iter().filter(|f| f.severity == s).count();
    let found: Vec<String> = [Severity::High, Severity::Medium, Severity::Low]
        .into_iter()
        .filter(|s| by(*s) > 0)
        .map(|s| format!("{} {}", by(s), word(s)))
        .collect();
    let told = match w.worst {
        None => p.good("nothing is found to break"),
        Some(s) => painted(screen, s, &format!("{}: {}", count(w.findings.len(), "finding"), found.join(", "))),
    };
    format!("{told}\n{objects}\n")
}

fn word(s: Severity) -> &'static str {
    match s {
        Severity::Critical | Severity::High => "high",
        Severity::Medium => "medium",
        Severity::Low | Severity::Info => "low",
    }
}

fn painted(screen: &Screen, s: Severity, text: &str) -> String {
    match word(s) {
        "high" => screen.paint.bad(text),
        "medium" => screen.paint.doubtful(text),
        _ => screen.paint.strong(text),
    }
}

fn finding(screen: &Screen, f: &Finding, wide: bool, out: &mut String) {
    let p = screen.paint;
    let severity = painted(screen, f.severity, word(f.severity));
    let object = p.strong(&clean(&f.object.to_string()));
    out.push_str(&format!("\n{severity}  {}  {object}  {}\n", f.check, p.faint(&clean(&f.place))));
    let width = screen.width.saturating_sub(4);
    for l in wrap(&clean(&f.says), width) {
        out.push_str(&format!("  {l}\n"));
    }
    let mut row = |title: &str, text: &str| {
        for (i, l) in wrap(text, width.saturating_sub(8)).into_iter().enumerate() {
            let title = if i == 0 { title } else { "" };
            out.push_str(&format!("    {title:6}  {l}\n"));
        }
    };
    row("when", f.effect.says());
    row("hits", &names(&f.hits, wide));
    for e in &f.evidence {
        row("seen", &clean(&format!("{}: {}", e.source, e.says)));
    }
}

fn names(list: &[ObjectRef], wide: bool) -> String {
    let most = if wide { usize::MAX } else { NAMES };
    let mut text = list.iter().take(most).map(|o| clean(&o.to_string())).collect::<Vec<_>>().join(", ");
    if list.len() > most {
        text.push_str(&format!(", and {} more", list.len() - most));
    }
    text
}

fn hits(screen: &Screen, w: &WhatIf, wide: bool, out: &mut String) {
    let p = screen.paint;
    let mut t = Table::new(&["CHANGE OF", "HITS", "HOW", "PODS", "TAKES EFFECT"]).indented(2);
    let all: Vec<_> = w.changes.iter().flat_map(|c| c.hits.iter().map(move |h| (c, h))).collect();
    if all.is_empty() {
        return;
    }
    let most = if wide { usize::MAX } else { HITS };
    let mut last = None;
    for (c, h) in all.iter().take(most) {
        let object = if last == Some(&c.object) { String::new() } else { c.object.to_string() };
        last = Some(&c.object);
        let container = h.container.as_ref().map(|n| format!(", container {n}")).unwrap_or_default();
        let optional = if h.optional { ", optional" } else { "" };
        let how = format!("{}{container}{optional}", h.mechanism);
        let pods = if wide { h.pods.join(",") } else { h.pods.len().to_string() };
        t.row([object, h.object.to_string(), how, pods, h.effect.says().to_owned()]);
    }
    out.push_str(&format!("\n{}\n", p.strong("who is hit, and when")));
    out.push_str(&t.lay_out(screen.width, if wide { Overflow::Keep } else { Overflow::Wrap }, p));
    if all.len() > most {
        out.push_str(&format!("  and {} more; -o wide shows all\n", all.len() - most));
    }
    let mut behind = |title: &str, of: fn(&ObjectChange) -> &[ObjectRef]| {
        let mut list: Vec<ObjectRef> = w.changes.iter().flat_map(of).cloned().collect();
        list.sort();
        list.dedup();
        for (i, l) in
            wrap(&names(&list, wide), screen.width.saturating_sub(24)).iter().enumerate().filter(|(_, l)| !l.is_empty())
        {
            let title = if i == 0 { title } else { "" };
            out.push_str(&format!("  {title:20}  {l}\n"));
        }
    };
    behind("Services in front", |c| &c.services);
    behind("Ingresses in front", |c| &c.ingresses);
    behind("called by", |c| &c.callers);
}

fn changes(screen: &Screen, w: &WhatIf, wide: bool, out: &mut String) {
    let p = screen.paint;
    let most = if wide { usize::MAX } else { NAMES };
    out.push_str(&format!("\n{}\n", p.strong("differences")));
    for c in &w.changes {
        let word = match c.action {
            Action::New => "new",
            Action::Changed => "changed",
            Action::Unchanged => "no change",
            Action::Deleted => "to be deleted",
            Action::Absent => "not there",
        };
        let foreign = if c.known { "" } else { "; of this kind only the difference is told" };
        out.push_str(&format!("  {}  {word}{foreign}  {}\n", clean(&c.object.to_string()), p.faint(&clean(&c.place))));
        for f in c.fields.iter().take(most) {
            out.push_str(&format!("    {}\n", told(f)));
        }
        if c.fields.len() > most {
            out.push_str(&format!("    and {} more; -o wide shows all\n", c.fields.len() - most));
        }
        let mut aside = |title: &str, list: &[String]| {
            if list.is_empty() {
                return;
            }
            let shown: Vec<String> = list.iter().take(most).map(|f| clean(f)).collect();
            let more = list.len() - shown.len();
            let more = if more > 0 { format!(", and {more} more") } else { String::new() };
            for l in wrap(&format!("{title}: {}{more}", shown.join(", ")), screen.width.saturating_sub(4)) {
                out.push_str(&format!("    {}\n", p.faint(&l)));
            }
        };
        aside("not compared, for the live value is not known", &c.not_compared);
        aside("not in the manifest, and stays unless an earlier one set it", &c.left);
    }
}

fn told(f: &FieldChange) -> String {
    let value = |v: &str| shorten(&clean(v), VALUE);
    let field = clean(&f.field);
    match (&f.before, &f.after) {
        (Some(a), Some(b)) => format!("{field}: {} -> {}", value(a), value(b)),
        (None, Some(b)) => format!("{field}: added, {}", value(b)),
        (Some(a), None) => format!("{field}: goes, was {}", value(a)),
        (None, None) => format!("{field}: differs"),
    }
}
