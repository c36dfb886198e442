//! Rules of a file judged: everything that is wrong with all of them, each with its place and what to do.
//!
//! A query is asked of an empty graph, so that what the store finds wrong only when it runs one is found here, too.

use std::collections::{BTreeMap, BTreeSet};

use tapio_core::ontology::{Label, Relation, SECOND_LABELS};
use tapio_core::ports::{GraphStore, Query, StoreError};
use tapio_core::time::{MINUTE, SECOND, Time};
use tapio_core::unified::Severity;
use tapio_engine::read::near;
use tapio_graph::rules::names::{self, Class, Unknown};
use tapio_graph::rules::{LIMITS, Rule, Template, Timing};
use tapio_graph::{EmbeddedConfig, EmbeddedGraph};

use super::source::{Place, Placed, Value, within};
use crate::error::{Failure, Outcome};
use crate::output::text::clean;
use crate::wire::block_on;

/// The fields of a rule.
const FIELDS: [&str; 9] = ["id", "severity", "query", "title", "message", "key", "for", "resolve", "every"];
/// Rules of one file.
const MAX_RULES: usize = 200;
/// Characters of an id, a title and a message.
const MAX_ID: usize = 63;
const MAX_TITLE: usize = 200;
const MAX_MESSAGE: usize = 1_000;
/// Characters of a message; the store lists all signs that could stand somewhere.
const MAX_SAYS: usize = 400;
/// Where nothing else is said.
const RESOLVE: i64 = 30 * SECOND;
const EVERY: i64 = 10 * SECOND;
const DAY: i64 = 24 * 60 * MINUTE;

/// Something wrong or doubtful in a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Problem {
    pub(crate) place: Place,
    /// The rule, by its id, or by its number where it has none.
    pub(crate) rule: String,
    /// What is wrong, and what to do.
    pub(crate) says: String,
}

/// Rules that were looked at.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    /// Those in which nothing is wrong.
    pub(crate) rules: Vec<Rule>,
    /// What must be put right.
    pub(crate) errors: Vec<Problem>,
    /// What may be meant so.
    pub(crate) warnings: Vec<Problem>,
}

impl Checked {
    /// The rules, or everything that is wrong as one message.
    pub(crate) fn into_rules(self, file: &str) -> Outcome<Vec<Rule>> {
        if self.errors.is_empty() {
            return Ok(self.rules);
        }
        let lines: Vec<String> = self.errors.iter().map(|p| line(file, p)).collect();
        let n = crate::output::text::count(lines.len(), "error");
        Err(Failure::Input(format!("settings {file}: {n} in its rules\n{}", lines.join("\n"))))
    }
}

/// A problem as a compiler would say it.
pub(crate) fn line(file: &str, p: &Problem) -> String {
    let says = crate::output::text::shorten(&clean(&p.says), MAX_SAYS);
    format!("{file}:{}:{}: rule {}: {says}", p.place.line, p.place.column, p.rule)
}

/// Looks at all rules of a file, given with its text.
pub(crate) fn check(rules: &[Placed], file: &str) -> Outcome<Checked> {
    let mut checked = Checked::default();
    if rules.is_empty() {
        return Ok(checked);
    }
    let cannot = |e: std::io::Error| Failure::Unreachable(format!("cannot make a temporary folder: {e}"));
    let dir = tempfile::Builder::new().prefix("tapio-rules-").tempdir().map_err(cannot)?;
    // Without a schema: an empty graph needs no index.
    let graph = EmbeddedGraph::open(dir.path(), EmbeddedConfig::default())?;
    let mut ids: BTreeMap<String, usize> = BTreeMap::new();
    for (i, source) in rules.iter().enumerate() {
        let mut judge =
            Judge { file, graph: &graph, name: format!("number {}", i + 1), at: source.place, out: &mut checked };
        if i >= MAX_RULES {
            judge.error(source.place, format!("a file holds at most {MAX_RULES} rules, split it"));
            break;
        }
        if let Some(rule) = judge.rule(source, &mut ids)? {
            checked.rules.push(rule);
        }
    }
    checked.errors.sort();
    checked.warnings.sort();
    Ok(checked)
}

struct Judge<'a> {
    file: &'a str,
    graph: &'a EmbeddedGraph,
    name: String,
    at: Place,
    out: &'a mut Checked,
}

impl Judge<'_> {
    fn error(&mut self, place: Place, says: impl Into<String>) {
        self.out.errors.push(Problem { place, rule: self.name.clone(), says: says.into() });
    }

    fn rule(&mut self, source: &Placed, ids: &mut BTreeMap<String, usize>) -> Outcome<Option<Rule>> {
        let before = self.out.errors.len();
        let Value::Map(entries) = &source.value else {
            let what = source.value.kind();
            self.error(source.place, format!("is {what}; write a map with id, severity, query, title and message"));
            return Ok(None);
        };
        let fields: BTreeMap<&str, &Placed> = entries.iter().map(|(k, v)| (k.as_str(), v)).collect();
        let id = self.id(fields.get("id").copied(), ids);
        for (name, value) in entries.iter().filter(|(k, _)| !FIELDS.contains(&k.as_str())) {
            let hint = suggest(name, &FIELDS).unwrap_or_else(|| format!("there are {}", FIELDS.join(", ")));
            self.error(value.place, format!("`{name}` is no field of a rule; {hint}"));
        }
        let severity = self.severity(fields.get("severity").copied());
        let title = self.text("title", fields.get("title").copied(), MAX_TITLE, "say in a few words what it is about");
        if let Some((place, text)) = &title
            && text.contains("{{")
        {
            self.error(*place, "a title is the same for all findings; columns go into `message`");
        }
        let message = self.text("message", fields.get("message").copied(), MAX_MESSAGE, "say what a finding means");
        let template = message.and_then(|(place, text)| match Template::parse(&text) {
            Ok(template) => Some((place, template)),
            Err(why) => {
                self.error(place, format!("`message`: {why}"));
                None
            }
        });
        let holds = self.duration("for", fields.get("for").copied(), 0, 0);
        let gone = self.duration("resolve", fields.get("resolve").copied(), RESOLVE, 0);
        let every = self.duration("every", fields.get("every").copied(), EVERY, SECOND);
        let query =
            self.text("query", fields.get("query").copied(), usize::MAX, "write the Cypher whose rows are findings");
        let mut key = Vec::new();
        if let Some((place, text)) = &query
            && let Some(columns) = self.query(*place, text)?
        {
            key = self.key(fields.get("key").copied(), &columns);
            if let Some((place, template)) = &template {
                for name in template.columns().collect::<BTreeSet<_>>() {
                    self.column(*place, "message", name, &columns);
                }
            }
        }
        if self.out.errors.len() > before {
            return Ok(None);
        }
        let parts = (id, severity, query, title, template, holds, gone, every);
        let (Some(id), Some(severity), Some(query), Some(title), Some(message), Some(holds), Some(gone), Some(every)) =
            parts
        else {
            return Ok(None);
        };
        let (query, title, message) = (query.1, clean(&title.1), message.1);
        Ok(Some(Rule { id, severity, query, title, message, key, timing: Timing { holds, gone }, every }))
    }

    fn id(&mut self, field: Option<&Placed>, ids: &mut BTreeMap<String, usize>) -> Option<String> {
        let (place, id) = self.text("id", field, usize::MAX, "give a name of its own, like restarts-in-shop")?;
        let word = |w: &str| !w.is_empty() && w.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        if id.len() > MAX_ID || !id.split('-').all(word) {
            let what = "an id has small letters, digits and single hyphens";
            self.error(place, format!("`{}`: {what}, at most {MAX_ID}, like restarts-in-shop", shown(&id)));
            return None;
        }
        self.name.clone_from(&id);
        let snake = id.replace('-', "_");
        if tapio_engine::patterns::PATTERNS.iter().any(|p| p.id == snake) {
            self.error(place, format!("`{id}` is a pattern of Tapio's own; choose another id"));
        } else if tapio_engine::mechanisms::section(&id).is_some() {
            self.error(place, format!("`{id}` is a mechanism of Tapio's own; choose another id"));
        }
        if let Some(first) = ids.get(&id) {
            self.error(place, format!("the id stands at line {first} already; choose another one"));
            return None;
        }
        ids.insert(id.clone(), place.line);
        Some(id)
    }

    fn severity(&mut self, field: Option<&Placed>) -> Option<Severity> {
        const WORDS: [&str; 4] = ["critical", "high", "medium", "low"];
        let (place, text) = self.text("severity", field, usize::MAX, "give one of critical, high, medium, low")?;
        let severity = match text.as_str() {
            "critical" => Severity::Critical,
            "high" => Severity::High,
            "medium" => Severity::Medium,
            "low" => Severity::Low,
            other => {
                let other = shown(other);
                self.error(place, format!("`{other}` is no severity; give one of {}", WORDS.join(", ")));
                return None;
            }
        };
        Some(severity)
    }

    /// A field that must be there and hold a text.
    fn text(&mut self, name: &str, field: Option<&Placed>, most: usize, remedy: &str) -> Option<(Place, String)> {
        let Some(field) = field else {
            self.error(self.at, format!("`{name}` is missing; {remedy}"));
            return None;
        };
        let text = match &field.value {
            Value::Text(text) if text.trim().is_empty() => {
                self.error(field.place, format!("`{name}` is empty; {remedy}"));
                return None;
            }
            Value::Text(text) => text,
            other => {
                let hint = if matches!(other, Value::Bare(_)) { "put it in quotes" } else { remedy };
                self.error(field.place, format!("`{name}` is {}, and must be a text; {hint}", other.kind()));
                return None;
            }
        };
        if text.chars().count() > most {
            self.error(field.place, format!("`{name}` has more than {most} characters, shorten it"));
            return None;
        }
        Some((field.place, text.clone()))
    }

    fn duration(&mut self, name: &str, field: Option<&Placed>, default: i64, least: i64) -> Option<i64> {
        let Some(field) = field else { return Some(default) };
        let text = match &field.value {
            Value::Text(text) | Value::Bare(text) => text.as_str(),
            other => other.kind(),
        };
        let remedy = "give a time like 30s, 5m or 1h30m";
        match duration(text) {
            None => self.error(field.place, format!("`{name}: {}` is no time; {remedy}", shown(text))),
            Some(n) if n < least => self.error(field.place, format!("`{name}: {text}` is too short; give 1s or more")),
            Some(n) if n > DAY => self.error(field.place, format!("`{name}: {text}` is too long; give 24h or less")),
            Some(n) => return Some(n),
        }
        None
    }

    /// Judges a query; its columns if it can be asked.
    fn query(&mut self, place: Place, text: &str) -> Outcome<Option<Vec<String>>> {
        let query = Query { text: text.to_owned(), params: BTreeMap::new(), at: Time::MIN, limits: LIMITS };
        let unknown = names::unknown(text).unwrap_or_default();
        let mut certain = false;
        for u in unknown {
            let inner = Place { line: u.line, column: u.column };
            let (says, error) = name(&u);
            let (place, says) = self.inside(place, text, inner, &says);
            certain |= error;
            let list = if error { &mut self.out.errors } else { &mut self.out.warnings };
            list.push(Problem { place, rule: self.name.clone(), says });
        }
        match block_on(self.graph.query(query))? {
            Ok(rows) => Ok(Some(rows.columns)),
            // A parameter was named already, in better words.
            Err(StoreError::Refused(why)) if certain && why.contains("parameter") => Ok(None),
            Err(e @ (StoreError::Refused(_) | StoreError::Limit(_) | StoreError::Other { .. })) => {
                let why = match &e {
                    StoreError::Other { why, .. } => why.clone(),
                    e => e.to_string(),
                };
                let (inner, why) = split_place(&plain(&why));
                // An unknown variable or function is told without its place.
                let inner = inner.or_else(|| {
                    let word = why.split('\'').nth(1)?;
                    let (line, column) = names::place_of(text, word)?;
                    Some(Place { line, column })
                });
                let (place, says) = match inner {
                    Some(inner) => self.inside(place, text, inner, &why),
                    None => (place, why),
                };
                self.error(place, says);
                Ok(None)
            }
            Err(e) => Err(e.into()),
        }
    }

    /// A place in the query as one of the file, and the words with both.
    fn inside(&self, value: Place, text: &str, inner: Place, says: &str) -> (Place, String) {
        let place = within(self.file, value, text, inner).unwrap_or(value);
        (place, format!("query line {}, column {}: {says}", inner.line, inner.column))
    }

    fn key(&mut self, field: Option<&Placed>, columns: &[String]) -> Vec<String> {
        let Some(field) = field else { return columns.to_vec() };
        let Value::List(items) = &field.value else {
            let kind = field.value.kind();
            self.error(field.place, format!("`key` is {kind}; give a list of columns, like [{}]", columns.join(", ")));
            return Vec::new();
        };
        if items.is_empty() {
            self.error(field.place, "`key` is empty; name columns, or leave it out to take all");
        }
        let mut key: Vec<String> = Vec::new();
        for item in items {
            let (Value::Text(name) | Value::Bare(name)) = &item.value else {
                self.error(item.place, format!("`key` holds {}; give names of columns", item.value.kind()));
                continue;
            };
            if key.contains(name) {
                self.error(item.place, format!("`key` names `{}` twice, remove one", shown(name)));
            }
            self.column(item.place, "key", name, columns);
            key.push(name.clone());
        }
        key
    }

    fn column(&mut self, place: Place, field: &str, name: &str, columns: &[String]) {
        if !columns.iter().any(|c| c == name) {
            let list = columns.join(", ");
            self.error(
                place,
                format!("`{field}` names `{}`, and the query returns {list}; write RETURN … AS {0}", shown(name)),
            );
        }
    }
}

/// What to say about a name, and whether it is certainly wrong.
fn name(u: &Unknown) -> (String, bool) {
    let word = shown(&u.name);
    let (what, hint, error) = match &u.class {
        Class::Label => {
            let all: Vec<&str> = Label::ALL.iter().map(|l| l.as_str()).chain(SECOND_LABELS.iter().copied()).collect();
            let other = format!("docs/ontology.md lists all, and any other kind is written :Object:{word}");
            (format!("no node has the label `{word}`"), suggest(&word, &all).unwrap_or(other), true)
        }
        Class::Relation => {
            let all: Vec<&str> = Relation::ALL.iter().map(|r| r.as_str()).collect();
            let other = "docs/ontology.md lists all".to_owned();
            (format!("no relation has the type `{word}`"), suggest(&word, &all).unwrap_or(other), true)
        }
        Class::Property { of, known } if known.is_empty() => (
            format!("{} has no properties, so `{word}` is always null", of.join(", ")),
            "leave it out".to_owned(),
            false,
        ),
        Class::Property { of, known } => {
            let hint = suggest(&word, known).unwrap_or_else(|| format!("there are {}", known.join(", ")));
            (format!("{} has no property `{word}`, so it is always null", of.join(", ")), hint, false)
        }
        Class::Parameter => {
            (format!("`${word}` has no value in a rule"), "write the value in its place".to_owned(), true)
        }
    };
    (format!("{what}; {hint}"), error)
}

fn suggest(word: &str, among: &[&str]) -> Option<String> {
    let near = near(word, among.iter().copied());
    (!near.is_empty()).then(|| format!("did you mean {}", near.join(", ")))
}

/// A word of the file as messages show it.
fn shown(text: &str) -> String {
    crate::output::text::shorten(&clean(text), 60)
}

/// `1h30m`, `500ms`, `0s` in microseconds.
fn duration(text: &str) -> Option<i64> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    let mut sum = 0i64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, behind) = rest.split_at(digits);
        let (unit, micros) = [("ms", 1_000), ("s", SECOND), ("m", MINUTE), ("h", 60 * MINUTE), ("d", DAY)]
            .into_iter()
            .find(|(unit, _)| behind.starts_with(unit))?;
        sum = sum.checked_add(number.parse::<i64>().ok()?.checked_mul(micros)?)?;
        rest = &behind[unit.len()..];
    }
    Some(sum)
}

/// A message of the store without what it says about itself, and without the list of all signs that it knows.
fn plain(why: &str) -> String {
    let why = why.strip_prefix("the embedded store cannot run this: ").unwrap_or(why);
    let why = why.strip_prefix("syntax error: ").filter(|rest| rest.starts_with("syntax error: ")).unwrap_or(why);
    match why.split_once(" expecting {") {
        Some((before, list)) => match list.split_once('}') {
            Some((list, after)) if list.len() > 40 => format!("{before}{after}"),
            _ => why.to_owned(),
        },
        None => why.to_owned(),
    }
}

/// Takes the place out of a message: `line 2, column 5:` of the gate, `line 2:4` of the store, which counts columns
/// from 0.
fn split_place(why: &str) -> (Option<Place>, String) {
    let number = |text: &str| -> Option<(usize, usize)> {
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        Some((text[..digits].parse().ok()?, digits))
    };
    let found = why.match_indices("line ").find_map(|(at, _)| {
        let rest = &why[at + 5..];
        let (line, used) = number(rest)?;
        let rest = &rest[used..];
        let (column, rest) = match (rest.strip_prefix(", column "), rest.strip_prefix(':')) {
            (Some(rest), _) => number(rest).map(|(n, used)| (n, &rest[used..]))?,
            (_, Some(rest)) => number(rest).map(|(n, used)| (n + 1, &rest[used..]))?,
            _ => return None,
        };
        Some((Place { line, column }, format!("{}{}", &why[..at], rest.trim_start_matches([':', ' ']))))
    });
    match found {
        Some((place, says)) => (Some(place), says),
        None => (None, why.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_number_and_a_unit() {
        for (text, want) in [
            ("30s", Some(30 * SECOND)),
            ("1h30m", Some(90 * MINUTE)),
            (" 500ms ", Some(500_000)),
            ("0s", Some(0)),
            ("1d", Some(DAY)),
            ("30", None),
            ("s", None),
            ("1.5s", None),
            ("-1s", None),
            ("1 s", None),
            ("99999999999999999999s", None),
            ("9999999999999999d", None),
            ("", None),
        ] {
            assert_eq!(duration(text), want, "{text}");
        }
    }
}
