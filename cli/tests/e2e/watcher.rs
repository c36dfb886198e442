//! `tapio up` with a webhook: started, killed, started again on the same folder.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::cluster::Cluster;
use super::hook::Hook;

pub(crate) struct Watcher {
    dir: tempfile::TempDir,
    child: Option<Child>,
    kubeconfig: std::path::PathBuf,
}

impl Watcher {
    pub(crate) fn start(cluster: &Cluster, hook: &Hook) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config =
            format!("alerts:\n  sinks:\n  - name: hook\n    type: webhook\n    url: http://{}/\n", hook.address);
        std::fs::write(dir.path().join("tapio.yaml"), config).unwrap();
        let mut watcher = Watcher { dir, child: None, kubeconfig: cluster.kubeconfig.clone() };
        watcher.begin();
        watcher
    }

    fn said(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("said")).unwrap_or_default()
    }

    /// Starts it, and waits until it has seen the whole cluster.
    fn begin(&mut self) {
        let said = File::create(self.dir.path().join("said")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_tapio"));
        command.args(["up", "--listen", "127.0.0.1:0", "--kubeconfig"]).arg(&self.kubeconfig);
        command.arg("--data-dir").arg(self.dir.path().join("data"));
        command.arg("--config").arg(self.dir.path().join("tapio.yaml"));
        self.child = Some(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said).spawn().unwrap());
        let begun = Instant::now();
        while !self.said().contains("objects known") {
            assert!(begun.elapsed() < Duration::from_secs(60), "it does not begin: {}", self.said());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Kills it in the middle of whatever it does, and starts it again.
    pub(crate) fn kill_and_begin(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        self.begin();
    }

    /// Its metrics, as it serves them.
    pub(crate) fn metrics(&self) -> String {
        let said = self.said();
        let address = said.split("http://").nth(1).and_then(|rest| rest.split([',', '/']).next()).unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(format!("GET /metrics HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    /// Most memory that it has held, in MiB.
    pub(crate) fn resident_mib(&self) -> u64 {
        let id = self.child.as_ref().unwrap().id();
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
        let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap_or("0 kB");
        line.trim().split(' ').next().and_then(|n| n.parse::<u64>().ok()).unwrap_or_default() / 1_024
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
        if std::thread::panicking() {
            eprintln!("what it said:\n{}", self.said());
        }
    }
}
