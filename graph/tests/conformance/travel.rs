//! Whole graphs that go out of one store and into another: nothing is lost on the way, and what dangles is found.

use std::io::BufReader;

use tapio_core::change::{GraphChange, Prop};
use tapio_core::ontology::{Label, Relation};
use tapio_core::ports::{GraphStore, StoreError};
use tapio_core::time::Time;
use tapio_graph::audit::audit;
use tapio_graph::transfer::jsonl::{self, End, Reader};
use tapio_graph::transfer::{TransferError, csv, cypher, restore};
use tapio_graph::{EmbeddedConfig, EmbeddedGraph};

use crate::cases::{ask, edge, event, node, noon, one, set, write};
use crate::server::{self, fresh, large};
use crate::{Case, wait};

/// Cases of every store.
pub(crate) const CASES: &[Case] = &[
    ("json_lines_come_back_the_same", lines),
    ("lines_that_were_cut_off_are_refused_and_go_on_later", cut_off),
    ("an_audit_finds_what_dangles_and_nothing_in_a_sound_graph", dangling),
    ("csv_has_a_header_with_types_for_every_file", files),
];

/// Cases that need the server.
pub(crate) const SERVER: &[(&str, fn())] = &[
    ("a_graph_moves_to_the_server_and_back_without_loss", moves),
    ("a_cypher_script_makes_the_same_graph", script),
    ("a_mark_stands_until_a_restore_is_whole_and_others_nodes_stay", marks),
    ("a_schema_that_was_dropped_is_found", dropped),
    ("the_page_about_cypher_is_what_a_run_says", survey),
];

fn embedded() -> (EmbeddedGraph, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedGraph::open(dir.path(), EmbeddedConfig::default()).unwrap();
    wait(store.ensure_schema()).unwrap();
    (store, dir)
}

fn hash(store: &dyn GraphStore) -> String {
    wait(store.graph_hash()).unwrap()
}

/// Every type of value, and texts that a form could trip over.
fn difficult() -> Vec<GraphChange> {
    let texts = [
        "it's \"quoted\"",
        "back\\slash \\u0041 c:\\users\\x",
        "two\nlines;\r\n:param x\n// no comment",
        "`tick` $rows {a: 1} , ; \t",
        "\u{0}\u{1f600} 日本 \u{2028}",
        "",
        "null",
        "2024-01-15T10:30:00Z",
        "-12",
    ];
    let mut all: Vec<GraphChange> = texts
        .iter()
        .enumerate()
        .map(|(i, t)| {
            let props = vec![("name", (*t).into()), ("restart_count", Prop::Int(i64::try_from(i).unwrap()))];
            set(Label::Pod, &format!("key {i} {}", t.replace('\0', "")), props)
        })
        .collect();
    all.push(set(
        Label::Node,
        "n",
        vec![
            ("taints", Prop::List(vec!["a=b:c".into(), "x;y,z\"'".into()])),
            ("ready", true.into()),
            ("created_at", Time::from_micros(1_705_314_600_123_456).into()),
        ],
    ));
    all.push(set(Label::Node, "bare", vec![("taints", Prop::List(Vec::new()))]));
    all.push(set(Label::Incident, "i", vec![("confidence", 0.1.into()), ("state", "open".into())]));
    all.push(set(Label::Incident, "j", vec![("confidence", 1.0.into())]));
    all.push(set(Label::Job, "small", vec![("failed", i64::MIN.into()), ("succeeded", i64::MAX.into())]));
    all.push(edge(
        node(Label::Pod, "key 6 null"),
        Relation::Mounts,
        node(Label::ConfigMap, "c"),
        vec![("as", "env".into()), ("keys", Prop::List(vec!["k'1".into()])), ("optional", false.into())],
    ));
    all.push(edge(node(Label::Pod, "key 6 null"), Relation::Calls, node(Label::Pod, "key 6 null"), vec![]));
    for also in ["HelmRelease", "App"] {
        let props = vec![("name", "web".into())];
        all.push(GraphChange::Node { node: node(Label::Object, "o"), also: Some(also.into()), props });
    }
    all
}

fn exported(store: &dyn GraphStore) -> Vec<u8> {
    let mut out = Vec::new();
    wait(jsonl::export(store, &mut out, "memory")).unwrap();
    out
}

fn restored(store: &dyn GraphStore, lines: &[u8]) -> Result<End, TransferError> {
    wait(restore::read(store, Reader::open(BufReader::new(lines))?, |_| ()))
}

fn lines(store: &dyn GraphStore) {
    write(store, difficult());
    write(store, large(700));
    let (other, _dir) = embedded();
    let lines = exported(store);
    let end = restored(&other, &lines).unwrap();
    assert_eq!((end.hash.as_str(), hash(&other).as_str()), (hash(store).as_str(), hash(store).as_str()));
    assert_eq!(wait(other.stats()).unwrap(), wait(store.stats()).unwrap());
    // Twice is as good as once, and both stores write the same bytes.
    restored(&other, &lines).unwrap();
    assert_eq!(exported(&other), lines);
}

fn cut_off(store: &dyn GraphStore) {
    write(store, large(3_000));
    let (lines, want) = (exported(store), hash(store));
    let (other, _dir) = embedded();
    for part in [0.1, 0.5, 0.9] {
        let got = restored(&other, &lines[..(lines.len() as f64 * part) as usize]);
        assert!(matches!(got, Err(TransferError::Input { .. })), "{got:?}");
    }
    assert_ne!(hash(&other), want);
    restored(&other, &lines).unwrap();
    assert_eq!(hash(&other), want);
    // A line that is missing in the middle is told by the counts.
    let text = String::from_utf8(lines).unwrap();
    let less: String = text.split_inclusive('\n').enumerate().filter(|(i, _)| *i != 5).map(|(_, l)| l).collect();
    let got = restored(&embedded().0, less.as_bytes()).unwrap_err().to_string();
    assert!(got.contains("damaged"), "{got}");
}

fn sound() -> Vec<GraphChange> {
    let id = |n: u8| format!("{n:032x}");
    let mut all = event(&id(1), "pod_restart", noon(), "p1");
    all.extend(event(&id(2), "pod_restart", noon(), "p1"));
    let (a, b) = (node(Label::Event, &id(1)), node(Label::Event, &id(2)));
    all.push(edge(a, Relation::Triggered, b.clone(), vec![("via", "policy".into())]));
    let i = || node(Label::Incident, &id(3));
    all.push(set(Label::Incident, &id(3), vec![("type", "crash".into()), ("state", "open".into())]));
    all.push(edge(i(), Relation::RootCause, node(Label::Pod, "p1"), vec![("mechanism", "crash".into())]));
    all.push(edge(i(), Relation::HasSymptom, b, vec![]));
    all
}

fn dangling(store: &dyn GraphStore) {
    write(store, sound());
    let found = wait(audit(store)).unwrap();
    assert_eq!((found.nodes, found.relations, found.findings), (4, 5, Vec::new()));
    let e = |n: u8| format!("{n:032x}");
    let typed = |t: &'static str| vec![("type", t.into()), ("timestamp", noon().into())];
    write(
        store,
        vec![
            set(Label::Event, "no-hash", typed("source_gap")),
            set(Label::Event, &e(7), typed("pod_restart")),
            set(Label::Event, &e(8), typed("source_gap")),
            set(Label::Incident, &e(9), vec![("type", "oom".into()), ("state", "open".into())]),
            edge(node(Label::Event, &e(8)), Relation::Triggered, node(Label::Event, &e(10)), vec![]),
            edge(node(Label::Pod, "p1"), Relation::Affects, node(Label::Pod, "p2"), vec![]),
        ],
    );
    let found = wait(audit(store)).unwrap().findings;
    let says: Vec<(&str, u64)> = found.iter().map(|f| (f.what.as_str(), f.count)).collect();
    for want in [
        ("an Event affects nothing", 1),
        ("the id of an Event is no hash of 32 digits", 1),
        ("an Event is only referred to: retention or a lost batch took it", 1),
        ("an Incident has neither symptom nor cause", 1),
        ("an Incident names a mechanism, and no object as its cause", 1),
        ("TRIGGERED does not say by what (via)", 1),
        ("AFFECTS does not go from Pod to Pod", 1),
    ] {
        assert!(says.contains(&want), "{want:?}: {says:?}");
    }
    assert_eq!(says.len(), 7, "{says:?}");
}

fn files(store: &dyn GraphStore) {
    write(store, difficult());
    let dir = tempfile::tempdir().unwrap();
    wait(csv::export(store, dir.path())).unwrap();
    let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
    assert_eq!(read("nodes-Pod-header.csv"), "uid:ID(Pod),name:string,restart_count:long\n");
    assert_eq!(
        read("relations-Pod-MOUNTS-ConfigMap-header.csv"),
        ":START_ID(Pod),:END_ID(ConfigMap),as:string,keys:string[],optional:boolean\n"
    );
    assert_eq!(read("relations-Pod-MOUNTS-ConfigMap.csv"), "\"key 6 null\",\"c\",\"env\",\"k'1\",false\n");
    assert_eq!(
        read("nodes-Node.csv"),
        "\"bare\",,,\n\"n\",2024-01-15T10:30:00.123456Z,true,\"a=b:c\u{1f}x;y,z\"\"'\"\n",
        "a list has its own mark between items"
    );
    assert!(
        read("after.cypher").ends_with("UNWIND [['bare', '']] AS r MATCH (x:Node {uid: r[0]}) SET x.`taints` = [];\n")
    );
    assert_eq!(read("nodes-Job.csv"), "\"small\",-9223372036854775808,9223372036854775807\n");
    let args = read("import.args");
    assert!(args.contains("--nodes=Object:App:HelmRelease=nodes-Object-App-HelmRelease-header.csv,"), "{args}");
    for line in args.lines().filter_map(|l| l.split_once("s=")).filter_map(|(_, l)| l.split_once('=')) {
        assert!(line.1.split(',').all(|f| dir.path().join(f).is_file()), "{line:?}");
    }
    // A property of two types has no column.
    write(store, vec![set(Label::Pod, "x", vec![("restart_count", "many".into())])]);
    let empty = tempfile::tempdir().unwrap();
    let got = wait(csv::export(store, empty.path()));
    assert!(matches!(&got, Err(TransferError::Form(why)) if why.contains("restart_count")), "{got:?}");
}

fn moves() {
    let (store, _turn) = fresh();
    let (here, _dir) = embedded();
    write(&here, difficult());
    write(&here, large(2_000));
    let want = (wait(here.stats()).unwrap(), hash(&here));
    restored(&store, &exported(&here)).unwrap();
    assert_eq!((wait(store.stats()).unwrap(), hash(&store)), want);
    let (back, _dir) = embedded();
    let mut told = 0;
    let end = wait(restore::copy(&store, &back, |n| told = n)).unwrap();
    assert_eq!((wait(back.stats()).unwrap(), hash(&back)), want);
    assert!(end.hash == want.1 && told > 0);
}

fn script() {
    let (store, _turn) = fresh();
    let (here, _dir) = embedded();
    write(&here, difficult());
    write(&here, large(700));
    let mut out = Vec::new();
    wait(cypher::export(&here, &mut out, "memory")).unwrap();
    let text = String::from_utf8(out).unwrap();
    // As cypher-shell does: a statement ends where a line ends with a semicolon.
    let lines: Vec<&str> = text.lines().filter(|l| !l.starts_with("//")).collect();
    for statement in lines.join("\n").split(";\n").filter(|s| !s.trim().is_empty()) {
        server::run(statement.trim_end_matches(';'));
    }
    assert_eq!(hash(&store), hash(&here));
}

fn marks() {
    let (store, _turn) = fresh();
    assert_eq!(wait(store.restoring()).unwrap(), None);
    wait(store.set_restoring(Some("abc1"))).unwrap();
    wait(store.set_restoring(Some("abc1"))).unwrap();
    assert_eq!(wait(store.restoring()).unwrap().as_deref(), Some("abc1"));
    wait(store.set_restoring(Some("def2"))).unwrap();
    assert_eq!(wait(store.restoring()).unwrap().as_deref(), Some("def2"));
    wait(store.set_restoring(None)).unwrap();
    assert_eq!(wait(store.restoring()).unwrap(), None);
    let refused = wait(store.set_restoring(Some("x; DROP")));
    assert!(matches!(refused, Err(StoreError::Refused(_))), "{refused:?}");
    write(&store, large(1_500));
    server::run("CREATE (:Somebody {name: 'else'})<-[:KNOWS]-(:Pod {name: 'without a key'})");
    assert_eq!(wait(store.clear()).unwrap(), 50 + 5 + 1_500);
    assert_eq!(one(ask(&store, "MATCH (n) RETURN count(n)")), tapio_core::ports::Cell::Int(2));
}

fn dropped() {
    let (store, _turn) = fresh();
    assert_eq!(wait(store.schema_faults()).unwrap(), Vec::<String>::new());
    server::run("DROP INDEX tapio_Event_ts_ms");
    server::run("DROP CONSTRAINT tapio_Pod_uid");
    let faults = wait(store.schema_faults()).unwrap();
    wait(store.ensure_schema()).unwrap();
    assert_eq!(
        faults,
        ["no constraint that Pod.uid is unique (tapio_Pod_uid)", "no index on Event.ts_ms (tapio_Event_ts_ms)"]
    );
    let about = wait(store.about()).unwrap();
    assert!(about.store.starts_with("Neo4j ") && about.format == 1, "{about:?}");
}

fn survey() {
    let (store, _turn) = fresh();
    let (here, _dir) = embedded();
    let mut changes = large(60);
    for i in 0..5 {
        let taints = Prop::List(vec!["a".into(), "b".into()]);
        changes.push(set(Label::Node, &format!("n{i}"), vec![("taints", taints)]));
    }
    changes.push(GraphChange::Node { node: node(Label::Event, "e3"), also: Some("Change".into()), props: vec![] });
    for (chain, hops) in [("c", 9), ("d", 35)] {
        for i in 0..hops {
            let (a, b) = (format!("{chain}{i}"), format!("{chain}{}", i + 1));
            let props = vec![("via", if i == 0 { "x" } else { "y" }.into())];
            changes.push(edge(node(Label::Event, &a), Relation::Triggered, node(Label::Event, &b), props));
        }
    }
    write(&store, changes.clone());
    write(&here, changes);
    assert_eq!(hash(&store), hash(&here));
    crate::survey::is_what_the_page_says(&here, &store);
}
