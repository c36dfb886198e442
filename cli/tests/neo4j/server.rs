//! The server under test: what is in it, and how it is killed and started.

use std::fs::File;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tapio_core::ports::{GraphStats, GraphStore};
use tapio_graph::neo4j::{Address, Secret};
use tapio_graph::{EmbeddedConfig, EmbeddedGraph, Neo4jConfig, Neo4jGraph};

use crate::running::{recording, run, tapio, text};

pub(crate) const SERVER: &str = "TAPIO_NEO4J_TEST";
pub(crate) const HOME: &str = "TAPIO_NEO4J_TEST_HOME";

pub(crate) fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

pub(crate) fn address() -> String {
    std::env::var(SERVER).unwrap()
}

/// Host and port.
pub(crate) fn socket() -> SocketAddr {
    address().split("://").nth(1).unwrap().split('?').next().unwrap().parse().unwrap()
}

pub(crate) fn password() -> String {
    std::env::var("TAPIO_NEO4J_PASSWORD").unwrap_or_default()
}

fn store() -> Neo4jGraph {
    let at: Address = address().parse().unwrap();
    Neo4jGraph::open(&Neo4jConfig::new(at, "neo4j", Secret::new(password()))).unwrap()
}

pub(crate) fn hash() -> String {
    wait(store().graph_hash()).unwrap()
}

pub(crate) fn stats() -> GraphStats {
    wait(store().stats()).unwrap()
}

/// The driver itself, which waits long for answers: the machine may have much else to do.
fn driver() -> neo4rs::Graph {
    let config = neo4rs::ConfigBuilder::default().uri(address()).user("neo4j").password(password());
    let config = config.connection_timeout(Duration::from_secs(180));
    neo4rs::Graph::connect(config.build().unwrap()).unwrap()
}

/// Runs a statement that no command of ours would.
pub(crate) fn statement(text: &str) {
    wait(async { driver().run(text).await }).unwrap();
}

/// Empties the database; one that holds what is not ours is refused by the conformance suite's mark.
pub(crate) fn empty() {
    const MARK: &str = "SHOW INDEXES YIELD name WHERE name = 'conformance_may_empty_this' RETURN count(*) AS n";
    wait(async {
        let graph = driver();
        let count = async |text: &str| {
            let mut rows = graph.execute(text).await.unwrap();
            rows.next().await.unwrap().unwrap().get::<i64>("n").unwrap()
        };
        let nodes = count("MATCH (n) RETURN count(n) AS n").await;
        assert!(nodes == 0 || count(MARK).await == 1, "the database at {SERVER} is not ours to empty");
        graph
            .run("CREATE INDEX conformance_may_empty_this IF NOT EXISTS FOR (n:TapioConformance) ON (n.x)")
            .await
            .unwrap();
        graph.run("MATCH (n) CALL (n) { DETACH DELETE n } IN TRANSACTIONS OF 1000 ROWS").await.unwrap();
    });
}

/// The replay of the demo's recording with its graph on the server.
pub(crate) fn replay(data: &Path) -> Command {
    replay_of(&recording(), data)
}

pub(crate) fn replay_of(input: &Path, data: &Path) -> Command {
    tapio(&["replay", text(input), "--data-dir", text(data), "--graph", &address(), "-q"])
}

/// The hash of a replay of the demo's recording in a folder.
pub(crate) fn embedded(dir: &Path) -> String {
    let data = dir.join("embedded");
    run(&["replay", text(&recording()), "--data-dir", text(&data), "-q"]).ok();
    hash_of(&data)
}

/// The hash of the graph in a data folder.
pub(crate) fn hash_of(data: &Path) -> String {
    let graph = EmbeddedGraph::open(data.join("graph"), EmbeddedConfig::default()).unwrap();
    wait(graph.graph_hash()).unwrap()
}

pub(crate) fn home() -> PathBuf {
    std::env::var_os(HOME).unwrap().into()
}

fn pid() -> String {
    std::fs::read_to_string(home().join("pid")).unwrap().trim().to_owned()
}

/// Whether the server's process is there. A dead one that nobody has waited for is gone with its last thread: only then
/// are its files and its port free. Its command line says neither: it is empty for a moment in a new process, too.
fn alive() -> bool {
    let of = format!("/proc/{}", pid());
    let Ok(stat) = std::fs::read_to_string(format!("{of}/stat")) else { return false };
    // `123 (java) S 1 …`
    let dead = stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['Z', 'X']));
    !dead || std::fs::read_dir(format!("{of}/task")).is_ok_and(|threads| threads.count() > 1)
}

/// Ends the server by a signal, and waits until it is gone.
pub(crate) fn signal(signal: &str) {
    assert!(Command::new("kill").args([signal, &pid()]).status().unwrap().success());
    let begun = Instant::now();
    while alive() {
        assert!(begun.elapsed() < Duration::from_secs(60), "the server does not end");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Starts it; it answers a while later.
pub(crate) fn start() {
    assert!(Command::new("sh").arg(home().join("start")).stdin(Stdio::null()).status().unwrap().success());
}

/// Waits until its database answers.
pub(crate) fn ready() {
    let begun = Instant::now();
    loop {
        let graph = driver();
        if TcpStream::connect(socket()).is_ok() && wait(async { graph.run("MATCH (n) RETURN n LIMIT 1").await }).is_ok()
        {
            return;
        }
        let log = || std::fs::read_to_string(home().join("log")).unwrap_or_default();
        assert!(alive(), "the server ended: {}", log().lines().rev().take(8).collect::<Vec<_>>().join("\n"));
        assert!(begun.elapsed() < Duration::from_secs(180), "the server does not answer");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// The server with further settings, as long as this lives.
pub(crate) struct Settings {
    before: String,
    mounted: Option<PathBuf>,
}

impl Settings {
    pub(crate) fn with(lines: &str) -> Self {
        Settings::begin(lines, None)
    }

    /// Its data on a small file system that has so many MiB left once it has started.
    pub(crate) fn with_space(left: u64, lines: &str) -> Self {
        let place = home().join("small");
        std::fs::create_dir_all(&place).unwrap();
        mount(&place, 256).unwrap();
        let settings = Settings::begin(&format!("server.directories.data={}\n{lines}", place.display()), Some(&place));
        // What a fresh server takes differs by version; so the rest is taken up by something else.
        let mut ballast = File::create(place.join("ballast")).unwrap();
        let mut taken = 0;
        while let Ok(n @ 1..) = ballast.write(&[0; 1 << 16]) {
            taken += n as u64;
        }
        ballast.set_len(taken.saturating_sub(left << 20)).unwrap();
        settings
    }

    fn begin(lines: &str, mounted: Option<&Path>) -> Self {
        let file = home().join("conf/neo4j.conf");
        let before = std::fs::read_to_string(&file).unwrap();
        signal("-TERM");
        let settings = Settings { before, mounted: mounted.map(Path::to_owned) };
        // None may stand twice.
        let name = |line: &str| line.split('=').next().unwrap_or_default().to_owned();
        let other = |line: &&str| !lines.lines().any(|l| name(l) == name(line));
        let kept: String = settings.before.lines().filter(other).flat_map(|l| [l, "\n"]).collect();
        std::fs::write(&file, kept + lines).unwrap();
        start();
        ready();
        settings
    }
}

impl Drop for Settings {
    fn drop(&mut self) {
        // After a failure it may not be there.
        if alive() {
            signal("-KILL");
        }
        std::fs::write(home().join("conf/neo4j.conf"), &self.before).unwrap();
        if let Some(place) = &self.mounted {
            unmount(place);
        }
        start();
        ready();
    }
}

fn mount(place: &Path, mib: u32) -> Result<(), String> {
    let size = format!("size={mib}m");
    let out = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(place).output();
    let out = out.map_err(|e| e.to_string())?;
    if out.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&out.stderr).trim().to_owned()) }
}

/// The files of a process that was killed are closed a moment later.
fn unmount(place: &Path) {
    let begun = Instant::now();
    while !Command::new("umount").arg(place).stderr(Stdio::null()).status().unwrap().success() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{} stays mounted", place.display());
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Why no file system can be mounted here.
pub(crate) fn no_mounting() -> Option<String> {
    let dir = tempfile::tempdir().unwrap();
    match mount(dir.path(), 1) {
        Ok(()) => {
            unmount(dir.path());
            None
        }
        Err(why) => Some(format!("a small file system cannot be mounted: {why}")),
    }
}
