//! The incidents that a graph remembers.

use std::collections::BTreeMap;

use tapio_core::answer::{Evidence, Incident, IncidentState, RootCause, Symptom};
use tapio_core::object::ObjectRef;
use tapio_core::ports::{Cell, GraphStore};
use tapio_core::unified::Severity;

use super::{Node, ask, text};
use crate::error::Outcome;

const INCIDENTS: &str = "MATCH (i:Incident) RETURN i";
const CAUSES: &str = "MATCH (i:Incident)-[r:ROOT_CAUSE]->(o) \
                      RETURN i.id AS id, r.mechanism AS mechanism, r.confidence AS confidence, o AS object";
const FIRST: &str = "MATCH (i:Incident)-[:BEGAN_WITH]->(e:Event) OPTIONAL MATCH (e)-[:AFFECTS]->(o) \
                     RETURN i.id AS id, e AS event, o AS object";
const SYMPTOMS: &str = "MATCH (i:Incident)-[:HAS_SYMPTOM]->(e:Event) OPTIONAL MATCH (e)-[:AFFECTS]->(o) \
                        RETURN i.id AS id, e AS event, o AS object";

/// All incidents but those that became part of another, oldest first.
pub(crate) fn incidents(graph: &dyn GraphStore) -> Outcome<Vec<Incident>> {
    let rows = ask(graph, INCIDENTS, [])?;
    let mut causes = by_id(ask(graph, CAUSES, [])?);
    let mut first = by_id(ask(graph, FIRST, [])?);
    let mut symptoms = by_id(ask(graph, SYMPTOMS, [])?);
    let mut out = Vec::new();
    for row in &rows {
        let Some(node) = row.first().and_then(Node::of) else { continue };
        let Some(id) = node.text("id") else { continue };
        if node.text("state") == Some("merged") {
            continue;
        }
        let take = |rows: &mut Rows| rows.remove(id).unwrap_or_default();
        let incident = incident(&node, &take(&mut causes), &take(&mut first), &take(&mut symptoms));
        out.extend(incident);
    }
    out.sort_by_key(|i| (i.opened_at, i.id));
    Ok(out)
}

/// Rows by the id in their first column.
type Rows = BTreeMap<String, Vec<Vec<Cell>>>;

fn by_id(rows: Vec<Vec<Cell>>) -> Rows {
    let mut out = Rows::new();
    for row in rows {
        if let Some(id) = row.first().and_then(text) {
            out.entry(id.to_owned()).or_default().push(row);
        }
    }
    out
}

fn incident(node: &Node<'_>, causes: &[Vec<Cell>], first: &[Vec<Cell>], symptoms: &[Vec<Cell>]) -> Option<Incident> {
    let opened_at = node.time("opened_at")?;
    let mut seen: Vec<Symptom> = symptoms
        .iter()
        .filter_map(|row| {
            let (event, object) = about(row)?;
            Some(Symptom { object, says: event.text("message")?.to_owned(), at: event.time("timestamp")? })
        })
        .collect();
    seen.sort_by(|a, b| (a.at, &a.object, &a.says).cmp(&(b.at, &b.object, &b.says)));
    seen.dedup();
    Some(Incident {
        id: node.text("id")?.parse().ok()?,
        state: if node.text("state") == Some("open") { IncidentState::Open } else { IncidentState::Resolved },
        severity: severity(node.text("severity")?),
        opened_at,
        since: node.time("since").unwrap_or(opened_at),
        updated_at: node.time("updated_at").unwrap_or(opened_at),
        resolved_at: node.time("resolved_at"),
        explained_at: None,
        root_cause: cause(node, causes, first),
        symptoms: seen,
    })
}

/// The event of a row and its object.
fn about(row: &[Cell]) -> Option<(Node<'_>, ObjectRef)> {
    Some((Node::of(row.get(1)?)?, Node::of(row.get(2)?)?.object()?))
}

/// A cause that gave way to a better one is still linked; the incident says which one holds.
fn cause(node: &Node<'_>, causes: &[Vec<Cell>], first: &[Vec<Cell>]) -> Option<RootCause> {
    let (mechanism, confidence) = (node.text("type")?, node.number("confidence")?);
    let mut fit: Vec<(bool, ObjectRef)> = causes
        .iter()
        .filter(|row| row.get(1).and_then(text) == Some(mechanism))
        .filter_map(|row| {
            let same = matches!(row.get(2), Some(Cell::Float(f)) if *f == confidence);
            Some((!same, Node::of(row.get(3)?)?.object()?))
        })
        .collect();
    fit.sort();
    let (_, object) = fit.into_iter().next()?;
    let mut evidence: Vec<Evidence> = first
        .iter()
        .filter_map(|row| {
            let (event, object) = about(row)?;
            Some(Evidence {
                event: event.text("id").and_then(|id| id.parse().ok()),
                at: event.time("timestamp"),
                source: event.text("source").unwrap_or("graph").to_owned(),
                object,
                says: event.text("message")?.to_owned(),
            })
        })
        .collect();
    evidence.sort_by(|a, b| (a.at, &a.object, &a.says).cmp(&(b.at, &b.object, &b.says)));
    Some(RootCause {
        object,
        mechanism: mechanism.to_owned(),
        confidence,
        summary: node.text("message").unwrap_or_default().to_owned(),
        evidence,
        refuters_checked: Vec::new(),
        path: Vec::new(),
        changes: Vec::new(),
        impact: Vec::new(),
        next: Vec::new(),
    })
}

fn severity(word: &str) -> Severity {
    let all = [Severity::Low, Severity::Medium, Severity::High, Severity::Critical];
    all.into_iter().find(|s| s.as_str() == word).unwrap_or_default()
}
