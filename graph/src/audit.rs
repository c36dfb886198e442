//! What is wrong in a graph: schema, keys, and what dangles. Walks through all of it once, a page at a time.

use std::collections::{BTreeMap, BTreeSet};

use tapio_core::id::Id;
use tapio_core::ontology::{Label, Relation};
use tapio_core::ports::{Cell, GraphStore, StoreError, StoredNode, StoredRelation};

/// Nodes of one page.
const PAGE: usize = 500;

/// Examples of one finding.
const EXAMPLES: usize = 3;

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What, as a sentence.
    pub what: String,
    /// How often.
    pub count: u64,
    /// Some of the nodes or relations.
    pub examples: Vec<String>,
}

/// What was looked at, and what is wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    /// Nodes.
    pub nodes: u64,
    /// Relations.
    pub relations: u64,
    /// What is wrong; none: nothing.
    pub findings: Vec<Finding>,
}

#[derive(Default)]
struct Found(BTreeMap<String, (u64, Vec<String>)>);

impl Found {
    fn add(&mut self, what: impl Into<String>, example: impl FnOnce() -> String) {
        let entry = self.0.entry(what.into()).or_default();
        entry.0 += 1;
        if entry.1.len() < EXAMPLES {
            entry.1.push(example());
        }
    }
}

/// Looks through a graph.
///
/// # Errors
/// Those of the store.
pub async fn audit(store: &dyn GraphStore) -> Result<Audit, StoreError> {
    let mut found = Found::default();
    let mut audit = Audit::default();
    for fault in store.schema_faults().await? {
        found.add("the schema is not whole; `tapio replay --data-dir` makes what is missing", || fault);
    }
    let counts = store.stats().await?;
    for &label in Label::ALL {
        let mut walked = 0;
        let mut after = String::new();
        loop {
            let page = store.nodes(label, &after, PAGE).await?;
            let Some(last) = page.last().map(|n| n.node.key.clone()) else { break };
            let relations = store.relations(label, &after, &last).await?;
            walked += page.len() as u64;
            audit.relations += relations.len() as u64;
            look_at(&page, &relations, &mut found);
            if page.len() < PAGE {
                break;
            }
            after = last;
        }
        audit.nodes += walked;
        let counted = counts.nodes.get(label.as_str()).copied().unwrap_or_default();
        if counted != walked {
            found.add(format!("{counted} nodes have the label {label}, and {walked} of them a key"), || {
                format!("MATCH (n:{label}) WHERE n.{} IS NULL RETURN n", label.key_property())
            });
        }
    }
    audit.findings = found.0.into_iter().map(|(what, (count, examples))| Finding { what, count, examples }).collect();
    Ok(audit)
}

/// Nodes of one label with what starts at them.
fn look_at(page: &[StoredNode], relations: &[StoredRelation], found: &mut Found) {
    let mut leads: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for r in relations {
        leads.entry(&r.from.key).or_default().insert(&r.relation);
        look_at_relation(r, found);
    }
    for n in page {
        let has = |r: Relation| leads.get(n.node.key.as_str()).is_some_and(|l| l.contains(r.as_str()));
        look_at_node(n, has, found);
    }
}

fn look_at_node(n: &StoredNode, has: impl Fn(Relation) -> bool, found: &mut Found) {
    let label = n.node.label;
    let named = || format!("{label} {}", n.node.key);
    let text = |name: &str| match n.props.get(name) {
        Some(Cell::Text(s)) => Some(s.as_str()),
        _ => None,
    };
    if n.node.key.is_empty() {
        found.add("a key is empty", named);
    }
    if n.also.iter().any(|a| Label::ALL.iter().any(|l| l.as_str() == a)) {
        found.add("a node has two labels with a key of their own", named);
    }
    if !label.is_object() && !is_hash(&n.node.key) {
        found.add(format!("the id of an {label} is no hash of 32 digits").replace("an Pattern", "a Pattern"), named);
    }
    match label {
        Label::Event => {
            match (n.props.get("timestamp"), n.props.get("ts_ms")) {
                (Some(Cell::Time(t)), Some(Cell::Int(ms))) if t.millis() == *ms => {}
                (None, None) => found.add("an Event is only referred to: retention or a lost batch took it", named),
                _ => found.add("timestamp and ts_ms of an Event do not agree", named),
            }
            let due = text("type").is_some_and(|t| !matches!(t, "unknown" | "source_gap")) && text("context").is_none();
            if due && !has(Relation::Affects) {
                found.add("an Event affects nothing", named);
            }
        }
        Label::Incident => {
            if text("state") != Some("merged") && !has(Relation::HasSymptom) && !has(Relation::RootCause) {
                found.add("an Incident has neither symptom nor cause", named);
            }
            if text("type").is_some_and(|t| t != "unknown") && !has(Relation::RootCause) {
                found.add("an Incident names a mechanism, and no object as its cause", named);
            }
        }
        Label::Pattern if !has(Relation::DetectedOn) => found.add("a Pattern was detected on nothing", named),
        _ => {}
    }
}

fn look_at_relation(r: &StoredRelation, found: &mut Found) {
    let named = || format!("{} {} {} {}", r.from.label, r.from.key, r.relation, r.to.key);
    let Some(relation) = Relation::ALL.iter().copied().find(|k| k.as_str() == r.relation) else {
        return found.add(format!("relation {} is not Tapio's", r.relation), named);
    };
    let text = |name: &str| matches!(r.props.get(name), Some(Cell::Text(s)) if !s.is_empty());
    let ends = match relation {
        Relation::Affects => r.from.label == Label::Event && r.to.label.is_object(),
        Relation::Triggered | Relation::CorrelatedWith => (r.from.label, r.to.label) == (Label::Event, Label::Event),
        Relation::RootCause => r.from.label == Label::Incident && r.to.label.is_object(),
        Relation::BeganWith | Relation::HasSymptom => (r.from.label, r.to.label) == (Label::Incident, Label::Event),
        Relation::DetectedOn => r.from.label == Label::Pattern,
        _ => true,
    };
    if !ends {
        found.add(format!("{relation} does not go from {} to {}", r.from.label, r.to.label), named);
    }
    if relation == Relation::Triggered && !text("via") {
        found.add("TRIGGERED does not say by what (via)", named);
    }
    if relation == Relation::RootCause && !text("mechanism") {
        found.add("ROOT_CAUSE names no mechanism", named);
    }
}

fn is_hash(key: &str) -> bool {
    key.len() == 32 && key.parse::<Id>().is_ok_and(|id| id.to_string() == key)
}
