//! Rows of a query.

use serde_json::Value;
use tapio_core::ports::{Cell, Rows};

use super::table::{Overflow, Table};
use super::text::clean;
use super::text::count;
use super::{Screen, json, yaml};
use crate::args::RowFormat;
use crate::error::Failure;

/// Rows in the form asked for.
pub(crate) fn lay_out(screen: &Screen, rows: &Rows, format: RowFormat) -> Result<String, Failure> {
    Ok(match format {
        RowFormat::Json => json(rows)?,
        RowFormat::Yaml => yaml(rows)?,
        RowFormat::Csv => csv(rows),
        RowFormat::Table => table(screen, rows, Overflow::Cut),
        RowFormat::Wide => table(screen, rows, Overflow::Keep),
    })
}

fn table(screen: &Screen, rows: &Rows, overflow: Overflow) -> String {
    let head: Vec<&str> = rows.columns.iter().map(String::as_str).collect();
    let mut t = Table::new(&head);
    for r in &rows.rows {
        t.row(r.iter().map(plain));
    }
    let mut out = t.lay_out(screen.width, overflow, screen.paint);
    let cut = if rows.truncated { ", and more beyond the limit" } else { "" };
    out.push_str(&screen.paint.faint(&format!("{}{cut}", count(rows.rows.len(), "row"))));
    out.push('\n');
    out
}

/// A cell for people: a node by its label and name, everything else as it is.
fn plain(cell: &Cell) -> String {
    match cell {
        Cell::Map(m) => {
            let text = |k: &str| m.get(k).map(value);
            let label = match m.get("_labels") {
                Some(Cell::List(l)) => l.iter().map(value).collect::<Vec<_>>().join(":"),
                _ => text("_type").unwrap_or_default(),
            };
            let name = ["name", "message", "type", "id", "via"].into_iter().find_map(text);
            match (label.is_empty(), name) {
                (false, Some(n)) => format!("{label} {n}"),
                (false, None) => label,
                _ => value(cell),
            }
        }
        _ => value(cell),
    }
}

fn value(cell: &Cell) -> String {
    match cell {
        Cell::Null => String::new(),
        Cell::Text(t) => t.clone(),
        Cell::Time(t) => t.to_string(),
        Cell::Bool(b) => b.to_string(),
        Cell::Int(i) => i.to_string(),
        Cell::Float(f) => f.to_string(),
        other => serde_json::to_value(other).unwrap_or(Value::Null).to_string(),
    }
}

fn csv(rows: &Rows) -> String {
    let mut out = String::new();
    let mut line = |cells: Vec<String>| {
        out.push_str(&cells.iter().map(|c| quoted(c)).collect::<Vec<_>>().join(","));
        out.push_str("\r\n");
    };
    line(rows.columns.clone());
    for r in &rows.rows {
        line(r.iter().map(value).collect());
    }
    out
}

fn quoted(cell: &str) -> String {
    // A line feed inside of quotes is allowed; what steers a terminal is not wanted anywhere.
    let cell = cell.split('\n').map(clean).collect::<Vec<_>>().join("\n");
    if cell.contains([',', '"', '\n']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_quotes_what_it_must() {
        let rows = Rows {
            columns: vec!["a".into(), "b".into()],
            rows: vec![
                vec![Cell::Text("x,\"y\"".into()), Cell::Null],
                vec![Cell::Int(1), Cell::List(vec![Cell::Int(2)])],
            ],
            truncated: false,
        };
        assert_eq!(csv(&rows), "a,b\r\n\"x,\"\"y\"\"\",\r\n1,[2]\r\n");
    }
}
