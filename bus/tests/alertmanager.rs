//! A real Alertmanager: an alert with its labels, one alert after a second delivery, over when the incident is.
//!
//! It is named by `TAPIO_ALERTMANAGER`, or found on the path; where there is none, the tests are skipped and say so.

#![allow(clippy::unwrap_used, reason = "a test may")]

#[allow(dead_code, reason = "this suite needs the incident only")]
#[path = "sinks/server.rs"]
mod server;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::Value;
use tapio_bus::sink::Hidden;
use tapio_bus::sink::alertmanager::{Alertmanager, AlertmanagerConfig};
use tapio_core::alert::{Alert, Transition};
use tapio_core::answer::{Incident, IncidentState};
use tapio_core::ports::{AlertSink, SinkError};
use tapio_core::time::{MINUTE, SECOND, Time};
use tapio_core::unified::Severity;

use server::{http, incident, wait};

fn main() {
    let arguments = Arguments::from_args();
    let found = binary();
    if found.is_none() {
        eprintln!("SKIPPED: no Alertmanager; install prometheus-alertmanager, or name one in TAPIO_ALERTMANAGER");
    }
    let trial = |name: &str, test: fn(&Running) -> Result<(), Failed>| {
        let found = found.clone();
        let run = move || test(&Running::start(&found.ok_or("no Alertmanager")?));
        Trial::test(name, run)
    };
    let trials = [
        trial("an_alert_appears_with_its_labels_is_one_after_a_second_delivery_and_is_resolved", life),
        trial("a_reminder_keeps_it_open_and_without_one_it_ends", reminded),
        trial("what_it_refuses_is_refused", refused),
    ];
    let there = found.is_some();
    libtest_mimic::run(&arguments, trials.map(|t| t.with_ignored_flag(!there)).into()).exit();
}

fn binary() -> Option<PathBuf> {
    let named = std::env::var_os("TAPIO_ALERTMANAGER").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let names = ["prometheus-alertmanager", "alertmanager"];
    let on_path = std::env::split_paths(&path).flat_map(|d| names.map(|n| d.join(n))).find(|p| p.is_file());
    named.or(on_path)
}

/// An Alertmanager of this test's own.
struct Running {
    child: Child,
    port: u16,
    _dir: tempfile::TempDir,
}

impl Running {
    fn start(binary: &std::path::Path) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("am.yml");
        std::fs::write(&config, "route: {receiver: none}\nreceivers: [{name: none}]\n").unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new(binary)
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.path={}", dir.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--cluster.listen-address=")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let running = Running { child, port, _dir: dir };
        let began = Instant::now();
        while running.get("/-/ready").is_none() {
            assert!(began.elapsed() < Duration::from_secs(30), "Alertmanager is not ready");
            std::thread::sleep(Duration::from_millis(50));
        }
        running
    }

    /// The body of a GET that went well.
    fn get(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: x\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        let (head, body) = text.split_once("\r\n\r\n")?;
        head.starts_with("HTTP/1.0 200").then(|| body.to_owned())
    }

    /// The alerts that fire.
    fn firing(&self) -> Vec<Value> {
        serde_json::from_str(&self.get("/api/v2/alerts?active=true").unwrap()).unwrap()
    }

    fn sink(&self, valid_secs: u32) -> Alertmanager {
        let url = Hidden::of(format!("http://127.0.0.1:{}/", self.port));
        let config = AlertmanagerConfig { url, token: None, resend_secs: valid_secs / 2, valid_secs };
        Alertmanager::new(config, http(5_000))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Time::from_micros(i64::try_from(since.as_micros()).unwrap())
}

/// The real incident, as if it had opened a minute ago.
fn fresh() -> Incident {
    let at = now().plus(-MINUTE);
    Incident { opened_at: at, since: at, updated_at: at, severity: Severity::High, ..incident() }
}

fn life(am: &Running) -> Result<(), Failed> {
    let (sink, i) = (am.sink(240), fresh());
    let opened = Alert::of(&i, Transition::Opened, "main", None, None);
    for _ in 0..3 {
        wait(sink.send(std::slice::from_ref(&opened), now()))?;
    }
    let there = am.firing();
    assert_eq!(there.len(), 1, "one alert after three deliveries: {there:?}");
    for (name, value) in &opened.labels {
        assert_eq!(there[0]["labels"][name], value.as_str());
    }
    assert_eq!(there[0]["labels"].as_object().unwrap().len(), opened.labels.len());
    assert_eq!(there[0]["annotations"]["summary"], opened.body.title.as_str());
    assert!(there[0]["annotations"]["next"].as_str().unwrap().contains("kubectl"));

    let worse = Incident { severity: Severity::Critical, updated_at: i.updated_at.plus(20 * SECOND), ..i.clone() };
    let told = Some((&opened.labels, opened.starts_at));
    let escalated = Alert::of(&worse, Transition::Escalated, "main", told, Some(Severity::High));
    wait(sink.send(std::slice::from_ref(&escalated), now()))?;
    let there = am.firing();
    assert_eq!(there.len(), 1, "the old severity has ended: {there:?}");
    assert_eq!(there[0]["labels"]["severity"], "critical");

    let end = now().plus(-SECOND);
    let over = Incident { state: IncidentState::Resolved, resolved_at: Some(end), updated_at: now(), ..worse };
    let told = Some((&escalated.labels, escalated.starts_at));
    let resolved = Alert::of(&over, Transition::Resolved, "main", told, None);
    for _ in 0..2 {
        wait(sink.send(std::slice::from_ref(&resolved), now()))?;
        assert_eq!(am.firing(), Vec::<Value>::new());
    }
    // Opened and over before anything was sent: both in one request, in order, and nothing is left.
    let brief = Incident { state: IncidentState::Resolved, resolved_at: Some(end), updated_at: now(), ..i };
    let told = Some((&opened.labels, opened.starts_at));
    let resolved = Alert::of(&brief, Transition::Resolved, "main", told, None);
    wait(sink.send(&[opened.clone(), resolved], now()))?;
    assert_eq!(am.firing(), Vec::<Value>::new());
    Ok(())
}

fn reminded(am: &Running) -> Result<(), Failed> {
    let sink = am.sink(4);
    let opened = [Alert::of(&fresh(), Transition::Opened, "main", None, None)];
    wait(sink.send(&opened, now()))?;
    for _ in 0..3 {
        std::thread::sleep(Duration::from_secs(2));
        wait(sink.refresh(&opened, now()))?;
        assert_eq!(am.firing().len(), 1);
    }
    let began = Instant::now();
    while !am.firing().is_empty() {
        assert!(began.elapsed() < Duration::from_secs(10), "without a reminder it ends");
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}

fn refused(am: &Running) -> Result<(), Failed> {
    let mut bad = Alert::of(&fresh(), Transition::Opened, "main", None, None);
    bad.labels.clear();
    let e = wait(am.sink(60).send(&[bad], now())).unwrap_err();
    assert!(matches!(&e, SinkError::Refused { why } if why.contains("400")), "{e}");
    Ok(())
}
