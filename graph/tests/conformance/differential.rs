//! Some hundred made-up questions, asked of both stores: the same columns, the same rows.
//!
//! Questions are put together from parts that people type: patterns, filters, groupings, orders. Rows without an order
//! are compared as a set. A difference is shown with the question, which is all that is needed to look into it.

use tapio_core::ports::{Cell, GraphStore, Limits, Rows, StoreError};

use crate::cases::try_ask;

/// Questions that are asked.
const QUESTIONS: usize = 300;

/// A pattern with its variables by what they stand for.
struct Pattern {
    text: &'static str,
    events: &'static [&'static str],
    pods: &'static [&'static str],
}

const PATTERNS: &[Pattern] = &[
    Pattern { text: "(e:Event)", events: &["e"], pods: &[] },
    Pattern { text: "(p:Pod)", events: &[], pods: &["p"] },
    Pattern { text: "(e:Event)-[r:AFFECTS]->(p:Pod)", events: &["e"], pods: &["p"] },
    Pattern { text: "(p:Pod {name: 'web-3'})<-[:AFFECTS]-(e:Event)", events: &["e"], pods: &["p"] },
    Pattern { text: "(p:Pod)-[:RUNS_ON]->(n:Node {uid: 'n2'})", events: &[], pods: &["p"] },
    Pattern { text: "(p:Pod)-[:RUNS_ON]->(:Node)<-[:RUNS_ON]-(q:Pod)", events: &[], pods: &["p", "q"] },
    Pattern { text: "(a:Event)-[t:TRIGGERED]->(b:Event)", events: &["a", "b"], pods: &[] },
    Pattern { text: "(a:Event)-[:TRIGGERED*1..3]->(b:Event)-[:AFFECTS]->(p:Pod)", events: &["a", "b"], pods: &["p"] },
    Pattern { text: "(b:Event)<-[:TRIGGERED]-(a)-[:AFFECTS]->(p:Pod)", events: &["b"], pods: &["p"] },
];

const OF_EVENTS: &[&str] = &[
    "@.ts_ms >= 1705319999990",
    "@.timestamp > datetime() - duration({minutes: 1})",
    "@.timestamp < datetime('2024-01-15T11:59:59.999900Z')",
    "@.id STARTS WITH 'e1'",
    "@.id ENDS WITH '7'",
    "NOT @.id CONTAINS '3'",
    "@.type = 'pod_restart'",
    "@.type IN ['pod_ready', 'pod_restart']",
    "@.severity <> 'low'",
    "@.message IS NULL",
    "size(@.id) > 3",
    "@.id > 'e2' AND @.id <= 'e5'",
    "toInteger(substring(@.id, 1)) % 5 = 2",
    "EXISTS { MATCH (@)-[:TRIGGERED]->() }",
    "EXISTS { MATCH (@)-[:AFFECTS]->(w:Pod) WHERE w.ready = true }",
    "NOT (@)-[:TRIGGERED]->()",
];

const OF_PODS: &[&str] = &[
    "@.ready = true",
    "NOT @.ready",
    "@.ready IS NOT NULL",
    "@.name CONTAINS '1'",
    "@.name >= 'web-2'",
    "coalesce(@.name, 'none') <> 'web-7'",
    "@.uid IN ['p1', 'p2', 'p11', 'real']",
    "EXISTS { MATCH (@)<-[:AFFECTS]-(:Event) }",
    "toUpper(@.name) ENDS WITH '4'",
];

const EVENT_VALUES: &[&str] =
    &["@.id", "@.type", "@.ts_ms", "@.timestamp", "size(@.id) AS length", "@.message", "labels(@) AS labels"];
const POD_VALUES: &[&str] = &["@.uid", "@.name", "@.ready", "toLower(@.name) AS name", "@.nothing"];

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((self.0 >> 33) % n as u64).unwrap()
    }

    fn of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }
}

/// A question, and whether its rows have an order.
fn question(dice: &mut Dice) -> (String, bool) {
    let pattern = &PATTERNS[dice.below(PATTERNS.len())];
    let pick = |dice: &mut Dice, events: &[&str], pods: &[&str]| {
        let vars = pattern.events.len() + pattern.pods.len();
        let at = dice.below(vars);
        match pattern.events.get(at) {
            Some(var) => dice.of(events).replace('@', var),
            None => dice.of(pods).replace('@', pattern.pods[at - pattern.events.len()]),
        }
    };
    let mut text = format!("MATCH {}", pattern.text);
    for at in 0..dice.below(3) {
        let word = if at == 0 { " WHERE" } else { dice.of(&[" AND", " OR"]) };
        text.push_str(&format!("{word} {}", pick(dice, OF_EVENTS, OF_PODS)));
    }
    let value = pick(dice, EVENT_VALUES, POD_VALUES);
    let (_, name) = value.split_once(" AS ").unwrap_or(("", value.as_str()));
    match dice.below(6) {
        0 => (format!("{text} RETURN count(*)"), false),
        1 => (format!("{text} RETURN {value}, count(*) AS n"), false),
        2 => (format!("{text} RETURN DISTINCT {value}"), false),
        3 => {
            let key = pick(dice, &["@.id"], &["@.uid"]);
            let skip = dice.below(20);
            (format!("{text} WITH DISTINCT {key} AS k RETURN k ORDER BY k DESC SKIP {skip} LIMIT 15"), true)
        }
        4 => {
            let key = pick(dice, &["@.id"], &["@.uid"]);
            let more = dice.below(3);
            (
                format!(
                    "{text} WITH {key} AS k, count(*) AS n WHERE n > {more} RETURN max(n) AS most, count(k) AS keys"
                ),
                false,
            )
        }
        _ => (format!("{text} RETURN {value} ORDER BY {name} LIMIT 1000"), false),
    }
}

fn answer(store: &dyn GraphStore, text: &str, ordered: bool) -> Result<Rows, StoreError> {
    let mut rows =
        try_ask(store, text, &[], Limits { max_rows: 100_000, timeout_millis: 60_000, ..Limits::default() })?;
    // The order of labels is nobody's.
    for cell in rows.rows.iter_mut().flatten() {
        if let Cell::List(items) = cell {
            items.sort_by_key(|i| format!("{i:?}"));
        }
    }
    if !ordered {
        rows.rows.sort_by_key(|r| format!("{r:?}"));
    }
    Ok(rows)
}

/// Asks both.
pub(crate) fn compare(one: &dyn GraphStore, other: &dyn GraphStore) {
    let mut dice = Dice(7);
    let (mut rows, mut failed) = (0, Vec::new());
    for _ in 0..QUESTIONS {
        let (text, ordered) = question(&mut dice);
        match (answer(one, &text, ordered), answer(other, &text, ordered)) {
            (Ok(a), Ok(b)) if a == b => rows += a.rows.len(),
            (Ok(a), Ok(b)) => {
                let at = a.rows.iter().zip(&b.rows).position(|(a, b)| a != b);
                let first = at.map(|i| format!("{:?} / {:?}", a.rows[i], b.rows[i]));
                failed.push(format!(
                    "{text}\n  {:?} {} rows / {:?} {} rows; {first:?}",
                    a.columns,
                    a.rows.len(),
                    b.columns,
                    b.rows.len()
                ));
            }
            (a, b) => {
                let said = |e: Option<StoreError>| e.map(|e| e.to_string().chars().take(200).collect::<String>());
                failed.push(format!("{text}\n  {:?} / {:?}", said(a.err()), said(b.err())));
            }
        }
    }
    let shown = failed.len().min(12);
    assert!(failed.is_empty(), "{} of {QUESTIONS} differ:\n{}", failed.len(), failed[..shown].join("\n"));
    assert!(rows > 5_000, "only {rows} rows were compared");
}
