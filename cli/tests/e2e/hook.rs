//! A webhook that keeps what it was sent, with the time.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use serde_json::Value;

/// One alert: what became of an incident.
#[derive(Clone, Debug)]
pub(crate) struct Alert {
    pub(crate) at: SystemTime,
    /// `opened`, `escalated`, `resolved`.
    pub(crate) transition: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) title: String,
    /// Its evidence.
    pub(crate) why: String,
    /// The key by which a receiver knows that it has it already.
    pub(crate) key: String,
}

impl Alert {
    fn of(event: &Value) -> Self {
        let data = &event["data"];
        let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
        let labels = data["labels"].as_object().unwrap();
        Alert {
            at: SystemTime::now(),
            transition: text(&data["transition"]),
            labels: labels.iter().map(|(k, v)| (k.clone(), text(v))).collect(),
            title: text(&data["body"]["title"]),
            why: data["body"]["why"].to_string(),
            key: text(&data["key"]),
        }
    }

    pub(crate) fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }
}

/// The receiver; it ends with the process.
pub(crate) struct Hook {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Alert>>>,
}

impl Hook {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let hook = Hook { address: listener.local_addr().unwrap(), seen: Arc::default() };
        let seen = Arc::clone(&hook.seen);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let seen = Arc::clone(&seen);
                std::thread::spawn(move || drop(take(&stream, &seen)));
            }
        });
        hook
    }

    /// Every alert so far. One that came again, as at-least-once allows, counts once.
    pub(crate) fn alerts(&self) -> Vec<Alert> {
        let mut keys = std::collections::HashSet::new();
        self.seen.lock().unwrap().iter().filter(|a| keys.insert(a.key.clone())).cloned().collect()
    }
}

fn take(stream: &TcpStream, seen: &Mutex<Vec<Alert>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let (mut line, mut length) = (String::new(), 0);
        loop {
            line.clear();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().unwrap();
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let body: Value = serde_json::from_slice(&body)?;
        let events = body.as_array().cloned().unwrap_or_else(|| vec![body]);
        seen.lock().unwrap().extend(events.iter().map(Alert::of));
        (&mut &*stream).write_all(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")?;
    }
}
