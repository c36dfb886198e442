//! `tapio analyze` of generated dumps: time and memory, and what ten times the objects cost.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::process::{Measured, measure, release_binary};

/// Objects of the smaller dump; the larger has ten times as many.
const OBJECTS: usize = 1_500;
/// The 95th of a hundred runs of the smaller one may take so long, milliseconds.
const P95_MILLIS: f64 = 300.0;
/// Memory of the smaller one, MiB.
const RESIDENT_MIB: f64 = 300.0;
/// How much longer ten times the objects may take.
const TIMES: f64 = 12.0;

pub(super) fn run(root: &Path, quick: bool, tapio: Option<PathBuf>) -> Result<()> {
    let binary = tapio.map_or_else(|| release_binary(root), Ok)?;
    let runs = if quick { 5 } else { 40 };
    println!("{:>8} {:>8} {:>9} {:>9} {:>9} {:>9}", "objects", "MiB", "p50 ms", "p95 ms", "max ms", "RSS MiB");
    let small = row(root, &binary, OBJECTS, runs)?;
    let large = row(root, &binary, OBJECTS * 10, runs.min(10))?;
    let word = |ok: bool| if ok { "met" } else { "missed" };
    println!("p95 of {OBJECTS} objects under {P95_MILLIS} ms: {}", word(small.p95 < P95_MILLIS));
    println!("memory of {OBJECTS} objects under {RESIDENT_MIB} MiB: {}", word(small.resident < RESIDENT_MIB));
    let times = large.p50 / small.p50;
    println!("ten times the objects cost {times:.1} times, at most {TIMES}: {}", word(times <= TIMES));
    Ok(())
}

struct Row {
    p50: f64,
    p95: f64,
    resident: f64,
}

fn row(root: &Path, binary: &Path, objects: usize, runs: usize) -> Result<Row> {
    let folder = root.join(format!("target/bench/dump-{objects}"));
    let bytes = write(&folder, objects).with_context(|| format!("cannot write {}", folder.display()))?;
    let argument = folder.to_string_lossy().into_owned();
    let args = ["analyze", argument.as_str(), "-o", "json"];
    let mut millis = Vec::new();
    let mut resident = 0.0f64;
    for _ in 0..runs {
        let Measured { millis: took, resident_mib, status, answer, .. } = measure(binary, &args)?;
        if status.is_none_or(|s| s > 1) || answer.is_empty() {
            bail!("tapio analyze {argument} ended with {status:?}");
        }
        millis.push(took);
        resident = resident.max(resident_mib);
    }
    millis.sort_by(f64::total_cmp);
    let at = |share: f64| millis[((millis.len() as f64 * share).ceil() as usize).clamp(1, millis.len()) - 1];
    println!(
        "{objects:>8} {:>8.1} {:>9.1} {:>9.1} {:>9.1} {resident:>9.1}",
        bytes as f64 / f64::from(1 << 20),
        at(0.5),
        at(0.95),
        at(1.0)
    );
    Ok(Row { p50: at(0.5), p95: at(0.95), resident })
}

/// Writes a dump of so many objects, one pod in fifty in trouble; returns its bytes.
fn write(folder: &Path, objects: usize) -> Result<usize> {
    let start = Instant::now();
    if folder.exists() {
        std::fs::remove_dir_all(folder)?;
    }
    let pods_in_all = objects * 6 / 10;
    let namespaces = (pods_in_all / 90).max(1);
    let mut bytes = list(&folder.join("nodes.json"), "NodeList", (0..10).map(node).collect())?;
    bytes += put(&folder.join("meta.json"), &json!({"collected_at": "2026-01-01T01:00:00Z"}))?;
    for ns in 0..namespaces {
        let home = folder.join(format!("ns{ns}"));
        let pods: Vec<usize> = (0..pods_in_all).filter(|n| n % namespaces == ns).collect();
        let apps: Vec<usize> = (0..pods.len().div_ceil(5)).collect();
        let of = |make: &dyn Fn(usize) -> Value| apps.iter().map(|a| make(*a)).collect::<Vec<_>>();
        bytes +=
            list(&home.join("pods.json"), "PodList", pods.iter().enumerate().map(|(i, n)| pod(ns, i, *n)).collect())?;
        bytes += list(&home.join("deployments.json"), "DeploymentList", of(&|a| deployment(ns, a)))?;
        bytes += list(&home.join("replicasets.json"), "ReplicaSetList", of(&|a| replica_set(ns, a)))?;
        bytes += list(&home.join("services.json"), "ServiceList", of(&|a| service(ns, a)))?;
        let sick: Vec<Value> =
            pods.iter().enumerate().filter(|(_, n)| *n % 50 == 0).map(|(i, n)| event(ns, i, *n)).collect();
        bytes += list(&home.join("events.json"), "EventList", sick)?;
    }
    println!("(wrote {} in {:.1} s)", folder.display(), start.elapsed().as_secs_f64());
    Ok(bytes)
}

fn list(path: &Path, kind: &str, items: Vec<Value>) -> Result<usize> {
    put(path, &json!({"apiVersion": "v1", "kind": kind, "items": items}))
}

fn put(path: &Path, value: &Value) -> Result<usize> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    // Indented, as kubectl writes it.
    let text = serde_json::to_string_pretty(value)?;
    std::fs::write(path, &text)?;
    Ok(text.len())
}

fn meta(ns: usize, name: &str) -> Value {
    json!({"name": name, "namespace": format!("ns{ns}"), "uid": format!("{ns}-{name}"),
           "resourceVersion": "1", "creationTimestamp": "2025-12-31T00:00:00Z", "labels": {}})
}

fn node(n: usize) -> Value {
    json!({"apiVersion": "v1", "kind": "Node",
           "metadata": {"name": format!("node-{n}"), "uid": format!("node-{n}"), "creationTimestamp": "2025-12-01T00:00:00Z"},
           "status": {"allocatable": {"cpu": "16", "memory": "64Gi", "pods": "110"},
                      "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2025-12-01T00:01:00Z"}]}})
}

fn template(app: usize) -> Value {
    json!({"metadata": {"labels": {"app": format!("app{app}")}},
           "spec": {"containers": [container(app)]}})
}

fn container(app: usize) -> Value {
    json!({"name": "app", "image": format!("shop/app{app}:1.0"), "ports": [{"containerPort": 8080, "name": "http"}],
           "env": [{"name": "A", "value": "1"}, {"name": "STORE", "value": "http://store:8080"}],
           "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}, "periodSeconds": 3},
           "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "64Mi"}}})
}

fn deployment(ns: usize, app: usize) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta(ns, &format!("app{app}")),
           "spec": {"replicas": 5, "selector": {"matchLabels": {"app": format!("app{app}")}}, "template": template(app)},
           "status": {"replicas": 5, "readyReplicas": 5, "availableReplicas": 5, "updatedReplicas": 5}})
}

fn replica_set(ns: usize, app: usize) -> Value {
    let mut m = meta(ns, &format!("app{app}-5f9d"));
    m["ownerReferences"] = json!([{"apiVersion": "apps/v1", "kind": "Deployment", "name": format!("app{app}"),
                                   "uid": format!("{ns}-app{app}"), "controller": true}]);
    json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": m,
           "spec": {"replicas": 5, "selector": {"matchLabels": {"app": format!("app{app}")}}, "template": template(app)},
           "status": {"replicas": 5, "readyReplicas": 5, "availableReplicas": 5}})
}

fn service(ns: usize, app: usize) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": meta(ns, &format!("app{app}")),
           "spec": {"selector": {"app": format!("app{app}")}, "ports": [{"port": 80, "targetPort": "http"}], "type": "ClusterIP"}})
}

fn pod(ns: usize, i: usize, n: usize) -> Value {
    let app = i / 5;
    let mut m = meta(ns, &format!("app{app}-5f9d-{i}"));
    m["labels"] = json!({"app": format!("app{app}"), "pod-template-hash": "5f9d"});
    m["ownerReferences"] = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("app{app}-5f9d"),
                                   "uid": format!("{ns}-app{app}-5f9d"), "controller": true}]);
    let ok = !n.is_multiple_of(50);
    let ready = if ok { "True" } else { "False" };
    let state = if ok {
        json!({"running": {"startedAt": "2025-12-31T00:00:05Z"}})
    } else {
        json!({"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}})
    };
    let conditions: Vec<Value> = ["Initialized", "Ready", "ContainersReady", "PodScheduled"]
        .iter()
        .map(|t| {
            let status = if t.contains("Ready") { ready } else { "True" };
            json!({"type": t, "status": status, "lastTransitionTime": "2025-12-31T00:00:05Z"})
        })
        .collect();
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": m,
           "spec": {"nodeName": format!("node-{}", n % 10), "restartPolicy": "Always", "containers": [container(app)]},
           "status": {"phase": if ok { "Running" } else { "Pending" }, "podIP": "10.244.0.4", "startTime": "2025-12-31T00:00:00Z",
                      "conditions": conditions,
                      "containerStatuses": [{"name": "app", "image": format!("shop/app{app}:1.0"), "ready": ok,
                                             "restartCount": 0, "started": ok, "state": state}]}})
}

fn event(ns: usize, i: usize, n: usize) -> Value {
    let name = format!("app{}-5f9d-{i}", i / 5);
    json!({"apiVersion": "v1", "kind": "Event", "metadata": meta(ns, &format!("{name}.{n:x}")),
           "involvedObject": {"kind": "Pod", "namespace": format!("ns{ns}"), "name": name, "uid": format!("{ns}-{name}"),
                              "fieldPath": "spec.containers{app}"},
           "type": "Warning", "reason": "Failed", "count": 12, "source": {"component": "kubelet"},
           "firstTimestamp": "2025-12-31T00:00:06Z", "lastTimestamp": "2026-01-01T00:59:00Z",
           "message": "Failed to pull image: rpc error: code = NotFound desc = manifest unknown: not found"})
}
