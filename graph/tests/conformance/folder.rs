//! What only a store with a folder can go through: kills, locks, damage, copies.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use tapio_core::ontology::Label;
use tapio_core::ports::{Cell, GraphStore, StoreError};
use tapio_graph::embedded::{GRAPH_FILE, VERSION_FILE};
use tapio_graph::{EmbeddedConfig, EmbeddedGraph};

use crate::cases::{ask, event, noon, one, set, text, write};
use crate::wait;

pub(crate) const CASES: &[(&str, fn())] = &[
    ("what_was_written_is_there_after_reopening", reopen),
    ("a_kill_leaves_no_partial_batch_and_loses_no_acknowledged_one", killed),
    ("a_folder_in_use_is_refused", in_use),
    ("garbage_is_corrupt", garbage),
    ("a_newer_format_is_refused_untouched", newer),
    ("a_folder_that_cannot_be_is_not_writable", not_writable),
    ("a_backup_opens_like_the_original", backup),
    ("a_dropped_query_frees_the_folder", dropped),
];

fn open(dir: &Path) -> EmbeddedGraph {
    try_open(dir).unwrap()
}

fn try_open(dir: &Path) -> Result<EmbeddedGraph, StoreError> {
    EmbeddedGraph::open(dir, EmbeddedConfig::default())
}

fn reopen() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    wait(store.ensure_schema()).unwrap();
    write(&store, event("e", "pod_restart", noon(), "p"));
    let hash = wait(store.graph_hash()).unwrap();
    drop(store);
    let store = open(dir.path());
    wait(store.ensure_schema()).unwrap();
    assert_eq!(wait(store.graph_hash()).unwrap(), hash);
}

const BATCH: usize = 50;

/// The child: writes batches without end and says each number once it is acknowledged.
pub(crate) fn write_until_killed(dir: &Path) {
    let store = open(dir);
    wait(store.ensure_schema()).unwrap();
    for n in 0.. {
        let batch = (0..BATCH).map(|i| {
            set(Label::Event, &format!("{n}-{i}"), vec![("timestamp", noon().into()), ("count", i64::from(n).into())])
        });
        write(&store, batch.collect());
        println!("{n}");
        std::io::stdout().flush().unwrap();
    }
}

fn killed() {
    for acknowledged in [3, 10, 17] {
        let dir = tempfile::tempdir().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .env("TAPIO_CONFORMANCE_WRITE", dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut last = 0u64;
        while last < acknowledged {
            last = lines.next().unwrap().unwrap().parse().unwrap();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        last = lines.map_while(Result::ok).filter_map(|l| l.parse().ok()).fold(last, u64::max);
        let store = open(dir.path());
        let got = ask(&store, "MATCH (e:Event) RETURN e.count AS n, count(*) AS c ORDER BY n");
        let whole = Cell::Int(i64::try_from(BATCH).unwrap());
        assert!(got.rows.iter().all(|row| row[1] == whole), "a partial batch: {:?}", got.rows.last());
        assert!(got.rows.len() as u64 > last, "{last} was acknowledged, {} batches are there", got.rows.len());
        write(&store, vec![set(Label::Pod, "after", vec![])]);
    }
}

fn in_use() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    assert!(matches!(try_open(dir.path()), Err(StoreError::InUse { .. })));
    drop(store);
    open(dir.path());
}

fn garbage() {
    for bytes in [&b"this is no graph at all, but long enough to be looked at as one"[..], &[0u8; 4096], b"x"] {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(GRAPH_FILE), bytes).unwrap();
        let got = try_open(dir.path()).map(drop);
        assert!(matches!(got, Err(StoreError::Corrupt { .. })), "{got:?}");
        assert_eq!(std::fs::read(dir.path().join(GRAPH_FILE)).unwrap(), bytes, "kept as it was");
    }
    for version in ["", "one", "-1", "\u{fffd}"] {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(VERSION_FILE), version).unwrap();
        assert!(matches!(try_open(dir.path()), Err(StoreError::Corrupt { .. })), "{version}");
    }
}

fn newer() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let before = std::fs::read(dir.path().join(GRAPH_FILE)).unwrap();
    std::fs::write(dir.path().join(VERSION_FILE), "7\n").unwrap();
    assert!(matches!(try_open(dir.path()), Err(StoreError::NewerVersion { found: 7, known: 1, .. })));
    assert_eq!(std::fs::read(dir.path().join(GRAPH_FILE)).unwrap(), before);
}

fn not_writable() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert!(matches!(try_open(&file), Err(StoreError::NotWritable { .. })));
    assert!(matches!(try_open(&file.join("below")), Err(StoreError::NotWritable { .. })));
    std::fs::create_dir(dir.path().join(GRAPH_FILE)).unwrap();
    assert!(matches!(try_open(dir.path()), Err(StoreError::NotWritable { .. })));
}

fn backup() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("a"));
    wait(store.ensure_schema()).unwrap();
    write(&store, event("e", "pod_restart", noon(), "p"));
    let to = dir.path().join("b");
    wait(store.backup(&to)).unwrap();
    assert!(matches!(wait(store.backup(&to)), Err(StoreError::NotWritable { .. })));
    let hash = wait(store.graph_hash()).unwrap();
    write(&store, event("later", "pod_restart", noon(), "p"));
    let copy = open(&to);
    assert_eq!(wait(copy.graph_hash()).unwrap(), hash);
    wait(copy.ensure_schema()).unwrap();
    write(&copy, event("later", "pod_restart", noon(), "p"));
    assert_eq!(wait(copy.graph_hash()).unwrap(), wait(store.graph_hash()).unwrap());
    assert_eq!(one(ask(&copy, "MATCH (e:Event {id: 'later'}) RETURN e.type")), text("pod_restart"));
}

fn dropped() {
    use tapio_core::ports::{Limits, Query};
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    write(&store, (0..300).map(|i| set(Label::Pod, &i.to_string(), vec![])).collect());
    wait(async {
        let limits = Limits { timeout_millis: 60_000, max_expansions: u64::MAX, ..Limits::default() };
        let text = "MATCH (a), (b), (c), (d) WHERE a.x = b.x RETURN count(*)".to_owned();
        let asked = store.query(Query { text, params: Default::default(), at: noon(), limits });
        assert!(tokio::time::timeout(std::time::Duration::from_millis(100), asked).await.is_err());
    });
    let since = std::time::Instant::now();
    drop(store);
    assert!(since.elapsed() < std::time::Duration::from_secs(20), "{:?}", since.elapsed());
    open(dir.path());
}
