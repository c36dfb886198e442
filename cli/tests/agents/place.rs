//! A kubelet, an API server, the folders of an agent and a server, and both as processes that go with this.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;
use tapio_bus::log::sqlite::{SqliteConfig, SqliteLog};
use tapio_core::ports::{EventLog, Position, Record};
use tokio::runtime::Runtime;

use super::fake_api::FakeApi;
use super::fake_kubelet::FakeKubelet;

pub(crate) const NODE: &str = "node-1";
/// How long anything may take that has to happen.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Place {
    pub(crate) api: FakeApi,
    pub(crate) kubelet: FakeKubelet,
    dir: tempfile::TempDir,
    pub(crate) runtime: Runtime,
}

impl Place {
    pub(crate) fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (api, kubelet) = runtime.block_on(async { (FakeApi::start().await, FakeKubelet::start().await) });
        let dir = tempfile::tempdir().unwrap();
        let place = Place { api, kubelet, dir, runtime };
        place.write("api-token", "good");
        place.write("kubeconfig", &place.api.kubeconfig(&place.path("api-token")));
        // The agent shows one token to the kubelet, another one to the server.
        place.kubelet.token("for-the-kubelet", false);
        place.write("kubelet-token", "for-the-kubelet");
        place.write("kubelet-ca.crt", &place.kubelet.authority);
        place.api.vouch("for-the-server", "system:serviceaccount:tapio:tapio-agent", "tapio", NODE);
        place.write("token", "for-the-server");
        std::fs::create_dir_all(place.path("net.d")).unwrap();
        place.network("one");
        place.write(
            "agent.yaml",
            &format!(
                "kubelet:\n  port: {}\n  ca_file: {}\n  token_file: {}\n  poll_secs: 1\n  quick_poll_secs: 1\n  stats_secs: 1\ncni:\n  conf_dir: {}\n  poll_secs: 1\n",
                place.kubelet.address.port(),
                place.path("kubelet-ca.crt").display(),
                place.path("kubelet-token").display(),
                place.path("net.d").display(),
            ),
        );
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// Writes the node's network configuration under this name.
    pub(crate) fn network(&self, name: &str) {
        let text = format!(
            r#"{{"cniVersion":"1.0.0","name":"{name}","plugins":[{{"type":"bridge","ipam":{{"type":"host-local","subnet":"10.244.0.0/24"}}}}]}}"#
        );
        self.write("net.d/10-net.conflist", &text);
    }

    /// A server on this address that is alone; the API for people on any.
    pub(crate) fn server(&self, listen: &str) -> Process {
        self.server_with(listen, &["--no-lease"])
    }

    /// One of several that lead by a Lease, under this name.
    pub(crate) fn candidate(&self, name: &str) -> Process {
        self.server_with("127.0.0.1:0", &["--lease", "tapio/tapio", "--identity", name])
    }

    pub(crate) fn server_with(&self, listen: &str, words: &[&str]) -> Process {
        let mut server = Process::start(
            &[&["server", "--agent-account", "tapio/tapio-agent", "-o", "json"], words].concat(),
            &[
                ("--kubeconfig", self.path("kubeconfig")),
                ("--data-dir", self.path("server")),
                ("--listen", listen.into()),
                ("--api-listen", "127.0.0.1:0".into()),
            ],
        );
        server.listens();
        server
    }

    pub(crate) fn agent(&self, server: SocketAddr) -> Process {
        self.agent_with(&format!("http://{server}"), &[])
    }

    pub(crate) fn agent_with(&self, server: &str, words: &[&str]) -> Process {
        let own = ["agent", "--node", NODE, "--kubelet-address", "127.0.0.1", "--listen", "127.0.0.1:0", "--cni-files"];
        let mut agent = Process::start(
            &[&own, words].concat(),
            &[
                ("--config", self.path("agent.yaml")),
                ("--server", server.into()),
                ("--token-file", self.path("token")),
                ("--data-dir", self.path("agent")),
            ],
        );
        agent.listens();
        agent
    }

    /// All records of a log that no process has open.
    pub(crate) fn records(&self, log: &str) -> Vec<Record> {
        let log = SqliteLog::open(self.path(log), SqliteConfig::default()).unwrap();
        self.runtime.block_on(async {
            let (mut at, mut all) = (Position(0), Vec::<Record>::new());
            loop {
                let page = log.read(at, 1_000).await.unwrap();
                let Some(last) = page.last() else { return all };
                at = last.position;
                all.extend(page);
            }
        })
    }

    pub(crate) fn dead_letters(&self, log: &str) -> Vec<String> {
        let log = SqliteLog::open(self.path(log), SqliteConfig::default()).unwrap();
        let letters = self.runtime.block_on(log.dead_letters(10)).unwrap();
        letters.into_iter().map(|l| l.reason).collect()
    }
}

/// A tapio at work; killed when this goes.
pub(crate) struct Process {
    child: Child,
    said: Arc<Mutex<Vec<String>>>,
    readers: Vec<JoinHandle<()>>,
    /// Where it tells how it stands.
    pub(crate) address: SocketAddr,
}

impl Process {
    pub(crate) fn start(words: &[&str], places: &[(&str, PathBuf)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tapio"));
        command.args(words).env_remove("KUBECONFIG").env_remove("TAPIO_CONFIG").stdin(Stdio::null());
        for (flag, value) in places {
            command.arg(flag).arg(value);
        }
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let said = Arc::<Mutex<Vec<String>>>::default();
        let readers = vec![read(child.stdout.take().unwrap(), &said), read(child.stderr.take().unwrap(), &said)];
        Process { child, said, readers, address: SocketAddr::from(([0, 0, 0, 0], 0)) }
    }

    /// Waits until it says where it listens.
    fn listens(&mut self) {
        let url = self.word("listening on ");
        self.address = url.split_once("://").unwrap().1.parse().unwrap();
    }

    /// The word behind `before`, as soon as it is said.
    pub(crate) fn word(&mut self, before: &str) -> String {
        let begun = Instant::now();
        loop {
            let line = self.said.lock().unwrap().iter().find_map(|l| Some(l.split_once(before)?.1.to_owned()));
            if let Some(rest) = line {
                let end = rest.find([',', ' ']).unwrap_or(rest.len());
                return rest[..end].to_owned();
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("{status} before `{before}`: {}", self.all());
            }
            assert!(begun.elapsed() < PATIENCE, "`{before}` was not said: {}", self.all());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Everything that it said.
    pub(crate) fn all(&self) -> String {
        self.said.lock().unwrap().join("\n")
    }

    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        get(self.address, path).unwrap_or_default()
    }

    /// A counter or level of its metrics.
    pub(crate) fn metric(&self, name: &str) -> Option<f64> {
        let text = self.get("/metrics").1;
        text.lines().find_map(|l| l.strip_prefix(name)?.trim().parse().ok())
    }

    pub(crate) fn until(&self, what: &str, is: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !is(self) {
            assert!(begun.elapsed() < PATIENCE, "{what} did not come: {} {:?}", self.all(), self.get("/readyz"));
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub(crate) fn until_ready(&self) {
        self.until("readiness", |p| p.get("/readyz").0 == 200);
    }

    /// As somebody's `kill -9`.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks for an end in order, and waits for it.
    pub(crate) fn end(mut self) -> (ExitStatus, String) {
        let status = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
        let status = self.wait();
        (status, self.all())
    }

    /// Waits until it has ended, and all that it said was read.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let begun = Instant::now();
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None => assert!(begun.elapsed() < PATIENCE, "it does not end: {}", self.all()),
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        self.readers.drain(..).for_each(|r| r.join().unwrap());
        status
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read(from: impl Read + Send + 'static, into: &Arc<Mutex<Vec<String>>>) -> JoinHandle<()> {
    let into = Arc::clone(into);
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            into.lock().unwrap().push(line);
        }
    })
}

/// Status and body of a request.
pub(crate) fn get(at: SocketAddr, path: &str) -> Option<(u16, String)> {
    ask(at, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))
}

/// The same of a request in its own words.
pub(crate) fn ask(at: SocketAddr, request: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(at).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
    // It may be cut off before all of it is sent.
    let _ = stream.write_all(request.as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let text = String::from_utf8_lossy(&answer);
    let (head, body) = text.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

/// A body as JSON, chunked or not.
pub(crate) fn json(body: &str) -> Value {
    let (from, to) = (body.find('{').unwrap(), body.rfind('}').unwrap());
    serde_json::from_str(&body[from..=to]).unwrap_or_else(|e| panic!("{e}: {body}"))
}
