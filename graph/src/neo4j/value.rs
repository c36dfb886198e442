//! Values between Tapio's words and Bolt's.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use neo4rs::{BoltInteger, BoltList, BoltMap, BoltNode, BoltNull, BoltString, BoltType};
use tapio_core::change::Prop;
use tapio_core::ports::Cell;
use tapio_core::time::Time;

/// A text.
pub(super) fn text(value: &str) -> BoltType {
    BoltType::String(BoltString::from(value))
}

/// A map from pairs.
pub(super) fn map<const N: usize>(entries: [(&str, BoltType); N]) -> BoltType {
    let mut map = BoltMap::with_capacity(N);
    entries.into_iter().for_each(|(k, v)| map.put(BoltString::from(k), v));
    BoltType::Map(map)
}

/// A property as it is stored.
pub(super) fn stored(prop: &Prop) -> BoltType {
    match prop {
        Prop::Null => BoltType::Null(BoltNull),
        Prop::Bool(b) => BoltType::from(*b),
        Prop::Int(i) => BoltType::Integer(BoltInteger::new(*i)),
        Prop::Float(f) => BoltType::from(*f),
        Prop::Text(s) => text(s),
        Prop::Time(t) => date_time(*t),
        Prop::List(items) => BoltType::List(BoltList::from(items.iter().map(|i| text(i)).collect::<Vec<_>>())),
    }
}

/// A parameter of a query.
pub(super) fn param(cell: &Cell) -> BoltType {
    match cell {
        Cell::Null => BoltType::Null(BoltNull),
        Cell::Bool(b) => BoltType::from(*b),
        Cell::Int(i) => BoltType::Integer(BoltInteger::new(*i)),
        Cell::Float(f) => BoltType::from(*f),
        Cell::Time(t) => date_time(*t),
        Cell::Text(s) => text(s),
        Cell::List(items) => BoltType::List(BoltList::from(items.iter().map(param).collect::<Vec<_>>())),
        Cell::Map(entries) => {
            let mut map = BoltMap::with_capacity(entries.len());
            entries.iter().for_each(|(k, v)| map.put(BoltString::from(k.as_str()), param(v)));
            BoltType::Map(map)
        }
    }
}

fn date_time(time: Time) -> BoltType {
    BoltType::from(time.to_chrono())
}

/// The whole number in a value.
pub(super) fn int_of(value: &BoltType) -> Option<i64> {
    match value {
        BoltType::Integer(i) => Some(i.value),
        _ => None,
    }
}

/// The text in a value.
pub(super) fn text_of(value: &BoltType) -> Option<&str> {
    match value {
        BoltType::String(s) => Some(&s.value),
        _ => None,
    }
}

/// A value of a result as a cell. Nodes carry `_labels`, relations `_type`; a path is the list of what it passes.
/// Instants become times; dates, clock times and spans their ISO text.
pub(super) fn cell(value: BoltType) -> Cell {
    match value {
        BoltType::Null(_) => Cell::Null,
        BoltType::String(s) => Cell::Text(s.value),
        BoltType::Boolean(b) => Cell::Bool(b.value),
        BoltType::Integer(i) => Cell::Int(i.value),
        BoltType::Float(f) => Cell::Float(f.value),
        BoltType::List(l) => Cell::List(l.value.into_iter().map(cell).collect()),
        BoltType::Map(m) => Cell::Map(cells(m)),
        BoltType::Node(n) => {
            let labels = labels(&n).into_iter().map(Cell::Text).collect();
            let mut entries = cells(n.properties);
            entries.insert("_labels".to_owned(), Cell::List(labels));
            Cell::Map(entries)
        }
        BoltType::Relation(r) => relation(r.typ.value, r.properties),
        BoltType::UnboundedRelation(r) => relation(r.typ.value, r.properties),
        BoltType::Path(p) => Cell::List(path(p)),
        BoltType::DateTime(ref d) => instant(DateTime::<Utc>::try_from(d).ok(), &value),
        BoltType::DateTimeZoneId(ref d) => instant(DateTime::<Utc>::try_from(d).ok(), &value),
        BoltType::LocalDateTime(ref d) => {
            let known: Option<chrono::NaiveDateTime> = d.try_into().ok();
            known.map_or_else(|| shown(&value), |d| Cell::Text(iso_clock(&d.and_utc().to_rfc3339_opts(AUTO, true))))
        }
        BoltType::Date(ref d) => {
            let known: Option<chrono::NaiveDate> = d.try_into().ok();
            known.map_or_else(|| shown(&value), |d| Cell::Text(d.to_string()))
        }
        BoltType::Time(ref t) => {
            let (time, offset): (chrono::NaiveTime, chrono::FixedOffset) = t.into();
            let offset = if offset.local_minus_utc() == 0 { "Z".to_owned() } else { offset.to_string() };
            Cell::Text(format!("{time}{offset}"))
        }
        BoltType::LocalTime(ref t) => Cell::Text(chrono::NaiveTime::from(t).to_string()),
        BoltType::Duration(ref d) => span(&format!("{d:?}")).map_or_else(|| shown(&value), Cell::Text),
        BoltType::Point2D(_) | BoltType::Point3D(_) | BoltType::Bytes(_) => shown(&value),
    }
}

const AUTO: chrono::SecondsFormat = chrono::SecondsFormat::AutoSi;

fn iso_clock(text: &str) -> String {
    text.trim_end_matches('Z').to_owned()
}

fn instant(known: Option<DateTime<Utc>>, value: &BoltType) -> Cell {
    known.map_or_else(|| shown(value), |d| Cell::Time(Time::from_micros(d.timestamp_micros())))
}

/// What has no word of ours: places, bytes, times beyond the calendar.
fn shown(value: &BoltType) -> Cell {
    Cell::Text(format!("{value:?}").chars().take(200).collect())
}

/// The ISO text of a span. The driver keeps its four numbers to itself, but prints them for debugging.
fn span(debug: &str) -> Option<String> {
    let number = |part: &str| {
        let digits: String = part.chars().take_while(|c| c.is_ascii_digit() || *c == '-').collect();
        digits.parse::<i64>().ok()
    };
    let numbers: Option<Vec<i64>> = debug.split("value: ").skip(1).map(number).collect();
    let [months, days, seconds, nanos] = numbers?.try_into().ok()?;
    let mut out = "P".to_owned();
    let mut add = |n: i64, unit: char| {
        if n != 0 {
            out.push_str(&format!("{n}{unit}"));
        }
    };
    add(months / 12, 'Y');
    add(months % 12, 'M');
    add(days, 'D');
    let (hours, minutes, seconds) = (seconds / 3_600, seconds % 3_600 / 60, seconds % 60);
    if (hours, minutes, seconds, nanos) != (0, 0, 0, 0) || out == "P" {
        out.push('T');
        let mut add = |n: i64, unit: char| {
            if n != 0 {
                out.push_str(&format!("{n}{unit}"));
            }
        };
        add(hours, 'H');
        add(minutes, 'M');
        if nanos != 0 {
            let text = format!("{:.9}", seconds as f64 + nanos as f64 / 1e9);
            out.push_str(&format!("{}S", text.trim_end_matches('0')));
        } else if seconds != 0 || out.ends_with('T') {
            out.push_str(&format!("{seconds}S"));
        }
    }
    Some(out)
}

fn relation(name: String, props: BoltMap) -> Cell {
    let mut entries = cells(props);
    entries.insert("_type".to_owned(), Cell::Text(name));
    Cell::Map(entries)
}

/// Nodes and relations of a path in their order; its indices are 1-based into the relations, negative where one is
/// walked against its direction, and 0-based into the nodes, in turn.
fn path(p: neo4rs::BoltPath) -> Vec<Cell> {
    let (nodes, rels) = (p.nodes.value, p.rels.value);
    let mut out = Vec::with_capacity(p.indices.value.len() + 1);
    out.extend(nodes.first().cloned().map(cell));
    for (place, index) in p.indices.value.iter().enumerate() {
        let Some(index) = int_of(index) else { continue };
        let at = usize::try_from(index.unsigned_abs()).unwrap_or(usize::MAX);
        let found = if place % 2 == 0 { rels.get(at.wrapping_sub(1)) } else { nodes.get(at) };
        out.extend(found.cloned().map(cell));
    }
    out
}

/// The labels of a node, sorted.
pub(super) fn labels(node: &BoltNode) -> Vec<String> {
    let mut labels: Vec<String> = node.labels.iter().filter_map(|l| text_of(l).map(str::to_owned)).collect();
    labels.sort_unstable();
    labels
}

/// The entries of a map as cells.
pub(super) fn cells(map: BoltMap) -> BTreeMap<String, Cell> {
    map.value.into_iter().map(|(k, v)| (k.value, cell(v))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use neo4rs::BoltDuration;

    #[test]
    fn spans_have_their_iso_text() {
        let of = |months: i64, days: i64, seconds: i64, nanos: i64| {
            cell(BoltType::Duration(BoltDuration::new(months.into(), days.into(), seconds.into(), nanos.into())))
        };
        for (got, want) in [
            (of(14, 3, 0, 0), "P1Y2M3D"),
            (of(0, 0, 3_725, 0), "PT1H2M5S"),
            (of(0, 0, 0, 0), "PT0S"),
            (of(0, 0, 1, 500_000_000), "PT1.5S"),
            (of(0, -1, 60, 0), "P-1DT1M"),
        ] {
            assert_eq!(got, Cell::Text(want.to_owned()));
        }
    }

    #[test]
    fn instants_keep_their_microseconds() {
        let time = Time::from_micros(1_705_314_600_123_456);
        assert_eq!(cell(stored(&Prop::Time(time))), Cell::Time(time));
    }
}
