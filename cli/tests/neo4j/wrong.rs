//! What is wrong with a server, an address or a graph: said with what to do, exit code 3, and the log as it was.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::kills::stream;
use crate::running::{Ran, recording, run, tapio, text};
use crate::server::{
    Settings, address, embedded, empty, hash, hash_of, home, password, replay, replay_of, socket, statement, stats,
};

/// Settings with which a server that is away is given up soon, and one that has just started may think long.
fn hasty(dir: &Path) -> String {
    let file = dir.join("tapio.yaml");
    std::fs::write(&file, "graph:\n  neo4j_patience_secs: 2\nquery:\n  timeout_millis: 120000\n").unwrap();
    text(&file).to_owned()
}

fn replay_to(data: &Path, address: &str) -> Command {
    tapio(&["replay", text(&recording()), "--data-dir", text(data), "-q", "--graph", address])
}

fn ended(mut command: Command) -> Ran {
    Ran::of(command.output().unwrap())
}

pub(crate) fn credentials() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("d");
    let with = |password: &str, server: &str| {
        let mut c = replay_to(&data, server);
        c.env("TAPIO_NEO4J_PASSWORD", password);
        ended(c)
    };
    let ran = with("hunter2-hunter2", &address());
    assert!(!ran.err.contains("hunter2"), "{}", ran.err);
    ran.failed(3, "user or password is wrong");
    let right = password();
    with(&right, &format!("{}?database=nosuch", address())).failed(3, "no such database");
    with(&right, "bolt://127.0.0.1:1").failed(3, "nobody listens there");
    // Something else than a Neo4j.
    let http = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = http.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in http.incoming().flatten() {
            let _ = stream.read(&mut [0; 64]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        }
    });
    with(&right, &format!("bolt://{place}")).failed(3, "does not speak Bolt");
    with(&right, &format!("bolt+s://{place}")).failed(3, "does not speak TLS there; use bolt://");
    // A wrong address is not noted: without one the graph is in the folder.
    run(&["replay", text(&recording()), "--data-dir", text(&data), "-q"]).ok();
    assert!(data.join("graph").exists());
    let file = dir.path().join("password");
    std::fs::write(&file, format!("{right}\n")).unwrap();
    let mut c = tapio(&["query", "RETURN 1 AS one", "--at", "2024-01-15T10:30:00Z", "--graph", &address()]);
    c.env_remove("TAPIO_NEO4J_PASSWORD").env("TAPIO_NEO4J_PASSWORD_FILE", &file);
    assert!(ended(c).ok().contains("one"));
}

/// A listener between client and server that lets so many bytes of the server's answers through on each connection,
/// then closes it.
fn cut_after(bytes: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let server = TcpStream::connect(socket()).unwrap();
            let (mut asks, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut asks, &mut to));
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut (&server).take(bytes as u64), &mut (&client));
                let _ = client.shutdown(Shutdown::Both);
                let _ = server.shutdown(Shutdown::Both);
            });
        }
    });
    format!("bolt://{place}")
}

pub(crate) fn half() {
    let dir = tempfile::tempdir().unwrap();
    let want = embedded(dir.path());
    empty();
    let config = hasty(dir.path());
    let data = dir.path().join("d");
    // In the handshake, in the greeting, in the look at the schema, and in the writing.
    let mut written = false;
    for bytes in [2, 30, 400, 6_000, 9_000] {
        let begun = Instant::now();
        let ran = ended({
            let mut c = replay_to(&data, &cut_after(bytes));
            c.args(["--config", &config]);
            c
        });
        written |= !stats().nodes.is_empty();
        assert!(begun.elapsed() < Duration::from_secs(150), "{bytes}: {:?}", begun.elapsed());
        if ran.code != 0 {
            ran.failed(3, "connection");
        }
    }
    assert!(written, "no connection lasted long enough to write");
    ended(replay(&data)).ok();
    assert_eq!(hash(), want);
}

pub(crate) fn newer() {
    empty();
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("d");
    ended(replay(&data)).ok();
    let want = hash();
    let later = "tapio_format_999";
    statement(&format!("CREATE INDEX {later} IF NOT EXISTS FOR (n:TapioFormat) ON (n.later)"));
    let other = ended(replay(&dir.path().join("other")));
    let same = run(&["replay", "--data-dir", text(&data)]);
    let asked = run(&["query", "RETURN 1 AS one", "--graph", &address()]);
    statement(&format!("DROP INDEX {later}"));
    for ran in [other, same, asked] {
        ran.failed(3, "newer tapio");
    }
    assert_eq!(hash(), want);
    run(&["replay", "--data-dir", text(&data)]).ok();
    assert_eq!(hash(), want);
}

pub(crate) fn refused() {
    let dir = tempfile::tempdir().unwrap();
    let ask = |url: &str| run(&["query", "RETURN 1", "--graph", url]);
    ask("http://localhost:7474").failed(2, "none of the schemes");
    let ran = ask("bolt://neo4j:hunter2@localhost");
    assert!(ran.err.contains("user and password do not belong into it"), "{}", ran.err);
    assert_eq!(ran.code, 2);
    run(&["replay", text(&recording()), "--graph", "bolt://localhost"]).failed(2, "--data-dir");
    run(&["query", "RETURN 1", "--graph", "bolt://h", "--data-dir", text(dir.path())]).failed(2, "cannot be used with");
    let nowhere = |url: &str| tapio(&["query", "RETURN 1", "--graph", url]);
    let mut c = nowhere("bolt://127.0.0.1:1");
    c.env("TAPIO_NEO4J_PASSWORD", "a").env("TAPIO_NEO4J_PASSWORD_FILE", "/b");
    ended(c).failed(2, "are both set");
    let mut c = nowhere("bolt://127.0.0.1:1");
    c.env_remove("TAPIO_NEO4J_PASSWORD").env("TAPIO_NEO4J_PASSWORD_FILE", dir.path().join("none"));
    ended(c).failed(2, "TAPIO_NEO4J_PASSWORD_FILE");
    let mut c = nowhere("bolt://127.0.0.1:1");
    c.env_remove("TAPIO_NEO4J_PASSWORD_FILE");
    ended(c).failed(3, "nobody listens there");
    for (file, says) in [(dir.path().to_owned(), "is no file"), (recording(), "no certificate stands in it")] {
        let mut c = nowhere("bolt+s://127.0.0.1:1");
        c.env_remove("TAPIO_NEO4J_PASSWORD_FILE").env("TAPIO_NEO4J_CA_FILE", file);
        ended(c).failed(2, says);
    }
}

pub(crate) fn certificates() {
    empty();
    let dir = tempfile::tempdir().unwrap();
    let want = embedded(dir.path());
    let authority = home().join("certificates/ca.crt");
    let port = socket().port();
    let named = format!("localhost:{port}");
    let told = |url: &str, variable: &str| {
        let mut c = replay_to(&dir.path().join("d"), url);
        c.env_remove("SSL_CERT_FILE").env(variable, &authority);
        ended(c)
    };
    told(&format!("bolt+s://{named}"), "TAPIO_NEO4J_CA_FILE").ok();
    assert_eq!(hash(), want);
    // The whole of it over another connection, and with what OpenSSL's own variable says.
    empty();
    told(&format!("neo4j+s://{named}"), "SSL_CERT_FILE").ok();
    assert_eq!(hash(), want);
    let count = "MATCH (n) RETURN count(n) > 0 AS some";
    for scheme in ["bolt+s", "neo4j+s"] {
        let mut c = tapio(&["query", count, "--graph", &format!("{scheme}://{named}"), "-o", "csv"]);
        c.env("TAPIO_NEO4J_CA_FILE", &authority);
        assert_eq!(ended(c).ok().lines().collect::<Vec<_>>(), ["some", "true"]);
    }
    // Nobody told of the authority; the name is another one; another authority.
    ended(replay_to(&dir.path().join("x"), &format!("bolt+s://{named}"))).failed(3, "by TAPIO_NEO4J_CA_FILE");
    told(&format!("bolt+s://127.0.0.1:{port}"), "TAPIO_NEO4J_CA_FILE").failed(3, "use the host name that stands in it");
    let other = dir.path().join("other.crt");
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=somebody else"])
        .args(["-keyout", text(&dir.path().join("other.key")), "-out", text(&other)])
        .output()
        .unwrap();
    assert!(made.status.success());
    let mut c = replay_to(&dir.path().join("x"), &format!("bolt+s://{named}"));
    c.env("TAPIO_NEO4J_CA_FILE", &other);
    ended(c).failed(3, "its certificate does not fit");
    // Whoever does not want to know.
    run(&["query", count, "--graph", &format!("bolt+ssc://127.0.0.1:{port}"), "-o", "csv"]).ok();
}

pub(crate) fn read_only() {
    empty();
    let dir = tempfile::tempdir().unwrap();
    let want = embedded(dir.path());
    let data = dir.path().join("d");
    // Its schema is there: what fails is the writing.
    ended(replay(&dir.path().join("first"))).ok();
    empty();
    {
        let _read_only = Settings::with("server.databases.default_to_read_only=true\n");
        let begun = Instant::now();
        let ran = ended(replay(&data));
        assert!(begun.elapsed() < Duration::from_secs(150), "nothing is gained by waiting");
        ran.failed(3, "read-only");
        let asked = ["query", "MATCH (n) RETURN count(n) AS n", "--at", "2024-01-15T10:30:00Z"];
        run(&[&asked[..], &["--graph", &address(), "--config", &hasty(dir.path())]].concat()).ok();
        assert!(stats().nodes.is_empty());
    }
    ended(replay(&data)).ok();
    assert_eq!(hash(), want);
}

pub(crate) fn full() {
    let dir = tempfile::tempdir().unwrap();
    let recording = stream(dir.path(), 0, 20_000);
    let data = dir.path().join("d");
    {
        // Neither log files nor stores take their space before they need it; the users of before are not there.
        let _small = Settings::with_space(4, "db.tx_log.preallocate=false\ndbms.security.auth_enabled=false\n");
        let ran = ended(replay_of(&recording, &data));
        ran.failed(3, "disk is full");
    }
    empty();
    ended(replay_of(&recording, &data)).ok();
    let want = dir.path().join("want");
    run(&["replay", text(&recording), "--data-dir", text(&want), "-q"]).ok();
    assert_eq!(hash(), hash_of(&want));
}
