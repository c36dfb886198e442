//! A real Neo4j under test, and what only a server can go through.
//!
//! `TAPIO_NEO4J_TEST` names one that may be emptied (`TAPIO_NEO4J_USER`, `TAPIO_NEO4J_PASSWORD` beside it);
//! `cargo xtask ci neo4j` starts one. Everything in its database goes. So that no slip of an address costs somebody's
//! graph, a database that holds anything is only taken when an earlier run has marked it.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use neo4rs::{ConfigBuilder, Graph};
use tapio_core::ontology::{Label, Relation};
use tapio_core::ports::{Cell, GraphStore, Limits, StoreError};
use tapio_graph::neo4j::{Address, FORMAT, Secret};
use tapio_graph::{EmbeddedConfig, EmbeddedGraph, Neo4jConfig, Neo4jGraph};

use crate::cases::{ask, edge, event, node, noon, one, set, try_ask, write};
use crate::wait;

/// Cases that need the server.
pub(crate) const CASES: &[(&str, fn())] = &[
    ("a_wrong_password_is_said", wrong_password),
    ("an_unknown_database_is_said", unknown_database),
    ("a_newer_format_is_refused_untouched", newer),
    ("a_missing_schema_is_made_and_a_graph_stays", schema),
    ("both_stores_have_one_hash", one_hash),
    ("both_stores_answer_made_up_questions_alike", differential),
    ("large_batches_over_many_connections_are_the_same_graph", many_connections),
    ("two_writers_of_the_same_nodes_both_end", two_writers),
    ("a_query_out_of_time_or_without_an_asker_ends_on_the_server", stopped),
    ("the_server_itself_refuses_a_write_of_a_query", read_mode),
    ("columns_without_names_come_in_one_order", star),
    ("texts_that_no_index_takes_are_shortened", long),
    ("a_slow_server_is_waited_for_and_a_mute_one_is_not", slow_and_mute),
];

/// Cases with something else than a Neo4j at the address.
pub(crate) const ALONE: &[(&str, fn())] = &[
    ("nobody_there", nobody),
    ("something_else_there", something_else),
    ("silence_there", silence),
    ("a_connection_that_breaks_at_once", breaks),
];

/// Marks a database whose content may go.
const MARK: &str = "CREATE INDEX conformance_may_empty_this IF NOT EXISTS FOR (n:TapioConformance) ON (n.x)";

/// Why there is none.
pub(crate) fn missing() -> Option<String> {
    std::env::var("TAPIO_NEO4J_TEST").is_err().then(|| "TAPIO_NEO4J_TEST names no server".to_owned())
}

fn var(name: &str, otherwise: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| otherwise.to_owned())
}

pub(crate) fn config() -> Neo4jConfig {
    let address: Address = var("TAPIO_NEO4J_TEST", "").parse().unwrap();
    let password = Secret::new(var("TAPIO_NEO4J_PASSWORD", "neo4j"));
    let mut config = Neo4jConfig::new(address, var("TAPIO_NEO4J_USER", "neo4j"), password);
    config.patience = Duration::from_secs(20);
    config
}

/// The driver itself, for what no user of the store may do.
fn bare() -> Graph {
    let address: Address = var("TAPIO_NEO4J_TEST", "").parse().unwrap();
    let config = ConfigBuilder::default()
        .uri(address.uri())
        .user(var("TAPIO_NEO4J_USER", "neo4j"))
        .password(var("TAPIO_NEO4J_PASSWORD", "neo4j"));
    let config = match address.database() {
        Some(d) => config.db(d),
        None => config,
    };
    // A machine that has much else to do may take its time for emptying a graph.
    Graph::connect(config.connection_timeout(Duration::from_secs(180)).build().unwrap()).unwrap()
}

pub(crate) fn run(text: &str) {
    wait(async { bare().run(text).await }).unwrap();
}

fn number(text: &str) -> i64 {
    wait(async {
        let mut rows = bare().execute(text).await.unwrap();
        rows.next().await.unwrap().unwrap().get::<i64>("n").unwrap()
    })
}

/// The whole server for one case; cases take turns.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn emptied() {
    static CHECKED: OnceLock<()> = OnceLock::new();
    CHECKED.get_or_init(|| {
        let marked = number("SHOW INDEXES YIELD name WHERE name = 'conformance_may_empty_this' RETURN count(*) AS n");
        let nodes = number("MATCH (n) RETURN count(n) AS n");
        assert!(
            marked > 0 || nodes == 0,
            "the database at TAPIO_NEO4J_TEST holds {nodes} nodes of somebody; name one that is empty"
        );
        run(MARK);
    });
    run("MATCH (n) CALL (n) { DETACH DELETE n } IN TRANSACTIONS OF 1000 ROWS");
}

/// An empty store, alone on the server while the guard lives.
pub(crate) fn fresh() -> (Neo4jGraph, MutexGuard<'static, ()>) {
    let turn = turn();
    emptied();
    let store = Neo4jGraph::open(&config()).unwrap();
    wait(store.ensure_schema()).unwrap();
    (store, turn)
}

fn cannot(config: &Neo4jConfig) -> String {
    match Neo4jGraph::open(config).err() {
        Some(e @ StoreError::Unavailable { .. }) => e.to_string(),
        other => panic!("{other:?}"),
    }
}

fn wrong_password() {
    let _turn = turn();
    let mut config = config();
    config.password = Secret::new("not-the-right-one");
    let error = cannot(&config);
    assert!(error.contains("password is wrong") && error.contains("TAPIO_NEO4J_PASSWORD"), "{error}");
    assert!(!error.contains("not-the-right-one") && !format!("{config:?}").contains("not-the-right-one"));
}

fn unknown_database() {
    let _turn = turn();
    let mut config = config();
    config.address = format!("{}?database=no-such-one", config.address.uri()).parse().unwrap();
    let error = cannot(&config);
    assert!(error.contains("no such database") && error.contains("?database=no-such-one"), "{error}");
}

fn newer() {
    let (store, _turn) = fresh();
    drop(store);
    let newer = FORMAT + 1;
    run(&format!("CREATE INDEX tapio_format_{newer} IF NOT EXISTS FOR (n:TapioFormat) ON (n.later)"));
    let opened = Neo4jGraph::open(&config()).err();
    run(&format!("DROP INDEX tapio_format_{newer}"));
    assert!(matches!(opened, Some(StoreError::NewerVersion { found, .. }) if found == newer), "{opened:?}");
    Neo4jGraph::open(&config()).unwrap();
}

fn schema() {
    let (store, _turn) = fresh();
    write(&store, event("e", "pod_restart", noon(), "p"));
    run("DROP INDEX tapio_Event_ts_ms");
    run("DROP CONSTRAINT tapio_Pod_uid");
    wait(store.ensure_schema()).unwrap();
    let made = "SHOW INDEXES YIELD name WHERE name IN ['tapio_Event_ts_ms', 'tapio_Pod_uid', 'tapio_format_1'] \
                RETURN count(*) AS n";
    assert_eq!(number(made), 3);
    assert_eq!(one(ask(&store, "MATCH (n) RETURN count(n)")), Cell::Int(2));
}

/// A graph of `events` events on 50 pods of 5 nodes, with chains, a removal and a rekey.
pub(crate) fn large(events: i64) -> Vec<tapio_core::change::GraphChange> {
    let mut all = Vec::new();
    for p in 0..50 {
        let pod = format!("p{p}");
        all.push(set(Label::Pod, &pod, vec![("name", format!("web-{p}").into()), ("ready", (p % 3 == 0).into())]));
        let on = node(Label::Node, &format!("n{}", p % 5));
        all.push(edge(node(Label::Pod, &pod), Relation::RunsOn, on, vec![]));
    }
    for i in 0..events {
        all.extend(event(&format!("e{i}"), "pod_restart", noon().plus(-i), &format!("p{}", i % 50)));
        if i % 7 == 0 {
            let (a, b) = (node(Label::Event, &format!("e{i}")), node(Label::Event, &format!("e{}", i + 1)));
            all.push(edge(a, Relation::Triggered, b, vec![("confidence", 0.5.into())]));
        }
    }
    all.push(tapio_core::change::GraphChange::Rekey { from: node(Label::Pod, "p7"), to: "real".to_owned() });
    all
}

fn one_hash() {
    let (store, _turn) = fresh();
    let dir = tempfile::tempdir().unwrap();
    let embedded = EmbeddedGraph::open(dir.path(), EmbeddedConfig::default()).unwrap();
    wait(embedded.ensure_schema()).unwrap();
    for changes in large(3_000).chunks(700) {
        write(&store, changes.to_vec());
        write(&embedded, changes.to_vec());
    }
    assert_eq!(wait(store.stats()).unwrap(), wait(embedded.stats()).unwrap());
    assert_eq!(wait(store.graph_hash()).unwrap(), wait(embedded.graph_hash()).unwrap());
}

fn differential() {
    let (store, _turn) = fresh();
    let dir = tempfile::tempdir().unwrap();
    let embedded = EmbeddedGraph::open(dir.path(), EmbeddedConfig::default()).unwrap();
    wait(embedded.ensure_schema()).unwrap();
    for changes in large(300).chunks(400) {
        write(&store, changes.to_vec());
        write(&embedded, changes.to_vec());
    }
    crate::differential::compare(&embedded, &store);
}

fn many_connections() {
    let (store, turn) = fresh();
    write(&store, large(4_000));
    let hash = wait(store.graph_hash()).unwrap();
    write(&store, large(4_000));
    // The rekeyed pod comes again under its derived key, and goes again.
    assert_eq!(wait(store.graph_hash()).unwrap(), hash);
    drop((store, turn));
    let (_empty, _turn) = fresh();
    let mut config = config();
    config.writers = 1;
    let single = Neo4jGraph::open(&config).unwrap();
    write(&single, large(4_000));
    assert_eq!(wait(single.graph_hash()).unwrap(), hash);
}

fn two_writers() {
    let (store, _turn) = fresh();
    let other = Neo4jGraph::open(&config()).unwrap();
    std::thread::scope(|scope| {
        for store in [&store, &other] {
            scope.spawn(move || {
                for _ in 0..5 {
                    write(store, large(1_000));
                }
            });
        }
    });
    let stats = wait(store.stats()).unwrap();
    assert_eq!((stats.nodes["Event"], stats.relations["AFFECTS"]), (1_000, 1_000));
}

const ENDLESS: &str = "UNWIND range(1, 1000000) AS a UNWIND range(1, 1000000) AS b WITH a + b AS c RETURN max(c)";

fn running() -> i64 {
    number("SHOW TRANSACTIONS YIELD currentQuery WHERE currentQuery STARTS WITH 'UNWIND range' RETURN count(*) AS n")
}

fn none_running() {
    let since = Instant::now();
    while running() > 0 {
        assert!(since.elapsed() < Duration::from_secs(30), "the query still runs on the server");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn stopped() {
    let (store, _turn) = fresh();
    let limits = Limits { timeout_millis: 500, ..Limits::default() };
    let since = Instant::now();
    let got = try_ask(&store, ENDLESS, &[], limits);
    assert!(matches!(got, Err(StoreError::Limit(_))), "{got:?}");
    assert!(since.elapsed() < Duration::from_secs(30), "{:?}", since.elapsed());
    none_running();
    let patient = Limits { timeout_millis: 60_000, ..Limits::default() };
    wait(async {
        let asked = tapio_core::ports::Query {
            text: ENDLESS.to_owned(),
            params: Default::default(),
            at: noon(),
            limits: patient,
        };
        assert!(tokio::time::timeout(Duration::from_millis(700), store.query(asked)).await.is_err());
    });
    none_running();
    assert_eq!(one(ask(&store, "RETURN 1")), Cell::Int(1));
}

/// Behind the gate's back: access mode read holds on the server.
fn read_mode() {
    let (_store, _turn) = fresh();
    let refused = wait(async {
        let mut rows = bare().execute_read("CREATE (n:X) RETURN n").await?;
        rows.next().await
    });
    assert!(refused.is_err());
    assert_eq!(number("MATCH (n) RETURN count(n) AS n"), 0);
}

fn star() {
    let (store, _turn) = fresh();
    write(&store, event("e", "x", noon(), "p"));
    let got = ask(&store, "MATCH (z:Event)-[b:AFFECTS]->(a:Pod) RETURN *");
    assert_eq!(got.columns, ["a", "b", "z"]);
    let got = ask(&store, "MATCH (n:Nothing) RETURN n.x AS x, n.y");
    assert_eq!((got.columns, got.rows.len()), (vec!["x".to_owned(), "n.y".to_owned()], 0));
    let got = ask(&store, "RETURN datetime(), 1 AS one");
    assert_eq!(got.columns, ["datetime()", "one"]);
    assert_eq!(got.rows, [[Cell::Time(noon()), Cell::Int(1)]]);
}

fn long() {
    let (store, _turn) = fresh();
    let (a, b) = (format!("{}a", "x".repeat(20_000)), format!("{}b", "x".repeat(20_000)));
    for key in [&a, &b, &a] {
        write(&store, vec![set(Label::Pod, key, vec![("name", key.as_str().into()), ("reason", key.as_str().into())])]);
    }
    let got =
        ask(&store, "MATCH (p:Pod) RETURN count(*) AS n, count(DISTINCT p.name) AS names, max(size(p.reason)) AS r");
    assert_eq!(got.rows, [[Cell::Int(2), Cell::Int(2), Cell::Int(20_001)]]);
    assert_eq!(one(ask(&store, "MATCH (p:Pod) RETURN count(p.uid) = 2 AND max(size(p.uid)) < 1000")), Cell::Bool(true));
}

/// A line to the server that hands its answers on in pieces, each after a pause, and after so many bytes on all
/// connections together nothing more.
fn relay(pause: Duration, until: usize) -> Neo4jConfig {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("bolt://{}", listener.local_addr().unwrap()).parse().unwrap();
    let server = config().address.uri().trim_start_matches("bolt://").to_owned();
    let left = std::sync::Arc::new(Mutex::new(until));
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let server = TcpStream::connect(&server).unwrap();
            let (mut asks, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut asks, &mut to);
                // Gone: the server's side must not stay open.
                let _ = to.shutdown(Shutdown::Both);
            });
            let left = std::sync::Arc::clone(&left);
            std::thread::spawn(move || {
                let (mut server, mut client) = (server, client);
                let mut piece = [0; 64];
                while let Ok(n @ 1..) = server.read(&mut piece) {
                    std::thread::sleep(pause);
                    let n = {
                        let mut left = left.lock().unwrap();
                        let n = n.min(*left);
                        *left -= n;
                        n
                    };
                    if client.write_all(&piece[..n]).is_err() {
                        break;
                    }
                }
            });
        }
    });
    Neo4jConfig { address, ..config() }
}

fn slow_and_mute() {
    let (store, _turn) = fresh();
    write(&store, large(300));
    let want = wait(store.graph_hash()).unwrap();
    emptied();
    let slow = Neo4jGraph::open(&relay(Duration::from_millis(20), usize::MAX)).unwrap();
    write(&slow, large(300));
    assert_eq!(wait(store.graph_hash()).unwrap(), want);
    emptied();
    // Mute within the handshake, the greeting, the look at the schema, and wherever the writing is then.
    let mut wrote = 0;
    for until in [2, 30, 600].into_iter().chain((1_200..10_000).step_by(600)) {
        let mut config = relay(Duration::ZERO, until);
        config.connect_timeout = Duration::from_secs(2);
        config.transaction_timeout = Duration::from_secs(2);
        config.patience = Duration::from_secs(1);
        let since = Instant::now();
        let error = match Neo4jGraph::open(&config) {
            Err(e) => e,
            Ok(mute) => match wait(mute.apply(large(4_000))) {
                Err(e) => {
                    wrote += 1;
                    e
                }
                // It had no more to say.
                Ok(()) => break,
            },
        };
        assert!(matches!(error, StoreError::Unavailable { .. }), "{until}: {error:?}");
        let said = error.to_string();
        assert!(["longer than", "did not answer"].iter().any(|w| said.contains(w)), "{until}: {said}");
        assert!(since.elapsed() < Duration::from_secs(60), "{until}: {:?}", since.elapsed());
        if wrote == 3 {
            break;
        }
    }
    assert!(wrote > 0, "no connection lasted long enough to write");
    // Nothing of it holds locks for longer, and the batch comes again.
    write(&store, large(4_000));
    assert_eq!(wait(store.stats()).unwrap().nodes["Event"], 4_000);
}

/// Something that answers on a port.
fn listen(answer: fn(TcpStream)) -> Neo4jConfig {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("bolt://{}", listener.local_addr().unwrap()).parse().unwrap();
    std::thread::spawn(move || listener.incoming().flatten().for_each(answer));
    let mut config = Neo4jConfig::new(address, "neo4j", Secret::new("hidden-word"));
    config.connect_timeout = Duration::from_millis(500);
    config
}

fn nobody() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("bolt://{}", listener.local_addr().unwrap()).parse().unwrap();
    drop(listener);
    let error = cannot(&Neo4jConfig::new(address, "neo4j", Secret::default()));
    assert!(error.contains("nobody listens there"), "{error}");
}

fn something_else() {
    let error = cannot(&listen(|mut s| {
        let _ = s.read(&mut [0; 20]);
        let _ = s.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    }));
    assert!(error.contains("does not speak Bolt") && !error.contains("hidden-word"), "{error}");
    let error = cannot(&listen(|mut s| {
        let _ = s.read(&mut [0; 20]);
        let _ = s.write_all(&[0, 0, 0, 0]);
        let _ = s.read(&mut [0; 1]);
    }));
    assert!(error.contains("Neo4j 5 or newer"), "{error}");
}

fn silence() {
    let since = Instant::now();
    let error = cannot(&listen(std::mem::forget));
    assert!(error.contains("did not answer within 0.5 s"), "{error}");
    assert!(since.elapsed() < Duration::from_secs(15));
}

fn breaks() {
    let error = cannot(&listen(drop));
    assert!(error.contains("closed the connection"), "{error}");
}
