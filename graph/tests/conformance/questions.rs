//! Asking: users' Cypher, its refusals and its bounds.

use std::time::{Duration, Instant};

use tapio_core::change::GraphChange;
use tapio_core::ontology::{Label, Relation};
use tapio_core::ports::{Cell, GraphStore, Limits, StoreError};
use tapio_core::time::{MINUTE, SECOND, Time};
use tapio_graph::statements::DESIGN_QUERIES;

use crate::Case;
use crate::cases::{ask, edge, event, node, noon, one, set, text, try_ask, write};

pub(crate) const CASES: &[Case] = &[
    ("the_designs_root_cause_query_answers_unchanged", root_cause),
    ("the_designs_impact_query_answers_unchanged", impact),
    ("the_designs_death_spiral_query_answers_unchanged", death_spiral),
    ("writes_are_refused", refusals),
    ("typed_neo4j_text_answers", dialect),
    ("columns_are_named_as_typed", columns),
    ("values_come_back_as_cells", values),
    ("the_clock_is_the_querys", clock),
    ("windows_give_the_same_rows_however_they_are_written", windows),
    ("rows_are_cut_and_said_to_be", rows),
    ("time_is_bounded_and_the_query_really_stops", time),
    ("hostile_texts_harm_nobody", hostile),
];

/// What only the embedded store bounds.
pub(crate) const EMBEDDED: &[Case] = &[("expansions_are_bounded", expansions), ("unbounded_hops_are_cut", hops)];

fn query(n: usize) -> &'static str {
    DESIGN_QUERIES[n].1
}

fn root_cause(store: &dyn GraphStore) {
    let mut changes = vec![set(Label::Pod, "p", vec![("name", "web-1".into())])];
    for (id, secs) in [("late", 0), ("early", 3_599), ("border", 3_600), ("old", 3_700)] {
        changes.extend(event(id, "pod_unready", noon().plus(-secs * SECOND), "p"));
    }
    let cause =
        |from: &str, to: &str| edge(node(Label::Event, from), Relation::Triggered, node(Label::Event, to), vec![]);
    changes.extend([cause("middle", "late"), cause("root", "middle")]);
    write(store, changes);
    let got = try_ask(store, query(0), &[("podName", text("web-1"))], Limits::default()).unwrap();
    assert_eq!(got.columns, ["e", "root"]);
    let id = |cell: &Cell| match cell {
        Cell::Map(n) => n["id"].clone(),
        other => other.clone(),
    };
    let mut pairs: Vec<_> = got.rows.iter().map(|r| (id(&r[0]), id(&r[1]))).collect();
    assert_eq!(pairs[2], (text("early"), Cell::Null), "newest first");
    pairs[..2].sort_by_key(|p| format!("{p:?}"));
    assert_eq!(pairs[..2], [(text("late"), text("middle")), (text("late"), text("root"))]);
    assert_eq!(pairs.len(), 3);
}

fn impact(store: &dyn GraphStore) {
    write(
        store,
        vec![
            set(Label::ConfigMap, "c", vec![("name", "cfg".into())]),
            edge(node(Label::Pod, "p1"), Relation::Mounts, node(Label::ConfigMap, "c"), vec![]),
            edge(node(Label::Pod, "p2"), Relation::Mounts, node(Label::ConfigMap, "c"), vec![]),
            edge(node(Label::Service, "s"), Relation::Selects, node(Label::Pod, "p1"), vec![]),
        ],
    );
    let got = try_ask(store, query(1), &[("configName", text("cfg"))], Limits::default()).unwrap();
    assert_eq!(got.columns, ["cm", "p", "s"]);
    assert_eq!(got.rows.len(), 1);
    let Cell::Map(p) = &got.rows[0][1] else { panic!("{got:?}") };
    assert_eq!(p["uid"], text("p1"));
}

fn death_spiral(store: &dyn GraphStore) {
    let mut changes = Vec::new();
    for pod in ["a", "b"] {
        changes.push(set(Label::Pod, pod, vec![("name", format!("pod-{pod}").into())]));
    }
    for i in 0..5 {
        changes.extend(event(&format!("a{i}"), "pod_restart", noon().plus(-i * SECOND), "a"));
        changes.extend(event(&format!("b{i}"), "pod_restart", noon().plus(-i * 2 * MINUTE), "b"));
        changes.extend(event(&format!("c{i}"), "pod_ready", noon().plus(-i * SECOND), "b"));
    }
    write(store, changes);
    let got = ask(store, query(2));
    assert_eq!(got.columns, ["p.name", "restart_count"]);
    assert_eq!(got.rows, [[text("pod-a"), Cell::Int(5)]]);
}

fn refusals(store: &dyn GraphStore) {
    write(store, vec![set(Label::Pod, "p", vec![])]);
    for text in [
        "CREATE (n:Pod {uid: 'x'})",
        "MATCH (n) SET n.x = 1 RETURN n",
        "MATCH (n) DETACH DELETE n",
        "MERGE (n:Pod {uid: 'x'}) RETURN n",
        "MATCH (n) REMOVE n.uid RETURN n",
        "RETURN 1; MATCH (n) DELETE n",
        "CREATE INDEX ON :Pod(phase)",
        "CALL dbms.killQueries()",
        "BEGIN",
        "LOAD CSV FROM 'file:///etc/passwd' AS l RETURN l",
        "MATCH (n RETURN n",
        "this is no cypher",
        "MATCH (n) RETURN m",
        "MATCH (n) WHERE n.uid = $missing RETURN n",
        "",
    ] {
        let got = try_ask(store, text, &[], Limits::default());
        assert!(matches!(got, Err(StoreError::Refused(_))), "{text}: {got:?}");
    }
    assert_eq!(one(ask(store, "MATCH (n) RETURN count(*)")), Cell::Int(1));
}

fn dialect(store: &dyn GraphStore) {
    let mut changes = event("e1", "pod_restart", noon(), "p1");
    changes.extend(event("e2", "pod_restart", noon().plus(-MINUTE), "p2"));
    changes.push(set(Label::Pod, "p1", vec![("restart_count", 3.into())]));
    // A chain, and a cycle.
    changes.extend(chain());
    changes.push(edge(node(Label::Event, "e1"), Relation::Triggered, node(Label::Event, "e2"), vec![]));
    changes.push(edge(node(Label::Event, "e2"), Relation::Triggered, node(Label::Event, "e1"), vec![]));
    write(store, changes);
    let since = [("since", Cell::Time(noon().plus(-SECOND)))];
    for (typed, want) in [
        ("MATCH (e:Event) WHERE e.timestamp > $since RETURN e.id", text("e1")),
        ("MATCH (e:Event) WHERE $since < e.timestamp RETURN e.id", text("e1")),
        (
            "MATCH (e:Event) WHERE EXISTS { MATCH (e)-[:AFFECTS]->(p:Pod) WHERE p.restart_count > 2 } RETURN e.id",
            text("e1"),
        ),
        ("MATCH (e:Event) WHERE exists((e)-[:AFFECTS]->(:Pod {uid: 'p2'})) RETURN e.id", text("e2")),
        ("MATCH (e:Event {id: 'e1'}) WHERE datetime({epochMillis: e.ts_ms}) = e.timestamp RETURN e.id", text("e1")),
        ("RETURN datetime({epochMillis: 1705320000000}) = datetime() AS same", Cell::Bool(true)),
        ("RETURN timestamp()", Cell::Int(1_705_320_000_000)),
        ("RETURN size(randomUUID())", Cell::Int(36)),
        ("MATCH (a:Event {id: 'c0'})-[:TRIGGERED*..30]->(b) RETURN count(b)", Cell::Int(30)),
        ("MATCH (a:Event {id: 'e1'})-[:TRIGGERED*]->(b) RETURN count(b)", Cell::Int(2)),
        ("MATCH (n:Pod {uid: 'p1'}) RETURN elementId(n) IS NOT NULL", Cell::Bool(true)),
        ("MATCH (e:Event) RETURN count(e) > 3", Cell::Bool(true)),
        ("MATCH (n:`Pod` {uid: 'p1'}) /* SET */ RETURN n.`restart_count` // DELETE", Cell::Int(3)),
    ] {
        let got = try_ask(store, typed, &since, Limits::default()).unwrap_or_else(|e| panic!("{typed}: {e}"));
        assert_eq!(one(got), want, "{typed}");
    }
}

/// Longer than the hops that are followed.
fn chain() -> Vec<GraphChange> {
    let hop = |i: i32| {
        let (a, b) = (format!("c{i}"), format!("c{}", i + 1));
        edge(node(Label::Event, &a), Relation::Triggered, node(Label::Event, &b), vec![])
    };
    (0..40).map(hop).collect()
}

fn hops(store: &dyn GraphStore) {
    write(store, chain());
    for (typed, want) in [("*", 30), ("*29..", 2)] {
        let got = ask(store, &format!("MATCH (a:Event {{id: 'c0'}})-[:TRIGGERED{typed}]->(b) RETURN count(b)"));
        assert_eq!(one(got), Cell::Int(want), "{typed}");
    }
}

fn columns(store: &dyn GraphStore) {
    write(store, event("e", "x", noon(), "p"));
    let got = ask(store, "MATCH (e:Event) RETURN COUNT(e), count(*) AS n, max(e.ts_ms), 1 +  1, toUpper('a'), e.`id`");
    assert_eq!(got.columns, ["COUNT(e)", "n", "max(e.ts_ms)", "1 +  1", "toUpper('a')", "e.`id`"]);
}

fn values(store: &dyn GraphStore) {
    write(store, event("e", "x", noon(), "p"));
    let got =
        ask(store, "MATCH q = (e:Event)-[r:AFFECTS]->(p:Pod) RETURN e, r, q, e.timestamp, date('2024-01-15') AS d");
    let row = &got.rows[0];
    let Cell::Map(e) = &row[0] else { panic!("{row:?}") };
    assert_eq!((&e["_labels"], &e["id"]), (&Cell::List(vec![text("Event")]), &text("e")));
    assert_eq!(e["timestamp"], Cell::Time(noon()));
    let Cell::Map(r) = &row[1] else { panic!("{row:?}") };
    assert_eq!(r["_type"], text("AFFECTS"));
    assert!(matches!(&row[2], Cell::List(path) if path.len() == 3), "{row:?}");
    assert_eq!(row[3..], [Cell::Time(noon()), text("2024-01-15")]);
    let map = Cell::Map([("a".to_owned(), Cell::List(vec![Cell::Int(1), text("b")]))].into());
    assert_eq!(one(try_ask(store, "RETURN $m", &[("m", map.clone())], Limits::default()).unwrap()), map);
}

fn clock(store: &dyn GraphStore) {
    assert_eq!(one(ask(store, "RETURN datetime()")), Cell::Time(noon()));
    assert_eq!(one(ask(store, "RETURN date()")), text("2024-01-15"));
    assert_eq!(one(ask(store, "RETURN datetime() - duration({hours: 1})")), Cell::Time(noon().plus(-60 * MINUTE)));
    assert_eq!(one(ask(store, "RETURN datetime.realtime()")), Cell::Time(noon()));
}

/// Random small graphs: a window that is narrowed by the integer gives what the plain comparison gives.
fn windows(store: &dyn GraphStore) {
    let mut state = 42u64;
    let mut random = |n: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % n
    };
    let mut changes = Vec::new();
    for i in 0..300 {
        let micros = i64::try_from(random(4_000_000)).unwrap();
        let kind = ["pod_restart", "pod_ready"][usize::try_from(random(2)).unwrap()];
        changes.extend(event(&format!("e{i}"), kind, noon().plus(-micros), &format!("p{}", random(5))));
    }
    for pod in 0..5 {
        changes.push(set(Label::Pod, &format!("p{pod}"), vec![("name", format!("n{pod}").into())]));
    }
    changes.push(set(Label::Event, "timeless", vec![("type", "pod_restart".into())]));
    write(store, changes);
    for _ in 0..5 {
        let since = noon().plus(-i64::try_from(random(4_000_000)).unwrap());
        let until = since.plus(i64::try_from(random(2_000_000)).unwrap());
        for (pattern, filter) in [
            ("(p:Pod)<-[:AFFECTS]-(e:Event {type: 'pod_restart'})", ""),
            ("(p:Pod {name: 'n1'})<-[:AFFECTS]-(e:Event)", " AND e.type = 'pod_ready'"),
            ("(e:Event)", ""),
        ] {
            let compare =
                ["e.timestamp > S", "S <= e.timestamp", "e.timestamp < S", "e.timestamp >= S AND e.timestamp <= U"];
            for compare in compare {
                let fill = |s: &str, t: &str| compare.replace('S', s).replace('U', t);
                let literal = |t: Time| format!("datetime('{t}')");
                let plain = |t: Time| format!("(datetime('{t}') + duration({{months: 0}}))");
                let ask_for = |s: String, u: String| {
                    let wanted = fill(&s, &u);
                    let got = ask(store, &format!("MATCH {pattern} WHERE {wanted}{filter} RETURN e.id ORDER BY e.id"));
                    got.rows
                };
                let narrowed = ask_for(literal(since), literal(until));
                assert_eq!(narrowed, ask_for(plain(since), plain(until)), "{pattern} {compare} {since} {until}");
            }
        }
    }
}

fn rows(store: &dyn GraphStore) {
    write(store, (0..50).map(|i| set(Label::Pod, &i.to_string(), vec![])).collect());
    let limits = |max_rows| Limits { max_rows, ..Limits::default() };
    for (typed, max, want, cut) in [
        ("MATCH (p:Pod) RETURN p.uid", 10, 10, true),
        ("MATCH (p:Pod) RETURN p.uid", 50, 50, false),
        ("MATCH (p:Pod) RETURN p.uid LIMIT 5", 10, 5, false),
        ("MATCH (p:Pod) RETURN p.uid LIMIT 1000000", 10, 10, true),
        ("MATCH (p:Pod) RETURN p.uid ORDER BY p.uid SKIP 45", 10, 5, false),
        ("MATCH (p:Pod) RETURN p.uid AS x UNION MATCH (p:Pod) RETURN p.uid AS x", 10, 10, true),
    ] {
        let got = try_ask(store, typed, &[], limits(max)).unwrap();
        assert_eq!((got.rows.len(), got.truncated), (want, cut), "{typed}");
    }
}

fn crowd(store: &dyn GraphStore) {
    let mut changes: Vec<GraphChange> = Vec::new();
    for i in 0..60 {
        for j in 0..60 {
            if i != j {
                let (a, b) = (node(Label::Event, &i.to_string()), node(Label::Event, &j.to_string()));
                changes.push(edge(a, Relation::CorrelatedWith, b, vec![]));
            }
        }
    }
    write(store, changes);
}

const ENDLESS: &str = "MATCH (a:Event)-[:CORRELATED_WITH*]->(b:Event) RETURN count(*)";

fn time(store: &dyn GraphStore) {
    crowd(store);
    let limits = Limits { timeout_millis: 300, max_expansions: u64::MAX, ..Limits::default() };
    for typed in [ENDLESS, "MATCH (a), (b), (c), (d), (e) WHERE a.id + b.id < c.id + d.id + e.id RETURN count(*)"] {
        let since = Instant::now();
        let got = try_ask(store, typed, &[], limits);
        assert!(matches!(got, Err(StoreError::Limit(_))), "{got:?}");
        assert!(since.elapsed() < Duration::from_secs(30), "{:?}", since.elapsed());
    }
    assert_eq!(one(ask(store, "RETURN 1")), Cell::Int(1));
}

fn expansions(store: &dyn GraphStore) {
    crowd(store);
    let limits = Limits { max_expansions: 10_000, ..Limits::default() };
    let got = try_ask(store, ENDLESS, &[], limits);
    assert!(matches!(got, Err(StoreError::Limit(_))), "{got:?}");
}

fn hostile(store: &dyn GraphStore) {
    let ands = format!("MATCH (n:Pod) WHERE {} RETURN n", vec!["n.a = 1"; 4_000].join(" AND "));
    let nots = format!("RETURN {} true", "NOT ".repeat(5_000));
    let minus = format!("RETURN {}1", "- ".repeat(20_000));
    let plus = format!("RETURN 1{}", " + 1".repeat(10_000));
    let brackets = format!("RETURN {}1{}", "[".repeat(64), "]".repeat(64));
    // As long as the gate lets through.
    let long_ands = format!("MATCH (n:Pod) WHERE {} RETURN n", vec!["n.a = 1"; 640].join(" AND "));
    let long_plus = format!("RETURN 1{}", " + 1".repeat(1_990));
    let long_nots = format!("RETURN {}", vec![format!("{} true", "NOT ".repeat(60)); 60].join(" AND "));
    let texts = ["RETURN range(1, 1000000000)", "RETURN '\u{202e}'", "\u{0}", "RETURN $", "🦀", "MATCH (n) WHERE"];
    for typed in
        texts.into_iter().chain([&*long_ands, &*long_plus, &*long_nots, &*ands, &*nots, &*minus, &*plus, &*brackets])
    {
        let limits = Limits { timeout_millis: 2_000, ..Limits::default() };
        let _ = try_ask(store, typed, &[], limits);
    }
    assert_eq!(one(ask(store, "RETURN 1")), Cell::Int(1));
}
