//! One server: started in a folder of its own, ended with the value.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::certificates;

/// Password of the user `neo4j` of every server here; they listen on loopback and live for one lane.
const PASSWORD: &str = "tapio-test-1";

/// How long a server may take to answer; a cold one on a busy machine takes half a minute.
const READY: Duration = Duration::from_secs(180);

/// How long it may take to stop of itself.
const STOPPING: Duration = Duration::from_secs(15);

/// The handshake of Bolt 4.4, and its answer.
const HELLO: [u8; 20] = [0x60, 0x60, 0xb0, 0x17, 0, 0, 4, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const ANSWER: [u8; 4] = [0, 0, 4, 4];

pub(crate) struct Server {
    home: PathBuf,
    port: u16,
}

impl Server {
    /// Starts one in a new folder below `base`, and waits until it answers.
    pub(super) fn start(java: &Path, class_path: &str, base: &Path, heap: &str) -> Result<Self> {
        let home = base.join(format!("home-{}", std::process::id()));
        // Of an earlier process with our number, which is gone.
        let _ = std::fs::remove_dir_all(&home);
        std::fs::create_dir_all(home.join("conf"))?;
        certificates::make(&home.join("certificates"))?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let server = Server { home, port };
        std::fs::write(server.home.join("conf/neo4j.conf"), server.settings())?;
        let java = java.join("bin/java");
        let mut password = Command::new(&java);
        password.env("NEO4J_HOME", &server.home).env("NEO4J_CONF", server.home.join("conf"));
        password.args(["-cp", class_path, "org.neo4j.cli.AdminTool", "dbms", "set-initial-password", PASSWORD]);
        super::done(&mut password)?;
        std::fs::write(server.home.join("start"), server.script(&java, class_path, heap))?;
        server.run_script()?;
        server.ready()?;
        Ok(server)
    }

    pub(crate) fn address(&self) -> String {
        format!("bolt://127.0.0.1:{}", self.port)
    }

    /// What tests and benches have to know of it, as environment: the address, the password, the home, in which a file
    /// `pid` holds the number of the process, a script `start` starts it again (tests kill it), `conf/neo4j.conf` holds
    /// its settings, and `certificates/ca.crt` is the issuer of its certificate for the name `localhost`.
    pub(crate) fn env(&self) -> Vec<(&'static str, String)> {
        vec![
            ("TAPIO_NEO4J_TEST", self.address()),
            ("TAPIO_NEO4J_PASSWORD", PASSWORD.to_owned()),
            ("TAPIO_NEO4J_TEST_HOME", self.home.display().to_string()),
        ]
    }

    /// The end of what it printed.
    pub(crate) fn said(&self) -> String {
        let text = std::fs::read_to_string(self.home.join("log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    fn settings(&self) -> String {
        format!(
            "server.bolt.enabled=true\n\
             server.bolt.listen_address=127.0.0.1:{}\n\
             server.bolt.tls_level=OPTIONAL\n\
             dbms.ssl.policy.bolt.enabled=true\n\
             dbms.ssl.policy.bolt.base_directory={}\n\
             dbms.ssl.policy.bolt.client_auth=NONE\n\
             dbms.security.auth_enabled=true\n\
             server.memory.pagecache.size=256m\n",
            self.port,
            self.home.join("certificates").display()
        )
    }

    fn script(&self, java: &Path, class_path: &str, heap: &str) -> String {
        let home = self.home.display();
        let open = ["java.nio", "java.lang", "sun.nio.ch"].map(|p| format!("--add-opens java.base/{p}=ALL-UNNAMED"));
        format!(
            "#!/bin/sh\n'{}' -Xms256m -Xmx{heap} {} -cp '{class_path}' Launcher '{home}' \
             >>'{home}/log' 2>&1 </dev/null &\necho $! >'{home}/pid'\n",
            java.display(),
            open.join(" ")
        )
    }

    fn run_script(&self) -> Result<()> {
        let status = Command::new("sh").arg(self.home.join("start")).stdin(Stdio::null()).status()?;
        if !status.success() {
            bail!("the server's script ended with {status}");
        }
        Ok(())
    }

    /// Waits for the answer to a handshake; an open port says nothing.
    fn ready(&self) -> Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < READY {
            if self.answers().is_ok_and(|yes| yes) {
                println!("the server answered after {:.1} s", begun.elapsed().as_secs_f64());
                return Ok(());
            }
            if !self.alive() {
                bail!("the server ended before it answered:\n{}", self.said());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        bail!("the server did not answer within {} s:\n{}", READY.as_secs(), self.said())
    }

    fn answers(&self) -> Result<bool> {
        let second = Duration::from_secs(1);
        let mut stream = TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], self.port)), second)?;
        stream.set_read_timeout(Some(second))?;
        stream.write_all(&HELLO)?;
        let mut answer = [0; 4];
        stream.read_exact(&mut answer)?;
        Ok(answer == ANSWER)
    }

    fn pid(&self) -> Result<u32> {
        let text = std::fs::read_to_string(self.home.join("pid")).context("no number of the process")?;
        text.trim().parse().context("the number of the process")
    }

    /// Whether there is a process of the number that we started; one that ended is no longer there, or waits as a
    /// zombie for somebody to ask.
    fn alive(&self) -> bool {
        let Ok(pid) = self.pid() else { return false };
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
    }

    /// Whether it is ours, too: its command line names our folder. In its first moment it has none.
    fn ours(&self, pid: u32) -> bool {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(&self.home.display().to_string())
    }

    fn signal(&self, signal: &str) {
        if let Some(pid) = self.pid().ok().filter(|pid| self.ours(*pid)) {
            let _ = Command::new("kill").arg(signal).arg(pid.to_string()).status();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.signal("-TERM");
        let begun = Instant::now();
        while self.pid().is_ok_and(|pid| self.ours(pid)) && begun.elapsed() < STOPPING {
            std::thread::sleep(Duration::from_millis(50));
        }
        self.signal("-KILL");
        let _ = std::fs::remove_dir_all(&self.home);
    }
}
