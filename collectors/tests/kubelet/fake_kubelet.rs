//! A small kubelet that fails on demand. It copies what a real one was seen to do: TLS, a bearer token, one right a path
//! with the kubelet's own words of refusal, `/pods` in one line, `/stats/summary` in many, logs with ranges.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::server::TlsStream;

/// What goes wrong.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// Answers with a status and a text.
    Status(u16, &'static str),
    /// Breaks the answer off in its middle.
    Cut,
    /// The answer is only its first half, and says that it is whole.
    Half,
    /// Sends the answer some bytes at a time, so many milliseconds apart.
    Slow(u64),
    /// Takes the question and says nothing.
    Silent,
    /// Answers with this.
    Body(Vec<u8>),
    /// A list of pods without end, one of them larger than anything.
    Huge,
}

struct Rule {
    path: &'static str,
    fault: Fault,
    times: usize,
}

#[derive(Default)]
struct Store {
    pods: BTreeMap<String, Value>,
    summary: Value,
    metrics: BTreeMap<&'static str, String>,
    logs: BTreeMap<String, String>,
    rules: Vec<Rule>,
    seen: Vec<String>,
    tokens: BTreeMap<String, bool>,
    refused: Vec<&'static str>,
    acceptor: Option<TlsAcceptor>,
}

/// The kubelet.
#[derive(Clone)]
pub(crate) struct FakeKubelet {
    store: Arc<Mutex<Store>>,
    up: Arc<watch::Sender<bool>>,
    pub(crate) address: SocketAddr,
    /// The authority that signed its certificate, as PEM.
    pub(crate) authority: String,
    issuer: Arc<Issuer<'static, KeyPair>>,
}

fn authority() -> (String, Issuer<'static, KeyPair>) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    (pem, Issuer::new(params, key))
}

fn acceptor(issuer: &Issuer<'static, KeyPair>, name: &str) -> TlsAcceptor {
    let key = KeyPair::generate().unwrap();
    let cert = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, issuer).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

impl FakeKubelet {
    pub(crate) async fn start() -> Self {
        let (pem, issuer) = authority();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let store = Store { acceptor: Some(acceptor(&issuer, "127.0.0.1")), ..Store::default() };
        let kubelet = FakeKubelet {
            store: Arc::new(Mutex::new(store)),
            up: Arc::new(watch::channel(true).0),
            address,
            authority: pem,
            issuer: Arc::new(issuer),
        };
        kubelet.store().summary = json!({"node": node(), "pods": []});
        kubelet.metrics("/metrics/probes", "# no probe\n");
        kubelet.metrics("/metrics/cadvisor", "# nothing\n");
        tokio::spawn(kubelet.clone().serve(Some(listener)));
        kubelet
    }

    async fn serve(self, mut listener: Option<TcpListener>) {
        let mut up = self.up.subscribe();
        loop {
            if !*up.borrow_and_update() {
                // Nobody listens: whoever comes is refused.
                listener = None;
                let _ = up.wait_for(|u| *u).await;
            }
            let here = match listener.take() {
                Some(l) => l,
                None => TcpListener::bind(self.address).await.unwrap(),
            };
            loop {
                tokio::select! {
                    _ = up.changed() => break,
                    accepted = here.accept() => {
                        let Ok((stream, _)) = accepted else { continue };
                        let kubelet = self.clone();
                        let mut up = self.up.subscribe();
                        tokio::spawn(async move {
                            up.borrow_and_update();
                            tokio::select! {
                                _ = up.changed() => {}
                                _ = kubelet.connection(stream) => {}
                            }
                        });
                    }
                }
            }
        }
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap()
    }

    /// A token that may do everything but read logs, or that too.
    pub(crate) fn token(&self, token: &str, logs: bool) {
        self.store().tokens.insert(token.to_owned(), logs);
    }

    /// Nobody is known any more, as when the API server is away for long.
    pub(crate) fn forget_tokens(&self) {
        self.store().tokens.clear();
    }

    pub(crate) fn refuse(&self, path: &'static str) {
        self.store().refused.push(path);
    }

    pub(crate) fn allow_all(&self) {
        self.store().refused.clear();
    }

    pub(crate) fn put(&self, pod: Value) {
        let key = format!("{}/{}", pod["metadata"]["namespace"], pod["metadata"]["name"]);
        self.store().pods.insert(key, pod);
    }

    pub(crate) fn clear(&self) {
        self.store().pods.clear();
    }

    pub(crate) fn summary(&self, summary: Value) {
        self.store().summary = summary;
    }

    pub(crate) fn metrics(&self, path: &'static str, text: &str) {
        self.store().metrics.insert(path, text.to_owned());
    }

    /// A file below `/logs/pods/`.
    pub(crate) fn log(&self, path: &str, text: &str) {
        self.store().logs.insert(format!("/logs/pods/{path}"), text.to_owned());
    }

    /// The next `times` questions for a path fail.
    pub(crate) fn fail(&self, path: &'static str, fault: Fault, times: usize) {
        self.store().rules.push(Rule { path, fault, times });
    }

    pub(crate) fn seen(&self, path: &str) -> usize {
        self.store().seen.iter().filter(|p| p.starts_with(path)).count()
    }

    /// Ends every connection, and listens no more.
    pub(crate) fn away(&self) {
        self.up.send_replace(false);
    }

    pub(crate) fn back(&self) {
        self.up.send_replace(true);
    }

    /// From now on its certificate is for another name.
    pub(crate) fn rename(&self, name: &str) {
        self.store().acceptor = Some(acceptor(&self.issuer, name));
        self.away();
        self.back();
    }

    /// An authority that signed nothing here.
    pub(crate) fn other_authority(path: &Path) {
        std::fs::write(path, authority().0).unwrap();
    }

    async fn connection(&self, stream: TcpStream) -> std::io::Result<()> {
        let acceptor = self.store().acceptor.clone().unwrap();
        let mut stream = acceptor.accept(stream).await?;
        let mut buffer = Vec::new();
        loop {
            let end = loop {
                if let Some(at) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                    break at + 4;
                }
                let mut piece = [0; 4_096];
                let n = stream.read(&mut piece).await?;
                if n == 0 {
                    return Ok(());
                }
                buffer.extend_from_slice(&piece[..n]);
            };
            let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
            buffer.drain(..end);
            self.answer(&mut stream, &head).await?;
        }
    }

    async fn answer(&self, stream: &mut TlsStream<TcpStream>, head: &str) -> std::io::Result<()> {
        let path = head.split(' ').nth(1).unwrap_or("/").to_owned();
        let header = |name: &str| {
            let mut lines = head.lines().filter_map(|l| l.split_once(": "));
            lines.find(|(k, _)| k.eq_ignore_ascii_case(name)).map(|(_, v)| v.to_owned())
        };
        let token = header("authorization").unwrap_or_default().trim_start_matches("Bearer ").to_owned();
        let (fault, known, refused) = {
            let mut s = self.store();
            s.seen.push(path.clone());
            let rule = s.rules.iter_mut().find(|r| r.times > 0 && path.starts_with(r.path));
            let fault = rule.map(|r| {
                r.times -= 1;
                r.fault.clone()
            });
            let refused = s.refused.iter().any(|p| path.starts_with(p));
            (fault, s.tokens.get(&token).copied(), refused)
        };
        if let Some(Fault::Silent) = fault {
            return std::future::pending().await;
        }
        if let Some(Fault::Status(code, text)) = fault {
            return plain(stream, code, text).await;
        }
        let Some(logs) = known else { return plain(stream, 401, "Unauthorized").await };
        let right = match path.as_str() {
            "/pods" => "pods",
            "/stats/summary" => "stats",
            p if p.starts_with("/metrics") => "metrics",
            "/healthz" => "healthz",
            p if p.starts_with("/logs/") => "log",
            _ => "proxy",
        };
        if refused || right == "proxy" || (right == "log" && !logs) {
            let text = format!(
                "Forbidden (user=system:serviceaccount:play:agent, verb=get, resource=nodes, subresource(s)=[{right}])"
            );
            return plain(stream, 403, &text).await;
        }
        let body: Option<Vec<u8>> = {
            let s = self.store();
            match (path.as_str(), right) {
                ("/pods", _) => {
                    let items: Vec<&Value> = s.pods.values().collect();
                    Some(
                        json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items})
                            .to_string()
                            .into(),
                    )
                }
                ("/stats/summary", _) => Some(serde_json::to_string_pretty(&s.summary).unwrap().into()),
                ("/healthz", _) => Some(b"ok".to_vec()),
                (p, "metrics") => s.metrics.get(p).map(|t| t.clone().into()),
                (p, _) => s.logs.get(p).map(|t| t.clone().into()),
            }
        };
        let Some(mut body) = body else { return plain(stream, 404, "404 page not found").await };
        match fault {
            Some(Fault::Body(ref other)) => body.clone_from(other),
            Some(Fault::Half) => body.truncate(body.len() / 2),
            Some(Fault::Huge) => return huge(stream).await,
            _ => {}
        }
        if right == "log"
            && let Some(range) = header("range")
        {
            let n: usize = range.trim_start_matches("bytes=-").parse().unwrap();
            let from = body.len().saturating_sub(n);
            let head = format!(
                "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {from}-{}/{}\r\nContent-Length: {}\r\n\r\n",
                body.len() - 1,
                body.len(),
                body.len() - from
            );
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(&body[from..]).await?;
            return stream.flush().await;
        }
        let head =
            format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all(head.as_bytes()).await?;
        match fault {
            Some(Fault::Cut) => {
                stream.write_all(&body[..body.len() / 2]).await?;
                stream.flush().await?;
                return Err(std::io::ErrorKind::ConnectionReset.into());
            }
            Some(Fault::Slow(millis)) => {
                for piece in body.chunks(64) {
                    stream.write_all(piece).await?;
                    stream.flush().await?;
                    tokio::time::sleep(Duration::from_millis(millis)).await;
                }
            }
            _ => stream.write_all(&body).await?,
        }
        stream.flush().await
    }
}

async fn plain(stream: &mut TlsStream<TcpStream>, code: u16, text: &str) -> std::io::Result<()> {
    let head =
        format!("HTTP/1.1 {code} Some Reason\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n", text.len());
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(text.as_bytes()).await?;
    stream.flush().await
}

/// Half a gigabyte: one pod of 100 MB, and pods after that until somebody hangs up.
async fn huge(stream: &mut TlsStream<TcpStream>) -> std::io::Result<()> {
    stream
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 536870912\r\n\r\n{\"items\":[{\"metadata\":{\"name\":\"")
        .await?;
    let block = vec![b'x'; 1 << 20];
    for _ in 0..100 {
        stream.write_all(&block).await?;
    }
    stream.write_all(b"\"}}").await?;
    let mut n = 0u64;
    loop {
        let mut block = Vec::with_capacity(1 << 20);
        while block.len() < (1 << 20) - 200 {
            n += 1;
            block.extend_from_slice(format!(",{{\"metadata\":{{\"name\":\"p{n}\",\"uid\":\"{n}\"}}}}").as_bytes());
        }
        stream.write_all(&block).await?;
    }
}

/// A pod that runs.
pub(crate) fn pod(namespace: &str, name: &str, uid: &str) -> Value {
    json!({
        "metadata": {
            "name": name, "namespace": namespace, "uid": uid,
            "annotations": {"kubernetes.io/config.source": "api", "note": "CANARY-annotation",
                "kubectl.kubernetes.io/last-applied-configuration": "{\"x\":\"CANARY-applied\"}"},
        },
        "spec": {"nodeName": "node-1", "containers": [{
            "name": "c", "image": "app:1", "args": ["--password=CANARY-arg"], "command": ["/app"],
            "env": [{"name": "GREETING", "value": "CANARY-env"}],
            "resources": {"limits": {"cpu": "500m", "memory": "64Mi"}},
        }]},
        "status": {
            "phase": "Running", "podIP": "10.244.0.7", "startTime": "2026-11-21T09:00:00Z", "qosClass": "Burstable",
            "conditions": [{"type": "Ready", "status": "True", "lastProbeTime": null, "lastTransitionTime": "2026-11-21T09:00:02Z"}],
            "containerStatuses": [{
                "name": "c", "ready": true, "started": true, "restartCount": 0, "image": "app:1", "imageID": "app@sha256:1",
                "containerID": "containerd://1", "lastState": {}, "state": {"running": {"startedAt": "2026-11-21T09:00:01Z"}},
            }],
        },
    })
}

/// The same after its container ended with an exit code, for the `n`th time.
pub(crate) fn crashed(mut pod: Value, n: i64, message: &str) -> Value {
    let ended = json!({"exitCode": 1, "reason": "Error", "message": message, "startedAt": "2026-11-21T09:01:00Z",
        "finishedAt": "2026-11-21T09:01:01Z", "containerID": "containerd://1"});
    pod["status"]["containerStatuses"][0] = json!({
        "name": "c", "ready": false, "started": false, "restartCount": n, "image": "app:1", "imageID": "", "containerID": "",
        "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s restarting failed container"}},
        "lastState": {"terminated": ended},
    });
    pod["status"]["conditions"][0] = json!({"type": "Ready", "status": "False", "reason": "ContainersNotReady",
        "message": "containers with unready status: [c]", "lastTransitionTime": "2026-11-21T09:01:01Z"});
    pod
}

/// What a node uses.
pub(crate) fn node() -> Value {
    json!({
        "nodeName": "node-1", "cpu": {"usageNanoCores": 812_000_000}, "network": {"rxErrors": 0, "txErrors": 0},
        "memory": {"availableBytes": 4_294_967_296u64, "workingSetBytes": 4_294_967_296u64},
        "fs": {"availableBytes": 50, "capacityBytes": 100, "inodesFree": 50, "inodes": 100},
        "runtime": {"imageFs": {"availableBytes": 50, "capacityBytes": 100}}, "rlimit": {"maxpid": 32768, "curproc": 230},
    })
}

/// What a pod uses.
pub(crate) fn used(namespace: &str, name: &str, uid: &str, bytes: u64) -> Value {
    json!({
        "podRef": {"name": name, "namespace": namespace, "uid": uid},
        "cpu": {"usageNanoCores": 5_000_000, "psi": {"some": {"avg10": 0.0}, "full": {"avg10": 0.0}}},
        "memory": {"workingSetBytes": bytes},
        "network": {"rxErrors": 0, "txErrors": 0}, "ephemeral-storage": {"usedBytes": 4096, "capacityBytes": 100_000_000},
        "process_stats": {"process_count": 3},
        "containers": [{"name": "c", "cpu": {"usageNanoCores": 5_000_000},
            "memory": {"workingSetBytes": bytes, "availableBytes": 67_108_864 - bytes}}],
    })
}
