//! Values between Tapio's words and marsdb's.

use std::collections::BTreeMap;

use marsdb::{Literal, PathElem, PropertyValue, TzId, Value, temporal};
use tapio_core::change::Prop;
use tapio_core::ports::Cell;
use tapio_core::time::{SECOND, Time};

/// A property as marsdb stores it.
pub(super) fn stored(prop: Prop) -> PropertyValue {
    match prop {
        Prop::Null => PropertyValue::Null,
        Prop::Bool(b) => PropertyValue::Bool(b),
        Prop::Int(i) => PropertyValue::Int(i),
        Prop::Float(f) => PropertyValue::Float(f),
        Prop::Text(s) => PropertyValue::String(s),
        Prop::Time(t) => date_time(t),
        Prop::List(items) => PropertyValue::List(items.into_iter().map(PropertyValue::String).collect()),
    }
}

/// A parameter.
pub(super) fn param(cell: &Cell) -> PropertyValue {
    match cell {
        Cell::Null => PropertyValue::Null,
        Cell::Bool(b) => PropertyValue::Bool(*b),
        Cell::Int(i) => PropertyValue::Int(*i),
        Cell::Float(f) => PropertyValue::Float(*f),
        Cell::Time(t) => date_time(*t),
        Cell::Text(s) => PropertyValue::String(s.clone()),
        Cell::List(items) => PropertyValue::List(items.iter().map(param).collect()),
        Cell::Map(entries) => PropertyValue::Map(entries.iter().map(|(k, v)| (k.clone(), param(v))).collect()),
    }
}

/// The instant as marsdb's date-time.
pub(super) fn date_time(time: Time) -> PropertyValue {
    let (seconds, micros) = (time.micros().div_euclid(SECOND), time.micros().rem_euclid(SECOND));
    let nanos = i32::try_from(micros * 1_000).unwrap_or_default();
    PropertyValue::DateTime { epoch_seconds: seconds, nanos, zone: TzId::Offset(0) }
}

/// A map parameter from pairs.
pub(super) fn map<const N: usize>(entries: [(&str, PropertyValue); N]) -> PropertyValue {
    PropertyValue::Map(entries.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())
}

/// A stored value as a cell. Instants become times; dates, clock times and spans their ISO text.
pub(super) fn property(value: PropertyValue) -> Cell {
    match value {
        PropertyValue::Null => Cell::Null,
        PropertyValue::Bool(b) => Cell::Bool(b),
        PropertyValue::Int(i) => Cell::Int(i),
        PropertyValue::Float(f) => Cell::Float(f),
        PropertyValue::String(s) => Cell::Text(s),
        PropertyValue::DateTime { epoch_seconds, nanos, .. } => {
            match epoch_seconds.checked_mul(SECOND).and_then(|m| m.checked_add(i64::from(nanos) / 1_000)) {
                Some(micros) => Cell::Time(Time::from_micros(micros)),
                None => Cell::Text(format!("{}Z", temporal::format_local_date_time(epoch_seconds, nanos))),
            }
        }
        PropertyValue::Date(days) => Cell::Text(temporal::format_date(days)),
        PropertyValue::Duration { months, days, seconds, nanos } => {
            Cell::Text(temporal::format_duration(months, days, seconds, nanos))
        }
        PropertyValue::LocalTime(nanos) => Cell::Text(temporal::format_local_time(nanos)),
        PropertyValue::Time { nanos_of_day, offset_seconds } => {
            Cell::Text(temporal::format_time(nanos_of_day, offset_seconds))
        }
        PropertyValue::LocalDateTime { epoch_seconds, nanos } => {
            Cell::Text(temporal::format_local_date_time(epoch_seconds, nanos))
        }
        PropertyValue::List(items) => Cell::List(items.into_iter().map(property).collect()),
        PropertyValue::Map(entries) => properties(entries),
    }
}

fn properties(entries: BTreeMap<String, PropertyValue>) -> Cell {
    Cell::Map(entries.into_iter().map(|(k, v)| (k, property(v))).collect())
}

/// A value of a result as a cell. Nodes carry `_labels`, relations `_type`; a path is the list of what it passes.
pub(super) fn cell(value: Value) -> Cell {
    match value {
        Value::Null => Cell::Null,
        Value::Property(p) => property(p),
        Value::Literal(Literal::Int(i)) => Cell::Int(i),
        Value::Literal(Literal::Float(f)) => Cell::Float(f),
        Value::Literal(Literal::String(s)) => Cell::Text(s),
        Value::Literal(Literal::Bool(b)) => Cell::Bool(b),
        Value::Literal(Literal::Null | Literal::Param(_)) => Cell::Null,
        Value::List(items) => Cell::List(items.into_iter().map(cell).collect()),
        Value::Map(entries) => Cell::Map(entries.into_iter().map(|(k, v)| (k, cell(v))).collect()),
        Value::Node(n) => node(n.labels, n.props),
        Value::Edge(e) => relation(e.label, e.props),
        Value::Path(parts) => Cell::List(
            parts
                .into_iter()
                .map(|part| match part {
                    PathElem::Node(n) => node(n.labels, n.props),
                    PathElem::Edge(e) => relation(e.label, e.props),
                })
                .collect(),
        ),
    }
}

fn node(mut labels: Vec<String>, props: BTreeMap<String, PropertyValue>) -> Cell {
    labels.sort_unstable();
    let mut entries: BTreeMap<String, Cell> = props.into_iter().map(|(k, v)| (k, property(v))).collect();
    entries.insert("_labels".to_owned(), Cell::List(labels.into_iter().map(Cell::Text).collect()));
    Cell::Map(entries)
}

fn relation(name: String, props: BTreeMap<String, PropertyValue>) -> Cell {
    let mut entries: BTreeMap<String, Cell> = props.into_iter().map(|(k, v)| (k, property(v))).collect();
    entries.insert("_type".to_owned(), Cell::Text(name));
    Cell::Map(entries)
}
