//! Writing: what stands in the graph after which changes.

use std::collections::BTreeMap;

use tapio_core::change::{GraphChange, NodeRef, Prop, Props};
use tapio_core::ontology::{Label, Relation};
use tapio_core::ports::{Cell, GraphStore, Limits, Query, Rows, StoreError};
use tapio_core::time::{MINUTE, SECOND, Time};

use crate::{Case, wait};

pub(crate) const CASES: &[Case] = &[
    ("every_label_is_written_and_read_back", every_label),
    ("every_relation_is_written_and_read_back", every_relation),
    ("a_batch_written_twice_changes_nothing", idempotent),
    ("later_changes_of_a_batch_win", order),
    ("a_new_graph_in_one_batch_or_in_many_is_the_same", batching),
    ("null_removes_a_property", null_removes),
    ("removing_an_edge_keeps_its_ends", remove_edge),
    ("an_edge_makes_its_missing_ends", ends),
    ("rekey_renames_where_there_is_no_real_node", rekey_renames),
    ("rekey_merges_into_a_real_node", rekey_merges),
    ("every_type_of_property_comes_back", types),
    ("difficult_texts_come_back", texts),
    ("second_labels_cannot_inject", second_labels),
    ("schema_is_created_twice_without_harm", schema),
    ("stats_count_labels_and_relations", stats),
    ("retention_removes_old_events_tombstones_and_incidents", retention),
    ("the_hash_sees_every_difference", hash),
];

pub(crate) fn at(text: &str) -> Time {
    Time::parse(text).unwrap()
}

pub(crate) fn noon() -> Time {
    at("2024-01-15T12:00:00Z")
}

pub(crate) fn node(label: Label, key: &str) -> NodeRef {
    NodeRef { label, key: key.to_owned() }
}

pub(crate) fn set(label: Label, key: &str, props: Props) -> GraphChange {
    GraphChange::node(label, key, props)
}

pub(crate) fn edge(from: NodeRef, relation: Relation, to: NodeRef, props: Props) -> GraphChange {
    GraphChange::Edge { from, relation, to, props }
}

pub(crate) fn event(id: &str, kind: &str, time: Time, pod: &str) -> Vec<GraphChange> {
    let props: Props = vec![("type", kind.into()), ("timestamp", time.into()), ("severity", "high".into())];
    vec![set(Label::Event, id, props), edge(node(Label::Event, id), Relation::Affects, node(Label::Pod, pod), vec![])]
}

pub(crate) fn write(store: &dyn GraphStore, changes: Vec<GraphChange>) {
    wait(store.apply(changes)).unwrap();
}

pub(crate) fn ask(store: &dyn GraphStore, text: &str) -> Rows {
    try_ask(store, text, &[], Limits::default()).unwrap()
}

pub(crate) fn try_ask(
    store: &dyn GraphStore,
    text: &str,
    params: &[(&str, Cell)],
    limits: Limits,
) -> Result<Rows, StoreError> {
    let params: BTreeMap<String, Cell> = params.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect();
    wait(store.query(Query { text: text.to_owned(), params, at: noon(), limits }))
}

pub(crate) fn text(value: &str) -> Cell {
    Cell::Text(value.to_owned())
}

/// The one cell of a result of one row and one column.
pub(crate) fn one(rows: Rows) -> Cell {
    assert_eq!((rows.rows.len(), rows.columns.len()), (1, 1), "{rows:?}");
    rows.rows.into_iter().next().unwrap().into_iter().next().unwrap()
}

fn digest(store: &dyn GraphStore) -> String {
    wait(store.graph_hash()).unwrap()
}

fn every_label(store: &dyn GraphStore) {
    write(store, Label::ALL.iter().map(|&l| set(l, "k1", vec![("name", l.as_str().into())])).collect());
    for label in Label::ALL {
        let key = label.key_property();
        let rows = ask(store, &format!("MATCH (n:{label} {{{key}: 'k1'}}) RETURN n"));
        let Cell::Map(n) = one(rows) else { panic!("{label}: no map") };
        assert_eq!(n["name"], text(label.as_str()));
        assert_eq!(n["_labels"], Cell::List(vec![text(label.as_str())]));
    }
}

fn every_relation(store: &dyn GraphStore) {
    let ends = |r: Relation| (node(Label::Object, &format!("from-{r}")), node(Label::Object, &format!("to-{r}")));
    let changes = Relation::ALL.iter().map(|&r| edge(ends(r).0, r, ends(r).1, vec![("confidence", 0.5.into())]));
    let changes: Vec<_> = changes.collect();
    write(store, changes.clone());
    write(store, changes);
    for r in Relation::ALL {
        let rows = ask(store, &format!("MATCH (a {{uid: 'from-{r}'}})-[r:{r}]->(b {{uid: 'to-{r}'}}) RETURN r"));
        let want =
            BTreeMap::from([("_type".to_owned(), text(r.as_str())), ("confidence".to_owned(), Cell::Float(0.5))]);
        assert_eq!(one(rows), Cell::Map(want), "{r}");
    }
}

fn story() -> Vec<GraphChange> {
    let mut all = vec![
        set(Label::Pod, "p1", vec![("name", "web-1".into()), ("phase", "Running".into())]),
        set(Label::Pod, "derived:p2", vec![("name", "web-2".into())]),
        set(Label::Service, "s1", vec![("name", "web".into())]),
        edge(node(Label::Service, "s1"), Relation::Selects, node(Label::Pod, "p1"), vec![]),
        edge(node(Label::Service, "s1"), Relation::Selects, node(Label::Pod, "derived:p2"), vec![]),
        GraphChange::Node {
            node: node(Label::Object, "o1"),
            also: Some("HelmRelease".into()),
            props: vec![("name", "web".into())],
        },
    ];
    for i in 0..20 {
        all.extend(event(&format!("e{i}"), "pod_restart", noon().plus(-i * SECOND), "p1"));
    }
    all.push(GraphChange::Rekey { from: node(Label::Pod, "derived:p2"), to: "p2".into() });
    all.push(GraphChange::RemoveEdge {
        from: node(Label::Service, "s1"),
        relation: Relation::Selects,
        to: node(Label::Pod, "p1"),
    });
    all.push(edge(
        node(Label::Event, "e5"),
        Relation::Triggered,
        node(Label::Event, "e4"),
        vec![("via", "dependency".into()), ("evidence", Prop::List(vec!["a".into(), "b".into()]))],
    ));
    all
}

fn idempotent(store: &dyn GraphStore) {
    write(store, story());
    let first = digest(store);
    write(store, story());
    assert_eq!(digest(store), first);
    let (twice, doubled) = ([story(), story()].concat(), digest(store));
    write(store, twice);
    assert_eq!(digest(store), doubled);
}

fn batching(store: &dyn GraphStore) {
    write(store, story());
    let whole = digest(store);
    wait(store.retain(noon().plus(MINUTE))).unwrap();
    for change in story() {
        write(store, vec![change]);
    }
    assert_eq!(digest(store), whole);
}

fn order(store: &dyn GraphStore) {
    let (s, p) = (|| node(Label::Service, "s"), || node(Label::Pod, "p"));
    let gone = || GraphChange::RemoveEdge { from: s(), relation: Relation::Selects, to: p() };
    let there = |v: i64| edge(s(), Relation::Selects, p(), vec![("v", v.into())]);
    let count = || one(ask(store, "MATCH (:Service)-[r:SELECTS]->(:Pod) RETURN count(r)"));
    write(store, vec![there(1), gone()]);
    assert_eq!(count(), Cell::Int(0));
    write(store, vec![gone(), there(2), set(Label::Pod, "p", vec![("phase", "A".into())])]);
    write(
        store,
        vec![
            set(Label::Pod, "p", vec![("phase", "B".into()), ("ip", "1".into())]),
            gone(),
            edge(s(), Relation::Selects, p(), vec![("w", 3.into())]),
            set(Label::Pod, "p", vec![("phase", "C".into())]),
        ],
    );
    assert_eq!(count(), Cell::Int(1));
    let rows = ask(store, "MATCH (:Service)-[r:SELECTS]->(p:Pod) RETURN p.phase, p.ip, r.v, r.w");
    assert_eq!(rows.rows, [[text("C"), text("1"), Cell::Null, Cell::Int(3)]]);
}

fn null_removes(store: &dyn GraphStore) {
    let t: Prop = noon().into();
    write(
        store,
        vec![
            set(Label::Event, "e", vec![("type", "x".into()), ("timestamp", t), ("message", Prop::Null)]),
            edge(node(Label::Event, "e"), Relation::Affects, node(Label::Pod, "p"), vec![("a", 1.into())]),
        ],
    );
    write(
        store,
        vec![
            set(Label::Event, "e", vec![("type", Prop::Null), ("timestamp", Prop::Null)]),
            edge(node(Label::Event, "e"), Relation::Affects, node(Label::Pod, "p"), vec![("a", Prop::Null)]),
        ],
    );
    let rows = ask(store, "MATCH (e:Event)-[r:AFFECTS]->() RETURN size(keys(e)) AS e, size(keys(r)) AS r");
    assert_eq!(rows.rows, [[Cell::Int(1), Cell::Int(0)]], "only the id is left, ts_ms went with timestamp");
}

fn remove_edge(store: &dyn GraphStore) {
    let (a, b) = (node(Label::Pod, "a"), node(Label::ConfigMap, "b"));
    write(
        store,
        vec![
            edge(a.clone(), Relation::Mounts, b.clone(), vec![]),
            edge(a.clone(), Relation::RunsOn, node(Label::Node, "n"), vec![]),
        ],
    );
    let gone = GraphChange::RemoveEdge { from: a, relation: Relation::Mounts, to: b };
    write(store, vec![gone.clone()]);
    write(store, vec![gone]);
    let stats = wait(store.stats()).unwrap();
    assert_eq!(stats.relations, BTreeMap::from([("RUNS_ON".to_owned(), 1)]));
    assert_eq!((stats.nodes["Pod"], stats.nodes["ConfigMap"]), (1, 1));
}

fn ends(store: &dyn GraphStore) {
    write(store, vec![edge(node(Label::Pod, "a"), Relation::Calls, node(Label::Service, "b"), vec![])]);
    write(store, vec![set(Label::Service, "b", vec![("name", "db".into())])]);
    let rows = ask(store, "MATCH (p:Pod {uid: 'a'})-[:CALLS]->(s:Service) RETURN s.name");
    assert_eq!(one(rows), text("db"));
    assert_eq!(wait(store.stats()).unwrap().nodes["Service"], 1);
}

fn rekey_renames(store: &dyn GraphStore) {
    let rekey = || GraphChange::Rekey { from: node(Label::Pod, "d"), to: "real".into() };
    write(
        store,
        vec![
            rekey(),
            set(Label::Pod, "d", vec![("name", "x".into())]),
            edge(node(Label::Service, "s"), Relation::Selects, node(Label::Pod, "d"), vec![]),
            rekey(),
            rekey(),
        ],
    );
    let rows = ask(store, "MATCH (:Service)-[:SELECTS]->(p:Pod) RETURN p.uid, p.name");
    assert_eq!(rows.rows, [[text("real"), text("x")]]);
    assert_eq!(wait(store.stats()).unwrap().nodes["Pod"], 1);
}

fn rekey_merges(store: &dyn GraphStore) {
    let (d, r) = (|| node(Label::Object, "d"), || node(Label::Object, "r"));
    write(
        store,
        vec![
            GraphChange::Node { node: d(), also: Some("App".into()), props: vec![("a", 1.into()), ("b", 1.into())] },
            set(Label::Object, "r", vec![("b", 2.into()), ("c", 2.into())]),
            edge(d(), Relation::Owns, node(Label::Pod, "p"), vec![("x", 1.into()), ("y", 1.into())]),
            edge(r(), Relation::Owns, node(Label::Pod, "p"), vec![("x", 2.into())]),
            edge(node(Label::Event, "e"), Relation::Affects, d(), vec![]),
            edge(d(), Relation::Calls, d(), vec![("self", true.into())]),
            GraphChange::Rekey { from: d(), to: "r".into() },
        ],
    );
    let rows = ask(store, "MATCH (o:App)-[r:OWNS]->(p:Pod) RETURN o.uid, o.a, o.b, o.c, r.x, r.y");
    assert_eq!(rows.rows, [[text("r"), Cell::Int(1), Cell::Int(2), Cell::Int(2), Cell::Int(2), Cell::Int(1)]]);
    let stats = wait(store.stats()).unwrap();
    assert_eq!(stats.nodes["Object"], 1);
    assert_eq!(stats.relations, [("AFFECTS", 1), ("CALLS", 1), ("OWNS", 1)].map(|(k, v)| (k.to_owned(), v)).into());
    let rows = ask(store, "MATCH (o:Object)-[r:CALLS]->(q:Object) RETURN o.uid = q.uid AND r.self");
    assert_eq!(one(rows), Cell::Bool(true));
}

fn types(store: &dyn GraphStore) {
    let time = at("2024-01-15T10:30:00.123456Z");
    let props: Props = vec![
        ("t", true.into()),
        ("i", i64::MIN.into()),
        ("j", i64::MAX.into()),
        ("f", 0.1.into()),
        ("g", (-1e300).into()),
        ("s", "".into()),
        ("time", time.into()),
        ("list", Prop::List(vec!["a".into(), "".into()])),
        ("empty", Prop::List(vec![])),
        ("order", "a word of the grammar".into()),
        ("key", "the writer's own word".into()),
    ];
    write(store, vec![set(Label::Entity, "x", props)]);
    let Cell::Map(n) = one(ask(store, "MATCH (n:Entity) RETURN n")) else { panic!() };
    for (name, want) in [
        ("t", Cell::Bool(true)),
        ("i", Cell::Int(i64::MIN)),
        ("j", Cell::Int(i64::MAX)),
        ("f", Cell::Float(0.1)),
        ("g", Cell::Float(-1e300)),
        ("s", text("")),
        ("time", Cell::Time(time)),
        ("list", Cell::List(vec![text("a"), text("")])),
        ("empty", Cell::List(vec![])),
        ("order", text("a word of the grammar")),
        ("key", text("the writer's own word")),
    ] {
        assert_eq!(n.get(name), Some(&want), "{name}");
    }
}

fn texts(store: &dyn GraphStore) {
    let long = "x".repeat(1 << 20);
    let all = ["'\"`\\", "ünï → 🦀\u{0}\n\r\t", "') DETACH DELETE n //", "$rows {a: 1} \\u0027", &long];
    for (i, t) in all.iter().enumerate() {
        let start: String = t.chars().take(4).collect();
        let props: Props = vec![("message", (*t).into()), ("n", i64::try_from(i).unwrap().into())];
        write(store, vec![set(Label::Pod, &format!("{i}{start}"), props)]);
        let rows =
            try_ask(store, "MATCH (p:Pod) WHERE p.message = $t RETURN p.message", &[("t", text(t))], Limits::default());
        assert_eq!(one(rows.unwrap()), text(t));
    }
    write(store, vec![set(Label::Pod, "it's `a` \"key\" \\", vec![("n", 9.into())])]);
    let key = [("k", text("it's `a` \"key\" \\"))];
    let rows = try_ask(store, "MATCH (p:Pod {uid: $k}) RETURN p.n", &key, Limits::default()).unwrap();
    assert_eq!(one(rows), Cell::Int(9));
}

fn second_labels(store: &dyn GraphStore) {
    let weird = ["a`) DETACH DELETE (n", "x {uid: 1}", "9lives", "Order", "Event", "名前", "a:b", "", "Set"];
    for (i, also) in weird.iter().enumerate() {
        let n = node(Label::Object, &i.to_string());
        write(store, vec![GraphChange::Node { node: n.clone(), also: Some((*also).into()), props: vec![] }]);
        // Also on a node that is there already.
        write(store, vec![GraphChange::Node { node: n, also: Some((*also).into()), props: vec![("a", 1.into())] }]);
    }
    let stats = wait(store.stats()).unwrap();
    assert_eq!(stats.nodes["Object"], weird.len() as u64);
    assert_eq!(stats.nodes.get("Event"), None, "a kind called Event makes no events");
    for label in ["Event_", "_9lives", "Order", "a_b", "Set", "__"] {
        assert_eq!(stats.nodes.get(label), Some(&1), "{label}: {stats:?}");
    }
}

fn schema(store: &dyn GraphStore) {
    wait(store.ensure_schema()).unwrap();
    write(store, vec![set(Label::Pod, "p", vec![])]);
    wait(store.ensure_schema()).unwrap();
}

fn stats(store: &dyn GraphStore) {
    let empty = wait(store.stats()).unwrap();
    assert!(empty.nodes.is_empty() && empty.relations.is_empty(), "{empty:?}");
    let also = Some("Change".to_owned());
    write(
        store,
        vec![
            GraphChange::Node { node: node(Label::Event, "c"), also, props: vec![] },
            edge(node(Label::Event, "c"), Relation::Affects, node(Label::Pod, "p"), vec![]),
        ],
    );
    let got = wait(store.stats()).unwrap();
    assert_eq!(got.nodes, [("Change", 1), ("Event", 1), ("Pod", 1)].map(|(k, v)| (k.to_owned(), v)).into());
    assert_eq!(got.relations, BTreeMap::from([("AFFECTS".to_owned(), 1)]));
}

fn retention(store: &dyn GraphStore) {
    let mut changes = Vec::new();
    for i in 0..2_500 {
        changes.extend(event(&format!("old{i}"), "pod_restart", noon().plus(-MINUTE - i * SECOND), "p"));
    }
    changes.extend(event("edge", "pod_restart", noon(), "p"));
    changes.extend(event("new", "pod_restart", noon().plus(1), "p"));
    let gone = |label, key, t: Time| set(label, key, vec![("deleted_at", t.into())]);
    changes.push(gone(Label::Pod, "dead", noon().plus(-1)));
    changes.push(gone(Label::Object, "dead", noon().plus(-MINUTE)));
    changes.push(gone(Label::Pod, "dying", noon().plus(1)));
    let incident =
        |key, state: &str, t: Time| set(Label::Incident, key, vec![("state", state.into()), ("resolved_at", t.into())]);
    changes.push(incident("done", "resolved", noon().plus(-1)));
    changes.push(incident("open", "open", noon().plus(-1)));
    changes.push(incident("fresh", "resolved", noon()));
    write(store, changes);
    assert_eq!(wait(store.retain(noon())).unwrap(), 2_503);
    assert_eq!(wait(store.retain(noon())).unwrap(), 0);
    let stats = wait(store.stats()).unwrap();
    let count = |label: &str| stats.nodes.get(label).copied().unwrap_or(0);
    assert_eq!((count("Event"), count("Pod"), count("Object"), count("Incident")), (2, 2, 0, 2));
    assert_eq!(stats.relations["AFFECTS"], 2);
}

fn hash(store: &dyn GraphStore) {
    let mut seen = vec![digest(store)];
    for change in [
        set(Label::Pod, "p", vec![]),
        set(Label::Pod, "p", vec![("a", 1.into())]),
        set(Label::Pod, "p", vec![("a", 1.0.into())]),
        set(Label::Pod, "p", vec![("a", noon().into())]),
        set(Label::Service, "p", vec![]),
        GraphChange::Node { node: node(Label::Pod, "p"), also: Some("X".into()), props: vec![] },
        edge(node(Label::Service, "p"), Relation::Selects, node(Label::Pod, "p"), vec![]),
        edge(node(Label::Service, "p"), Relation::Selects, node(Label::Pod, "p"), vec![("a", 1.into())]),
        edge(node(Label::Pod, "p"), Relation::Calls, node(Label::Service, "p"), vec![]),
    ] {
        write(store, vec![change]);
        let now = digest(store);
        assert!(!seen.contains(&now), "nothing changed the hash after {} changes", seen.len());
        seen.push(now);
    }
}
