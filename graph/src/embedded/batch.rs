//! One batch of changes in one transaction of marsdb.
//!
//! Statements are parsed once and kept; which ones there are depends on labels and property names, Tapio's own words,
//! so their number is bounded in practice, and capped in any case. Nodes that are new are created with all their
//! properties at once, known ones are merged: 1.6 times the speed of merging all, the same graph.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use marsdb::{Database, Error, ExecutionOptions, PropertyValue, QueryResult, Transaction, Value};
use tapio_core::change::{GraphChange, NodeRef, Prop};
use tapio_core::ontology::{Label, Relation};

use super::value::{map, stored};
use crate::projection::{LinkRow, NodeRow, PropMap, Step, fold};
use crate::statements;

/// Parsed statements kept; above that, all are parsed anew.
const MAX_PLANS: usize = 1_000;

type Plan = std::sync::Arc<marsdb::Statement>;

/// The writer's parsed statements.
#[derive(Default)]
pub(super) struct Plans(HashMap<String, Plan>);

impl Plans {
    fn get(&mut self, text: String) -> Result<Plan, Error> {
        if let Some(plan) = self.0.get(&text) {
            return Ok(plan.clone());
        }
        if self.0.len() >= MAX_PLANS {
            self.0.clear();
        }
        let plan = Plan::new(marsdb::parse(&text)?);
        self.0.insert(text, plan.clone());
        Ok(plan)
    }
}

/// An open transaction with the writer's statements.
pub(super) struct Batch<'a> {
    tx: Transaction<'a>,
    plans: &'a mut Plans,
}

impl<'a> Batch<'a> {
    pub(super) fn begin(db: &'a Database, plans: &'a mut Plans) -> Result<Self, Error> {
        Ok(Batch { tx: db.begin_transaction()?, plans })
    }

    /// Makes everything durable.
    pub(super) fn commit(self) -> Result<(), Error> {
        self.tx.commit()
    }

    /// Runs a statement of the catalog.
    pub(super) fn run<const N: usize>(
        &mut self,
        text: String,
        params: [(&str, PropertyValue); N],
    ) -> Result<QueryResult, Error> {
        let plan = self.plans.get(text)?;
        let params: HashMap<String, PropertyValue> = params.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
        self.tx.execute_prepared_statement(&plan, &params, &ExecutionOptions::default())
    }

    /// Writes all changes.
    pub(super) fn apply(&mut self, changes: Vec<GraphChange>) -> Result<(), Error> {
        for step in fold(changes) {
            match step {
                Step::Nodes { label, also, rows } => self.nodes(label, &also, rows)?,
                Step::Link { from, relation, to, rows } => self.link(from, relation, to, rows)?,
                Step::Unlink { from, relation, to, rows } => {
                    let rows = rows.into_iter().map(|(a, b)| map([("from", text(a)), ("to", text(b))])).collect();
                    self.run(statements::unlink(from, relation, to), [("rows", PropertyValue::List(rows))])?;
                }
                Step::Rekey { from, to } => self.rekey(&from, to)?,
            }
        }
        Ok(())
    }

    fn nodes(&mut self, label: Label, also: &[String], rows: Vec<NodeRow>) -> Result<(), Error> {
        let keys = rows.iter().map(|r| map([("key", text(r.key.clone()))])).collect();
        let known = self.run(statements::existing(label), [("rows", PropertyValue::List(keys))])?;
        let known: HashSet<String> =
            known.rows.into_iter().filter_map(|row| text_of(row.into_iter().next()?)).collect();
        let (old, new): (Vec<_>, Vec<_>) = rows.into_iter().partition(|r| known.contains(&r.key));
        let names: BTreeSet<&str> = new.iter().flat_map(|r| r.props.keys().copied()).collect();
        // `key` is the row's own word in the creating statement; the merging one keeps properties apart.
        let (new, mut old) = if names.contains("key") { (Vec::new(), [old, new].concat()) } else { (new, old) };
        if !new.is_empty() {
            let names: Vec<&str> = names.into_iter().collect();
            let rows = new.into_iter().map(|row| {
                let mut fields = props(row.props);
                fields.insert("key".to_owned(), text(row.key));
                PropertyValue::Map(fields)
            });
            let rows = PropertyValue::List(rows.collect());
            self.run(statements::create_nodes(label, also, &names), [("rows", rows)])?;
        }
        if also.is_empty() {
            old.retain(|r| !r.props.is_empty());
        }
        if !old.is_empty() {
            let rows =
                old.into_iter().map(|r| map([("key", text(r.key)), ("props", PropertyValue::Map(props(r.props)))]));
            let rows = PropertyValue::List(rows.collect());
            self.run(statements::merge_nodes(label, also), [("rows", rows)])?;
        }
        Ok(())
    }

    fn link(&mut self, from: Label, relation: Relation, to: Label, rows: Vec<LinkRow>) -> Result<(), Error> {
        let rows = rows
            .into_iter()
            .map(|r| map([("from", text(r.from)), ("to", text(r.to)), ("props", PropertyValue::Map(props(r.props)))]));
        self.run(statements::link(from, relation, to), [("rows", PropertyValue::List(rows.collect()))])?;
        Ok(())
    }

    /// The node under a derived key becomes the real one. Where both exist, the real one keeps its properties, takes
    /// those it lacks, takes over labels and relations, and the derived one goes.
    fn rekey(&mut self, from: &NodeRef, to: String) -> Result<(), Error> {
        let label = from.label;
        let Some(derived) = self.node(label, &from.key)? else { return Ok(()) };
        let Some(real) = self.node(label, &to)? else {
            self.run(statements::rename(label), [("key", text(from.key.clone())), ("to", text(to))])?;
            return Ok(());
        };
        let also: Vec<String> = derived.labels.into_iter().filter(|l| l != label.as_str()).collect();
        let missing = without(derived.props, &real.props, label.key_property());
        let row = map([("key", text(to.clone())), ("props", PropertyValue::Map(missing))]);
        self.run(statements::merge_nodes(label, &also), [("rows", PropertyValue::List(vec![row]))])?;
        let has: HashMap<_, _> = self.relations(label, &to)?.into_iter().map(|r| (r.place, r.props)).collect();
        for mut relation in self.relations(label, &from.key)? {
            if relation.place.other == *from {
                relation.place.other.key.clone_from(&to);
            }
            let place = &relation.place;
            let own = has.get(place).cloned().unwrap_or_default();
            let missing = PropertyValue::Map(without(relation.props, &own, ""));
            let (other, this) = (text(place.other.key.clone()), text(to.clone()));
            let (statement, start, end) = if place.outgoing {
                (statements::link(label, place.relation, place.other.label), this, other)
            } else {
                (statements::link(place.other.label, place.relation, label), other, this)
            };
            let row = map([("from", start), ("to", end), ("props", missing)]);
            self.run(statement, [("rows", PropertyValue::List(vec![row]))])?;
        }
        let gone = PropertyValue::List(vec![map([("key", text(from.key.clone()))])]);
        self.run(statements::delete_nodes(label), [("rows", gone)])?;
        Ok(())
    }

    fn node(&mut self, label: Label, key: &str) -> Result<Option<Found>, Error> {
        let rows = self.run(statements::node(label), [("key", text(key.to_owned()))])?.rows;
        Ok(rows.into_iter().next().and_then(|row| match row.into_iter().next() {
            Some(Value::Node(n)) => Some(Found { labels: n.labels, props: n.props }),
            _ => None,
        }))
    }

    fn relations(&mut self, label: Label, key: &str) -> Result<Vec<Moved>, Error> {
        let rows = self.run(statements::relations_of(label), [("key", text(key.to_owned()))])?.rows;
        Ok(rows.into_iter().filter_map(moved).collect())
    }
}

struct Found {
    labels: Vec<String>,
    props: BTreeMap<String, PropertyValue>,
}

#[derive(PartialEq, Eq, Hash)]
struct Place {
    outgoing: bool,
    relation: Relation,
    other: NodeRef,
}

struct Moved {
    place: Place,
    props: BTreeMap<String, PropertyValue>,
}

/// A row of [`statements::relations_of`].
fn moved(row: Vec<Value>) -> Option<Moved> {
    let [outgoing, relation, props, other]: [Value; 4] = row.try_into().ok()?;
    let outgoing = super::value::cell(outgoing) == tapio_core::ports::Cell::Bool(true);
    let name = text_of(relation)?;
    let relation = Relation::ALL.iter().copied().find(|r| r.as_str() == name)?;
    let Value::Node(other) = other else { return None };
    let other = node_ref(&other.labels, &other.props)?;
    let Value::Map(props) = props else { return None };
    let props = props.into_iter().filter_map(|(k, v)| Some((k, plain(v)?))).collect();
    Some(Moved { place: Place { outgoing, relation, other }, props })
}

/// Which node of the ontology this is: exactly one of its labels is a word of it.
pub(super) fn node_ref(labels: &[String], props: &BTreeMap<String, PropertyValue>) -> Option<NodeRef> {
    let label = Label::ALL.iter().copied().find(|l| labels.iter().any(|have| have == l.as_str()))?;
    match props.get(label.key_property()) {
        Some(PropertyValue::String(key)) => Some(NodeRef { label, key: key.clone() }),
        _ => None,
    }
}

/// A value of `properties(r)` as it was stored.
pub(super) fn plain(value: Value) -> Option<PropertyValue> {
    use marsdb::Literal;
    Some(match value {
        Value::Property(p) => p,
        Value::Literal(Literal::Int(i)) => PropertyValue::Int(i),
        Value::Literal(Literal::Float(f)) => PropertyValue::Float(f),
        Value::Literal(Literal::String(s)) => PropertyValue::String(s),
        Value::Literal(Literal::Bool(b)) => PropertyValue::Bool(b),
        Value::List(items) => PropertyValue::List(items.into_iter().filter_map(plain).collect()),
        _ => return None,
    })
}

fn without(
    mut props: BTreeMap<String, PropertyValue>,
    present: &BTreeMap<String, PropertyValue>,
    key: &str,
) -> BTreeMap<String, PropertyValue> {
    props.retain(|name, _| name != key && !present.contains_key(name));
    props
}

fn props(props: PropMap) -> BTreeMap<String, PropertyValue> {
    props.into_iter().map(|(name, value): (&str, Prop)| (name.to_owned(), stored(value))).collect()
}

pub(super) fn text(value: String) -> PropertyValue {
    PropertyValue::String(value)
}

pub(super) fn text_of(value: Value) -> Option<String> {
    match plain(value)? {
        PropertyValue::String(s) => Some(s),
        _ => None,
    }
}
