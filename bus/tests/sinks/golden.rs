//! What every sink sends of a real incident's life, byte for byte. `TAPIO_GOLDEN=write` writes the files anew; look at the
//! difference before you commit it.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tapio_bus::sink::kubernetes_event::{EventWriter, KubernetesEvent};
use tapio_bus::sink::stdout::Stdout;
use tapio_core::ports::{AlertSink, BoxFuture, SinkError};

use super::server::*;

fn compare(name: &str, made: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sinks/golden").join(name);
    if std::env::var("TAPIO_GOLDEN").is_ok_and(|v| v == "write") {
        std::fs::write(&file, made).unwrap();
    }
    let want = std::fs::read_to_string(&file).unwrap();
    assert!(made == want, "{name} differs from its golden file:\n{made}");
}

/// JSON for people who look at a difference; a signature's header as it is.
fn pretty(asked: &Asked) -> String {
    let mut out = format!("POST {}\n", asked.path);
    for line in asked.head.lines().filter(|l| l.starts_with("content-type") || l.starts_with("tapio-signature")) {
        writeln!(out, "{line}").unwrap();
    }
    let body: Value = serde_json::from_str(&asked.body).unwrap();
    writeln!(out, "{}\n", serde_json::to_string_pretty(&body).unwrap()).unwrap();
    out
}

#[test]
fn what_is_sent_over_http_is_what_it_was() {
    let alerts = alerts();
    for i in 0..4 {
        let server = Server::start(Vec::new());
        let sink = &sinks(&server.url, 5_000)[i];
        for a in &alerts {
            wait(sink.send(std::slice::from_ref(a), now())).unwrap();
        }
        if sink.takes_groups() {
            wait(sink.send(&alerts, now())).unwrap();
        }
        let asked = server.asked();
        assert!(asked.iter().all(|a| a.path.contains(SECRET)));
        let text: String = asked.iter().map(pretty).collect();
        compare(&format!("{}.txt", sink.kind()), &text.replace(SECRET, "SECRET"));
    }
}

#[test]
fn what_is_printed_is_what_it_was() {
    let out: Arc<Mutex<Vec<u8>>> = Arc::default();
    let sink = Stdout::to(out.clone());
    wait(sink.send(&alerts(), now())).unwrap();
    let text = String::from_utf8(out.lock().unwrap().clone()).unwrap();
    assert_eq!(text.lines().count(), 3);
    compare("stdout.txt", &text);
}

/// Keeps what it would write.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<(String, Value)>>>);

impl EventWriter for Kept {
    fn create<'a>(&'a self, namespace: &'a str, event: &'a Value) -> BoxFuture<'a, Result<(), SinkError>> {
        self.0.lock().unwrap().push((namespace.to_owned(), event.clone()));
        Box::pin(async { Ok(()) })
    }
}

#[test]
fn an_event_in_the_cluster_is_what_it_was_and_fits_the_api() {
    let kept = Kept::default();
    let sink = KubernetesEvent::new(kept.clone(), "tapio-0");
    let mut alerts = alerts();
    alerts[0].uid = Some("305c4c69-e3df-41ab-98c0-b45d589323b0".to_owned());
    wait(sink.send(&alerts, now())).unwrap();
    let mut text = String::new();
    for (namespace, event) in kept.0.lock().unwrap().iter() {
        assert!(event["note"].as_str().unwrap().len() <= 1_024);
        assert_eq!(event["metadata"]["namespace"], namespace.as_str());
        assert_eq!(event["regarding"]["namespace"], namespace.as_str());
        writeln!(text, "{}\n", serde_json::to_string_pretty(event).unwrap()).unwrap();
    }
    compare("kubernetes_event.txt", &text);
}
