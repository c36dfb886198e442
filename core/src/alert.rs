//! What people are told of an incident: one alert for each of its transitions, built in one place for every sink.
//!
//! An alert answers what, why, since when, what it hits and what to do. Its texts come from the incident alone, so
//! that the same incident gives the same bytes wherever and whenever it is told. Everything in it is bounded: a sink
//! never has to cut an incident with two hundred symptoms.
//!
//! [`Alert::key`] is a hash of meaning (incident, transition, revision): whoever gets an alert twice can tell.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::answer::Incident;
use crate::id::{Id, IdBuilder};
use crate::object::ObjectRef;
use crate::time::{Time, span};
use crate::unified::Severity;

/// Lines of evidence in an alert.
pub const MAX_EVIDENCE: usize = 12;
/// Objects that it hits, in an alert.
pub const MAX_HITS: usize = 12;
/// Symptoms in an alert.
pub const MAX_SYMPTOMS: usize = 8;
/// Commands in an alert.
pub const MAX_NEXT: usize = 6;
/// Characters of one line.
pub const MAX_LINE: usize = 500;
/// Characters of a label's value.
pub const MAX_LABEL: usize = 253;

/// What happened to an incident, as people are told it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transition {
    /// It is new, or back.
    Opened,
    /// It became worse.
    Escalated,
    /// It is over.
    Resolved,
    /// Not one incident but those that a rate limit held back.
    Summary,
    /// No incident at all: somebody tries whether alerts arrive.
    Test,
}

impl Transition {
    /// The lower-case word used in every output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Transition::Opened => "opened",
            Transition::Escalated => "escalated",
            Transition::Resolved => "resolved",
            Transition::Summary => "summary",
            Transition::Test => "test",
        }
    }
}

impl fmt::Display for Transition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One thing to tell people, as it is kept and sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// Hash of incident, transition and revision: the same alert has the same key, however often it is made or sent.
    pub key: Id,
    /// Which incident; that of a summary or test is its own.
    pub incident: Id,
    /// What happened.
    pub transition: Transition,
    /// Stream time of the transition.
    pub at: Time,
    /// Since when it holds with this severity.
    pub starts_at: Time,
    /// When it was over; none while it is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<Time>,
    /// How bad.
    pub severity: Severity,
    /// How bad it was before an escalation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub was: Option<Severity>,
    /// The object that a person would change to fix it; the first symptom's while the cause is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<ObjectRef>,
    /// The object's uid, where whoever told of the incident knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// What tells alerts apart, for routing and silences. They stay as they were when the incident opened, but for
    /// `severity`.
    pub labels: BTreeMap<String, String>,
    /// What people read.
    pub body: Body,
}

/// What people read: what, why, since when, hits what, what to do.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Body {
    /// Mechanism and object.
    pub title: String,
    /// What is wrong, in one sentence.
    pub what: String,
    /// Id of the mechanism; none while the cause is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mechanism: Option<String>,
    /// Share of answers with this much evidence that are right, 0 … 1; none while the cause is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    /// Why: what was seen, oldest first, one line each.
    pub why: Vec<String>,
    /// Since when, and until when where it is over.
    pub since: String,
    /// What it hits, one object a line.
    pub hits: Vec<String>,
    /// What people notice, one line each.
    pub symptoms: Vec<String>,
    /// Commands worth running next.
    pub next: Vec<String>,
}

impl Alert {
    /// The alert of an incident's transition. `labels` and `starts_at` are those of the opening, where that was told;
    /// `was`: severity told before.
    pub fn of(
        incident: &Incident,
        transition: Transition,
        cluster: &str,
        told: Option<(&BTreeMap<String, String>, Time)>,
        was: Option<Severity>,
    ) -> Self {
        let at = incident.updated_at;
        let object = object_of(incident);
        let mut labels = told.map_or_else(|| labels(incident, object.as_ref(), cluster), |(l, _)| l.clone());
        labels.insert("severity".to_owned(), incident.severity.as_str().to_owned());
        let first = if incident.opened_at < at && transition == Transition::Opened { at } else { incident.opened_at };
        let starts_at = match transition {
            Transition::Escalated => at,
            _ => told.map_or(first, |(_, at)| at),
        };
        let over = transition == Transition::Resolved;
        let ends_at = over.then(|| incident.resolved_at.unwrap_or(at).max(starts_at));
        Alert {
            key: key(incident.id, transition, at),
            incident: incident.id,
            transition,
            at,
            starts_at,
            ends_at,
            severity: incident.severity,
            was: was.filter(|w| transition == Transition::Escalated && *w != incident.severity),
            body: Body::of(incident, object.as_ref(), over),
            object,
            uid: None,
            labels,
        }
    }

    /// What was held back by a rate limit, as one alert at `at`. `titles`: the newest of them; `count`: all.
    pub fn summary(sink: &str, cluster: &str, count: usize, worst: Severity, titles: Vec<String>, at: Time) -> Self {
        let id = IdBuilder::new("alert-summary").text(sink).number(at.micros()).finish();
        let more = count.saturating_sub(titles.len());
        let mut symptoms: Vec<String> = titles.iter().map(|t| line(t)).collect();
        if more > 0 {
            symptoms.push(format!("and {more} more"));
        }
        let noun = if count == 1 { "alert" } else { "alerts" };
        let body = Body {
            title: format!("{count} {noun} held back"),
            what: format!("{count} {noun} came faster than sink {sink} may be told; this one stands for them"),
            since: day(at),
            symptoms,
            next: vec!["tapio alerts list --state summarised".to_owned()],
            ..Body::default()
        };
        Alert::without_incident(id, Transition::Summary, "TapioAlertsHeldBack", cluster, worst, body, at)
    }

    /// An alert that tries whether alerts arrive.
    pub fn test(sink: &str, cluster: &str, at: Time) -> Self {
        let id = IdBuilder::new("alert-test").text(sink).number(at.micros()).finish();
        let body = Body {
            title: "test of alerts".to_owned(),
            what: format!("somebody tries whether alerts of tapio reach sink {sink}; nothing is wrong"),
            why: vec!["`tapio alerts test` was run".to_owned()],
            since: day(at),
            ..Body::default()
        };
        Alert::without_incident(id, Transition::Test, "TapioTest", cluster, Severity::Info, body, at)
    }

    fn without_incident(
        id: Id,
        transition: Transition,
        name: &str,
        cluster: &str,
        severity: Severity,
        body: Body,
        at: Time,
    ) -> Self {
        let incident = id.to_string();
        let labels = [
            ("alertname", name),
            ("cluster", cluster),
            ("severity", severity.as_str()),
            ("incident", incident.as_str()),
        ];
        Alert {
            key: key(id, transition, at),
            incident: id,
            transition,
            at,
            starts_at: at,
            ends_at: None,
            severity,
            was: None,
            object: None,
            uid: None,
            labels: labels.into_iter().map(|(k, v)| (k.to_owned(), bounded(v, MAX_LABEL))).collect(),
            body,
        }
    }

    /// The cluster that it is about.
    pub fn cluster(&self) -> &str {
        self.labels.get("cluster").map_or("", String::as_str)
    }

    /// What it is about and how it stands, in one line: `RESOLVED config-missing: ConfigMap shop/cart-env`.
    pub fn headline(&self) -> String {
        let word = match self.transition {
            Transition::Resolved => "RESOLVED".to_owned(),
            Transition::Escalated => format!("ESCALATED to {}", self.severity),
            Transition::Test => "TEST".to_owned(),
            Transition::Opened | Transition::Summary => self.severity.as_str().to_uppercase(),
        };
        format!("{word} {}", self.body.title)
    }
}

impl Body {
    fn of(incident: &Incident, object: Option<&ObjectRef>, over: bool) -> Self {
        let cause = incident.root_cause.as_ref();
        let name = object.map(ToString::to_string).unwrap_or_default();
        let mechanism = cause.map(|c| c.mechanism.clone());
        let title = format!("{}: {name}", mechanism.as_deref().unwrap_or("unknown cause"));
        let what = match (cause, incident.symptoms.first()) {
            (Some(c), _) => c.summary.clone(),
            (None, Some(s)) => format!("{}: {}; no mechanism has the evidence that it needs", s.object, s.says),
            (None, None) => "something is wrong, and no mechanism has the evidence that it needs".to_owned(),
        };
        let why = cause.map_or_else(Vec::new, |c| {
            c.evidence
                .iter()
                .map(|e| match e.at {
                    Some(at) => format!("{} {}: {}", at.clock(), e.object, e.says),
                    None => format!("{}: {}", e.object, e.says),
                })
                .collect()
        });
        let since = match incident.resolved_at.filter(|_| over) {
            Some(end) => format!("{} until {}, {}", day(incident.since), day(end), span(end.since(incident.since))),
            None => day(incident.since),
        };
        let hits = cause.map_or_else(Vec::new, |c| c.impact.iter().map(ToString::to_string).collect());
        let symptoms = incident.symptoms.iter().map(|s| format!("{}: {}", s.object, s.says)).collect();
        let next = cause.map_or_else(Vec::new, |c| c.next.clone());
        Body {
            title: bounded(&title, MAX_LINE),
            what: bounded(&what, 2 * MAX_LINE),
            mechanism,
            confidence: cause.map(|c| c.confidence),
            why: lines(why, MAX_EVIDENCE),
            since,
            hits: lines(hits, MAX_HITS),
            symptoms: lines(symptoms, MAX_SYMPTOMS),
            next: next.iter().take(MAX_NEXT).map(|n| line(n)).collect(),
        }
    }

    /// Mechanism and confidence as people say it.
    pub fn verdict(&self) -> String {
        match (&self.mechanism, self.confidence) {
            (Some(m), Some(c)) => format!("{m}, {:.0} % confidence", c * 100.0),
            (Some(m), None) => m.clone(),
            _ => "unknown".to_owned(),
        }
    }

    /// Everything as plain lines, for sinks without a form of their own.
    pub fn text(&self) -> String {
        let mut out = format!("{}\n\nsince {}\n", self.what, self.since);
        let mut part = |head: &str, list: &[String], indent: &str| {
            if !list.is_empty() {
                out.push_str(&format!("\n{head}\n"));
                list.iter().for_each(|l| out.push_str(&format!("{indent}{l}\n")));
            }
        };
        if self.mechanism.is_some() || !self.why.is_empty() {
            part(&format!("why: {}", self.verdict()), if self.why.is_empty() { &[] } else { &self.why }, "  ");
        }
        part("hits", &self.hits, "  ");
        part("noticed", &self.symptoms, "  ");
        part("run", &self.next, "  ");
        out.trim_end().to_owned()
    }
}

/// The key of an alert; `revision`: stream time of the transition.
pub fn key(incident: Id, transition: Transition, revision: Time) -> Id {
    IdBuilder::new("alert").text(&incident.to_string()).text(transition.as_str()).number(revision.micros()).finish()
}

/// What an incident is about: the object to change, or the first symptom's while the cause is unknown.
pub fn object_of(incident: &Incident) -> Option<ObjectRef> {
    let cause = incident.root_cause.as_ref().map(|c| c.object.clone());
    cause.or_else(|| incident.symptoms.first().map(|s| s.object.clone()))
}

/// Kinds that people own: what a pod belongs to.
const WORKLOADS: [&str; 5] = ["Deployment", "StatefulSet", "DaemonSet", "CronJob", "Job"];

fn labels(incident: &Incident, object: Option<&ObjectRef>, cluster: &str) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    let mut put = |name: &str, value: &str| {
        if !value.is_empty() {
            out.insert(name.to_owned(), bounded(value, MAX_LABEL));
        }
    };
    put("alertname", "TapioIncident");
    put("cluster", cluster);
    put("incident", &incident.id.to_string());
    put("mechanism", incident.root_cause.as_ref().map_or("unknown", |c| &c.mechanism));
    if let Some(o) = object {
        put("kind", &o.kind);
        put("namespace", o.ns());
        put("name", &o.name);
        // Pods have names of their own each; who is to be told is who owns what they belong to.
        let hit = || incident.root_cause.iter().flat_map(|c| &c.impact);
        let workload = hit().find(|i| WORKLOADS.contains(&i.kind.as_str()) && i.namespace == o.namespace);
        put("owner", &workload.filter(|_| o.kind == "Pod").unwrap_or(o).to_string());
    }
    out
}

fn lines(list: Vec<String>, max: usize) -> Vec<String> {
    let more = list.len().saturating_sub(max);
    let mut out: Vec<String> = list.iter().take(max).map(|l| line(l)).collect();
    if more > 0 {
        out.push(format!("and {more} more"));
    }
    out
}

/// One line: without line feeds and control characters, bounded.
fn line(text: &str) -> String {
    bounded(text, MAX_LINE)
}

fn bounded(text: &str, max: usize) -> String {
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut out: String = plain.take(max + 1).collect();
    if out.chars().count() > max {
        out = out.chars().take(max.saturating_sub(1)).collect();
        out.push('…');
    }
    out
}

fn day(at: Time) -> String {
    at.to_chrono().format("%Y-%m-%d %H:%M:%S UTC").to_string()
}

#[cfg(test)]
mod tests;
