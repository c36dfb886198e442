//! Faults on demand.

use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};
use tapio_collectors::kubelet::{KubeletConfig, Topic, TopicState};
use tapio_core::event::{Nothing, normalise};
use tapio_core::unified::EventKind;

use super::fake_kubelet::{Fault, crashed, node, pod, used};
use super::place::{Fake, Place, Running};

type Case = fn() -> Pin<Box<dyn Future<Output = ()>>>;

/// Each with its sentence.
pub(crate) const FAULTS: &[(&str, Case)] = &[
    ("a kubelet that was restarted tells nothing twice, and its absence is one gap", || Box::pin(restarted())),
    ("a kubelet that stays away is down, and up again when it is back", || Box::pin(down())),
    ("a kubelet that says it is ill is told so", || Box::pin(ill())),
    ("when it knows nobody any more there is a gap and no heartbeat; a new token is read", || Box::pin(lapsed())),
    ("one refused path leaves the others alone, and is read when it is allowed", || Box::pin(refused())),
    ("an answer cut off, halved, slow or silent is asked for again, and loses nothing", || Box::pin(broken())),
    ("garbage is one dead letter without secrets, and the next answer is used", || Box::pin(garbage())),
    ("a pod that cannot be read leaves the others alone", || Box::pin(one_bad_pod())),
    ("an answer without end is cut off, and memory stays small", || Box::pin(huge())),
    ("a pod larger than any is skipped, and those behind it are read", || Box::pin(one_huge_pod())),
    ("a certificate for another name is not accepted", || Box::pin(other_name())),
    ("a sink that is full for a while loses nothing", || Box::pin(full())),
    ("a leak is told step by step, and a quiet pod not at all", || Box::pin(leak())),
    ("failed probes and throttling come from the metrics", || Box::pin(metrics())),
    ("messages of the kubelet are masked", || Box::pin(masked())),
    ("a pod from a file is told without the kubelet's own uid", || Box::pin(from_file())),
    ("mutated answers never end the collector", || Box::pin(mutated())),
];

async fn started() -> (Fake, Running) {
    let p = Fake::start().await;
    p.kubelet.put(pod("play", "a", "uid-a"));
    p.kubelet.put(pod("play", "b", "uid-b"));
    let r = Running::start(&p, KubeletConfig::default(), p.target(false)).await;
    r.until("both pods", |r| r.data("PodStatusUpdate").len() == 2).await;
    (p, r)
}

async fn answers(p: &Fake, n: usize) {
    let before = p.kubelet.seen("/pods");
    while p.kubelet.seen("/pods") < before + n {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn restarted() {
    let (p, r) = started().await;
    p.kubelet.away();
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    // What it knows first is nothing.
    p.kubelet.clear();
    p.kubelet.back();
    r.until("the gap", |r| !r.data("Gap").is_empty()).await;
    answers(&p, 2).await;
    p.kubelet.put(pod("play", "a", "uid-a"));
    p.kubelet.put(pod("play", "b", "uid-b"));
    answers(&p, 3).await;
    assert_eq!(r.data("PodStatusUpdate").len(), 2, "nothing is new");
    let gaps = r.data("Gap");
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    assert!(gaps[0]["reason"].as_str().unwrap().contains("nobody answers"), "{}", gaps[0]);
    r.stop().await;
}

async fn down() {
    let (p, r) = started().await;
    r.until("health", |r| r.data("NodeServiceState").len() == 1).await;
    p.kubelet.away();
    r.until("that it is down", |r| r.data("NodeServiceState").len() == 2).await;
    p.kubelet.back();
    r.until("that it is up", |r| r.data("NodeServiceState").len() == 3).await;
    let states: Vec<Value> = r.data("NodeServiceState").iter().map(|d| d["state"].clone()).collect();
    assert_eq!(states, ["active", "down", "active"]);
    let events = r.stop().await;
    let kinds: Vec<EventKind> = events
        .iter()
        .filter(|e| e.kind == "NodeServiceState")
        .map(|e| normalise(e, &Nothing).unwrap().events[0].kind)
        .collect();
    assert_eq!(kinds, [EventKind::NodeServiceUp, EventKind::NodeServiceDown, EventKind::NodeServiceUp]);
}

async fn ill() {
    let (p, r) = started().await;
    p.kubelet.fail("/healthz", Fault::Status(500, "[-]syncloop failed: reason withheld"), 3);
    r.until("that it is ill", |r| r.data("NodeServiceState").iter().any(|d| d["state"] == "unhealthy")).await;
    r.until("that it is well", |r| r.data("NodeServiceState").last().is_some_and(|d| d["state"] == "active")).await;
    let says = r.data("NodeServiceState").iter().map(|d| d["says"].to_string()).collect::<String>();
    assert!(says.contains("syncloop"), "{says}");
    r.stop().await;
}

async fn lapsed() {
    let (p, r) = started().await;
    r.until_topic(Topic::Stats, |s| *s == TopicState::Answered).await;
    p.kubelet.forget_tokens();
    r.until_topic(Topic::Pods, |s| matches!(s, TopicState::Failing { .. })).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let beats = r.data("Heartbeat").len();
    tokio::time::sleep(Duration::from_millis(1_000)).await;
    assert_eq!(r.data("Heartbeat").len(), beats, "a blind collector is silent");
    // The account has a new token, as after its hour.
    p.kubelet.token("new", false);
    p.write_token("new");
    r.until("the gap", |r| r.data("Gap").len() == 1).await;
    assert!(r.data("Gap")[0]["reason"].as_str().unwrap().contains("token"));
    assert_eq!(r.data("PodStatusUpdate").len(), 2);
    r.stop().await;
}

async fn refused() {
    let p = Fake::start().await;
    p.kubelet.put(pod("play", "a", "uid-a"));
    p.kubelet.refuse("/pods");
    let r = Running::start(&p, KubeletConfig::default(), p.target(false)).await;
    r.until_topic(Topic::Pods, |s| matches!(s, TopicState::Forbidden { .. })).await;
    r.until("use of the node", |r| !r.data("NodeStats").is_empty()).await;
    r.until("a heartbeat", |r| !r.data("Heartbeat").is_empty()).await;
    let notes = r.state.take_notes().join("\n");
    assert!(notes.contains("nodes/pods") && notes.contains("1.33"), "{notes}");
    p.kubelet.allow_all();
    r.until("the pod", |r| r.data("PodStatusUpdate").len() == 1).await;
    r.stop().await;
}

async fn broken() {
    let (p, r) = started().await;
    let mut n = 0;
    for fault in
        [Fault::Cut, Fault::Half, Fault::Slow(400), Fault::Silent, Fault::Status(503, "busy"), Fault::Status(404, "")]
    {
        p.kubelet.fail("/pods", fault.clone(), 1);
        n += 1;
        p.kubelet.put(crashed(pod("play", "a", "uid-a"), n, ""));
        let news = |r: &Running| {
            r.about("PodStatusUpdate", "a").last().is_some_and(|d| d["containers"][0]["restartCount"] == n)
        };
        r.until(&format!("restart {n} after {fault:?}"), news).await;
    }
    assert_eq!(r.about("PodStatusUpdate", "b").len(), 1);
    r.stop().await;
}

async fn garbage() {
    let (p, r) = started().await;
    let bytes = b"<html>password=CANARY-body \xff\x00".to_vec();
    p.kubelet.fail("/pods", Fault::Body(bytes), 5);
    r.until("a dead letter", |r| !r.memory.letters.lock().unwrap().is_empty()).await;
    p.kubelet.put(pod("play", "c", "uid-c"));
    r.until("the new pod", |r| r.about("PodStatusUpdate", "c").len() == 1).await;
    let letters = r.memory.letters.lock().unwrap().clone();
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert!(!letters[0].excerpt.contains("CANARY"), "{}", letters[0].excerpt);
    p.kubelet.fail("/pods", Fault::Body(Vec::new()), 1);
    p.kubelet.put(pod("play", "d", "uid-d"));
    r.until("one more", |r| r.about("PodStatusUpdate", "d").len() == 1).await;
    r.stop().await;
}

async fn one_bad_pod() {
    let (p, r) = started().await;
    p.kubelet.put(
        json!({"metadata": {"name": "bad", "namespace": "play", "uid": 7}, "spec": {"env": [{"value": "CANARY"}]}}),
    );
    p.kubelet.put(pod("play", "z", "uid-z"));
    r.until("the pod behind it", |r| r.about("PodStatusUpdate", "z").len() == 1).await;
    answers(&p, 3).await;
    let letters = r.memory.letters.lock().unwrap().clone();
    assert_eq!(letters.len(), 1, "the same is buried once");
    assert!(!letters[0].excerpt.contains("CANARY"));
    assert!(r.state.counts.skipped.load(Ordering::Relaxed) >= 2);
    r.stop().await;
}

async fn huge() {
    let (p, r) = started().await;
    p.kubelet.fail("/pods", Fault::Huge, 1);
    r.until_topic(Topic::Pods, |s| matches!(s, TopicState::Failing { .. })).await;
    r.until_topic(Topic::Pods, |s| *s == TopicState::Answered).await;
    r.stop().await;
}

async fn one_huge_pod() {
    let (p, r) = started().await;
    let huge =
        json!({"metadata": {"name": "CANARY-".to_owned() + &"x".repeat(5 << 20), "namespace": "play", "uid": "u"}});
    let list = json!({"items": [huge, pod("play", "z", "uid-z")]});
    p.kubelet.fail("/pods", Fault::Body(list.to_string().into_bytes()), 3);
    r.until("the pod behind it", |r| r.about("PodStatusUpdate", "z").len() == 1).await;
    let letters = r.memory.letters.lock().unwrap().clone();
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert!(letters[0].reason.contains("more than 4194304 bytes"), "{}", letters[0].reason);
    assert!(!letters[0].excerpt.contains("CANARY"), "{}", letters[0].excerpt);
    assert!(r.state.counts.skipped.load(Ordering::Relaxed) >= 1);
    r.stop().await;
}

async fn other_name() {
    let (p, r) = started().await;
    p.kubelet.rename("node-7.example");
    r.until_topic(Topic::Pods, |s| matches!(s, TopicState::Failing { why } if why.contains("server_name"))).await;
    r.stop().await;
    let target = tapio_cluster::KubeletTarget { server_name: Some("node-7.example".into()), ..p.target(false) };
    let r = Running::start(&p, KubeletConfig::default(), target).await;
    r.until_topic(Topic::Pods, |s| *s == TopicState::Answered).await;
    r.stop().await;
}

async fn full() {
    let (p, r) = started().await;
    r.memory.failing.store(2, Ordering::Relaxed);
    p.kubelet.put(crashed(pod("play", "a", "uid-a"), 1, ""));
    r.until("the crash", |r| r.about("PodStatusUpdate", "a").len() == 2).await;
    assert!(r.state.take_notes().join("\n").contains("nothing is lost"));
    r.stop().await;
}

async fn leak() {
    let (p, r) = started().await;
    let mib = |n: u64| n << 20;
    for n in 0..16 {
        let pods = [used("play", "a", "uid-a", mib(4 * n)), used("play", "b", "uid-b", mib(8))];
        p.kubelet.summary(json!({"node": node(), "pods": pods}));
        let before = p.kubelet.seen("/stats/summary");
        while p.kubelet.seen("/stats/summary") < before + 2 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    let told = r.about("PodStats", "a");
    assert!((14..=17).contains(&told.len()), "{}", told.len());
    assert_eq!(r.about("PodStats", "b").len(), 1);
    assert_eq!(r.data("NodeStats").len(), 1);
    r.stop().await;
}

async fn metrics() {
    // What the first look finds is history, so it has to be there before it.
    let p = Fake::start().await;
    let labels = "container=\"c\",namespace=\"play\",pod=\"a\"";
    let probes = |n: u32| {
        let text = format!(
            "prober_probe_total{{{labels},pod_uid=\"uid-a\",probe_type=\"Readiness\",result=\"failed\"}} {n}\n"
        );
        p.kubelet.metrics("/metrics/probes", &text);
    };
    let held = |all: u32, n: u32| {
        let text = format!(
            "container_cpu_cfs_periods_total{{{labels}}} {all} 1\ncontainer_cpu_cfs_throttled_periods_total{{{labels}}} {n} 1\n"
        );
        p.kubelet.metrics("/metrics/cadvisor", &text);
    };
    p.kubelet.put(pod("play", "a", "uid-a"));
    p.kubelet.summary(json!({"node": node(), "pods": [used("play", "a", "uid-a", 1 << 20)]}));
    probes(5);
    held(100, 0);
    let r = Running::start(&p, KubeletConfig::default(), p.target(false)).await;
    let (seen, looked) = (p.kubelet.seen("/metrics/probes"), p.kubelet.seen("/metrics/cadvisor"));
    while p.kubelet.seen("/metrics/probes") < seen + 2 || p.kubelet.seen("/metrics/cadvisor") < looked + 2 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(r.about("ProbeResult", "a").is_empty(), "history");
    probes(6);
    held(200, 80);
    let told = |r: &Running| r.about("ProbeResult", "a").into_iter().find(|p| p["failures"] == 6);
    r.until("the failed probe", |r| told(r).is_some()).await;
    let probe = told(&r).unwrap();
    assert_eq!((&probe["probe"], &probe["uid"]), (&"readiness".into(), &"uid-a".into()));
    let throttled =
        |r: &Running| r.about("PodStats", "a").iter().any(|d| d["containers"][0]["cpu"]["throttled"] == 0.8);
    r.until("throttling", throttled).await;
    for e in r.stop().await {
        normalise(&e, &Nothing).unwrap();
    }
}

async fn masked() {
    let (p, r) = started().await;
    p.kubelet.put(crashed(pod("play", "a", "uid-a"), 1, "cannot log in with password=CANARY-message"));
    r.until("the crash", |r| r.about("PodStatusUpdate", "a").len() == 2).await;
    for e in r.stop().await {
        assert!(!e.data.get().contains("CANARY"), "{}", e.data.get());
    }
}

async fn from_file() {
    let p = Fake::start().await;
    let mut of_file = pod("kube-system", "etcd-node-1", "0123hash");
    of_file["metadata"]["annotations"]["kubernetes.io/config.source"] = "file".into();
    p.kubelet.put(of_file);
    let r = Running::start(&p, KubeletConfig::default(), p.target(false)).await;
    r.until("the pod", |r| r.data("PodStatusUpdate").len() == 1).await;
    let events = r.stop().await;
    let e = events.iter().find(|e| e.kind == "PodStatusUpdate").unwrap();
    assert!(!e.data.get().contains("0123hash") && !e.metadata.contains_key("pod_uid"));
}

/// Whatever comes, the next good answer is used.
async fn mutated() {
    let (p, r) = started().await;
    let list =
        json!({"kind": "PodList", "items": [pod("play", "a", "uid-a"), crashed(pod("play", "b", "uid-b"), 1, "x")]})
            .to_string();
    let mut seed = 1u64;
    let mut dice = move |n: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 33).unwrap() % n
    };
    for round in 0..150 {
        let mut bytes = list.clone().into_bytes();
        for _ in 0..=dice(4) {
            let at = dice(bytes.len());
            match dice(4) {
                0 => bytes[at] = u8::try_from(dice(256)).unwrap(),
                1 => bytes.truncate(at.max(1)),
                2 => bytes.insert(at, b"{}[]\",:\\\0\xff"[dice(10)]),
                _ => {
                    let piece = bytes[at..(at + 40).min(bytes.len())].to_vec();
                    bytes.splice(at..at, piece);
                }
            }
        }
        let path = ["/pods", "/stats/summary", "/metrics/probes", "/metrics/cadvisor"][round % 4];
        p.kubelet.fail(path, Fault::Body(bytes), 1);
    }
    answers(&p, 45).await;
    p.kubelet.put(pod("play", "last", "uid-last"));
    r.until("the pod behind it all", |r| !r.about("PodStatusUpdate", "last").is_empty()).await;
    for e in r.stop().await {
        normalise(&e, &Nothing).unwrap();
        assert!(!e.data.get().contains("CANARY"), "{}", e.data.get());
    }
}
