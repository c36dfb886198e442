//! Which lines are errors, and when they were written.

use super::*;
use crate::event::{Nothing, normalise};

fn log(at: &str, previous: bool, lines: &[&str]) -> RawEvent {
    let data = serde_json::json!({"namespace": "shop", "pod": "cart-1", "container": "app", "previous": previous, "lines": lines});
    let raw = serde_json::json!({"timestamp": at, "type": "ContainerLog", "source": "kubelet_collector", "data": data});
    serde_json::from_str(&raw.to_string()).unwrap()
}

fn error(raw: &RawEvent) -> Option<UnifiedEvent> {
    normalise(raw, &Nothing).unwrap().events.pop()
}

#[test]
fn a_line_is_an_error_by_its_level_or_by_its_words() {
    for (line, want) in [
        (r#"time=2026-11-21T09:03:53Z level=error app=cart msg="invalid MAX_CONNECTIONS""#, true),
        (r#"time=2026-11-21T09:03:53Z level=info app=cart msg="no error budget was refused""#, false),
        (r#"{"level":"info","logger":"inventory","msg":"inventory 1.0 starting, error handler set"}"#, false),
        (r#"{"severity":"ERROR","message":"boom"}"#, true),
        ("2026-11-21 09:16:26.439 ERROR 1 --- [main] c.acme.billing.Application : store ledger:6380", true),
        ("2026-11-21 09:05:21.617  INFO 1 --- [main] c.acme.orders.Application : configuration loaded", false),
        ("E0721 12:00:00.000000       1 reflector.go:1] Failed to watch", true),
        ("I0721 12:00:00.000000       1 main.go:1] errors are counted", false),
        (
            "2026/11/21 09:33:52 request failed: Get \"http://frontend:8080/api\": dial tcp: lookup frontend: i/o timeout",
            true,
        ),
        ("panic: runtime error: invalid memory address or nil pointer dereference", true),
        ("exec /app: exec format error", true),
        ("listening on :8080", false),
        ("finished with 0 errors", false),
        ("10.244.0.7 - - \"GET / HTTP/1.1\" 200 612", false),
    ] {
        assert_eq!(is_error_line(line), want, "{line}");
    }
}

#[test]
fn the_last_error_line_is_told_at_its_own_time_and_bounded() {
    let long = format!("time=2024-01-15T10:00:02Z level=error msg=\"{}\"", "ä".repeat(2_000));
    let raw = log("2024-01-15T10:30:00Z", false, &["time=2024-01-15T10:00:01Z level=error msg=a", &long, "bye"]);
    let e = error(&raw).unwrap();
    assert_eq!(e.timestamp.to_string(), "2024-01-15T10:00:02Z");
    assert_eq!(e.message.chars().count(), 500);
    assert_eq!((e.note("container"), e.note("previous")), (Some("app"), None));
}

#[test]
fn the_same_line_read_again_as_previous_is_the_same_event() {
    let line = ["time=2024-01-15T10:29:59Z level=error msg=\"no store\""];
    let (a, b) = (log("2024-01-15T10:30:00Z", false, &line), log("2024-01-15T10:30:09Z", true, &line));
    let (a, b) = (error(&a).unwrap(), error(&b).unwrap());
    assert_eq!(a.id, b.id);
    assert_eq!(b.note("previous"), Some("true"));
}

#[test]
fn the_excuse_of_the_api_is_no_line_of_the_log() {
    let raw = log("2024-01-15T10:30:00Z", true, &["unable to retrieve container logs for containerd://18d5 error"]);
    assert!(error(&raw).is_none());
    assert!(error(&log("2024-01-15T10:30:00Z", true, &[])).is_none());
}

#[test]
fn a_lines_time_is_read_where_it_is_plausible() {
    let seen = Time::parse("2024-01-15T10:30:00Z").unwrap();
    for (line, want) in [
        ("time=2024-01-15T10:29:53Z level=error", Some("2024-01-15T10:29:53Z")),
        ("2024-01-15T12:29:53.5+02:00 stderr F boom", Some("2024-01-15T10:29:53.500Z")),
        (r#"{"msg":"x","ts":"2024-01-15T10:29:45.286797767Z"}"#, Some("2024-01-15T10:29:45.286797Z")),
        ("2024-01-15 10:29:53.439 ERROR 1", Some("2024-01-15T10:29:53.439Z")),
        ("2024-01-15 10:29:53,439 ERROR", Some("2024-01-15T10:29:53.439Z")),
        ("2024/01/15 10:29:53 request failed", Some("2024-01-15T10:29:53Z")),
        // A clock of another zone, or of the future, says nothing.
        ("2024-01-15 05:29:53 ERROR", None),
        ("2024-01-15T10:31:00Z error", None),
        ("code 2024 of 20 errors", None),
        ("20ä4-01-15T10:29:53Z error ääääääääääääääää", None),
        ("", None),
    ] {
        assert_eq!(line_time(line, seen).map(|t| t.to_string()).as_deref(), want, "{line}");
    }
}
