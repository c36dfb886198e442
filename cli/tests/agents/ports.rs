//! What agent, server and `up` say over HTTP of how they stand, and what they refuse.

use super::fake_kubelet::pod;
use super::place::{Place, Process, ask, get, json};

#[test]
fn agent_and_server_say_how_they_stand_and_the_server_has_the_api_of_up() {
    let place = Place::new();
    place.kubelet.put(pod("shop", "cart", "uid-cart"));
    let mut server = place.server("127.0.0.1:0");
    let agent = place.agent(server.address);
    server.until_ready();
    agent.until_ready();
    agent.until("the server", |a| a.metric("tapio_agent_connected") == Some(1.0));
    assert_eq!((server.get("/livez").0, agent.get("/livez").0), (200, 200));
    let parts = json(&agent.get("/readyz").1);
    for part in ["server", "kubelet", "kubelet /pods", "network files"] {
        let found = parts["parts"].as_array().unwrap().iter().find(|p| p["part"] == part);
        assert_eq!(found.unwrap_or_else(|| panic!("{part} in {parts}"))["state"], "ready", "{parts}");
    }
    let parts = json(&server.get("/readyz").1);
    assert!(parts["parts"].as_array().unwrap().iter().any(|p| p["part"] == "first lists"), "{parts}");
    server.until("an agent", |s| s.metric("tapio_agents") == Some(1.0));
    let mine = agent.get("/metrics").1;
    for name in ["tapio_agent_forwarded_total{what=\"sent\"}", "tapio_agent_spool_bytes ", "tapio_build_info{"] {
        assert!(mine.contains(name), "{name} in {mine}");
    }
    assert!(!mine.contains("tapio_engine"), "an agent has no engine: {mine}");

    // The port for agents has nothing for people, the one for people has it all.
    assert_eq!(server.get("/api/v1/incidents").0, 404);
    let people = server.word("API at http://").parse().unwrap();
    let (status, body) = get(people, "/api/v1/objects/pod/shop/cart").unwrap();
    assert!(matches!(status, 200 | 404), "{status} {body}");
    for path in ["/api/v1/incidents", "/api/v1/answer", "/openapi.json", "/readyz", "/metrics"] {
        assert_eq!(get(people, path).unwrap().0, 200, "{path}");
    }
    assert_eq!(get(people, "/v1/ingest?agent=node-1&spool=s").unwrap().0, 404, "agents come by their own port");

    // The server goes; the agent stays ready and says so.
    let address = server.address;
    server.kill();
    agent.until("the word of a server that is away", |a| {
        a.get("/readyz").1.contains("cannot be reached") && a.get("/readyz").0 == 200
    });
    let server = place.server(&address.to_string());
    agent.until("the server again", |a| a.metric("tapio_agent_connected") == Some(1.0));
    assert!(agent.end().0.success());
    assert!(server.end().0.success());
}

#[test]
fn who_is_no_agent_gets_an_answer_and_brings_nothing_in() {
    let place = Place::new();
    let server = place.server("127.0.0.1:0");
    server.until_ready();
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(200_000));
    let big =
        format!("POST /v1/ingest HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{}", 6 << 20, "x".repeat(6 << 20));
    let close = "Host: x\r\nConnection: close\r\n";
    let with = |token: &str| format!("{close}Authorization: Bearer {token}\r\n\r\n");
    let path = "/v1/ingest?agent=node-1&spool=s HTTP/1.1\r\n";
    for (request, status) in [
        (format!("GET {path}{close}\r\n"), 401),
        (format!("GET {path}{}", with("forged")), 401),
        (format!("GET {path}{}", with("for-the-server")), 200),
        (format!("GET /v1/ingest?agent=node-2&spool=s HTTP/1.1\r\n{}", with("for-the-server")), 403),
        (format!("DELETE {path}{close}\r\n"), 405),
        (format!("POST /v1/ingest HTTP/1.1\r\nContent-Length: 3\r\n{}abc", with("for-the-server")), 400),
        (format!("GET /nothing HTTP/1.1\r\n{close}\r\n"), 404),
    ] {
        let (got, body) = ask(server.address, &request).unwrap();
        assert_eq!(got, status, "{request}: {body}");
    }
    for request in [long.as_str(), big.as_str(), "\x16\x03\x01\x02\x00garbage\r\n\r\n"] {
        // An answer, or an end; the server goes on.
        let _ = ask(server.address, request);
    }
    assert_eq!(server.get("/readyz").0, 200);
    assert_eq!(server.metric(r#"tapio_ingest_events_total{outcome="accepted"}"#).unwrap_or_default(), 0.0);
    assert!(server.end().0.success());
}

#[test]
fn up_still_answers_beside_a_kubeconfig() {
    let place = Place::new();
    let mut up = Process::start(
        &["up", "--listen", "127.0.0.1:0", "-o", "json"],
        &[("--kubeconfig", place.path("kubeconfig")), ("--data-dir", place.path("up"))],
    );
    up.address = up.word("API at http://").parse().unwrap();
    up.until_ready();
    assert_eq!(up.get("/api/v1/incidents").0, 200);
    assert_eq!(up.get("/v1/ingest").0, 404, "nobody brings anything to `up`");
    let (status, said) = up.end();
    assert!(status.success() && said.contains("ended"), "{said}");
}

#[test]
fn what_cannot_begin_is_said_with_a_remedy() {
    let place = Place::new();
    let server = place.server("127.0.0.1:0");
    let taken = server.address.to_string();
    let agent = |listen: &str, server: &str| {
        Process::start(
            &["agent", "--node", "node-1", "--listen", listen, "--server", server],
            &[("--token-file", place.path("token")), ("--data-dir", place.path("another"))],
        )
    };
    for (mut process, code, says) in [
        (agent(&taken, "http://127.0.0.1:1"), 3, "--listen"),
        (agent("127.0.0.1:0", "http://tapio.example"), 2, "https://"),
        (
            Process::start(
                &["server", "--no-lease", "--listen", "127.0.0.1:0"],
                &[("--kubeconfig", place.path("kubeconfig")), ("--agent-token-file", place.path("missing"))],
            ),
            2,
            "token file",
        ),
    ] {
        let ended = process.wait();
        assert_eq!(ended.code(), Some(code), "{}", process.all());
        assert!(process.all().contains(says), "{}", process.all());
    }
}
