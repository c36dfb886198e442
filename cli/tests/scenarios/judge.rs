//! Whether what came is what had to come; says both where it is not.

use std::collections::BTreeSet;

use libtest_mimic::Failed;
use tapio_core::answer::{Answer, Incident, IncidentState};
use tapio_core::time::SECOND;

use crate::story::{Fault, Story};

/// Exactly the incidents that the story expects.
pub(crate) fn incidents(story: &Story, answer: &Answer) -> Result<(), Failed> {
    let expected = &story.expected.incidents;
    let mut wrong: Vec<String> = Vec::new();
    let mut left: Vec<&Incident> = answer.incidents.iter().collect();
    for fault in expected {
        match left.iter().position(|i| names(fault, i)) {
            Some(at) => wrong.extend(course(fault, left.remove(at))),
            None => wrong.push("no incident names an accepted object with an accepted mechanism".to_owned()),
        }
    }
    if !left.is_empty() {
        wrong.push(format!("more incidents than expected: {}", left.len()));
    }
    verdict(&wrong, expected, answer)
}

/// The root is found, whenever and beside whatever else.
pub(crate) fn root(fault: &Fault, answer: &Answer) -> Result<(), Failed> {
    let found = answer.incidents.iter().any(|i| names(fault, i));
    let wrong = if found { vec![] } else { vec!["no incident names the root".to_owned()] };
    verdict(&wrong, std::slice::from_ref(fault), answer)
}

/// The roots with their mechanisms; what is unknown is none.
fn roots(answer: &Answer) -> BTreeSet<String> {
    let causes = answer.incidents.iter().filter_map(|i| i.root_cause.as_ref());
    causes.map(|c| format!("{}: {}", c.object, c.mechanism)).collect()
}

/// The same roots with the same mechanisms as in the story as it is.
pub(crate) fn same_roots(expected: &Answer, came: &Answer) -> Result<(), Failed> {
    let (expected, came) = (roots(expected), roots(came));
    if expected == came {
        return Ok(());
    }
    Err(format!("other roots than in the story as it is\nexpected: {expected:?}\ncame: {came:?}").into())
}

/// No root that is not one in the story as it is; fewer are right where less is seen.
pub(crate) fn no_other_roots(expected: &Answer, came: &Answer) -> Result<(), Failed> {
    let (expected, came) = (roots(expected), roots(came));
    if came.is_subset(&expected) {
        return Ok(());
    }
    Err(format!("roots that the story as it is does not have\nexpected at most: {expected:?}\ncame: {came:?}").into())
}

/// The same bytes.
pub(crate) fn bytes(expected: &str, came: &str) -> Result<(), Failed> {
    if expected == came {
        return Ok(());
    }
    let (mut a, mut b) = (expected.lines(), came.lines());
    let mut differ: Vec<String> = Vec::new();
    let mut line = 0;
    loop {
        line += 1;
        match (a.next(), b.next()) {
            (None, None) => break,
            (x, y) if x == y => {}
            (x, y) => {
                differ.push(format!("  line {line}\n    - {}\n    + {}", x.unwrap_or("(end)"), y.unwrap_or("(end)")))
            }
        }
        // Lines after a missing one say nothing.
        if differ.len() == 12 {
            break;
        }
    }
    Err(format!("the answer differs from that of the story as it is (-):\n{}", differ.join("\n")).into())
}

fn names(fault: &Fault, i: &Incident) -> bool {
    i.root_cause.as_ref().is_some_and(|c| {
        (c.object == fault.object || fault.objects.contains(&c.object)) && fault.mechanisms.contains(&c.mechanism)
    })
}

/// What is wrong with the times of an incident that names the root.
fn course(fault: &Fault, i: &Incident) -> Vec<String> {
    let mut wrong = Vec::new();
    if fault.opened_not_before.is_some_and(|t| i.opened_at < t) {
        wrong.push("it was opened before there was a fault".to_owned());
    }
    let over = i.opened_at.since(fault.decisive_at) - fault.within_secs * SECOND;
    if over > 0 {
        wrong.push(format!("it was opened {} ms too late", over / 1_000));
    }
    if fault.resolved.is_some_and(|r| r != (i.state == IncidentState::Resolved)) {
        wrong.push("it ends in the wrong state".to_owned());
    }
    wrong
}

fn verdict(wrong: &[String], expected: &[Fault], answer: &Answer) -> Result<(), Failed> {
    if wrong.is_empty() {
        return Ok(());
    }
    let mut says = wrong.join("\n");
    says.push_str("\nexpected:");
    for f in expected {
        let others =
            if f.objects.is_empty() { String::new() } else { format!(" or one of {} others", f.objects.len()) };
        let end = f.resolved.map_or("", |r| if r { ", resolved" } else { ", open" });
        let mechanisms = f.mechanisms.join(" or ");
        says.push_str(&format!(
            "\n  {}{others}: {mechanisms}, opened up to {} s after {}{end}",
            f.object, f.within_secs, f.decisive_at
        ));
    }
    if expected.is_empty() {
        says.push_str(" no incident");
    }
    says.push_str("\ncame:");
    for i in &answer.incidents {
        let what = match &i.root_cause {
            Some(c) => format!("{}: {} ({})", c.object, c.mechanism, c.summary),
            None => format!("cause unknown: {}", i.symptoms.first().map_or("", |s| s.says.as_str())),
        };
        says.push_str(&format!("\n  {what}, opened {}, {:?}", i.opened_at, i.state));
    }
    if answer.incidents.is_empty() {
        says.push_str(" no incident");
    }
    Err(says.into())
}
