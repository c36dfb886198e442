//! Some hundred made-up questions, asked of both stores: the same columns, the same rows.
//!
//! Questions are put together from parts that people type: patterns, filters, groupings, orders. Rows without an order
//! are compared as a set. A difference is shown with the question, which is all that is needed to look into it.

use tapio_core::ports::{Cell, GraphStore, Limits, Rows, StoreError};

use crate::cases::try_ask;

/// Questions that are asked.
const QUESTIONS: usize = 600;

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
    // Parts that stand between the pattern and what is returned.
    let key = pick(dice, &["@.id"], &["@.uid"]);
    match dice.below(14) {
        6 => {
            let more = pick(
                dice,
                &["(@)-[:TRIGGERED]->(o)", "(@)-[:AFFECTS]->(o:Pod)", "(@)<-[:TRIGGERED*1..2]-(o:Event)"],
                &["(@)-[:RUNS_ON]->(o)", "(@)<-[:SELECTS]-(o:Service)", "(@)<-[:AFFECTS]-(o:Event {severity: 'high'})"],
            );
            let what = dice.of(&[
                "o IS NULL AS missing",
                "count(o) AS n",
                "labels(o) AS l",
                "coalesce(o.uid, o.id, '-') AS o",
            ]);
            (format!("{text} OPTIONAL MATCH {more} RETURN {key} AS k, {what}"), false)
        }
        7 => {
            let list = dice.of(&[
                "[1, 2]",
                "range(0, 2)",
                "[x IN range(1, 4) WHERE x % 2 = 0 | x * 10]",
                "['a', null]",
                "$list",
            ]);
            (format!("{text} WITH {key} AS k LIMIT 500 UNWIND {list} AS x RETURN x, count(k) AS n"), false)
        }
        8 => {
            // Patterns only stand in WHERE there.
            let plain =
                |all: &[&'static str]| -> Vec<&str> { all.iter().copied().filter(|w| !w.contains("-[")).collect() };
            let when = pick(dice, &plain(OF_EVENTS), &plain(OF_PODS));
            (format!("{text} RETURN CASE WHEN {when} THEN 'yes' ELSE 'no' END AS w, count(*) AS n"), false)
        }
        9 => {
            let value = pick(
                dice,
                &["size(@.id)", "@.ts_ms", "toInteger(substring(@.id, 1))"],
                &["size(@.name)", "toInteger(right(@.name, 1))", "size(@.uid)"],
            );
            (
                format!(
                    "{text} RETURN min({value}) AS a, max({value}) AS b, sum({value}) AS c, count(DISTINCT {value}) AS d"
                ),
                false,
            )
        }
        10 => {
            let value = pick(
                dice,
                &[
                    "split(@.id, 'e')[1]",
                    "replace(@.type, '_', ' ')",
                    "toString(@.ts_ms % 10)",
                    "left(@.id, 2) + right(@.id, 1)",
                    "date(@.timestamp)",
                    "duration.inSeconds(@.timestamp, datetime()).seconds",
                ],
                &[
                    "substring(@.name, 4)",
                    "reverse(@.name)",
                    "toString(@.ready)",
                    "trim(' ' + @.name)",
                    "@.name CONTAINS 'web-'",
                    "size(split(@.name, '-'))",
                ],
            );
            (format!("{text} RETURN DISTINCT {value} AS v"), false)
        }
        11 => (
            format!(
                "{text} WITH {key} AS k ORDER BY k LIMIT 20 RETURN collect(k) AS found, size(collect(DISTINCT left(k, 2))) AS heads"
            ),
            true,
        ),
        12 => {
            let word = if text.contains(" WHERE ") { "AND" } else { "WHERE" };
            (
                format!("{text} {word} {key} > $low WITH {key} AS k WHERE k < $high RETURN k ORDER BY k LIMIT 5000"),
                false,
            )
        }
        13 => {
            let other = pick(dice, &["(:Event {id: 'e0'})"], &["(:Node {uid: 'n1'})"]);
            (
                format!(
                    "{text} WITH count(*) AS n MATCH {other} RETURN n, 1 AS side UNION ALL {text} RETURN count({key}) AS n, 2 AS side"
                ),
                false,
            )
        }
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
    let all = [
        ("low", Cell::Text("e1".to_owned())),
        ("high", Cell::Text("p4".to_owned())),
        ("list", Cell::List(vec![Cell::Int(7), Cell::Int(8)])),
    ];
    let params: Vec<(&str, Cell)> = all.into_iter().filter(|p| text.contains(&format!("${}", p.0))).collect();
    let mut rows =
        try_ask(store, text, &params, Limits { max_rows: 100_000, timeout_millis: 60_000, ..Limits::default() })?;
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
    let shown = failed.len().min(40);
    assert!(failed.is_empty(), "{} of {QUESTIONS} differ:\n{}", failed.len(), failed[..shown].join("\n"));
    assert!(rows > 5_000, "only {rows} rows were compared");
}
