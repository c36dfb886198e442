//! Where the suite runs: the small kubelet, or that of a real node; and a collector that writes into memory.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tapio_cluster::{Connection, KubeletTarget};
use tapio_collectors::cluster::Sink;
use tapio_collectors::kubelet::{KubeletCollector, KubeletConfig, State, Timing, Topic, TopicState};
use tapio_collectors::redaction::Redaction;
use tapio_core::ports::{BoxFuture, LogError, Position};
use tapio_core::raw::{DeadLetter, RawEvent};
use tokio::sync::oneshot;

use super::fake_kubelet::{FakeKubelet, crashed, pod, used};

/// A kubelet with a namespace to play in.
pub(crate) trait Place: Send + Sync {
    /// How to reach it with a token that may do all that the collector needs, and perhaps read logs.
    fn target(&self, logs: bool) -> KubeletTarget;
    /// Its node.
    fn node(&self) -> &str;
    /// The namespace.
    fn namespace(&self) -> &str;
    /// Starts a pod `name` that runs, with canaries in its spec.
    fn run(&self, name: &str);
    /// Starts a pod `name` whose container says `goodbye` with a password, and ends with exit code 3.
    fn crash(&self, name: &str);
    /// The uid that the API server has for a pod.
    fn uid(&self, name: &str) -> String;
}

/// The small one.
pub(crate) struct Fake {
    pub(crate) kubelet: FakeKubelet,
    pub(crate) dir: tempfile::TempDir,
}

impl Fake {
    pub(crate) async fn start() -> Self {
        let fake = Fake { kubelet: FakeKubelet::start().await, dir: tempfile::tempdir().unwrap() };
        std::fs::write(fake.dir.path().join("ca.crt"), &fake.kubelet.authority).unwrap();
        fake
    }

    pub(crate) fn write_token(&self, token: &str) {
        std::fs::write(self.dir.path().join("token"), token).unwrap();
    }
}

impl Place for Fake {
    fn target(&self, logs: bool) -> KubeletTarget {
        self.kubelet.token("good", logs);
        self.write_token("good");
        KubeletTarget {
            port: self.kubelet.address.port(),
            ca_file: Some(self.dir.path().join("ca.crt")),
            token_file: Some(self.dir.path().join("token")),
            ..KubeletTarget::new("127.0.0.1")
        }
    }

    fn node(&self) -> &str {
        "node-1"
    }

    fn namespace(&self) -> &str {
        "play"
    }

    fn run(&self, name: &str) {
        let uid = self.uid(name);
        self.kubelet.put(pod("play", name, &uid));
        let node = super::fake_kubelet::node();
        self.kubelet.summary(json!({"node": node, "pods": [used("play", name, &uid, 1 << 20)]}));
    }

    fn crash(&self, name: &str) {
        let uid = self.uid(name);
        self.kubelet.put(crashed(pod("play", name, &uid), 2, ""));
        let log = "2026-11-21T09:01:00.5Z stderr F goodbye, password=CANARY-log\n";
        for run in 0..3 {
            self.kubelet.log(&format!("play_{name}_{uid}/c/{run}.log"), log);
        }
    }

    fn uid(&self, name: &str) -> String {
        format!("uid-of-{name}")
    }
}

/// That of a real node, with a namespace and accounts that go with this.
pub(crate) struct Real {
    kubeconfig: PathBuf,
    name: String,
    node: String,
    address: String,
    dir: tempfile::TempDir,
}

impl Real {
    pub(crate) fn new(kubeconfig: PathBuf) -> Self {
        static N: AtomicU64 = AtomicU64::new(0);
        let name = format!("tapio-kubelet-{}-{}", std::process::id(), N.fetch_add(1, Ordering::Relaxed));
        let dir = tempfile::tempdir().unwrap();
        let mut real = Real { kubeconfig, name, node: String::new(), address: String::new(), dir };
        let nodes: Value = serde_json::from_str(&real.kubectl(&["get", "nodes", "-o", "json"], "")).unwrap();
        let node = &nodes["items"][0];
        real.node = node["metadata"]["name"].as_str().unwrap().to_owned();
        let addresses = node["status"]["addresses"].as_array().unwrap();
        let inside = addresses.iter().find(|a| a["type"] == "InternalIP").unwrap();
        real.address = inside["address"].as_str().unwrap().to_owned();
        let ca = real
            .kubectl(&["get", "configmap", "kube-root-ca.crt", "-n", "default", "-o", "jsonpath={.data.ca\\.crt}"], "");
        std::fs::write(real.dir.path().join("ca.crt"), ca).unwrap();
        let ns = real.name.clone();
        real.apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": ns}}));
        for (account, rights) in [
            ("agent", vec!["nodes/pods", "nodes/stats", "nodes/metrics", "nodes/healthz"]),
            ("reader", vec!["nodes/pods", "nodes/stats", "nodes/metrics", "nodes/healthz", "nodes/log"]),
        ] {
            let role = format!("{ns}-{account}");
            real.apply(
                &json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account, "namespace": ns}}),
            );
            real.apply(
                &json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": role},
                "rules": [{"apiGroups": [""], "resources": rights, "verbs": ["get"]}]}),
            );
            real.apply(&json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": role},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
                "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": ns}]}));
        }
        real
    }

    fn apply(&self, object: &Value) {
        self.kubectl(&["apply", "-f", "-"], &object.to_string());
    }

    fn kubectl(&self, arguments: &[&str], input: &str) -> String {
        // A namespace that is new has no ServiceAccount for a moment, and refuses pods.
        for _ in 0..20 {
            if let Some(out) = self.try_kubectl(arguments, input) {
                return out;
            }
            std::thread::sleep(Duration::from_millis(500));
        }
        panic!("kubectl {arguments:?} does not succeed");
    }

    fn try_kubectl(&self, arguments: &[&str], input: &str) -> Option<String> {
        use std::io::Write;
        let mut child = std::process::Command::new("kubectl")
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .args(arguments)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("kubectl on the PATH");
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let out = child.wait_with_output().unwrap();
        out.status.success().then(|| String::from_utf8(out.stdout).unwrap())
    }

    fn start(&self, name: &str, command: &str) {
        self.apply(&json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": self.name, "annotations": {"note": "CANARY-annotation"}},
            "spec": {
                "nodeName": self.node, "terminationGracePeriodSeconds": 1,
                "containers": [{"name": "c", "image": "busybox:1.36", "command": ["sh", "-c", command],
                    "env": [{"name": "GREETING", "value": "CANARY-env"}], "args": ["--password=CANARY-arg"],
                    "resources": {"limits": {"cpu": "500m", "memory": "64Mi"}}}],
            },
        }));
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        for account in ["agent", "reader"] {
            let role = format!("{}-{account}", self.name);
            self.try_kubectl(&["delete", "clusterrole,clusterrolebinding", &role, "--wait=false"], "");
        }
        self.try_kubectl(&["delete", "namespace", &self.name, "--wait=false"], "");
    }
}

impl Place for Real {
    fn target(&self, logs: bool) -> KubeletTarget {
        let account = if logs { "reader" } else { "agent" };
        let token = self.kubectl(&["create", "token", account, "-n", &self.name], "");
        let file = self.dir.path().join(account);
        std::fs::write(&file, token.trim()).unwrap();
        KubeletTarget {
            ca_file: Some(self.dir.path().join("ca.crt")),
            token_file: Some(file),
            ..KubeletTarget::new(&self.address)
        }
    }

    fn node(&self) -> &str {
        &self.node
    }

    fn namespace(&self) -> &str {
        &self.name
    }

    fn run(&self, name: &str) {
        self.start(name, "sleep 3600");
    }

    fn crash(&self, name: &str) {
        self.start(name, "echo goodbye, password=CANARY-log; exit 3");
    }

    fn uid(&self, name: &str) -> String {
        self.kubectl(&["get", "pod", name, "-n", &self.name, "-o", "jsonpath={.metadata.uid}"], "")
    }
}

/// Events in memory.
#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) events: Mutex<Vec<RawEvent>>,
    pub(crate) letters: Mutex<Vec<DeadLetter>>,
    /// Appends that fail before one succeeds.
    pub(crate) failing: AtomicU64,
}

/// A sink into memory.
pub(crate) struct MemorySink(pub(crate) Arc<Memory>);

impl Sink for MemorySink {
    fn append(&mut self, events: Vec<RawEvent>) -> BoxFuture<'_, Result<Position, LogError>> {
        Box::pin(async move {
            if self.0.failing.load(Ordering::Relaxed) > 0 {
                self.0.failing.fetch_sub(1, Ordering::Relaxed);
                return Err(LogError::Full { place: "memory".into(), why: "as asked".into() });
            }
            let mut all = self.0.events.lock().unwrap();
            all.extend(events);
            Ok(Position(all.len() as u64))
        })
    }

    fn bury(&mut self, letters: Vec<DeadLetter>) -> BoxFuture<'_, Result<(), LogError>> {
        self.0.letters.lock().unwrap().extend(letters);
        Box::pin(async { Ok(()) })
    }

    fn remember(&mut self, _: Position, _: u32, _: Vec<u8>) -> BoxFuture<'_, Result<(), LogError>> {
        Box::pin(async { Ok(()) })
    }
}

/// Times that are short enough to wait for.
pub(crate) fn quick() -> Timing {
    let ms = Duration::from_millis;
    Timing {
        slow: ms(200),
        quick: ms(100),
        restless: ms(500),
        stats: ms(200),
        probes: ms(150),
        throttling: ms(300),
        health: ms(150),
        request: ms(1_500),
        answer: ms(3_000),
        retry: ms(50),
        retry_max: ms(200),
        refused: ms(300),
        heartbeat: ms(300),
        gap: ms(500),
        down: ms(600),
        forget: Duration::from_secs(60),
        unready: ms(200),
        sample: ms(100),
    }
}

/// A collector at work.
pub(crate) struct Running {
    pub(crate) memory: Arc<Memory>,
    pub(crate) state: Arc<State>,
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<Result<(), LogError>>,
    namespace: String,
}

impl Running {
    pub(crate) async fn start(place: &dyn Place, config: KubeletConfig, target: KubeletTarget) -> Self {
        Self::start_on(place, config, target, Arc::default()).await
    }

    pub(crate) async fn start_on(
        place: &dyn Place,
        config: KubeletConfig,
        target: KubeletTarget,
        memory: Arc<Memory>,
    ) -> Self {
        let connection = Arc::new(Connection::to_kubelet(target).await.unwrap());
        let collector =
            KubeletCollector::new(config, connection, place.node(), "test", Redaction::default()).with_timing(quick());
        let state = collector.state();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(collector.run(MemorySink(Arc::clone(&memory)), async move {
            let _ = stopped.await;
        }));
        Running { memory, state, stop, task, namespace: place.namespace().to_owned() }
    }

    /// Waits for something to become true.
    pub(crate) async fn until(&self, what: &str, mut is: impl FnMut(&Self) -> bool) {
        let begun = Instant::now();
        while !is(self) {
            let late = begun.elapsed() > Duration::from_secs(60);
            assert!(!late, "{what} did not come; {:?}; told: {:#?}", self.state.topics(), self.kinds());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) async fn until_topic(&self, topic: Topic, is: impl Fn(&TopicState) -> bool) {
        self.until(&format!("another state of {topic:?}"), |r| is(&r.state.topic(topic))).await;
    }

    /// All events, in order.
    pub(crate) fn events(&self) -> Vec<RawEvent> {
        self.memory.events.lock().unwrap().clone()
    }

    fn kinds(&self) -> Vec<String> {
        self.events().iter().map(|e| format!("{} {}", e.kind, e.data.get())).collect()
    }

    /// Data of the events of a type.
    pub(crate) fn data(&self, kind: &str) -> Vec<Value> {
        let events = self.events();
        events.iter().filter(|e| e.kind == kind).map(|e| serde_json::from_str(e.data.get()).unwrap()).collect()
    }

    /// Data of the events of a type about a pod of the namespace.
    pub(crate) fn about(&self, kind: &str, pod: &str) -> Vec<Value> {
        let all = self.data(kind).into_iter();
        all.filter(|d| d["namespace"] == self.namespace.as_str() && d["pod"] == pod).collect()
    }

    /// Ends it; what it told.
    pub(crate) async fn stop(self) -> Vec<RawEvent> {
        drop(self.stop);
        self.task.await.unwrap().unwrap();
        self.memory.events.lock().unwrap().clone()
    }
}
