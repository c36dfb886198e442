//! Requests that nobody should send: each is refused in good form or cut off, counted, and costs nobody else anything.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::place::{Place, config};

const JSON: &[(&str, &str)] = &[("content-type", "application/json")];

/// Sends bytes and reads until the other side ends it; how long that took.
async fn raw(addr: SocketAddr, bytes: &[u8]) -> (String, Duration) {
    let begun = Instant::now();
    let mut socket = TcpStream::connect(addr).await.unwrap();
    // It may have been cut off before all was sent.
    let _ = socket.write_all(bytes).await;
    let mut out = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(10), socket.read_to_end(&mut out)).await.expect("it is ended");
    (String::from_utf8_lossy(&out).into_owned(), begun.elapsed())
}

/// Method, path, headers, body and the status that is due.
type Case<'a> = (Method, &'a str, &'a [(&'a str, &'a str)], &'a str, u16);

#[tokio::test(flavor = "multi_thread")]
async fn strange_requests_are_refused_in_good_form() {
    let place = Place::new(config()).await;
    let deep_json =
        format!("{{\"query\":\"RETURN 1\",\"params\":{{\"x\":{}1{}}}}}", "[".repeat(5_000), "]".repeat(5_000));
    let deep_cypher = format!("{{\"query\":\"RETURN {}1{}\"}}", "(".repeat(5_000), ")".repeat(5_000));
    let two = [("content-type", "application/json"), ("content-length", "5")];
    let cases: Vec<Case<'_>> = vec![
        (Method::GET, "/", &[], "", 404),
        (Method::GET, "/api/v1/incidents/", &[], "", 404),
        (Method::GET, "/docs/../../etc/passwd", &[], "", 404),
        (Method::GET, "/docs/%2e%2e%2f%2e%2e%2fetc%2fpasswd", &[], "", 404),
        (Method::DELETE, "/api/v1/incidents", &[], "", 405),
        (Method::POST, "/livez", &[], "", 405),
        (Method::OPTIONS, "/api/v1/query", &[("access-control-request-method", "POST")], "", 405),
        (Method::GET, "/api/v1/incidents?cursor=zz", &[], "", 400),
        (Method::GET, "/api/v1/incidents?cursor=7b7d", &[], "", 400),
        (Method::GET, "/api/v1/incidents?cursor=%f0%9f%92%a5", &[], "", 400),
        (Method::GET, "/api/v1/incidents?limit=99999999999999999999999", &[], "", 400),
        (Method::GET, "/api/v1/incidents?state=open&state=open", &[], "", 400),
        (Method::GET, "/api/v1/incidents/%00%0d%0a", &[], "", 400),
        (Method::GET, "/api/v1/why/pod/%ff%fe", &[], "", 400),
        (Method::GET, "/api/v1/why/pod/..%2f..%2fetc", &[], "", 404),
        (Method::POST, "/api/v1/query", JSON, &deep_json, 400),
        (Method::POST, "/api/v1/query", JSON, &deep_cypher, 422),
        (Method::POST, "/api/v1/query", JSON, "\u{feff}{}", 400),
        (Method::POST, "/api/v1/query", JSON, "", 400),
        (Method::POST, "/api/v1/query", &two, "{}   ", 400),
        (Method::POST, "/api/v1/query", JSON, r#"{"query":"RETURN 1","query":"CREATE (n)"}"#, 400),
        (Method::POST, "/api/v1/query", JSON, r#"{"query":"CALL dbms.shutdown()"}"#, 422),
        (Method::GET, "/api/v1/answer", &[("host", "evil.example")], "", 403),
        (Method::GET, "/api/v1/answer", &[("host", "localhost.evil.example:80")], "", 403),
        (Method::GET, "/api/v1/answer", &[("origin", "https://evil.example")], "", 403),
        (Method::GET, "/api/v1/answer", &[("origin", "null")], "", 403),
        (Method::GET, "/docs/", &[("host", "evil.example")], "", 403),
    ];
    for (method, path, headers, body, status) in cases {
        let answer = place.ask(method.clone(), path, headers, body).await;
        assert_eq!(answer.status.as_u16(), status, "{method} {path}: {}", answer.text());
        answer.is_problem(status);
        assert!(!answer.headers.contains_key("access-control-allow-origin"), "{path}");
        if status == 405 {
            assert!(answer.headers.contains_key("allow"), "{method} {path}: {:?}", answer.headers);
        }
    }
    let own = [("origin", "http://localhost:7878"), ("host", "localhost")];
    assert!(place.ask(Method::GET, "/api/v1/answer", &own, "").await.status.is_success());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_send_is_cut_off() {
    let place = Place::new(config()).await;
    let long = format!("GET / HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n", "x".repeat(200 << 10));
    let many = format!("GET / HTTP/1.1\r\nhost: localhost\r\n{}\r\n", "a: b\r\n".repeat(500));
    for (bytes, wants) in [
        (&b""[..], ""),
        (b"G", ""),
        (b"GET /livez HTTP/1.1\r\nhost: loc", ""),
        (b"PRI * HTTP/2.0\r\n", ""),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", ""),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "HTTP/1.1 400"),
        (b"\xff\xfe\xfd\r\n\r\n", "HTTP/1.1 400"),
        (b"GET /\xff HTTP/1.1\r\n\r\n", "HTTP/1.1 400"),
        (b"GET /livez HTTP/1.1\r\n\r\n", "HTTP/1.1 403"),
        (b"POST /api/v1/query HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\nconnection: close\r\n\r\n", ""),
        (long.as_bytes(), "HTTP/1.1 431"),
        (many.as_bytes(), "HTTP/1.1 431"),
    ] {
        let (text, took) = raw(place.addr, bytes).await;
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(40)]).into_owned();
        assert!(text.starts_with(wants), "{shown:?}: {text}");
        assert!(took < Duration::from_secs(4), "{shown:?} took {took:?}");
    }
    let metrics = place.metrics.text();
    assert!(metrics.contains("tapio_http_refused_total{reason=\"silent\"}"), "{metrics}");
    assert!(place.get("/livez").await.status.is_success());
    // An idle connection is not kept for ever.
    let (text, took) = raw(place.addr, b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    assert!(text.starts_with("HTTP/1.1 200") && took < Duration::from_secs(4), "{took:?}: {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_bounded_and_free_again() {
    let mut few = config();
    few.max_connections = 3;
    few.receive_timeout_millis = 1_500;
    let place = Place::new(few).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut socket = TcpStream::connect(place.addr).await.unwrap();
        socket.write_all(b"G").await.unwrap();
        held.push(socket);
    }
    while !place.metrics.text().contains("tapio_http_connections 3") {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (text, took) = raw(place.addr, b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    assert!(text.is_empty() && took < Duration::from_secs(1), "{took:?}: {text}");
    assert!(place.metrics.text().contains("tapio_http_refused_total{reason=\"connections\"} 1"));
    drop(held);
    while !place.metrics.text().contains("tapio_http_connections 0") {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(place.get("/livez").await.status.is_success());
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_can_be_read_and_strange_requests_make_no_labels() {
    let place = Place::new(config()).await;
    for n in 0..50 {
        place.get(&format!("/nowhere/{n}")).await.is_problem(404);
        place.get(&format!("/api/v1/why/pod/p{n}")).await.is_problem(404);
        let method: Method = format!("M{n}").parse().unwrap();
        place.ask(method, "/livez", &[], "").await.is_problem(405);
    }
    let answer = place.get("/metrics").await;
    assert_eq!(answer.media_type(), "application/openmetrics-text");
    let text = answer.text();
    assert!(text.ends_with("# EOF\n"));
    let mut requests = 0;
    for line in text.lines().filter(|l| !l.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
        let bare = name.split('{').next().unwrap();
        assert!(bare.starts_with("tapio_") && bare.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{line}");
        requests += usize::from(bare == "tapio_http_requests_total");
    }
    assert!(requests < 10, "{text}");
    for name in [
        "build_info{version=",
        "http_requests_total",
        "dropped_total{component=\"engine\"",
        "graph_write_duration_seconds_bucket",
        "detection_duration_seconds_count",
        "engine_lag_records",
    ] {
        // What the engine counts comes in by whoever wires it up.
        place.metrics.set(&tapio_api::Levels::default());
        assert!(place.metrics.text().contains(&format!("tapio_{name}")), "{name}");
    }
    assert!(text.contains("route=\"none\",method=\"GET\",status=\"404\"} 50") && text.contains("method=\"other\""));
}
