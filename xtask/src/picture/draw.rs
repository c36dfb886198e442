//! Paths of a query's rows as a drawing: nodes in columns from the incident to what was hit.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use anyhow::{Result, bail};
use serde_json::{Map, Value};

/// Between two columns, and between two nodes of one, in pixels.
const STEP: (f64, f64) = (230.0, 150.0);
/// Of a node.
const RADIUS: f64 = 34.0;
/// Characters of a line under a node, and lines.
const CAPTION: (usize, usize) = (26, 3);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Link {
    from: String,
    to: String,
    relation: String,
    says: String,
}

/// What all rows hold together.
#[derive(Default)]
struct Drawing {
    nodes: BTreeMap<String, Map<String, Value>>,
    links: BTreeSet<Link>,
}

/// The rows as a picture; every cell that is a path is drawn.
///
/// # Errors
/// Where there is nothing to draw.
pub(super) fn svg(rows: &[Vec<Value>]) -> Result<String> {
    let mut drawing = Drawing::default();
    rows.iter().flatten().filter_map(Value::as_array).for_each(|path| drawing.add(path));
    if drawing.links.is_empty() {
        bail!("the statement found no path");
    }
    Ok(drawing.svg())
}

fn text<'a>(entry: &'a Map<String, Value>, name: &str) -> &'a str {
    entry.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// The label that people call it by: the last one, which is the most precise.
fn label(node: &Map<String, Value>) -> &str {
    let labels = node.get("_labels").and_then(Value::as_array);
    let has = |l: &str| labels.is_some_and(|all| all.iter().any(|x| x == l));
    if has("Change") {
        return "Change";
    }
    labels.and_then(|l| l.first()).and_then(Value::as_str).unwrap_or_default()
}

fn key(node: &Map<String, Value>) -> String {
    let id = text(node, "id");
    format!("{} {}", label(node), if id.is_empty() { text(node, "uid") } else { id })
}

impl Drawing {
    /// A path is the list of what it passes: node, relation, node …
    fn add(&mut self, path: &[Value]) {
        let parts: Vec<&Map<String, Value>> = path.iter().filter_map(Value::as_object).collect();
        for node in parts.iter().step_by(2) {
            self.nodes.insert(key(node), (*node).clone());
        }
        for three in parts.windows(3).step_by(2) {
            let relation = text(three[1], "_type").to_owned();
            let (mut from, mut to) = (three[0], three[2]);
            // A path may walk a relation against its direction; the words of the graph say which that is.
            let starts = if relation == "AFFECTS" { !text(to, "id").is_empty() } else { label(to) == "Incident" };
            if starts {
                (from, to) = (to, from);
            }
            let says = text(three[1], if relation == "ROOT_CAUSE" { "mechanism" } else { "via" }).to_owned();
            self.links.insert(Link { from: key(from), to: key(to), relation, says });
        }
    }

    /// The column of every node: the incident first, then the event it began with and its cause, then what that
    /// triggered, and last what was hit.
    fn columns(&self) -> BTreeMap<&str, usize> {
        let mut columns: BTreeMap<&str, usize> = BTreeMap::new();
        for l in &self.links {
            if matches!(l.relation.as_str(), "BEGAN_WITH" | "ROOT_CAUSE") {
                columns.insert(&l.from, 0);
                columns.insert(&l.to, 1);
            }
        }
        // As often as there are nodes: a path cannot be longer, and a circle ends.
        for _ in 0..self.nodes.len() {
            for l in self.links.iter().filter(|l| l.relation == "TRIGGERED") {
                if let Some(at) = columns.get(l.from.as_str()).copied() {
                    let column = columns.entry(&l.to).or_insert(at + 1);
                    *column = (*column).max((at + 1).min(self.nodes.len()));
                }
            }
        }
        let last = columns.values().max().copied().unwrap_or_default() + 1;
        self.nodes.keys().for_each(|k| {
            columns.entry(k).or_insert(last);
        });
        columns
    }

    fn svg(&self) -> String {
        let mut columns: BTreeMap<usize, Vec<&str>> = BTreeMap::new();
        for (node, column) in self.columns() {
            columns.entry(column).or_default().push(node);
        }
        // Events by their time.
        for list in columns.values_mut() {
            list.sort_by_key(|k| {
                self.nodes.get(*k).map(|n| (text(n, "timestamp").to_owned(), text(n, "name").to_owned()))
            });
        }
        let most = columns.values().map(Vec::len).max().unwrap_or(1) as f64;
        let (width, height) = (STEP.0 * columns.len() as f64, STEP.1 * most + 20.0);
        let mut places: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
        for (i, list) in columns.values().enumerate() {
            let top = (height - STEP.1 * list.len() as f64) / 2.0;
            for (j, node) in list.iter().enumerate() {
                places.insert(node, (STEP.0 * (i as f64 + 0.5), top + STEP.1 * j as f64 + RADIUS + 16.0));
            }
        }
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
             font-family=\"sans-serif\" font-size=\"12\">\n\
             <!-- Made by `cargo xtask picture` from a run. Do not edit. -->\n\
             <defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" orient=\"auto\">\
             <path d=\"M0,0 L8,4 L0,8 z\" fill=\"#8a9199\"/></marker></defs>\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
        );
        for l in &self.links {
            link(&mut out, l, &places);
        }
        for (name, node) in &self.nodes {
            if let Some(at) = places.get(name.as_str()) {
                circle(&mut out, node, *at);
            }
        }
        out.push_str("</svg>\n");
        out
    }
}

fn link(out: &mut String, l: &Link, places: &BTreeMap<&str, (f64, f64)>) {
    let (Some(a), Some(b)) = (places.get(l.from.as_str()), places.get(l.to.as_str())) else { return };
    let (dx, dy) = (b.0 - a.0, b.1 - a.1);
    let long = dx.hypot(dy).max(1.0);
    let (ux, uy) = (dx / long, dy / long);
    let (x1, y1) = (a.0 + ux * RADIUS, a.1 + uy * RADIUS);
    let (x2, y2) = (b.0 - ux * (RADIUS + 2.0), b.1 - uy * (RADIUS + 2.0));
    // Beside the straight line, so that two that pass several columns do not lie on what stands between.
    let bend = if dx.abs() > STEP.0 * 1.5 { 46.0 } else { 0.0 };
    let (mx, my) = ((x1 + x2) / 2.0, (y1 + y2) / 2.0 - bend);
    let _ = writeln!(
        out,
        "<path d=\"M{x1:.1},{y1:.1} Q{mx:.1},{:.1} {x2:.1},{y2:.1}\" fill=\"none\" stroke=\"#8a9199\" marker-end=\"url(#tip)\"/>",
        my - bend
    );
    let says = if l.says.is_empty() { l.relation.clone() } else { format!("{} {}", l.relation, l.says) };
    let _ = writeln!(
        out,
        "<text x=\"{mx:.1}\" y=\"{:.1}\" text-anchor=\"middle\" font-size=\"10\" fill=\"#4b5157\" stroke=\"#ffffff\" \
         stroke-width=\"3\" paint-order=\"stroke\">{}</text>",
        my - 4.0,
        escaped(&says)
    );
}

fn circle(out: &mut String, node: &Map<String, Value>, (x, y): (f64, f64)) {
    let label = label(node);
    let colour = match label {
        "Incident" => "#d9534f",
        "Event" => "#f0ad4e",
        "Change" => "#8e6bbf",
        _ => "#4c8eda",
    };
    let _ = writeln!(out, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{RADIUS}\" fill=\"{colour}\"/>");
    let _ = writeln!(
        out,
        "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#ffffff\" font-weight=\"bold\">{}</text>",
        y + 4.0,
        escaped(&label.chars().take(10).collect::<String>())
    );
    let name =
        ["name", "message", "type"].into_iter().map(|p| text(node, p)).find(|t| !t.is_empty()).unwrap_or_default();
    let time = text(node, "timestamp");
    let clock = time.get(11..19).map(|t| format!("{t} ")).unwrap_or_default();
    for (i, line) in wrapped(&format!("{clock}{name}")).iter().enumerate() {
        let _ = writeln!(
            out,
            "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\" font-size=\"11\" fill=\"#22262a\">{}</text>",
            y + RADIUS + 14.0 + 13.0 * i as f64,
            escaped(line)
        );
    }
}

/// Some lines of a caption; what does not fit is cut.
fn wrapped(caption: &str) -> Vec<String> {
    let mut lines: Vec<String> = vec![String::new()];
    for word in caption.split_whitespace() {
        let word: String = if word.chars().count() > CAPTION.0 {
            word.chars().take(CAPTION.0 - 1).chain(['…']).collect()
        } else {
            word.to_owned()
        };
        let room = lines.last().map_or(0, |l| l.chars().count());
        match lines.last_mut() {
            Some(line) if room == 0 => line.push_str(&word),
            Some(line) if room + 1 + word.chars().count() <= CAPTION.0 => *line = format!("{line} {word}"),
            _ => lines.push(word),
        }
    }
    if lines.len() > CAPTION.1 {
        lines.truncate(CAPTION.1);
        if let Some(last) = lines.last_mut() {
            last.push('…');
        }
    }
    lines
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_become_nodes_in_columns_with_every_relation_in_its_direction() {
        let incident = json!({"_labels": ["Incident"], "id": "i", "message": "a <b> & c"});
        let event =
            |id: &str| json!({"_labels": ["Event"], "id": id, "timestamp": "2024-01-15T10:30:00Z", "type": "x"});
        let pod = json!({"_labels": ["Pod"], "uid": "p", "name": "web"});
        let of = |t: &str| json!({"_type": t, "via": "config-env"});
        let began =
            json!([incident, of("BEGAN_WITH"), event("e"), of("TRIGGERED"), event("f"), of("HAS_SYMPTOM"), incident]);
        let hit = json!([event("f"), of("AFFECTS"), pod]);
        let rows = vec![vec![began.clone(), hit.clone()], vec![began, hit]];
        let mut drawing = Drawing::default();
        rows.iter().flatten().filter_map(Value::as_array).for_each(|p| drawing.add(p));
        let links: Vec<(&str, &str)> = drawing.links.iter().map(|l| (l.from.as_str(), l.to.as_str())).collect();
        let want = [("Event e", "Event f"), ("Event f", "Pod p"), ("Incident i", "Event e"), ("Incident i", "Event f")];
        assert_eq!(links, want);
        let columns = drawing.columns();
        assert_eq!((columns["Incident i"], columns["Event e"], columns["Event f"], columns["Pod p"]), (0, 1, 2, 3));
        let svg = svg(&rows).unwrap();
        assert!(svg.contains("a &lt;b&gt; &amp; c") && svg.matches("<circle").count() == 4, "{svg}");
        assert!(super::svg(&[]).is_err());
    }
}
