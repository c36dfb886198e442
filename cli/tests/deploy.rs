//! The manifests on a real API server: what their accounts may do and may not, asked with their own tokens, and whether
//! their pods are let into their namespaces. TAPIO_KUBECONFIG_TEST names the server (with `kubectl` and `curl` on the
//! PATH); without it the trials are listed as skipped. No pod is started.

#![allow(clippy::unwrap_used, reason = "a trial that cannot go on has failed")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::{Value, json};

/// The server, with what is applied to it; that goes with this.
struct Cluster {
    kubeconfig: PathBuf,
    objects: Vec<Value>,
}

struct Ran {
    ok: bool,
    out: String,
    err: String,
}

impl Cluster {
    fn new(kubeconfig: PathBuf) -> Self {
        let mut cluster = Cluster { kubeconfig, objects: Vec::new() };
        let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy");
        for folder in [deploy.clone(), deploy.join("agent-node")] {
            let text = cluster.kubectl(&["kustomize", &folder.display().to_string()], "").must();
            // kubectl reads YAML, and says it again as JSON.
            let list = cluster.kubectl(&["create", "--dry-run=client", "-o", "json", "-f", "-"], &text).must();
            let documents = serde_json::Deserializer::from_str(&list).into_iter::<Value>();
            for d in documents {
                match d.unwrap() {
                    list if list["kind"] == "List" => cluster.objects.extend(list["items"].as_array().unwrap().clone()),
                    one => cluster.objects.push(one),
                }
            }
        }
        assert!(cluster.objects.len() > 20, "{} objects", cluster.objects.len());
        // Namespaces first; what would start pods is only tried.
        for namespaces in [true, false] {
            for o in cluster.objects.iter().filter(|o| (o["kind"] == "Namespace") == namespaces && !starts_pods(o)) {
                // A namespace is not there for everybody in the moment after it was made.
                let apply = || cluster.kubectl(&["apply", "-f", "-"], &o.to_string());
                let tried = (0..20).map(|_| apply()).find(|ran| {
                    if !ran.ok {
                        std::thread::sleep(std::time::Duration::from_millis(500));
                    }
                    ran.ok
                });
                tried.unwrap_or_else(apply).must();
            }
        }
        cluster
    }

    fn kubectl(&self, arguments: &[&str], input: &str) -> Ran {
        let mut child = Command::new("kubectl")
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("kubectl on the PATH");
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let out = child.wait_with_output().unwrap();
        let text = |b: Vec<u8>| String::from_utf8(b).unwrap();
        Ran { ok: out.status.success(), out: text(out.stdout), err: text(out.stderr) }
    }

    fn token(&self, namespace: &str, account: &str, audience: Option<&str>) -> String {
        let mut arguments = vec!["-n", namespace, "create", "token", account, "--duration", "10m"];
        arguments.extend(audience.map(|a| ["--audience", a]).into_iter().flatten());
        self.kubectl(&arguments, "").must().trim().to_owned()
    }

    /// As somebody with this token and nothing else.
    fn curl(&self, token: &str, method: &str, url: &str, body: &str) -> u16 {
        let out = Command::new("curl")
            .args(["-sk", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "10", "-X", method])
            .args(["-H", &format!("Authorization: Bearer {token}"), "-H", "Content-Type: application/json"])
            .args(if body.is_empty() { vec![] } else { vec!["-d", body] })
            .arg(url)
            .output()
            .expect("curl on the PATH");
        String::from_utf8(out.stdout).unwrap().parse().unwrap()
    }

    fn server(&self) -> String {
        let path = "jsonpath={.clusters[0].cluster.server}";
        self.kubectl(&["config", "view", "--minify", "-o", path], "").must()
    }

    /// The pod that a workload would start.
    fn pod(&self, kind: &str, namespace: &str) -> Value {
        let o = self.objects.iter().find(|o| o["kind"] == kind && o["metadata"]["namespace"] == namespace).unwrap();
        let mut pod = o["spec"]["template"].clone();
        pod["apiVersion"] = "v1".into();
        pod["kind"] = "Pod".into();
        pod["metadata"]["name"] = "tried".into();
        pod
    }

    /// Whether a pod is let into a namespace.
    fn admits(&self, mut pod: Value, namespace: &str) -> Ran {
        pod["metadata"]["namespace"] = namespace.into();
        self.kubectl(&["create", "--dry-run=server", "-f", "-"], &pod.to_string())
    }
}

impl Ran {
    #[track_caller]
    fn must(self) -> String {
        assert!(self.ok, "{}", self.err);
        self.out
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for o in self.objects.iter().filter(|o| !starts_pods(o) && o["metadata"]["namespace"].is_null()) {
            self.kubectl(&["delete", "--ignore-not-found", "--wait=false", "-f", "-"], &o.to_string());
        }
        for o in
            self.objects.iter().filter(|o| o["metadata"]["namespace"].as_str().is_some_and(|n| n.starts_with("kube-")))
        {
            self.kubectl(&["delete", "--ignore-not-found", "-f", "-"], &o.to_string());
        }
    }
}

fn starts_pods(o: &Value) -> bool {
    matches!(o["kind"].as_str(), Some("Deployment" | "DaemonSet" | "PersistentVolumeClaim"))
}

fn the_server_reads_and_no_more(c: &Cluster) {
    let (token, server) = (c.token("tapio", "tapio-server", None), c.server());
    let lease = |name: &str| {
        json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name, "namespace": "tapio"}})
            .to_string()
    };
    let review =
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": "x"}}).to_string();
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "c"}]}}).to_string();
    let leases = "/apis/coordination.k8s.io/v1/namespaces";
    for (method, path, body, expected) in [
        ("GET", "/api/v1/pods?limit=1".to_owned(), "", 200),
        ("GET", "/api/v1/events?limit=1".to_owned(), "", 200),
        ("GET", "/api/v1/configmaps?limit=1".to_owned(), "", 200),
        ("GET", "/apis/apps/v1/deployments?limit=1".to_owned(), "", 200),
        ("GET", "/apis/rbac.authorization.k8s.io/v1/clusterroles?limit=1".to_owned(), "", 200),
        ("GET", "/api/v1/namespaces/kube-system".to_owned(), "", 200),
        ("GET", format!("{leases}/kube-node-lease/leases"), "", 200),
        ("POST", format!("{leases}/tapio/leases?dryRun=All"), lease("tapio").as_str(), 201),
        ("GET", format!("{leases}/tapio/leases/tapio"), "", 404),
        ("POST", "/apis/authentication.k8s.io/v1/tokenreviews".to_owned(), review.as_str(), 201),
        // And nothing of these.
        ("GET", "/api/v1/secrets?limit=1".to_owned(), "", 403),
        ("GET", "/api/v1/namespaces/kube-system/secrets/x".to_owned(), "", 403),
        ("GET", "/api/v1/namespaces/default".to_owned(), "", 403),
        ("GET", format!("{leases}/default/leases"), "", 403),
        ("GET", format!("{leases}/tapio/leases/other"), "", 403),
        ("DELETE", format!("{leases}/tapio/leases/tapio"), "", 403),
        ("POST", format!("{leases}/kube-system/leases?dryRun=All"), lease("tapio").as_str(), 403),
        ("POST", "/api/v1/namespaces/tapio/pods?dryRun=All".to_owned(), pod.as_str(), 403),
        ("DELETE", "/api/v1/namespaces/default/pods/x".to_owned(), "", 403),
        ("POST", "/api/v1/namespaces/default/pods/x/exec".to_owned(), "", 403),
        ("GET", "/api/v1/nodes/x/proxy/pods".to_owned(), "", 403),
        ("POST", "/api/v1/namespaces/tapio/serviceaccounts/tapio-server/token".to_owned(), "{}", 403),
    ] {
        assert_eq!(c.curl(&token, method, &format!("{server}{path}"), body), expected, "{method} {path}");
    }
}

fn an_agent_reads_its_kubelet_and_no_more(c: &Cluster) {
    let server = c.server();
    let path = "jsonpath={.items[0].status.addresses[?(@.type==\"InternalIP\")].address}";
    let kubelet = format!("https://{}:10250", c.kubectl(&["get", "nodes", "-o", path], "").must());
    for namespace in ["tapio", "tapio-node"] {
        let token = c.token(namespace, "tapio-agent", None);
        for (base, path, expected) in [
            (&kubelet, "/pods", 200),
            (&kubelet, "/stats/summary", 200),
            (&kubelet, "/metrics/probes", 200),
            (&kubelet, "/healthz", 200),
            (&kubelet, "/logs/", 403),
            (&kubelet, "/containerLogs/kube-system/x/x", 403),
            (&kubelet, "/configz", 403),
            (&server, "/api/v1/pods?limit=1", 403),
            (&server, "/api/v1/nodes", 403),
            (&server, "/api/v1/secrets?limit=1", 403),
        ] {
            assert_eq!(c.curl(&token, "GET", &format!("{base}{path}"), ""), expected, "{namespace}: {path}");
        }
        assert_eq!(c.curl(&token, "POST", &format!("{kubelet}/run/kube-system/x/x?cmd=id"), ""), 403);
        // The token for the server opens nothing else.
        let ours = c.token(namespace, "tapio-agent", Some("tapio"));
        assert_eq!(c.curl(&ours, "GET", &format!("{kubelet}/pods"), ""), 401);
        assert_eq!(c.curl(&ours, "GET", &format!("{server}/api/v1/nodes"), ""), 401);
    }
}

fn pods_are_let_into_their_namespaces_and_the_node_grade_into_its_own_alone(c: &Cluster) {
    // A namespace has its ServiceAccounts a moment after itself.
    for (kind, namespace) in [("Deployment", "tapio"), ("DaemonSet", "tapio"), ("DaemonSet", "tapio-node")] {
        let ran = c.admits(c.pod(kind, namespace), namespace);
        assert!(ran.ok && !ran.err.contains("Warning"), "{kind} of {namespace}: {}", ran.err);
    }
    let ran = c.admits(c.pod("DaemonSet", "tapio-node"), "tapio");
    assert!(!ran.ok && ran.err.contains("violates PodSecurity") && ran.err.contains("hostPath"), "{}", ran.err);
    let mut rooted = c.pod("Deployment", "tapio");
    rooted["spec"]["securityContext"]["runAsNonRoot"] = false.into();
    let ran = c.admits(rooted, "tapio");
    assert!(!ran.ok && ran.err.contains("runAsNonRoot"), "{}", ran.err);
    for o in c.objects.iter().filter(|o| starts_pods(o)) {
        let ran = c.kubectl(&["apply", "--dry-run=server", "-f", "-"], &o.to_string());
        assert!(ran.ok && !ran.err.contains("Warning"), "{}: {}", o["kind"], ran.err);
    }
}

type Case = fn(&Cluster);

const CASES: &[(&str, Case)] = &[
    ("the server reads, leads by its Lease, reviews tokens, and may do no more", the_server_reads_and_no_more),
    ("an agent reads its kubelet, and may do no more", an_agent_reads_its_kubelet_and_no_more),
    (
        "pods are let into their namespaces, and those of the node grade into their own alone",
        pods_are_let_into_their_namespaces_and_the_node_grade_into_its_own_alone,
    ),
];

fn main() {
    let real = std::env::var_os("TAPIO_KUBECONFIG_TEST");
    let cluster = real.map(|k| Arc::new(Cluster::new(k.into())));
    let kind = if cluster.is_some() { "" } else { "skipped: TAPIO_KUBECONFIG_TEST names no kubeconfig" };
    let trials = CASES.iter().map(|(sentence, case)| {
        let cluster = cluster.clone();
        let missing = cluster.is_none();
        let trial = Trial::test(format!("real: {sentence}"), move || {
            case(cluster.as_deref().ok_or_else(|| Failed::from("TAPIO_KUBECONFIG_TEST names no kubeconfig"))?);
            Ok(())
        });
        trial.with_kind(kind).with_ignored_flag(missing)
    });
    let conclusion = libtest_mimic::run(&Arguments::from_args(), trials.collect());
    // `exit` runs no destructors.
    drop(cluster);
    conclusion.exit();
}
