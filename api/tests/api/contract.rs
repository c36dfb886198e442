//! The routes against their own description: every operation, every documented status but defects, every response's
//! form.

use std::collections::BTreeSet;

use http::Method;
use serde_json::{Value, json};

use crate::place::{Answer, Place, config};

/// The description with what was exercised of it.
struct Contract {
    doc: Value,
    exercised: BTreeSet<(String, String)>,
}

impl Contract {
    async fn of(place: &Place) -> Self {
        let doc = place.get("/openapi.json").await.json();
        assert!(doc["openapi"].as_str().unwrap().starts_with("3.1"), "{}", doc["openapi"]);
        Contract { doc, exercised: BTreeSet::new() }
    }

    /// Every operation: id, method, path.
    fn operations(&self) -> Vec<(String, Method, String)> {
        let of_path = |(path, ops): (&String, &Value)| {
            let of = |(m, op): (&String, &Value)| {
                let method = m.to_uppercase().parse().unwrap();
                (op["operationId"].as_str().unwrap().to_owned(), method, path.clone())
            };
            ops.as_object().unwrap().iter().map(of).collect::<Vec<_>>()
        };
        self.doc["paths"].as_object().unwrap().iter().flat_map(of_path).collect()
    }

    /// Holds a response of an operation to its description.
    #[track_caller]
    fn holds(&mut self, id: &str, answer: &Answer) {
        let (_, method, path) = self.operations().into_iter().find(|(i, ..)| i == id).expect(id);
        let operation = &self.doc["paths"][&path][method.as_str().to_lowercase()];
        let status = answer.status.as_u16().to_string();
        let told = &operation["responses"][&status];
        assert!(told.is_object(), "{id}: status {status} is not described: {}", answer.text());
        let content = told["content"].as_object().unwrap_or_else(|| panic!("{id} {status}: no content"));
        let media = answer.media_type();
        let schema = &content.get(media).unwrap_or_else(|| panic!("{id} {status}: {media} is not described"))["schema"];
        if media.ends_with("json") {
            let errors = self.errors(schema, &answer.json());
            assert!(errors.is_empty(), "{id} {status}: {errors:#?}\n{}", answer.text());
        }
        self.exercised.insert((id.to_owned(), status));
    }

    fn errors(&self, schema: &Value, instance: &Value) -> Vec<String> {
        let mut whole = schema.clone();
        whole["components"] = self.doc["components"].clone();
        let validator = jsonschema::draft202012::new(&whole).expect("the schema holds together");
        validator.iter_errors(instance).map(|e| format!("{}: {e}", e.instance_path())).collect()
    }

    /// Statuses that are described and were not seen.
    fn unseen(&self) -> BTreeSet<(String, String)> {
        let described = self.operations().into_iter().flat_map(|(id, method, path)| {
            let responses = &self.doc["paths"][&path][method.as_str().to_lowercase()]["responses"];
            let of = responses.as_object().unwrap().keys().map(move |s| (id.clone(), s.clone()));
            of.collect::<Vec<_>>()
        });
        described.filter(|d| !self.exercised.contains(d)).collect()
    }
}

/// A path of an operation with something in the place of every parameter.
fn filled(path: &str) -> String {
    let parts = [("{kind}", "service"), ("{namespace}", "shop"), ("{name}", "pay"), ("{id}", "0000")];
    parts.iter().fold(path.to_owned(), |p, (name, value)| p.replace(name, value))
}

const JSON: &[(&str, &str)] = &[("content-type", "application/json")];

/// Operation, method, path, headers, body and the status that is due.
type Case<'a> = (&'a str, Method, &'a str, &'a [(&'a str, &'a str)], &'a str, u16);

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_answers_as_it_is_described() {
    let place = Place::new(config()).await;
    let mut c = Contract::of(&place).await;
    let id = place.get("/api/v1/incidents").await.json()["incidents"][0]["id"].as_str().unwrap().to_owned();
    let long = "x".repeat(300 << 10);
    let big = format!("{{\"query\":\"{long}\"}}");
    let port = r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"pay","namespace":"shop"},
        "spec":{"selector":{"app":"pay"},"ports":[{"name":"tcp","port":9090,"targetPort":1,"protocol":"TCP"}]}}"#;
    let by_id = format!("/api/v1/incidents/{}", &id[..8]);
    let get = Method::GET;
    let cases: Vec<Case<'_>> = vec![
        ("answer", get.clone(), "/api/v1/answer", &[], "", 200),
        ("answer", get.clone(), "/api/v1/answer?namespace=shop", &[], "", 200),
        ("answer", get.clone(), "/api/v1/answer?namespaces=shop", &[], "", 400),
        ("incidents", get.clone(), "/api/v1/incidents", &[], "", 200),
        (
            "incidents",
            get.clone(),
            "/api/v1/incidents?state=open&severity=low&namespace=shop&since=2h&limit=1",
            &[],
            "",
            200,
        ),
        ("incidents", get.clone(), "/api/v1/incidents?state=closed", &[], "", 400),
        ("incidents", get.clone(), "/api/v1/incidents?limit=0", &[], "", 400),
        ("incidents", get.clone(), "/api/v1/incidents?since=yesterday", &[], "", 400),
        ("incident", get.clone(), &by_id, &[], "", 200),
        ("incident", get.clone(), "/api/v1/incidents/00000000", &[], "", 404),
        ("incident", get.clone(), "/api/v1/incidents/not-an-id", &[], "", 400),
        ("why", get.clone(), "/api/v1/why/svc/pay", &[], "", 200),
        ("why", get.clone(), "/api/v1/why/node/node-a", &[], "", 200),
        ("why", get.clone(), "/api/v1/why/svc/pax", &[], "", 404),
        ("why", get.clone(), "/api/v1/why/svc/%ff", &[], "", 400),
        ("why_in_namespace", get.clone(), "/api/v1/why/deployments.apps/shop/web", &[], "", 200),
        ("why_in_namespace", get.clone(), "/api/v1/why/gizmo/shop/web", &[], "", 404),
        ("why_in_namespace", get.clone(), "/api/v1/why/svc/%c3%28/pay", &[], "", 400),
        ("impact", get.clone(), "/api/v1/impact/svc/pay", &[], "", 200),
        ("impact", get.clone(), "/api/v1/impact/svc/nobody", &[], "", 404),
        ("impact", get.clone(), "/api/v1/impact/%ff/nobody", &[], "", 400),
        ("impact_in_namespace", get.clone(), "/api/v1/impact/secret/shop/web-session", &[], "", 200),
        ("impact_in_namespace", get.clone(), "/api/v1/impact/secret/shop/nobody", &[], "", 404),
        ("impact_in_namespace", get.clone(), "/api/v1/impact/secret/shop/%ff", &[], "", 400),
        ("what_if", Method::POST, "/api/v1/impact", JSON, port, 200),
        ("what_if", Method::POST, "/api/v1/impact?delete=true&namespace=shop", JSON, port, 200),
        ("what_if", Method::POST, "/api/v1/impact?delete=maybe", JSON, port, 400),
        ("what_if", Method::POST, "/api/v1/impact", JSON, "{", 422),
        ("what_if", Method::POST, "/api/v1/impact", JSON, &long, 413),
        ("what_if", Method::POST, "/api/v1/impact", &[("content-type", "text/plain")], port, 415),
        ("timeline", get.clone(), "/api/v1/timeline/svc/pay?since=1h&limit=5&related=false", &[], "", 200),
        ("timeline", get.clone(), "/api/v1/timeline/svc/pay?limit=-1", &[], "", 400),
        ("timeline", get.clone(), "/api/v1/timeline/svc/nobody", &[], "", 404),
        ("timeline_in_namespace", get.clone(), "/api/v1/timeline/svc/shop/pay", &[], "", 200),
        ("timeline_in_namespace", get.clone(), "/api/v1/timeline/svc/shop/pay?since=1", &[], "", 400),
        ("timeline_in_namespace", get.clone(), "/api/v1/timeline/svc/elsewhere/pay", &[], "", 404),
        ("objects", get.clone(), "/api/v1/objects?kind=po&namespace=shop&name=WEB&absent=true", &[], "", 200),
        ("objects", get.clone(), "/api/v1/objects?limit=1001", &[], "", 400),
        ("object", get.clone(), "/api/v1/objects/node/node-a", &[], "", 200),
        ("object", get.clone(), "/api/v1/objects/node/node-z", &[], "", 404),
        ("object", get.clone(), "/api/v1/objects/node/%ff", &[], "", 400),
        ("object_in_namespace", get.clone(), "/api/v1/objects/svc/shop/pay", &[], "", 200),
        ("object_in_namespace", get.clone(), "/api/v1/objects/svc/shop/nobody", &[], "", 404),
        ("object_in_namespace", get.clone(), "/api/v1/objects/svc/%ff/nobody", &[], "", 400),
        ("scope", get.clone(), "/api/v1/scope?namespace=shop", &[], "", 200),
        ("scope", get.clone(), "/api/v1/scope?x", &[], "", 400),
        ("findings", get.clone(), "/api/v1/findings?pattern=death-spiral", &[], "", 200),
        ("findings", get.clone(), "/api/v1/findings?x=1", &[], "", 400),
        (
            "query",
            Method::POST,
            "/api/v1/query",
            JSON,
            r#"{"query":"MATCH (i:Incident)-[r:ROOT_CAUSE]->(o) RETURN i, r, o.name AS name, $x AS x","params":{"x":[1,{"a":null},2.5]}}"#,
            200,
        ),
        (
            "query",
            Method::POST,
            "/api/v1/query",
            JSON,
            r#"{"query":"MATCH (n) RETURN n","max_rows":2,"at":"2026-04-14T10:01:00Z","timeout_millis":1000}"#,
            200,
        ),
        ("query", Method::POST, "/api/v1/query", JSON, r#"{"query":"CREATE (n)"}"#, 422),
        ("query", Method::POST, "/api/v1/query", JSON, r#"{"cypher":"RETURN 1"}"#, 400),
        ("query", Method::POST, "/api/v1/query", &[], r#"{"query":"RETURN 1"}"#, 415),
        ("query", Method::POST, "/api/v1/query", JSON, &big, 413),
        ("patterns", get.clone(), "/api/v1/patterns", &[], "", 200),
        ("pattern", get.clone(), "/api/v1/patterns/death-spiral", &[], "", 200),
        ("pattern", get.clone(), "/api/v1/patterns/death-spirals", &[], "", 404),
        ("pattern", get.clone(), "/api/v1/patterns/%ff", &[], "", 400),
        ("mechanisms", get.clone(), "/api/v1/mechanisms", &[], "", 200),
        ("mechanism", get.clone(), "/api/v1/mechanisms/config-content-invalid", &[], "", 200),
        ("mechanism", get.clone(), "/api/v1/mechanisms/x", &[], "", 404),
        ("mechanism", get.clone(), "/api/v1/mechanisms/%ff", &[], "", 400),
        ("log_level", get.clone(), "/api/v1/log-level", &[], "", 200),
        ("set_log_level", Method::PUT, "/api/v1/log-level", JSON, r#"{"level":"debug"}"#, 200),
        ("set_log_level", Method::PUT, "/api/v1/log-level", JSON, r#"{"level":"loud"}"#, 422),
        ("set_log_level", Method::PUT, "/api/v1/log-level", JSON, "[]", 400),
        ("set_log_level", Method::PUT, "/api/v1/log-level", JSON, &long, 413),
        ("set_log_level", Method::PUT, "/api/v1/log-level", &[], r#"{"level":"debug"}"#, 415),
        ("set_log_level", Method::PUT, "/api/v1/log-level", JSON, r#"{"level":"fall over"}"#, 500),
        ("livez", get.clone(), "/livez", &[], "", 200),
        ("readyz", get.clone(), "/readyz", &[], "", 200),
        ("metrics", get.clone(), "/metrics", &[], "", 200),
    ];
    for (id, method, path, headers, body, status) in cases {
        let answer = place.ask(method, path, headers, body).await;
        assert_eq!(answer.status.as_u16(), status, "{id} {path}: {}", answer.text());
        if status >= 400 {
            answer.is_problem(status);
        }
        c.holds(id, &answer);
    }
    ambiguous(&place, &mut c).await;
    refused_everywhere(&place, &mut c).await;
    busy_everywhere(&mut c).await;
    late_bodies(&place, &mut c).await;
    // A stream has no end; its own tests read it.
    c.exercised.extend([("stream".to_owned(), "200".to_owned()), ("stream".to_owned(), "400".to_owned())]);
    let unseen = c.unseen();
    let seen_elsewhere = |(id, status): &(String, String)| {
        // One defect stands for all; a hanging engine takes minutes to be found.
        status == "500" || (id == "livez" && status == "503")
    };
    let left: Vec<_> = unseen.iter().filter(|u| !seen_elsewhere(u)).collect();
    assert!(left.is_empty(), "described and never seen: {left:?}");
}

/// Every operation where nobody may ask.
async fn refused_everywhere(place: &Place, c: &mut Contract) {
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    std::fs::write(&token, "0123456789abcdef0123456789abcdef").unwrap();
    let mut with_token = config();
    with_token.token_file = Some(token);
    let locked = Place::new(with_token).await;
    for (id, method, path) in c.operations() {
        let path = filled(&path);
        let foreign = place.ask(method.clone(), &path, &[("host", "evil.example")], "").await;
        foreign.is_problem(403);
        c.holds(&id, &foreign);
        let open = matches!(id.as_str(), "livez" | "readyz");
        let answer = locked.ask(method, &path, &[], "").await;
        if open {
            assert_eq!(answer.status.as_u16(), 200, "{id}");
        } else {
            answer.is_problem(401);
            assert_eq!(answer.headers["www-authenticate"], "Bearer realm=\"tapio\"");
            c.holds(&id, &answer);
        }
    }
}

/// Every operation while all places are taken, and readiness while a part is not ready.
async fn busy_everywhere(c: &mut Contract) {
    use tokio::io::AsyncWriteExt;
    let mut one = config();
    one.max_requests = 1;
    one.receive_timeout_millis = 20_000;
    let place = Place::new(one).await;
    let mut slow = tokio::net::TcpStream::connect(place.addr).await.unwrap();
    let head = "POST /api/v1/query HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{";
    slow.write_all(head.as_bytes()).await.unwrap();
    while !place.metrics.text().contains("tapio_http_requests_in_flight 1") {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    for (id, method, path) in c.operations() {
        if matches!(id.as_str(), "livez" | "readyz" | "metrics") {
            continue;
        }
        let answer = place.ask(method, &filled(&path), &[], "").await;
        answer.is_problem(503);
        assert!(answer.headers.contains_key("retry-after"), "{id}");
        c.holds(&id, &answer);
    }
    place.health.set("test", vec![tapio_api::Part::not_ready("first lists", "3 of 39 kinds are being listed")]);
    let unready = place.get("/readyz").await;
    assert_eq!((unready.status.as_u16(), &unready.json()["parts"][0]["part"]), (503, &json!("first lists")));
    c.holds("readyz", &unready);
}

/// A name that two namespaces have.
async fn ambiguous(place: &Place, c: &mut Contract) {
    for (id, of) in [("why", "why"), ("impact", "impact"), ("timeline", "timeline"), ("object", "objects")] {
        let answer = place.get(&format!("/api/v1/{of}/cm/twin")).await;
        let p = answer.is_problem(400);
        assert_eq!(p["near"].as_array().map(Vec::len), Some(2), "{p}");
        c.holds(id, &answer);
        assert_eq!(place.get(&format!("/api/v1/{of}/cm/b/twin")).await.status.as_u16(), 200, "{of}");
    }
}

/// A body that never comes.
async fn late_bodies(place: &Place, c: &mut Contract) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    for (id, line) in [
        ("query", "POST /api/v1/query"),
        ("what_if", "POST /api/v1/impact"),
        ("set_log_level", "PUT /api/v1/log-level"),
    ] {
        let mut socket = tokio::net::TcpStream::connect(place.addr).await.unwrap();
        let head = format!(
            "{line} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{{"
        );
        socket.write_all(head.as_bytes()).await.unwrap();
        let mut text = String::new();
        socket.read_to_string(&mut text).await.unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 408"), "{id}: {head}");
        let mut headers = http::HeaderMap::new();
        headers.insert("content-type", "application/problem+json".parse().unwrap());
        assert!(head.to_lowercase().contains("content-type: application/problem+json"), "{head}");
        let status = http::StatusCode::REQUEST_TIMEOUT;
        c.holds(id, &Answer { status, headers, body: body.to_owned().into() });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_reference_of_the_description_leads_somewhere_and_wrong_values_are_told_apart() {
    let place = Place::new(config()).await;
    let c = Contract::of(&place).await;
    let names: Vec<String> = c.doc["components"]["schemas"].as_object().unwrap().keys().cloned().collect();
    assert!(names.len() > 30, "{names:?}");
    for name in names {
        let schema = json!({"$ref": format!("#/components/schemas/{name}")});
        // That it compiles means that every reference in it was found.
        let errors = c.errors(&schema, &json!({"no such field": 1}));
        assert!(!errors.is_empty() || name == "Cell", "{name} takes anything");
    }
    let page = place.get("/api/v1/incidents").await.json();
    let mut other = page.clone();
    other["incidents"][0]["more"] = json!(1);
    let schema = json!({"$ref": "#/components/schemas/IncidentPage"});
    assert!(c.errors(&schema, &page).is_empty() && !c.errors(&schema, &other).is_empty());
    // Events of the stream have a shape, too.
    let happening = json!({"$ref": "#/components/schemas/Happening"});
    let incident = &page["incidents"][0];
    let line =
        serde_json::to_value(json!({"at": incident["updated_at"], "transition": "opened", "incident": incident}));
    assert_eq!(c.errors(&happening, &line.unwrap()), Vec::<String>::new());
    let docs = place.get("/docs/").await;
    assert!(docs.status.is_success() && docs.text().contains("swagger-ui"), "{}", docs.text());
    let settings = place.get("/docs/swagger-initializer.js").await.text();
    assert!(settings.contains("/openapi.json"), "{settings}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_hold_all_and_nothing_twice() {
    let place = Place::new(config()).await;
    for (path, list) in [("/api/v1/objects?absent=true", "objects"), ("/api/v1/incidents?severity=info", "incidents")] {
        let whole = place.get(&format!("{path}&limit=1000")).await.json();
        assert_eq!(whole["next"], Value::Null);
        let mut by_pages = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = place.get(&format!("{path}&limit=1{cursor}")).await.json();
            by_pages.extend(page[list].as_array().unwrap().clone());
            let Some(next) = page["next"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        assert_eq!(&by_pages, whole[list].as_array().unwrap());
        assert!(!by_pages.is_empty(), "{path}");
    }
    let foreign = place.get("/api/v1/objects?limit=1").await.json()["next"].as_str().unwrap().to_owned();
    place.get(&format!("/api/v1/incidents?cursor={foreign}")).await.is_problem(400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_engine_is_said_to_be_busy() {
    let mut impatient = config();
    impatient.engine_timeout_millis = 100;
    impatient.engine_queue = 1;
    let place = Place::with_engine(impatient, false).await;
    let begun = std::time::Instant::now();
    for path in ["/api/v1/incidents", "/api/v1/why/svc/pay", "/api/v1/objects"] {
        let answer = place.get(path).await;
        answer.is_problem(503);
        assert_eq!(answer.headers["retry-after"], "1");
    }
    assert!(begun.elapsed().as_millis() < 2_000, "nobody waits for long: {:?}", begun.elapsed());
    // What does not need the engine goes on.
    assert!(place.get("/livez").await.status.is_success());
    assert!(place.get("/api/v1/mechanisms").await.status.is_success());
    let query =
        place.ask(Method::POST, "/api/v1/query", JSON, r#"{"query":"RETURN 1 AS x","at":"2026-04-14T10:00:00Z"}"#);
    assert_eq!(query.await.json(), json!({"columns": ["x"], "rows": [[1]], "truncated": false}));
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_those_of_the_engine() {
    let place = Place::new(config()).await;
    let why = place.get("/api/v1/why/deploy/shop/web").await.json();
    assert_eq!(why["root_causes"][0]["mechanism"], "service-target-port-mismatch", "{why}");
    assert_eq!(why["root_causes"][0]["object"], json!({"kind": "Service", "namespace": "shop", "name": "pay"}));
    assert!(!why["gaps"].to_string().contains("the graph lacks"), "{}", why["gaps"]);
    let rows = r#"{"query":"MATCH (i:Incident)-[r:ROOT_CAUSE]->(o:Service) RETURN r.mechanism AS m, o.name AS name"}"#;
    let rows = place.ask(Method::POST, "/api/v1/query", JSON, rows).await.json();
    assert_eq!(rows["rows"], json!([["service-target-port-mismatch", "pay"]]));
    let many =
        place.ask(Method::POST, "/api/v1/query", JSON, r#"{"query":"MATCH (n) RETURN n","max_rows":999999}"#).await;
    assert_eq!((many.json()["rows"].as_array().unwrap().len(), &many.json()["truncated"]), (5, &json!(true)));
}
