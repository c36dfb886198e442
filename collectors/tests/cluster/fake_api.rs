//! A small API server that fails on demand. It copies what a real one was seen to do: objects of a list say no kind,
//! a watch of a forgotten version is HTTP 200 with one ERROR event, metadata alone is served when asked for so.

// By its path: this file is a module of tests of other crates, too.
#[path = "fake_lease.rs"]
mod lease;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What goes wrong.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// Answers with a status; seconds of Retry-After.
    Status(u16, &'static str, Option<u64>),
    /// Breaks the answer off in its middle.
    Cut,
    /// Sends the answer some bytes at a time, so many milliseconds apart.
    Slow(u64),
    /// Sends something that is no JSON.
    Garbage,
    /// A watch sends an ERROR event with 410 after so many lines.
    Gone(usize),
    /// A watch is cut after so many lines.
    Drop(usize),
    /// A watch sends nothing at all, and stays open.
    Silent,
}

/// Where it goes wrong, and how often.
struct Rule {
    path: &'static str,
    watch: Option<bool>,
    paged: bool,
    fault: Fault,
    times: usize,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) accept: String,
    pub(crate) at: std::time::Instant,
}

#[derive(Default)]
struct Store {
    version: u64,
    /// Versions up to here are forgotten.
    compacted: u64,
    /// Collection → namespace/name → object.
    objects: BTreeMap<String, BTreeMap<String, Value>>,
    history: Vec<(u64, String, &'static str, Value)>,
    logs: BTreeMap<String, String>,
    rules: Vec<Rule>,
    seen: Vec<Seen>,
    token: String,
    /// Tokens of others: whose they are, for which audience, on which node.
    accounts: BTreeMap<String, (String, String, String)>,
    refused: Vec<String>,
    bookmark: Option<Duration>,
}

/// The server.
#[derive(Clone)]
pub(crate) struct FakeApi {
    store: Arc<Mutex<Store>>,
    changed: Arc<watch::Sender<u64>>,
    /// Whether it is there; a change ends every connection.
    up: Arc<watch::Sender<bool>>,
    pub(crate) address: SocketAddr,
}

impl FakeApi {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let api = FakeApi {
            store: Arc::new(Mutex::new(Store { version: 100, compacted: 10, ..Store::default() })),
            changed: Arc::new(watch::channel(0).0),
            up: Arc::new(watch::channel(true).0),
            address,
        };
        api.set_token("good");
        api.put(json!({"apiVersion":"v1","kind":"Namespace","metadata":{"name":"kube-system"}}));
        let server = api.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let api = server.clone();
                tokio::spawn(async move {
                    let mut up = api.up.subscribe();
                    if !*up.borrow_and_update() {
                        return;
                    }
                    tokio::select! {
                        _ = up.changed() => {}
                        _ = serve(&api, stream) => {}
                    }
                });
            }
        });
        api
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap()
    }

    /// A kubeconfig for it.
    pub(crate) fn kubeconfig(&self, token_file: &std::path::Path) -> String {
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: fake\nclusters:\n- name: c\n  cluster: {{server: 'http://{}'}}\ncontexts:\n- name: fake\n  context: {{cluster: c, user: u}}\nusers:\n- name: u\n  user: {{tokenFile: '{}'}}\n",
            self.address,
            token_file.display()
        )
    }

    /// From now on only this token is accepted.
    pub(crate) fn set_token(&self, token: &str) {
        self.store().token = token.to_owned();
    }

    /// Vouches for a token: user, audience, node.
    pub(crate) fn vouch(&self, token: &str, user: &str, audience: &str, node: &str) {
        let account = (user.to_owned(), audience.to_owned(), node.to_owned());
        self.store().accounts.insert(token.to_owned(), account);
    }

    /// Refuses every request for a collection whose path holds this.
    pub(crate) fn refuse(&self, path: &str) {
        self.store().refused.push(path.to_owned());
    }

    pub(crate) fn allow_all(&self) {
        self.store().refused.clear();
    }

    pub(crate) fn set_bookmark(&self, every: Duration) {
        self.store().bookmark = Some(every);
    }

    /// The next `times` requests whose path holds `path` fail; `watch`: only watches, or only lists.
    pub(crate) fn fail(&self, path: &'static str, watch: Option<bool>, fault: Fault, times: usize) {
        self.store().rules.push(Rule { path, watch, paged: false, fault, times });
    }

    /// The same for pages behind the first.
    pub(crate) fn fail_page(&self, path: &'static str, fault: Fault, times: usize) {
        self.store().rules.push(Rule { path, watch: Some(false), paged: true, fault, times });
    }

    /// Ends every connection, and accepts none until it is back.
    pub(crate) fn away(&self) {
        self.up.send_replace(false);
    }

    pub(crate) fn back(&self) {
        self.up.send_replace(true);
    }

    /// Ends every connection once.
    pub(crate) fn reset(&self) {
        self.away();
        self.back();
    }

    /// Forgets all versions up to now.
    pub(crate) fn compact(&self) {
        let mut s = self.store();
        s.compacted = s.version;
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.store().seen.clone()
    }

    /// Log of a container (`NS/POD/CONTAINER`, with `/previous` behind for the run before).
    pub(crate) fn log(&self, container: &str, text: &str) {
        self.store().logs.insert(container.to_owned(), text.to_owned());
    }

    /// Writes an object: new, or over the one of its name.
    pub(crate) fn put(&self, mut object: Value) {
        let mut s = self.store();
        s.version += 1;
        let version = s.version;
        let path = collection(&object);
        let key = key(&object);
        let old = s.objects.get(&path).and_then(|m| m.get(&key)).cloned();
        let uid = old.as_ref().map(|o| o["metadata"]["uid"].clone());
        object["metadata"]["resourceVersion"] = version.to_string().into();
        if object["metadata"]["uid"].is_null() {
            object["metadata"]["uid"] = uid.unwrap_or_else(|| format!("uid-{version}").into());
        }
        let word = if old.is_some() { "MODIFIED" } else { "ADDED" };
        s.objects.entry(path.clone()).or_default().insert(key, object.clone());
        s.history.push((version, path, word, object));
        drop(s);
        self.changed.send_modify(|n| *n += 1);
    }

    /// All objects of a collection.
    pub(crate) fn objects(&self, collection: &str) -> Vec<Value> {
        self.store().objects.get(collection).into_iter().flat_map(|m| m.values().cloned()).collect()
    }

    /// Deletes an object.
    pub(crate) fn delete(&self, like: &Value) {
        let mut s = self.store();
        s.version += 1;
        let version = s.version;
        let path = collection(like);
        let Some(mut object) = s.objects.get_mut(&path).and_then(|m| m.remove(&key(like))) else { return };
        object["metadata"]["resourceVersion"] = version.to_string().into();
        s.history.push((version, path, "DELETED", object));
        drop(s);
        self.changed.send_modify(|n| *n += 1);
    }
}

/// `/api/v1/pods` of an object.
fn collection(object: &Value) -> String {
    let kind = object["kind"].as_str().unwrap().to_ascii_lowercase();
    let plural = match kind.as_str() {
        "networkpolicy" => "networkpolicies".to_owned(),
        "ingress" => "ingresses".to_owned(),
        _ => format!("{kind}s"),
    };
    match object["apiVersion"].as_str().unwrap() {
        "v1" => format!("/api/v1/{plural}"),
        version => format!("/apis/{version}/{plural}"),
    }
}

fn key(object: &Value) -> String {
    let meta = &object["metadata"];
    format!("{}/{}", meta["namespace"].as_str().unwrap_or(""), meta["name"].as_str().unwrap())
}

/// Collection and namespace of a path of either form.
fn split(path: &str) -> (String, Option<String>) {
    match path.split_once("/namespaces/") {
        Some((root, rest)) if rest.contains('/') => {
            let (ns, plural) = rest.split_once('/').unwrap();
            (format!("{root}/{plural}"), Some(ns.to_owned()))
        }
        _ => (path.to_owned(), None),
    }
}

async fn serve(api: &FakeApi, mut stream: TcpStream) -> std::io::Result<()> {
    let mut buffer = Vec::new();
    loop {
        let end = loop {
            if let Some(at) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                break at + 4;
            }
            if take(&stream, &mut buffer).await? == 0 {
                return Ok(());
            }
        };
        let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
        let header = |name: &str| {
            head.lines().skip(1).find_map(|l| {
                let (n, v) = l.split_once(':')?;
                n.eq_ignore_ascii_case(name).then(|| v.trim().to_owned())
            })
        };
        let length: usize = header("content-length").and_then(|l| l.parse().ok()).unwrap_or(0);
        while buffer.len() < end + length {
            if take(&stream, &mut buffer).await? == 0 {
                return Ok(());
            }
        }
        let body: Value = serde_json::from_slice(&buffer[end..end + length]).unwrap_or_default();
        buffer.drain(..end + length);
        let target = head.split(' ').nth(1).unwrap_or("/").to_owned();
        let accept = header("accept").unwrap_or_default();
        let seen = Seen { path: target.clone(), accept: accept.clone(), at: std::time::Instant::now() };
        api.store().seen.push(seen);
        let bearer = format!("Bearer {}", api.store().token);
        if header("authorization").as_deref() != Some(bearer.as_str()) {
            status(&mut stream, 401, "Unauthorized", None).await?;
            continue;
        }
        let method = head.split(' ').next().unwrap_or("GET").to_owned();
        if target.contains("/leases") && !target.contains('?') {
            lease::answer(api, &mut stream, &method, &target, body).await?;
            continue;
        }
        answer(api, &mut stream, &target, &accept, &body).await?;
    }
}

async fn answer(
    api: &FakeApi,
    stream: &mut TcpStream,
    target: &str,
    accept: &str,
    body: &Value,
) -> std::io::Result<()> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let query: BTreeMap<&str, &str> = query.split('&').filter_map(|p| p.split_once('=')).collect();
    let watching = query.contains_key("watch");
    let refused = api.store().refused.iter().any(|r| path.contains(r.as_str()));
    if refused {
        return status(stream, 403, "forbidden: User \"t\" cannot list it", None).await;
    }
    let fault = {
        let mut s = api.store();
        let paged = query.contains_key("continue");
        let rule = s.rules.iter_mut().find(|r| {
            r.times > 0 && path.contains(r.path) && r.watch.is_none_or(|w| w == watching) && (!r.paged || paged)
        });
        rule.map(|r| {
            r.times -= 1;
            r.fault.clone()
        })
    };
    match path {
        "/version" => return whole(stream, &json!({"gitVersion": "v1.34.4"}), fault).await,
        "/apis" => return whole(stream, &json!({"kind": "APIGroupList", "groups": []}), fault).await,
        "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews" => {
            let attributes = &body["spec"]["resourceAttributes"];
            let plural = attributes["resource"].as_str().unwrap_or_default();
            let allowed = !api.store().refused.iter().any(|r| r.ends_with(plural));
            return whole(stream, &json!({"status": {"allowed": allowed}}), fault).await;
        }
        "/apis/authentication.k8s.io/v1/selfsubjectreviews" => {
            return whole(stream, &json!({"status": {"userInfo": {"username": "t"}}}), fault).await;
        }
        "/apis/authentication.k8s.io/v1/tokenreviews" => {
            let spec = &body["spec"];
            let known = api.store().accounts.get(spec["token"].as_str().unwrap_or_default()).cloned();
            let status = match known {
                Some((user, audience, node)) if spec["audiences"][0] == audience => json!({
                    "authenticated": true, "audiences": [audience],
                    "user": {"username": user, "extra": {"authentication.kubernetes.io/node-name": [node]}},
                }),
                _ => json!({"user": {}, "error": "[invalid bearer token, token lookup failed]"}),
            };
            return whole(stream, &json!({"status": status}), fault).await;
        }
        "/api/v1/namespaces/kube-system" => {
            return whole(stream, &json!({"metadata": {"name": "kube-system", "uid": "fake"}}), fault).await;
        }
        _ => {}
    }
    if let Some(Fault::Status(code, why, after)) = fault {
        return status(stream, code, why, after).await;
    }
    if path.ends_with("/log") {
        let parts: Vec<&str> = path.split('/').collect();
        let container = query.get("container").copied().unwrap_or("");
        let previous = if query.contains_key("previous") { "/previous" } else { "" };
        let text = api.store().logs.get(&format!("{}/{}/{container}{previous}", parts[4], parts[6])).cloned();
        return match text {
            Some(text) => {
                let head =
                    format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n", text.len());
                put(stream, head.as_bytes()).await?;
                put(stream, text.as_bytes()).await
            }
            None => status(stream, 400, "previous terminated container not found", None).await,
        };
    }
    let (collection, namespace) = split(path);
    let metadata_only = accept.contains("PartialObjectMetadata");
    if watching {
        return watch_answer(api, stream, &collection, namespace.as_deref(), &query, metadata_only, fault).await;
    }
    let page = {
        let s = api.store();
        let limit: usize = query.get("limit").and_then(|l| l.parse().ok()).unwrap_or(usize::MAX);
        let after = query.get("continue").map(|t| unescape(t)).unwrap_or_default();
        let all: Vec<(&String, &Value)> = s
            .objects
            .get(&collection)
            .into_iter()
            .flatten()
            .filter(|(_, o)| namespace.as_deref().is_none_or(|n| o["metadata"]["namespace"] == n))
            .filter(|(k, _)| after.is_empty() || k.as_str() > after.as_str())
            .collect();
        let items: Vec<Value> = all.iter().take(limit).map(|(_, o)| item(o, metadata_only)).collect();
        let mut meta = json!({"resourceVersion": s.version.to_string()});
        if all.len() > limit {
            meta["continue"] = all[limit - 1].0.as_str().into();
            meta["remainingItemCount"] = (all.len() - limit).into();
        }
        let kind = if metadata_only { "PartialObjectMetadataList" } else { "List" };
        json!({"kind": kind, "apiVersion": "v1", "metadata": meta, "items": items})
    };
    whole(stream, &page, fault).await
}

fn unescape(text: &str) -> String {
    text.replace("%2F", "/")
}

/// An object of a list: it says neither kind nor version.
fn item(object: &Value, metadata_only: bool) -> Value {
    let mut o = if metadata_only {
        json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]})
    } else {
        object.clone()
    };
    if !metadata_only && let Some(map) = o.as_object_mut() {
        map.remove("kind");
        map.remove("apiVersion");
    }
    o
}

async fn watch_answer(
    api: &FakeApi,
    stream: &mut TcpStream,
    collection: &str,
    namespace: Option<&str>,
    query: &BTreeMap<&str, &str>,
    metadata_only: bool,
    fault: Option<Fault>,
) -> std::io::Result<()> {
    put(stream, b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n").await?;
    let mut from: u64 = query.get("resourceVersion").and_then(|v| v.parse().ok()).unwrap_or(0);
    let secs: u64 = query.get("timeoutSeconds").and_then(|v| v.parse().ok()).unwrap_or(300);
    let end = tokio::time::Instant::now() + Duration::from_secs(secs);
    let mut changed = api.changed.subscribe();
    if matches!(fault, Some(Fault::Silent)) {
        return std::future::pending().await;
    }
    let gone = json!({"kind":"Status","status":"Failure","reason":"Expired","code":410,"message":"too old resource version: 1 (4)"});
    if from < api.store().compacted {
        chunk(stream, &event("ERROR", &gone)).await?;
        return put(stream, b"0\r\n\r\n").await;
    }
    let mut sent = 0;
    let bookmark = api.store().bookmark;
    loop {
        let news: Vec<(u64, &'static str, Value)> = {
            let s = api.store();
            let of = |o: &Value| namespace.is_none_or(|n| o["metadata"]["namespace"] == n);
            let all = s.history.iter().filter(|(v, c, _, o)| *v > from && c == collection && of(o));
            all.map(|(v, _, w, o)| (*v, *w, o.clone())).collect()
        };
        for (version, word, object) in news {
            let limit = match &fault {
                Some(Fault::Gone(n) | Fault::Drop(n)) => *n,
                _ => usize::MAX,
            };
            if sent >= limit {
                break;
            }
            from = version;
            sent += 1;
            let object = if metadata_only { item(&object, true) } else { object };
            let line = event(word, &object);
            match &fault {
                Some(Fault::Slow(millis)) => {
                    for piece in line.as_bytes().chunks(40) {
                        chunk_bytes(stream, piece).await?;
                        tokio::time::sleep(Duration::from_millis(*millis)).await;
                    }
                }
                Some(Fault::Garbage) if sent == 1 => chunk(stream, "{\"type\":\"ADDED\",\"object\":{\"met\n").await?,
                // The half of a line, and then nothing.
                Some(Fault::Cut) => {
                    chunk_bytes(stream, &line.as_bytes()[..line.len() / 2]).await?;
                    return Err(std::io::ErrorKind::ConnectionReset.into());
                }
                _ => chunk(stream, &line).await?,
            }
        }
        match &fault {
            Some(Fault::Gone(n)) if sent >= *n => {
                chunk(stream, &event("ERROR", &gone)).await?;
                return put(stream, b"0\r\n\r\n").await;
            }
            Some(Fault::Drop(n)) if sent >= *n => return Err(std::io::ErrorKind::ConnectionReset.into()),
            _ => {}
        }
        let pause = bookmark.unwrap_or(Duration::from_secs(60));
        tokio::select! {
            _ = changed.changed() => {}
            () = tokio::time::sleep(pause) => {
                let version = api.store().version;
                let at = json!({"kind":"Pod","apiVersion":"v1","metadata":{"resourceVersion": version.to_string()}});
                chunk(stream, &event("BOOKMARK", &at)).await?;
            }
            () = tokio::time::sleep_until(end) => return put(stream, b"0\r\n\r\n").await,
        }
    }
}

fn event(word: &str, object: &Value) -> String {
    format!("{}\n", json!({"type": word, "object": object}))
}

/// Writes all of it.
async fn put(stream: &TcpStream, mut bytes: &[u8]) -> std::io::Result<()> {
    while !bytes.is_empty() {
        stream.writable().await?;
        match stream.try_write(bytes) {
            Ok(n) => bytes = &bytes[n..],
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Reads what is there; 0 at the end.
async fn take(stream: &TcpStream, buffer: &mut Vec<u8>) -> std::io::Result<usize> {
    loop {
        stream.readable().await?;
        let mut piece = [0; 8_192];
        match stream.try_read(&mut piece) {
            Ok(n) => {
                buffer.extend_from_slice(&piece[..n]);
                return Ok(n);
            }
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(e) => return Err(e),
        }
    }
}

async fn chunk(stream: &mut TcpStream, text: &str) -> std::io::Result<()> {
    chunk_bytes(stream, text.as_bytes()).await
}

async fn chunk_bytes(stream: &mut TcpStream, bytes: &[u8]) -> std::io::Result<()> {
    put(stream, format!("{:x}\r\n", bytes.len()).as_bytes()).await?;
    put(stream, bytes).await?;
    put(stream, b"\r\n").await
}

async fn whole(stream: &mut TcpStream, value: &Value, fault: Option<Fault>) -> std::io::Result<()> {
    if let Some(Fault::Status(code, why, after)) = fault {
        return status(stream, code, why, after).await;
    }
    let text = if matches!(fault, Some(Fault::Garbage)) { "{\"items\":[".to_owned() } else { value.to_string() };
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", text.len());
    put(stream, head.as_bytes()).await?;
    match fault {
        Some(Fault::Cut) => {
            put(stream, &text.as_bytes()[..text.len() / 2]).await?;
            Err(std::io::ErrorKind::ConnectionReset.into())
        }
        Some(Fault::Slow(millis)) => {
            for piece in text.as_bytes().chunks(200) {
                put(stream, piece).await?;
                tokio::time::sleep(Duration::from_millis(millis)).await;
            }
            Ok(())
        }
        _ => put(stream, text.as_bytes()).await,
    }
}

async fn status(stream: &mut TcpStream, code: u16, why: &str, after: Option<u64>) -> std::io::Result<()> {
    let body = json!({"kind": "Status", "status": "Failure", "message": why, "code": code}).to_string();
    let after = after.map(|s| format!("Retry-After: {s}\r\n")).unwrap_or_default();
    let head =
        format!("HTTP/1.1 {code} X\r\nContent-Type: application/json\r\n{after}Content-Length: {}\r\n\r\n", body.len());
    put(stream, head.as_bytes()).await?;
    put(stream, body.as_bytes()).await
}
