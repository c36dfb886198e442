//! A small HTTP server that answers as it is told, and remembers what it was asked; a real incident; every sink.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tapio_bus::sink::alertmanager::{Alertmanager, AlertmanagerConfig};
use tapio_bus::sink::pagerduty::PagerDuty;
use tapio_bus::sink::slack::Slack;
use tapio_bus::sink::webhook::{Webhook, WebhookConfig};
use tapio_bus::sink::{Hidden, Http, HttpConfig};
use tapio_core::alert::{Alert, Transition};
use tapio_core::answer::{Incident, IncidentState};
use tapio_core::ports::AlertSink;
use tapio_core::time::{MINUTE, Time};
use tapio_core::unified::Severity;

/// What the server does with a request.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// Answers this status, with these header lines and this body.
    Status(u16, &'static str, &'static str),
    /// Says nothing for so long, then 200.
    Slow(Duration),
    /// Closes the connection in the middle of the head.
    Cut,
    /// A body without an end.
    Endless,
    /// No HTTP.
    Noise,
}

/// A request as it came in.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) path: String,
    pub(crate) head: String,
    pub(crate) body: String,
}

/// The server; it ends with its value.
pub(crate) struct Server {
    pub(crate) url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Answers with these in turn, then with 200.
    pub(crate) fn start(replies: Vec<Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (seen, over) = (Arc::clone(&asked), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let mut replies: VecDeque<Reply> = replies.into();
            for stream in listener.incoming() {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                // One request a connection: a new one needs a new connection, which is as well a test.
                let Ok(stream) = stream else { continue };
                stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
                if let Some(request) = read(&stream) {
                    seen.lock().unwrap().push(request);
                    answer(stream, replies.pop_front().unwrap_or(Reply::Status(200, "", "ok")));
                }
            }
        });
        Server { url, asked, stop, thread: Some(thread) }
    }

    /// What it was asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.url.trim_start_matches("http://"));
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn read(stream: &TcpStream) -> Option<Asked> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line.trim().is_empty() {
            break;
        }
        head.push_str(&line);
    }
    let path = head.split(' ').nth(1)?.to_owned();
    let head = head.to_ascii_lowercase();
    let length = head.lines().find_map(|l| l.strip_prefix("content-length:"))?.trim().parse().ok()?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Asked { path, head, body: String::from_utf8(body).ok()? })
}

fn answer(mut stream: TcpStream, reply: Reply) {
    let full = |status: u16, headers: &str, body: &str| {
        format!("HTTP/1.1 {status} X\r\n{headers}Connection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    };
    let _ = match reply {
        Reply::Status(status, headers, body) => stream.write_all(full(status, headers, body).as_bytes()),
        Reply::Slow(time) => {
            std::thread::sleep(time);
            stream.write_all(full(200, "", "").as_bytes())
        }
        Reply::Cut => stream.write_all(b"HTTP/1.1 200 O"),
        Reply::Noise => stream.write_all(b"\x16\x03\x01 not http at all\r\n\r\n"),
        Reply::Endless => {
            let head = stream.write_all(b"HTTP/1.1 500 X\r\nConnection: close\r\n\r\n");
            let block = [b'x'; 4096];
            while stream.write_all(&block).is_ok() {}
            head
        }
    };
}

/// An incident as the engine told it of the story `config-env-typo`.
pub(crate) fn incident() -> Incident {
    let mut i: Incident = serde_json::from_str(include_str!("incident.json")).unwrap();
    (i.state, i.resolved_at, i.updated_at) = (IncidentState::Open, None, i.opened_at);
    i
}

/// Its whole life: opened, worse, over.
pub(crate) fn life() -> [Incident; 3] {
    let opened = Incident { severity: Severity::Medium, ..incident() };
    let later = |m: i64| opened.opened_at.plus(m * MINUTE);
    let worse = Incident { severity: Severity::Critical, updated_at: later(2), ..opened.clone() };
    let over =
        Incident { state: IncidentState::Resolved, resolved_at: Some(later(5)), updated_at: later(6), ..worse.clone() };
    [opened, worse, over]
}

/// The alerts of it.
pub(crate) fn alerts() -> Vec<Alert> {
    let [opened, worse, over] = life();
    let first = Alert::of(&opened, Transition::Opened, "main", None, None);
    let told = |a: &Alert| (a.labels.clone(), a.starts_at);
    let (labels, at) = told(&first);
    let second = Alert::of(&worse, Transition::Escalated, "main", Some((&labels, at)), Some(Severity::Medium));
    let (labels, at) = told(&second);
    let third = Alert::of(&over, Transition::Resolved, "main", Some((&labels, at)), None);
    vec![first, second, third]
}

/// When it is all told.
pub(crate) fn now() -> Time {
    life()[2].updated_at.plus(MINUTE)
}

pub(crate) fn http(millis: u64) -> Http {
    Http::new(&HttpConfig { timeout_millis: millis, ca_file: None }).unwrap()
}

/// What must never be seen.
pub(crate) const SECRET: &str = "canary-of-a-secret-9f2c";

/// Every sink that speaks HTTP, with secrets in address and token.
pub(crate) fn sinks(url: &str, millis: u64) -> Vec<Arc<dyn AlertSink>> {
    let hidden = || Hidden::of(format!("{url}/{SECRET}/hook"));
    let token = || Some(Hidden::of(SECRET));
    let am = AlertmanagerConfig { url: hidden(), token: token(), resend_secs: 60, valid_secs: 240 };
    let hook = WebhookConfig { url: hidden(), token: token(), secret: token() };
    vec![
        Arc::new(Alertmanager::new(am, http(millis))),
        Arc::new(Slack::new(hidden(), http(millis))),
        Arc::new(PagerDuty::new(hidden(), Hidden::of(SECRET), http(millis))),
        Arc::new(Webhook::new(hook, http(millis))),
    ]
}

pub(crate) fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}
