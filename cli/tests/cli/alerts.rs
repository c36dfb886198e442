//! `tapio alerts`, and the settings of its sinks.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;

use crate::running::{Ran, recording, run, tapio, text};

/// A data folder, made by a replay.
fn folder(dir: &Path) -> String {
    let data = dir.join("data");
    run(&["replay", text(&recording()), "--data-dir", text(&data), "-q"]).ok();
    text(&data).to_owned()
}

fn settings(dir: &Path, sinks: &str) -> String {
    let file = dir.join("tapio.yaml");
    fs::write(&file, format!("alerts:\n  sinks:\n{sinks}")).unwrap();
    text(&file).to_owned()
}

#[test]
fn silences_are_made_listed_and_ended() {
    let dir = tempfile::tempdir().unwrap();
    let data = folder(dir.path());
    let at = |args: &[&str]| run(&[&["alerts"][..], args, &["--data-dir", data.as_str()]].concat());
    assert_eq!(at(&["silences"]).ok(), "no silences\n");
    let made = at(&["silence", "namespace=shop", "name=~cart-.*", "--for", "1h", "--comment", "load test"]).ok();
    assert!(made.starts_with("silence 1 until "), "{made}");
    let list = at(&["silences"]).ok();
    assert!(list.contains("name=~\"cart-.*\"") && list.contains("load test"), "{list}");
    let json = at(&["silences", "-o", "json"]).ok();
    assert!(json.contains("\"label\": \"namespace\""), "{json}");
    at(&["unsilence", "1"]).ok();
    at(&["unsilence", "1"]).failed(1, "no silence 1 in force");
    assert_eq!(at(&["silences"]).ok(), "no silences\n");
    at(&["silence", "nonsense"]).failed(2, "LABEL=VALUE");
    at(&["silence", "a=~("]).failed(2, "regular expression");
    at(&["silence", "a=b", "--for", "soon"]).failed(2, "30m, 2h, 1d");
    at(&["silence", "a=b", "--until", "2001-01-01T00:00:00Z"]).failed(2, "an end that is to come");
    assert!(at(&["list"]).ok().contains("no such alerts"));
    at(&["resend"]).failed(1, "no such dead letter");
}

#[test]
fn a_folder_that_is_none_is_said_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    run(&["alerts", "list", "--data-dir", text(&dir.path().join("x"))]).failed(2, "no outbox of alerts");
    fs::write(dir.path().join("log.sqlite"), "x".repeat(5_000)).unwrap();
    run(&["alerts", "list", "--data-dir", text(dir.path())]).failed(3, "log.sqlite");
}

#[test]
fn settings_are_checked_and_show_where_a_secret_lies_and_never_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    fs::write(&secret, "https://hooks.example/canary-1234").unwrap();
    let file = settings(dir.path(), &format!("  - {{name: chat, type: slack, url_file: {}}}\n", text(&secret)));
    let shown = run(&["check", "config", &file]).ok();
    assert!(shown.contains(text(&secret)) && !shown.contains("canary"), "{shown}");
    let bad = settings(dir.path(), "  - {name: chat, type: slack, url: 'https://hooks.example/x'}\n");
    run(&["check", "config", &bad]).failed(2, "give url_file or url_env");
    let bad = settings(dir.path(), "  - {name: chat, type: slack, url_evn: X}\n");
    run(&["check", "config", &bad]).failed(2, "url_evn");
}

#[test]
fn a_test_reaches_its_sink_or_says_why_not_and_shows_no_secret() {
    let dir = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/canary-5678", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let mut bodies = Vec::new();
        for status in ["200 OK", "403 Forbidden"] {
            let (mut stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut length = 0;
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                if let Some(n) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = n.trim().parse().unwrap();
                }
                if line.trim().is_empty() {
                    break;
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            bodies.push(String::from_utf8(body).unwrap());
            write!(stream, "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 14\r\n\r\nno canary-5678")
                .unwrap();
        }
        bodies
    });
    let file =
        settings(dir.path(), "  - {name: chat, type: slack, url_env: CHAT_URL}\n  - {name: out, type: stdout}\n");
    let chat = || {
        let args = ["alerts", "test", "--sink", "chat", "--config", &file];
        Ran::of(tapio(&args).env("CHAT_URL", &url).output().unwrap())
    };
    assert_eq!(chat().ok(), "sink chat took the test\n");
    let refused = chat();
    assert!(!refused.err.contains("canary"), "{}", refused.err);
    refused.failed(3, "answers 403");
    let bodies = server.join().unwrap();
    assert!(bodies[0].contains("test of alerts") && bodies[0].contains("nothing is wrong"), "{}", bodies[0]);
    let line = run(&["alerts", "test", "--sink", "out", "--config", &file]).ok();
    assert!(line.starts_with("{\"data\":") && line.contains("io.tapio.incident.test"), "{line}");
    run(&["alerts", "test", "--sink", "none", "--config", &file]).failed(1, "there are chat, out");
    run(&["alerts", "test", "--sink", "chat", "--config", &file]).failed(3, "CHAT_URL is not set");
}
