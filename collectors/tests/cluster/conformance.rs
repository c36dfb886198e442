//! What holds on every API server.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tapio_cluster::{Connection, Line, Target};
use tapio_collectors::cluster::ClusterConfig;

use super::place::{Place, Running, config_map};

type Case = fn(Arc<dyn Place>) -> Pin<Box<dyn Future<Output = ()>>>;

/// Each with its sentence.
pub(crate) const CASES: &[(&str, Case)] = &[
    ("an object is told once when it comes, changes and goes", |p| Box::pin(once(p))),
    ("a restart tells what changed and vanished meanwhile, and nothing else", |p| Box::pin(restart(p))),
    ("a list in pages is the same as one in a piece", |p| Box::pin(pages(p))),
    ("each rise of an Event's count is told, and not that it went", |p| Box::pin(events(p))),
    ("of Secrets names of keys and writers are told, and no byte of a value leaves", |p| Box::pin(secrets(p))),
    ("no canary of env, annotations and ConfigMaps is in any event", |p| Box::pin(canaries(p))),
    ("a watch of a forgotten version is a 200 with one ERROR event of 410", |p| Box::pin(forgotten(p))),
    ("the rights of the credentials are told", |p| Box::pin(rights(p))),
];

async fn once(p: Arc<dyn Place>) {
    let ns = p.namespace();
    p.put(config_map(ns, "before", "1"));
    let r = Running::synced(&*p).await;
    assert_eq!(r.types("ConfigMap", "before"), ["ObjectAdded"]);
    p.put(config_map(ns, "x", "1"));
    r.until("x", |r| r.types("ConfigMap", "x").len() == 1).await;
    p.put(config_map(ns, "x", "2"));
    r.until("change of x", |r| r.types("ConfigMap", "x").len() == 2).await;
    p.delete(&config_map(ns, "x", "2"));
    r.until("end of x", |r| r.types("ConfigMap", "x").len() == 3).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(r.types("ConfigMap", "x"), ["ObjectAdded", "ObjectModified", "ObjectDeleted"]);
    // Every stamp is later than the one before.
    let log = r.stop().await;
    let events = log.events();
    assert!(events.windows(2).all(|w| w[0].timestamp < w[1].timestamp));
    let listed = events.iter().find(|e| e.kind == "SnapshotTaken").expect("what was listed");
    assert!(listed.data.get().contains(r#""kind":"ConfigMap""#), "{}", listed.data.get());
}

async fn restart(p: Arc<dyn Place>) {
    let ns = p.namespace();
    for name in ["stays", "changes", "goes"] {
        p.put(config_map(ns, name, "1"));
    }
    let r = Running::synced(&*p).await;
    let log = r.stop().await;
    let before = log.events().len();
    p.put(config_map(ns, "changes", "2"));
    p.delete(&config_map(ns, "goes", "1"));
    p.put(config_map(ns, "comes", "1"));
    let r = Running::synced_with(&*p, ClusterConfig::default(), log).await;
    r.until("what comes", |r| !r.types("ConfigMap", "comes").is_empty()).await;
    assert_eq!(r.types("ConfigMap", "stays"), ["ObjectAdded"]);
    assert_eq!(r.types("ConfigMap", "changes"), ["ObjectAdded", "ObjectModified"]);
    assert_eq!(r.types("ConfigMap", "goes"), ["ObjectAdded", "ObjectDeleted"]);
    assert_eq!(r.types("ConfigMap", "comes"), ["ObjectAdded"]);
    let log = r.stop().await;
    assert!(log.events().len() > before);
}

async fn pages(p: Arc<dyn Place>) {
    let ns = p.namespace();
    for i in 0..7 {
        p.put(config_map(ns, &format!("c{i}"), "1"));
    }
    let config = ClusterConfig { page_size: 2, ..ClusterConfig::default() };
    let r = Running::synced_with(&*p, config, Arc::default()).await;
    for i in 0..7 {
        assert_eq!(r.types("ConfigMap", &format!("c{i}")), ["ObjectAdded"]);
    }
    r.stop().await;
}

fn event(ns: &str, count: i64) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Event", "metadata": {"name": "e.1", "namespace": ns},
        "involvedObject": {"apiVersion": "v1", "kind": "Pod", "namespace": ns, "name": "p"},
        "reason": "BackOff", "message": "Back-off restarting failed container", "type": "Warning", "count": count,
        "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": format!("2026-01-01T00:00:0{count}Z"),
        "source": {"component": "kubelet"},
    })
}

async fn events(p: Arc<dyn Place>) {
    let ns = p.namespace();
    let r = Running::synced(&*p).await;
    for count in 1..=3_usize {
        p.put(event(ns, count as i64));
        r.until("the Event", |r| r.types("Event", "e.1").len() == count).await;
    }
    p.delete(&event(ns, 3));
    p.put(config_map(ns, "later", "1"));
    r.until("what comes later", |r| !r.types("ConfigMap", "later").is_empty()).await;
    assert_eq!(r.types("Event", "e.1"), ["Event", "Event", "Event"]);
    r.stop().await;
}

async fn secrets(p: Arc<dyn Place>) {
    let ns = p.namespace();
    let secret = |value: &str| {
        let data = json!({"password": value});
        let applied = json!({"data": data}).to_string();
        json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {
                "name": "s", "namespace": ns,
                "annotations": {"example.com/last-applied-configuration": applied},
            },
            "data": data,
        })
    };
    // "canary-in-a-secret"
    p.put(secret("Y2FuYXJ5LWluLWEtc2VjcmV0"));
    let off = Running::synced(&*p).await;
    assert!(off.types("Secret", "s").is_empty(), "Secrets are off");
    off.stop().await;
    let config = ClusterConfig { secrets: true, ..ClusterConfig::default() };
    let r = Running::synced_with(&*p, config, Arc::default()).await;
    assert_eq!(r.types("Secret", "s"), ["ObjectAdded"]);
    p.put(secret("Y2FuYXJ5LWFnYWlu"));
    r.until("the change", |r| r.types("Secret", "s").len() == 2).await;
    for e in r.stop().await.events() {
        let text = e.data.get();
        for canary in ["Y2FuYXJ5", "canary"] {
            assert!(!text.contains(canary), "{text}");
        }
    }
}

async fn canaries(p: Arc<dyn Place>) {
    let ns = p.namespace();
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "p", "namespace": ns,
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{\"x\":\"CANARY-applied\"}"},
        },
        "spec": {"containers": [{
            "name": "c", "image": "busybox:1.36",
            "env": [{"name": "GREETING", "value": "CANARY-env"}, {"name": "PORT", "value": "8080"}],
            "args": ["--password=CANARY-arg"], "command": ["sleep", "3600"],
        }]},
    });
    p.put(pod.clone());
    p.put(config_map(ns, "c", "CANARY config"));
    let r = Running::synced(&*p).await;
    r.until("pod and map", |r| !r.types("Pod", "p").is_empty() && !r.types("ConfigMap", "c").is_empty()).await;
    let told = r.told(Some("Pod"));
    assert!(told[0].2.to_string().contains("8080"), "plain numbers stay");
    p.delete(&pod);
    for e in r.stop().await.events() {
        assert!(!e.data.get().contains("CANARY"), "{}", e.data.get());
    }
}

async fn forgotten(p: Arc<dyn Place>) {
    let target = Target { kubeconfig: Some(p.kubeconfig()), context: None };
    let c = Connection::open(target).await.unwrap();
    let limit = Duration::from_secs(10);
    // Leases are renewed all the time, so that also a server that was just started has soon forgotten their beginning.
    let path = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases?watch=1&timeoutSeconds=5&resourceVersion=1";
    let begun = Instant::now();
    loop {
        let mut lines = c.lines(path, "application/json", 1 << 20, limit).await.unwrap();
        let Some(Line::Whole(line)) = lines.next().await.unwrap() else { panic!("no line") };
        let event: Value = serde_json::from_slice(&line).unwrap();
        if event["type"] == "ADDED" && begun.elapsed() < Duration::from_secs(110) {
            tokio::time::sleep(Duration::from_secs(5)).await;
            continue;
        }
        assert_eq!((&event["type"], &event["object"]["code"]), (&json!("ERROR"), &json!(410)), "{event}");
        return;
    }
}

async fn rights(p: Arc<dyn Place>) {
    let target = Target { kubeconfig: Some(p.kubeconfig()), context: None };
    let c = Arc::new(Connection::open(target).await.unwrap());
    let found = tapio_collectors::cluster::survey(c, &ClusterConfig::default()).await.unwrap();
    assert!(found.version.starts_with('v'), "{}", found.version);
    assert!(found.user.is_some());
    let pods = found.kinds.iter().find(|k| k.resource == "pods").unwrap();
    assert!(pods.refused.is_empty());
    assert!(found.kinds.iter().any(|k| k.resource == "pods/log" && k.needs == ["get"]));
}
