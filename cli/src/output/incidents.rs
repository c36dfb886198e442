//! Incidents as a list, and one in full.

use tapio_core::answer::{Incident, IncidentState};
use tapio_core::time::span;

use super::Screen;
use super::answer::{cause, date, moment, when};
use super::table::{Overflow, Table};
use super::text::{clean, count};

/// Digits of an id that tell incidents apart.
pub(crate) const ID: usize = 8;
/// Symptoms where not everything is wanted.
const SYMPTOMS: usize = 12;

/// The beginning of an id.
pub(crate) fn short(i: &Incident) -> String {
    i.id.to_string().chars().take(ID).collect()
}

/// One line an incident.
pub(crate) fn list(screen: &Screen, incidents: &[&Incident], wide: bool, indent: usize) -> String {
    // The sentence is worth a line of its own; `incident ID` has it, and wide.
    let head = ["ID", "OPENED", "STATE", "SEVERITY", "CAUSE", "OBJECT", "SUMMARY"];
    let mut t = Table::new(&head[..if wide { 7 } else { 6 }]).indented(indent);
    for i in incidents {
        let state = match (i.state, i.resolved_at) {
            (IncidentState::Open, _) => "open".to_owned(),
            (IncidentState::Resolved, Some(at)) => format!("resolved after {}", span(at.since(i.opened_at))),
            (IncidentState::Resolved, None) => "resolved".to_owned(),
        };
        let (mechanism, object, summary) = match &i.root_cause {
            Some(c) => (c.mechanism.clone(), c.object.to_string(), c.summary.clone()),
            None => ("unknown".to_owned(), first_object(i), first_words(i)),
        };
        let id = if wide { i.id.to_string() } else { short(i) };
        let opened = format!("{} {}", date(i.opened_at), i.opened_at.clock());
        let mut row = vec![id, opened, state, i.severity.to_string(), mechanism, object];
        if wide {
            row.push(summary);
        }
        t.row(row);
    }
    t.lay_out(screen.width, if wide { Overflow::Keep } else { Overflow::Cut }, screen.paint)
}

fn first_object(i: &Incident) -> String {
    i.symptoms.first().map(|s| s.object.to_string()).unwrap_or_default()
}

fn first_words(i: &Incident) -> String {
    i.symptoms.first().map(|s| s.says.clone()).unwrap_or_default()
}

/// One incident with everything about it.
pub(crate) fn one(screen: &Screen, i: &Incident, wide: bool) -> String {
    let p = screen.paint;
    let mut out = String::new();
    match &i.root_cause {
        Some(c) => cause(screen, c, Some(i.since), wide, &mut out),
        None => {
            let head = p.doubtful("unknown cause");
            out.push_str(&format!("{head}  {}  since {}\n", p.strong(&clean(&first_object(i))), moment(i.since)));
        }
    }
    let day = i.symptoms.iter().map(|s| s.at).min();
    out.push_str(&format!(
        "\n{}{}\n",
        p.strong("symptoms"),
        day.map(|d| p.faint(&format!("  {}, UTC", date(d)))).unwrap_or_default()
    ));
    let mut t = Table::new(&[]).indented(2);
    let most = if wide { usize::MAX } else { SYMPTOMS };
    for s in i.symptoms.iter().take(most) {
        t.row([when(s.at, day), s.object.to_string(), s.says.clone()]);
    }
    out.push_str(&t.lay_out(screen.width, Overflow::Wrap, p));
    if i.symptoms.len() > most {
        out.push_str(&format!("  … {} more; -o wide shows all\n", count(i.symptoms.len() - most, "symptom")));
    }
    out.push_str(&format!("\n{}\n", p.strong("incident")));
    let mut t = Table::new(&[]).indented(2);
    t.row(["id", &i.id.to_string()]);
    t.row(["severity", i.severity.as_str()]);
    t.row(["since", &moment(i.since)]);
    t.row(["opened", &moment(i.opened_at)]);
    if let Some(at) = i.explained_at {
        t.row(["explained", &moment(at)]);
    }
    match (i.state, i.resolved_at) {
        (IncidentState::Open, _) => t.row(["state", "open"]),
        (_, Some(at)) => t.row(["resolved", &moment(at)]),
        (_, None) => t.row(["state", "resolved"]),
    }
    out.push_str(&t.lay_out(screen.width, Overflow::Keep, p));
    out
}
