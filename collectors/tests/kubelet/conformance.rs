//! What holds on every kubelet.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tapio_cluster::KubeletTarget;
use tapio_collectors::kubelet::{KubeletConfig, Logs, Topic, TopicState};
use tapio_core::event::{Nothing, normalise};
use tapio_core::unified::EventKind;

use super::fake_kubelet::FakeKubelet;
use super::place::{Place, Running};

type Case = fn(Arc<dyn Place>) -> Pin<Box<dyn Future<Output = ()>>>;

/// Each with its sentence.
pub(crate) const CASES: &[(&str, Case)] = &[
    ("a pod is told once with the uid of the API server, and again when its status changes", |p| Box::pin(once(p))),
    ("a container that crashes is told as the API server would tell it", |p| Box::pin(crash(p))),
    ("what pods and node use is told", |p| Box::pin(usage(p))),
    ("all but logs is allowed with four rights, and no byte of env, arguments and annotations leaves", |p| {
        Box::pin(least(p))
    }),
    ("the last lines of a failed run come with the right to logs, and without their password", |p| Box::pin(logs(p))),
    ("without that right the rest goes on, and it is said", |p| Box::pin(no_logs(p))),
    ("a token that nobody knows is refused", |p| Box::pin(stranger(p))),
    ("a certificate of another authority is not accepted, and is where the settings say so", |p| Box::pin(tls(p))),
];

fn answered(s: &TopicState) -> bool {
    *s == TopicState::Answered
}

async fn once(p: Arc<dyn Place>) {
    p.run("calm");
    let r = Running::start(&*p, KubeletConfig::default(), p.target(false)).await;
    let ready = |d: &Value| {
        let conditions = d["conditions"].as_array().unwrap();
        conditions.iter().any(|c| c["type"] == "Ready" && c["status"] == "True")
    };
    r.until("readiness", |r| r.about("PodStatusUpdate", "calm").last().is_some_and(ready)).await;
    let told = r.about("PodStatusUpdate", "calm").len();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(r.about("PodStatusUpdate", "calm").len(), told, "nothing changed");
    let last = r.about("PodStatusUpdate", "calm").pop().unwrap();
    assert_eq!(last["uid"], p.uid("calm").as_str());
    assert_eq!((&last["phase"], &last["containers"][0]["restartCount"]), (&"Running".into(), &0.into()));
    let events = r.stop().await;
    assert!(events.windows(2).all(|w| w[0].timestamp < w[1].timestamp));
    let of_pod = events.iter().find(|e| e.kind == "PodStatusUpdate" && e.data.get().contains("calm")).unwrap();
    assert_eq!(of_pod.node(), Some(p.node()));
    assert!(events.iter().any(|e| e.kind == "Heartbeat"));
}

async fn crash(p: Arc<dyn Place>) {
    p.crash("dies");
    let r = Running::start(&*p, KubeletConfig::default(), p.target(false)).await;
    let waits = |r: &Running| {
        let last = r.about("PodStatusUpdate", "dies").pop();
        last.is_some_and(|d| d["containers"][0]["state"]["waiting"]["reason"] == "CrashLoopBackOff")
    };
    r.until("CrashLoopBackOff", waits).await;
    let uid = p.uid("dies");
    let events = r.stop().await;
    let raw = events.iter().rfind(|e| e.kind == "PodStatusUpdate" && e.data.get().contains("dies")).unwrap();
    let told = normalise(raw, &Nothing).unwrap().events;
    let waiting = told.iter().find(|e| e.kind == EventKind::PodWaiting).expect("it waits");
    assert_eq!(waiting.k8s.as_ref().unwrap().uid.as_deref(), Some(uid.as_str()));
    let ended = told.iter().find(|e| e.kind == EventKind::ContainerTerminated).expect("a run ended");
    assert!(ended.note("exit_code").is_some_and(|c| c != "0"));
}

async fn usage(p: Arc<dyn Place>) {
    p.run("eats");
    let r = Running::start(&*p, KubeletConfig::default(), p.target(false)).await;
    // The first looks of a real one at a new container know its use, and not yet its limit.
    r.until("use of the pod, and its limit", |r| {
        r.about("PodStats", "eats").iter().any(|d| {
            let memory = &d["containers"][0]["memory"];
            memory["workingSetBytes"].is_u64() && memory["limitBytes"] == 64 << 20
        })
    })
    .await;
    r.until("its limit of processors", |r| {
        r.about("PodStats", "eats").iter().any(|d| d["containers"][0]["cpu"]["limitNanoCores"] == 500_000_000)
    })
    .await;
    r.until("use of the node", |r| !r.data("NodeStats").is_empty()).await;
    let n = r.data("NodeStats").remove(0);
    for place in ["/memory/availableBytes", "/fs/inodesFree", "/rlimit/maxpid"] {
        assert!(n.pointer(place).is_some_and(Value::is_u64), "{place} of {n}");
    }
    for e in r.stop().await {
        normalise(&e, &Nothing).unwrap();
    }
}

async fn least(p: Arc<dyn Place>) {
    p.run("shy");
    p.crash("loud");
    let r = Running::start(&*p, KubeletConfig::default(), p.target(false)).await;
    for topic in [Topic::Pods, Topic::Stats, Topic::Probes, Topic::Throttling, Topic::Health] {
        r.until_topic(topic, answered).await;
    }
    r.until("both pods", |r| {
        !r.about("PodStatusUpdate", "shy").is_empty() && !r.about("PodStatusUpdate", "loud").is_empty()
    })
    .await;
    r.until("health", |r| r.data("NodeServiceState").iter().any(|d| d["state"] == "active")).await;
    let events = r.stop().await;
    for e in events {
        assert!(!e.data.get().contains("CANARY"), "{} {}", e.kind, e.data.get());
    }
}

async fn logs(p: Arc<dyn Place>) {
    p.crash("talks");
    let config = KubeletConfig { logs: Logs::Kubelet, ..KubeletConfig::default() };
    let r = Running::start(&*p, config, p.target(true)).await;
    r.until("its log", |r| !r.about("ContainerLog", "talks").is_empty()).await;
    let d = r.about("ContainerLog", "talks").remove(0);
    let line = d["lines"][0].as_str().unwrap();
    assert!(line.starts_with("goodbye") && !line.contains("CANARY"), "{line}");
    r.stop().await;
}

async fn no_logs(p: Arc<dyn Place>) {
    p.crash("mute");
    let config = KubeletConfig { logs: Logs::Kubelet, ..KubeletConfig::default() };
    let r = Running::start(&*p, config, p.target(false)).await;
    r.until_topic(Topic::Logs, |s| matches!(s, TopicState::Forbidden { .. })).await;
    r.until_topic(Topic::Pods, answered).await;
    let notes = r.state.take_notes().join("\n");
    assert!(notes.contains("nodes/log") && notes.contains("Forbidden"), "{notes}");
    assert!(r.data("ContainerLog").is_empty());
    r.stop().await;
}

async fn stranger(p: Arc<dyn Place>) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, "nobody").unwrap();
    let target = KubeletTarget { token_file: Some(file), ..p.target(false) };
    let r = Running::start(&*p, KubeletConfig::default(), target).await;
    r.until_topic(Topic::Pods, |s| matches!(s, TopicState::Failing { why } if why.contains("token"))).await;
    let events = r.stop().await;
    assert!(!events.iter().any(|e| e.kind == "Heartbeat" || e.kind == "PodStatusUpdate"), "nothing was seen");
}

async fn tls(p: Arc<dyn Place>) {
    let dir = tempfile::tempdir().unwrap();
    let other = dir.path().join("other.crt");
    FakeKubelet::other_authority(&other);
    let target = KubeletTarget { ca_file: Some(other), ..p.target(false) };
    let r = Running::start(&*p, KubeletConfig::default(), target.clone()).await;
    r.until_topic(
        Topic::Pods,
        |s| matches!(s, TopicState::Failing { why } if why.contains("certificate is not accepted")),
    )
    .await;
    r.stop().await;
    let target = KubeletTarget { insecure_skip_verify: true, ..target };
    let config = KubeletConfig { insecure_skip_verify: true, ..KubeletConfig::default() };
    let r = Running::start(&*p, config, target).await;
    r.until_topic(Topic::Pods, answered).await;
    assert!(r.state.take_notes().join("\n").contains("insecure_skip_verify"));
    r.stop().await;
}
