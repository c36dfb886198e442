//! The stream of incidents: ids, going on behind one, signs of life, clients that are too slow, a graceful end.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tapio_api::Happening;
use tapio_core::answer::{Incident, IncidentState};
use tapio_core::id::Id;
use tapio_core::time::Time;
use tapio_core::unified::Severity;
use tapio_engine::incidents::Transition;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::place::{Place, config};

/// A stream that is read piece by piece.
struct Reading {
    body: Incoming,
    text: String,
}

impl Reading {
    async fn open(place: &Place, last: Option<&str>) -> Self {
        let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
        let mut request = Request::get(format!("{}/api/v1/stream", place.url));
        if let Some(id) = last {
            request = request.header("last-event-id", id);
        }
        let response = client.request(request.body(Empty::new()).unwrap()).await.unwrap();
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Reading { body: response.into_body(), text: String::new() }
    }

    /// The next block between empty lines; none at the end.
    async fn block(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                return Some(block);
            }
            let frame = tokio::time::timeout(Duration::from_secs(5), self.body.frame()).await.expect("in time");
            let data = frame?.ok()?.into_data().ok()?;
            self.text.push_str(std::str::from_utf8(&data).unwrap());
        }
    }

    /// The next event: id, name, data.
    async fn event(&mut self) -> (String, String, serde_json::Value) {
        loop {
            let block = self.block().await.expect("an event");
            let field = |f: &str| block.lines().find_map(|l| l.strip_prefix(f)).unwrap_or_default().to_owned();
            if block.starts_with("id: ") {
                let data = serde_json::from_str(&field("data: ")).unwrap();
                return (field("id: "), field("event: "), data);
            }
        }
    }
}

fn incident(n: usize) -> Incident {
    let at = Time::parse("2026-04-14T10:00:00Z").unwrap();
    Incident {
        id: Id::of("incident", &[&n.to_string()]),
        state: IncidentState::Open,
        severity: Severity::High,
        opened_at: at,
        since: at,
        updated_at: at,
        resolved_at: None,
        explained_at: None,
        root_cause: None,
        symptoms: Vec::new(),
    }
}

fn tell(place: &Place, n: usize) {
    place.feed.tell(&Happening::of(Transition::Updated, &incident(n)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_comes_back_goes_on_where_it_was() {
    let place = Place::new(config()).await;
    let mut first = Reading::open(&place, None).await;
    assert!(first.block().await.unwrap().starts_with("retry: "));
    tell(&place, 1);
    tell(&place, 2);
    let (id, name, data) = first.event().await;
    assert_eq!((name.as_str(), &data["incident"]["id"]), ("updated", &serde_json::json!(incident(1).id)));
    assert_eq!((&data["transition"], &data["at"]), (&"updated".into(), &"2026-04-14T10:00:00Z".into()));
    drop(first);
    tell(&place, 3);
    let mut again = Reading::open(&place, Some(&id)).await;
    for n in [2, 3] {
        assert_eq!(again.event().await.2["incident"]["id"], serde_json::json!(incident(n).id));
    }
    // What is new comes to both without being asked for.
    tell(&place, 4);
    assert_eq!(again.event().await.2["incident"]["id"], serde_json::json!(incident(4).id));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_kept_any_more_is_said() {
    let mut small = config();
    small.stream_events = 4;
    let place = Place::new(small).await;
    let mut first = Reading::open(&place, None).await;
    tell(&place, 0);
    let (old, ..) = first.event().await;
    drop(first);
    (1..=10).for_each(|n| tell(&place, n));
    for id in [old.as_str(), "another-process-7", "x", "18c-99999999"] {
        let mut reading = Reading::open(&place, Some(id)).await;
        let (at, name, data) = reading.event().await;
        assert!(name == "reset" && data["why"].as_str().is_some_and(|w| !w.is_empty()), "{id}: {name} {data}");
        drop(reading);
        // From there it goes on without another one.
        tell(&place, 11);
        assert_eq!(Reading::open(&place, Some(&at)).await.event().await.1, "updated");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_stream_shows_that_it_lives_and_ends_with_the_server() {
    let mut place = Place::new(config()).await;
    let mut reading = Reading::open(&place, None).await;
    reading.block().await.unwrap();
    for _ in 0..3 {
        assert_eq!(reading.block().await.unwrap(), ": heartbeat");
    }
    assert!(place.metrics.text().contains("tapio_stream_clients 1"));
    let took = place.end().await;
    while let Some(block) = reading.block().await {
        assert_eq!(block, ": heartbeat");
    }
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert!(place.metrics.text().contains("tapio_stream_clients 0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_nothing_in_is_dropped_and_counted() {
    let mut small = config();
    small.stream_events = 200;
    small.max_streams = 2;
    let place = Place::new(small).await;
    let mut socket = tokio::net::TcpStream::connect(place.addr).await.unwrap();
    socket.write_all(b"GET /api/v1/stream HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let clients = async |n: usize| {
        while !place.metrics.text().contains(&format!("tapio_stream_clients {n}\n")) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    clients(1).await;
    let mut other = Reading::open(&place, None).await;
    clients(2).await;
    // A third is one too many.
    place.get("/api/v1/stream").await.is_problem(503);
    let mut big = incident(1);
    big.symptoms = vec![
        tapio_core::answer::Symptom {
            object: tapio_core::object::ObjectRef::new("Pod", "shop", "p"),
            says: "x".repeat(64 << 10),
            at: big.since,
        };
        2
    ];
    let begun = std::time::Instant::now();
    // The buffers of both kernels' ends are filled at some time.
    while !place.metrics.text().contains("tapio_stream_clients 1") {
        place.feed.tell(&Happening::of(Transition::Updated, &big));
        other.event().await;
        assert!(begun.elapsed() < Duration::from_secs(20), "it is still there");
    }
    let text = place.metrics.text();
    let dropped = text.lines().any(|l| {
        l.starts_with("tapio_stream_dropped_total{reason=\"slow\"}")
            || l.starts_with("tapio_stream_dropped_total{reason=\"behind\"}")
    });
    assert!(dropped || text.contains("tapio_http_refused_total{reason=\"stalled\"}"), "{text}");
    let mut left = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(5), socket.read_to_end(&mut left)).await;
    assert!(ended.is_ok(), "its connection is closed");
    // The other one has missed nothing.
    tell(&place, 9);
    assert_eq!(other.event().await.2["incident"]["id"], serde_json::json!(incident(9).id));
}
