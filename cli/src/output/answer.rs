//! The answer for a tired person: the cause in the first line, why in one sentence, what proves it, what it hits, what
//! to run.

use std::collections::BTreeMap;

use tapio_core::answer::{Answer, Incident, IncidentState, RootCause, Symptom, Verdict};
use tapio_core::object::ObjectRef;
use tapio_core::time::Time;
use tapio_engine::read::Scope;

use super::Screen;
use super::table::{Overflow, Table};
use super::text::{clean, count, shorten, wrap};

/// Evidence shown where not everything is wanted.
const EVIDENCE: usize = 8;
/// Characters of one piece of evidence there.
const SAYS: usize = 240;
/// Names of what is hit there.
const NAMES: usize = 6;
/// Columns below which names and words share one.
const NARROW: usize = 90;
/// Causes in full there.
const CAUSES: usize = 3;
/// Symptoms without a cause, and mechanisms looked for, there.
const SYMPTOMS: usize = 10;

/// What was looked at, in words.
fn words(s: &Scope) -> String {
    let nodes = if s.nodes > 0 { format!(", {}", count(s.nodes, "node")) } else { String::new() };
    let logs = match s.logs {
        0 => "no logs".to_owned(),
        n => format!("the logs of {}", count(n, "container run")),
    };
    let pods = count(s.pods, "pod");
    format!("{} ({pods}{nodes}), {}, {logs}", count(s.objects, "object"), count(s.events, "event"))
}

/// `2025-11-20 14:02:07 UTC`.
pub(crate) fn moment(t: Time) -> String {
    format!("{} {} UTC", date(t), t.clock())
}

/// `2025-11-20`.
pub(crate) fn date(t: Time) -> String {
    t.to_string().chars().take(10).collect()
}

/// The answer as text.
pub(crate) fn lay_out(screen: &Screen, answer: &Answer, scope: &Scope, wide: bool) -> String {
    let mut out = String::new();
    match answer.verdict {
        Verdict::Found => found(screen, answer, wide, &mut out),
        Verdict::Unknown => unknown(screen, answer, scope, wide, &mut out),
        Verdict::Healthy => healthy(screen, answer, scope, &mut out),
    }
    gaps(screen, answer, wide, &mut out);
    out
}

fn healthy(screen: &Screen, answer: &Answer, scope: &Scope, out: &mut String) {
    out.push_str(&format!("{}\n", screen.paint.good("nothing is wrong")));
    out.push_str(&format!("  looked at {}\n", words(scope)));
    let over: Vec<&Incident> = answer.incidents.iter().filter(|i| i.state == IncidentState::Resolved).collect();
    if !over.is_empty() {
        out.push_str(&format!("  {} on the way, resolved since:\n", count(over.len(), "incident")));
        out.push_str(&super::incidents::list(screen, &over, false, 4));
    }
}

fn unknown(screen: &Screen, answer: &Answer, scope: &Scope, wide: bool, out: &mut String) {
    let open: Vec<&Incident> =
        answer.incidents.iter().filter(|i| i.state == IncidentState::Open && i.root_cause.is_none()).collect();
    let mut symptoms: Vec<&Symptom> = open.iter().flat_map(|i| &i.symptoms).collect();
    if symptoms.is_empty() {
        symptoms.extend(&scope.unexplained);
    }
    out.push_str(&format!("{}\n", screen.paint.doubtful("something is wrong, and its cause is unknown")));
    out.push_str("  no mechanism has the evidence that it needs; a guess would help nobody\n");
    if !symptoms.is_empty() {
        let day = symptoms.iter().map(|s| s.at).min();
        out.push_str(&format!("\n{}\n", heading(screen, "symptoms", day)));
        let mut t = Table::new(&[]).indented(2);
        let most = if wide { usize::MAX } else { SYMPTOMS };
        for s in symptoms.iter().take(most) {
            t.row([when(s.at, day), s.object.to_string(), cut(&s.says, wide)]);
        }
        out.push_str(&t.lay_out(screen.width, Overflow::Wrap, screen.paint));
        more(symptoms.len(), most, "symptom", out);
    }
    if !answer.looked_for.is_empty() {
        out.push_str(&format!("\n{}\n", screen.paint.strong("looked for")));
        let mut t = Table::new(&[]).indented(2);
        let most = if wide { usize::MAX } else { SYMPTOMS };
        for l in answer.looked_for.iter().take(most) {
            t.row([l.mechanism.clone(), cut(&l.why_not, wide)]);
        }
        out.push_str(&t.lay_out(screen.width, Overflow::Wrap, screen.paint));
        more(answer.looked_for.len(), most, "mechanism", out);
    }
    out.push_str(&format!("\n  looked at {}\n", words(scope)));
}

fn found(screen: &Screen, answer: &Answer, wide: bool, out: &mut String) {
    let incident = |c: &RootCause| {
        answer.incidents.iter().find(|i| {
            i.root_cause.as_ref().is_some_and(|r| r.object == c.object && r.mechanism == c.mechanism)
                && i.state == IncidentState::Open
        })
    };
    let (chosen, others): (Vec<&RootCause>, Vec<&RootCause>) =
        answer.root_causes.iter().partition(|c| incident(c).is_some());
    // Without incidents (a restricted answer) the ranking alone decides.
    let (chosen, others) = if chosen.is_empty() { (others, chosen) } else { (chosen, others) };
    let full = if wide { usize::MAX } else { CAUSES };
    for (n, c) in chosen.iter().take(full).enumerate() {
        if n > 0 {
            out.push('\n');
        }
        cause(screen, c, incident(c).map(|i| i.since), wide, out);
    }
    let rest: Vec<&RootCause> = chosen.iter().skip(full).copied().collect();
    brief(screen, "also wrong", &rest, wide, out);
    brief(screen, "less likely", &others, wide, out);
    let left = answer.incidents.iter().filter(|i| i.state == IncidentState::Open && i.root_cause.is_none());
    let left: Vec<&Incident> = left.collect();
    if !left.is_empty() {
        out.push_str(&format!("\n{}\n", screen.paint.strong("not explained")));
        let mut t = Table::new(&[]).indented(2);
        for s in left.iter().flat_map(|i| &i.symptoms).take(if wide { usize::MAX } else { SYMPTOMS }) {
            t.row([s.at.clock(), s.object.to_string(), cut(&s.says, wide)]);
        }
        out.push_str(&t.lay_out(screen.width, Overflow::Wrap, screen.paint));
    }
}

/// One cause in full.
pub(crate) fn cause(screen: &Screen, c: &RootCause, since: Option<Time>, wide: bool, out: &mut String) {
    let p = screen.paint;
    let since = since.or_else(|| c.evidence.iter().filter_map(|e| e.at).min());
    let since = since.map(|t| format!(", since {}", moment(t))).unwrap_or_default();
    let head = p.bad(&clean(&c.mechanism));
    out.push_str(&format!("{head}  {}  {}\n", p.strong(&object(&c.object)), sure(c.confidence) + &since));
    for line in wrap(&clean(&c.summary), screen.width.saturating_sub(2)) {
        out.push_str(&format!("  {line}\n"));
    }
    evidence(screen, c, wide, out);
    if wide {
        details(screen, c, out);
    }
    if !c.impact.is_empty() {
        out.push_str(&format!("\n{}\n", p.strong("hits")));
        for line in wrap(&hits(c, wide), screen.width.saturating_sub(2)) {
            out.push_str(&format!("  {line}\n"));
        }
    }
    if !c.next.is_empty() {
        out.push_str(&format!("\n{}\n", p.strong("run")));
        for n in &c.next {
            // Never broken: it is there to be copied.
            out.push_str(&format!("  {}\n", p.typed(&clean(n))));
        }
    }
}

fn evidence(screen: &Screen, c: &RootCause, wide: bool, out: &mut String) {
    let day = c.evidence.iter().filter_map(|e| e.at).min();
    out.push_str(&format!("\n{}\n", heading(screen, "evidence", day)));
    let most = if wide { usize::MAX } else { EVIDENCE };
    let mut t = Table::new(&[]).indented(2);
    for e in c.evidence.iter().take(most) {
        let at = e.at.map_or_else(String::new, |t| when(t, day));
        // The object stands beside it already.
        let says = cut(&e.says.replacen(&format!("{}: ", e.object), "", 1), wide);
        let object = near(&e.object, &c.object);
        // In a narrow terminal a column for names would leave none for words.
        if screen.width < NARROW { t.row([at, format!("{object}: {says}")]) } else { t.row([at, object, says]) }
    }
    out.push_str(&t.lay_out(screen.width, Overflow::Wrap, screen.paint));
    more(c.evidence.len(), most, "piece", out);
}

/// What only `wide` shows.
fn details(screen: &Screen, c: &RootCause, out: &mut String) {
    let p = screen.paint;
    if !c.changes.is_empty() {
        out.push_str(&format!("\n{}\n", p.strong("changes")));
        let mut t = Table::new(&[]).indented(2);
        for x in &c.changes {
            let value = |v: &Option<String>| v.clone().unwrap_or_else(|| "(absent)".to_owned());
            let by = x.by.as_ref().map(|b| format!(" by {b}")).unwrap_or_default();
            let at = x.at.map(|t| t.clock()).unwrap_or_default();
            t.row([at, x.field.clone(), format!("{} -> {}{by}", value(&x.before), value(&x.after))]);
        }
        out.push_str(&t.lay_out(screen.width, Overflow::Wrap, p));
    }
    if !c.path.is_empty() {
        out.push_str(&format!("\n{}\n", p.strong("path")));
        let mut t = Table::new(&[]).indented(2);
        for s in &c.path {
            t.row([s.from.to_string(), format!("{} ({})", s.edge, s.via), s.to.to_string()]);
        }
        out.push_str(&t.lay_out(screen.width, Overflow::Keep, p));
    }
    if !c.refuters_checked.is_empty() {
        out.push_str(&format!("\n{}\n", p.strong("would have spoken against it")));
        let mut t = Table::new(&[]).indented(2);
        for r in &c.refuters_checked {
            t.row([if r.found { "found" } else { "not so" }, r.claim.as_str()]);
        }
        out.push_str(&t.lay_out(screen.width, Overflow::Wrap, p));
    }
}

fn brief(screen: &Screen, title: &str, causes: &[&RootCause], wide: bool, out: &mut String) {
    if causes.is_empty() {
        return;
    }
    out.push_str(&format!("\n{}\n", screen.paint.strong(title)));
    let mut t = Table::new(&[]).indented(2);
    for c in causes {
        t.row([sure(c.confidence), c.mechanism.clone(), object(&c.object), c.summary.clone()]);
    }
    let overflow = if wide { Overflow::Wrap } else { Overflow::Cut };
    out.push_str(&t.lay_out(screen.width, overflow, screen.paint));
}

fn gaps(screen: &Screen, answer: &Answer, wide: bool, out: &mut String) {
    if answer.gaps.is_empty() {
        return;
    }
    out.push_str(&format!("\n{}\n", screen.paint.strong("could not be seen")));
    let mut t = Table::new(&[]).indented(2);
    let most = if wide { usize::MAX } else { 5 };
    for g in answer.gaps.iter().take(most) {
        let node = g.node.as_ref().map(|n| format!(" on {n}")).unwrap_or_default();
        let clock = |t: Option<Time>| t.map_or_else(|| "?".to_owned(), |t| t.clock());
        let span = if g.from.is_none() && g.to.is_none() {
            String::new()
        } else {
            format!("{} to {}", clock(g.from), clock(g.to))
        };
        t.row([format!("{}{node}", g.source), span, cut(&g.why, wide)]);
    }
    out.push_str(&t.lay_out(screen.width, Overflow::Wrap, screen.paint));
    more(answer.gaps.len(), most, "gap", out);
}

fn hits(c: &RootCause, wide: bool) -> String {
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    let mut order: Vec<&str> = Vec::new();
    for o in &c.impact {
        if !order.contains(&o.kind.as_str()) {
            order.push(&o.kind);
        }
        *kinds.entry(&o.kind).or_default() += 1;
    }
    let counts: Vec<String> = order.iter().map(|k| count(kinds[k], k)).collect();
    let most = if wide { usize::MAX } else { NAMES };
    let names: Vec<String> = c.impact.iter().take(most).map(|o| near(o, &c.object)).collect();
    let rest = if c.impact.len() > most { ", …" } else { "" };
    format!("{}: {}{rest}", counts.join(", "), names.join(", "))
}

/// An object, without its namespace where it is that of the object talked about.
fn near(o: &ObjectRef, about: &ObjectRef) -> String {
    if o.namespace.is_some() && o.namespace == about.namespace {
        clean(&format!("{} {}", o.kind, o.name))
    } else {
        object(o)
    }
}

fn object(o: &ObjectRef) -> String {
    clean(&o.to_string())
}

/// `93 %`.
pub(crate) fn sure(confidence: f64) -> String {
    format!("{:.0} %", confidence * 100.0)
}

fn heading(screen: &Screen, title: &str, day: Option<Time>) -> String {
    let day = day.map(|t| screen.paint.faint(&format!("  {}, UTC", date(t)))).unwrap_or_default();
    format!("{}{day}", screen.paint.strong(title))
}

/// The clock on the day of the heading, else with the day.
pub(crate) fn when(t: Time, day: Option<Time>) -> String {
    match day {
        Some(d) if date(d) == date(t) => t.clock(),
        _ => format!("{} {}", &date(t)[5..], t.clock()),
    }
}

fn cut(says: &str, wide: bool) -> String {
    let says = clean(says);
    if wide { says } else { shorten(&says, SAYS) }
}

fn more(all: usize, shown: usize, what: &str, out: &mut String) {
    if all > shown {
        out.push_str(&format!("  … {} more; -o wide shows all\n", count(all - shown, what)));
    }
}
