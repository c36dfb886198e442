//! A server with everything behind it: an engine on a thread of its own that knows a recorded story, and its graph.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tapio_api::{ApiConfig, Feed, Happening, Health, LogLevel, Metrics, Part, Parts, ReadManifests, Server, desk};
use tapio_core::manifest::Manifest;
use tapio_core::ports::{GraphStore, Limits};
use tapio_core::raw::RawEvent;
use tapio_engine::incidents::Transition;
use tapio_engine::{EngineConfig, EventProcessor};
use tapio_graph::EmbeddedGraph;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

/// A Service's target port is changed to one on which nobody listens.
const STORY: &str = include_str!("../../../scenarios/target-port-changed/recording.jsonl");

/// Settings with short times, on a port that is free.
pub(crate) fn config() -> ApiConfig {
    ApiConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        receive_timeout_millis: 500,
        engine_timeout_millis: 3_000,
        stall_timeout_millis: 700,
        heartbeat_millis: 200,
        max_body_bytes: 256 << 10,
        ..ApiConfig::default()
    }
}

/// The story as the engine takes it.
fn story() -> Vec<RawEvent> {
    let event = |line: &str| -> RawEvent {
        let mut v: Value = serde_json::from_str(line).unwrap();
        let Some(object) = v.get_mut("object").map(Value::take) else { return serde_json::from_value(v).unwrap() };
        let kind = match (v["type"].as_str().unwrap(), object["kind"].as_str().unwrap()) {
            (_, "Event") => "Event",
            ("ADDED", _) => "ObjectAdded",
            ("DELETED", _) => "ObjectDeleted",
            _ => "ObjectModified",
        };
        let whole = serde_json::json!({
            "timestamp": v["ts"], "type": kind, "source": "cluster_collector", "data": object
        });
        // By its text, since the data is kept as raw JSON.
        serde_json::from_str(&whole.to_string()).unwrap()
    };
    // Beside it, two objects of one name.
    let twin = |ns: &str| {
        format!(
            r#"{{"ts":"2026-04-14T10:00:01Z","type":"ADDED","object":{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"twin","namespace":"{ns}"}}}}}}"#
        )
    };
    STORY.lines().map(event).chain([event(&twin("a")), event(&twin("b"))]).collect()
}

/// A server at work.
pub(crate) struct Place {
    pub(crate) addr: SocketAddr,
    pub(crate) url: String,
    pub(crate) feed: Arc<Feed>,
    pub(crate) health: Arc<Health>,
    pub(crate) metrics: Metrics,
    pub(crate) warnings: Vec<String>,
    stop: Option<oneshot::Sender<()>>,
    served: Option<JoinHandle<std::io::Result<()>>>,
    ended: Arc<AtomicBool>,
    engine: Option<std::thread::JoinHandle<()>>,
    _dir: tempfile::TempDir,
}

impl Place {
    pub(crate) async fn new(config: ApiConfig) -> Self {
        Place::with_engine(config, true).await
    }

    /// `at_work`: the engine's thread never comes to the desk where it is false.
    pub(crate) async fn with_engine(config: ApiConfig, at_work: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let graph = Arc::new(EmbeddedGraph::open(dir.path(), tapio_graph::EmbeddedConfig::default()).unwrap());
        graph.ensure_schema().await.unwrap();
        let mut engine = EventProcessor::new(EngineConfig::default());
        let mut out = engine.process(story());
        let last = engine.finish();
        out.changes.extend(last.changes);
        out.incidents.extend(last.incidents);
        graph.apply(out.changes).await.unwrap();
        let (reader, mut desk) = desk::desk(&config, Arc::new(Notify::new()));
        let (feed, health, metrics) = (Arc::new(Feed::new(&config)), Arc::new(Health::default()), Metrics::new());
        for (t, i) in &out.incidents {
            feed.tell(&Happening::of(*t, i));
        }
        assert!(out.incidents.iter().any(|(t, _)| *t == Transition::Opened), "the story has an incident");
        health.set("test", vec![Part::ready("first lists"), Part::degraded("secrets", "may not be watched")]);
        let level = Arc::new(Mutex::new("warn".to_owned()));
        let now = Arc::clone(&level);
        let log_level = LogLevel {
            get: Arc::new(move || now.lock().unwrap().clone()),
            set: Arc::new(move |text| match text {
                "fall over" => panic!("as the test wants it"),
                "debug" | "warn" => {
                    text.clone_into(&mut level.lock().unwrap());
                    Ok(())
                }
                _ => Err(format!("`{text}` is no level")),
            }),
        };
        // The real one stands in another crate; this one reads what the tests send.
        let manifests: ReadManifests = Arc::new(|body| {
            let object: Value = serde_json::from_slice(body).map_err(|e| format!("body, line {}: {e}", e.line()))?;
            Ok(vec![Manifest { file: "body".to_owned(), document: 1, line: 1, object }])
        });
        let parts = Parts {
            reader,
            graph,
            feed: Arc::clone(&feed),
            health: Arc::clone(&health),
            metrics: metrics.clone(),
            manifests,
            log_level: Some(log_level),
            query: Limits { timeout_millis: 2_000, max_rows: 5, ..Limits::default() },
        };
        let server = Server::bind(&config, parts).unwrap();
        let (addr, url, warnings) = (server.addr(), server.url(), server.warnings());
        let (stop, stopped) = oneshot::channel::<()>();
        let served = tokio::spawn(server.run(async move {
            let _ = stopped.await;
        }));
        let ended = Arc::new(AtomicBool::new(false));
        let its = Arc::clone(&ended);
        let work = move || {
            while !its.load(Ordering::Relaxed) {
                if at_work {
                    desk.serve(&engine, Duration::from_millis(50));
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        };
        let engine = Some(std::thread::spawn(work));
        let (stop, served) = (Some(stop), Some(served));
        Place { addr, url, feed, health, metrics, warnings, stop, served, ended, engine, _dir: dir }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, &[], "").await
    }

    pub(crate) async fn ask(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let client: Client<HttpConnector, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
        let response = client.request(request.body(Full::from(body.to_owned())).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    /// Ends the server; how long that took.
    pub(crate) async fn end(&mut self) -> Duration {
        let begun = Instant::now();
        self.stop = None;
        self.served.take().unwrap().await.unwrap().unwrap();
        begun.elapsed()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(engine) = self.engine.take() {
            engine.join().unwrap();
        }
    }
}

/// A whole response.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn media_type(&self) -> &str {
        let all = self.headers.get("content-type").map_or("", |v| v.to_str().unwrap());
        all.split(';').next().unwrap().trim()
    }

    /// That it is a problem of this status, told in full.
    #[track_caller]
    pub(crate) fn is_problem(&self, status: u16) -> Value {
        assert_eq!((self.status.as_u16(), self.media_type()), (status, "application/problem+json"), "{}", self.text());
        let p = self.json();
        assert_eq!(p["status"], status);
        for field in ["type", "title", "detail", "instance", "remedy"] {
            assert!(p[field].as_str().is_some_and(|t| !t.is_empty()), "{field} of {p}");
        }
        p
    }
}
