//! Kill -9 of either side, again and again, while events flow: the count is exact.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tapio_bus::log::sqlite::{SqliteConfig, SqliteLog};
use tapio_core::ports::{EventLog, Position};

use super::fixture::*;

const DIR: &str = "TAPIO_TEST_CHILD_DIR";
const URL: &str = "TAPIO_TEST_CHILD_URL";

/// This binary again, as a process that runs one ignored test; it is killed when this goes.
struct Victim(Child, BufReader<std::process::ChildStdout>);

impl Victim {
    fn start(test: &str, dir: &Path, url: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &format!("crash::{test}"), "--ignored", "--nocapture"])
            .env(DIR, dir)
            .env(URL, url)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Victim(child, out)
    }

    /// The next word behind `said`.
    fn word(&mut self, said: &str) -> String {
        let mut line = String::new();
        while self.1.read_line(&mut line).unwrap() > 0 {
            if let Some(word) = line.trim().strip_prefix(said) {
                return word.trim().to_owned();
            }
            line.clear();
        }
        panic!("the child ended without saying `{said}`");
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        // SIGKILL: nothing is tidied up.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).unwrap();
}

#[test]
#[ignore = "the child of a test; it is killed"]
fn serves_until_it_is_killed() {
    let Some(dir) = std::env::var_os(DIR).map(PathBuf::from) else { return };
    let address = std::env::var(URL).unwrap().parse().ok();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let server = Server::plain(&dir, address).await;
        say("");
        say(&format!("serving {}", server.address));
        std::future::pending::<()>().await;
    });
}

#[test]
#[ignore = "the child of a test; it is killed"]
fn forwards_until_it_is_killed() {
    let Some(dir) = std::env::var_os(DIR).map(PathBuf::from) else { return };
    let url = std::env::var(URL).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let agent = Agent::plain(&dir, &url).await;
        say("");
        say("going");
        // What is in the spool says where to go on: the numbers are those of the positions.
        loop {
            let n = agent.spool.stats().await.unwrap().last.0;
            agent.spool.append(events(n..n + 7)).await.unwrap();
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    });
}

#[test]
fn a_server_that_is_killed_again_and_again_has_everything_once() {
    run(async {
        let (_dir, s, a) = folders();
        let mut server = Victim::start("serves_until_it_is_killed", &s, "any");
        let address = server.word("serving");
        let agent = Agent::plain(&a, &format!("http://{address}")).await;
        let told = Arc::new(AtomicU64::new(0));
        let enough = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&enough);
        let (spool, counter) = (Arc::clone(&agent.spool), Arc::clone(&told));
        let telling = tokio::spawn(async move {
            while !over.load(Ordering::SeqCst) {
                let n = counter.load(Ordering::SeqCst);
                spool.append(events(n..n + 20)).await.unwrap();
                counter.fetch_add(20, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        });
        for round in 0..8 {
            // Long enough for a save of the ledger in some rounds, too short for one in others.
            tokio::time::sleep(Duration::from_millis(150 + 190 * round)).await;
            drop(server);
            server = Victim::start("serves_until_it_is_killed", &s, &address);
            server.word("serving");
        }
        enough.store(true, Ordering::SeqCst);
        telling.await.unwrap();
        let n = agent.spool.stats().await.unwrap().last.0;
        assert!(n > 2_000, "only {n} were told");
        until("everything to be sent", async || {
            agent.spool.committed(tapio_bus::forward::CONSUMER).await.unwrap().0 >= n
        })
        .await;
        agent.end().await;
        drop(server);
        let log = SqliteLog::open(s.join("log.sqlite"), SqliteConfig::default()).unwrap();
        exactly(&read_all(&log).await, 0..n);
        assert!(log.dead_letters(1).await.unwrap().is_empty());
    });
}

#[test]
fn an_agent_that_is_killed_again_and_again_sends_everything_once() {
    run(async {
        let (_dir, s, a) = folders();
        let server = Server::plain(&s, None).await;
        for round in 0..8 {
            let mut agent = Victim::start("forwards_until_it_is_killed", &a, &server.url());
            agent.word("going");
            tokio::time::sleep(Duration::from_millis(120 + 130 * round)).await;
        }
        // What the last one had told and not sent goes with the next one.
        let agent = Agent::plain(&a, &server.url()).await;
        let n = agent.spool.stats().await.unwrap().last.0;
        assert!(n > 500, "only {n} were told");
        server.until(n).await;
        agent.end().await;
        exactly(&read_all(&*server.log).await, 0..n);
        assert_eq!(server.log.read(Position(n), 1).await.unwrap().len(), 0);
        server.end().await;
    });
}
