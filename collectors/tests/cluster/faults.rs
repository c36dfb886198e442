//! Faults that a real API server does not have on demand.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tapio_collectors::cluster::{ClusterConfig, ScopeState};

use super::fake_api::Fault;
use super::place::{Fake, MemoryLog, Place, Running, config_map, quick};

type Case = fn() -> Pin<Box<dyn Future<Output = ()>>>;

/// Each with its sentence.
pub(crate) const FAULTS: &[(&str, Case)] = &[
    ("a 410 in the middle of a watch is a list and a gap, and nothing is told twice", || Box::pin(gone())),
    ("a version that the server forgot while it was away is the same", || Box::pin(compacted())),
    ("a page that has expired begins the list again", || Box::pin(expired_page())),
    ("a list that is cut off is tried again, and nobody is taken for deleted", || Box::pin(cut_list())),
    ("a watch line that is cut off comes whole with the next watch", || Box::pin(cut_watch())),
    ("a line that is no JSON is a dead letter, and the watch goes on", || Box::pin(garbage())),
    ("slow bytes are waited for", || Box::pin(slow())),
    ("a kind that may not be read is left out, said, and taken up when it may be", || Box::pin(forbidden())),
    ("a kind that is not served is left out", || Box::pin(not_served())),
    ("a busy server is left alone for as long as it asks", || Box::pin(busy())),
    ("a rotated token is taken from its file", || Box::pin(token())),
    ("watches that are dropped go on where they were", || Box::pin(dropped())),
    ("a watch that is half dead is noticed by silent leases", || Box::pin(half_dead())),
    ("a server that is away is a gap without heartbeats, and nothing is lost or doubled", || Box::pin(away())),
    ("ten thousand Events in a burst all arrive, in order", || Box::pin(burst())),
    ("an object of 1.5 MB passes", || Box::pin(large())),
    ("a full log stops the watches and loses nothing", || Box::pin(full())),
    ("a quiet watch goes on from its bookmark, whatever was forgotten before", || Box::pin(bookmarks())),
    ("every request for Secrets asks for metadata and accepts nothing else", || Box::pin(secrets_traffic())),
    ("failing containers' last lines are read, masked, once a run", || Box::pin(logs())),
];

async fn fake() -> Fake {
    let fake = Fake::start().await;
    fake.put(config_map("play", "stays", "1"));
    fake
}

fn maps(r: &Running, name: &str) -> Vec<String> {
    r.types("ConfigMap", name)
}

async fn gone() {
    let f = fake().await;
    // After one line: the first watch and no other.
    f.api.fail("/configmaps", Some(true), Fault::Gone(1), 1);
    let r = Running::synced(&f).await;
    f.put(config_map("play", "a", "1"));
    r.until("a", |r| !maps(r, "a").is_empty()).await;
    f.put(config_map("play", "b", "1"));
    r.until("b", |r| !maps(r, "b").is_empty()).await;
    r.until("a gap", |r| !r.gaps().is_empty()).await;
    for name in ["stays", "a", "b"] {
        assert_eq!(maps(&r, name), ["ObjectAdded"], "{name}");
    }
    let gap = &r.gaps()[0];
    assert_eq!(gap["what"], "watch of configmaps");
    assert!(gap["from"].as_str() <= gap["to"].as_str(), "{gap}");
    assert_eq!(r.gaps().len(), 1);
    r.stop().await;
}

async fn compacted() {
    let f = fake().await;
    let r = Running::synced(&f).await;
    f.api.away();
    r.until("the loss", |r| !r.state.reach.is_up()).await;
    f.delete(&config_map("play", "stays", "1"));
    f.put(config_map("play", "new", "1"));
    f.put(config_map("other", "x", "1"));
    f.api.compact();
    f.put(config_map("play", "newer", "1"));
    tokio::time::sleep(Duration::from_millis(800)).await;
    f.api.back();
    r.until("newer", |r| !maps(r, "newer").is_empty()).await;
    assert_eq!(maps(&r, "stays"), ["ObjectAdded", "ObjectDeleted"]);
    assert_eq!(maps(&r, "new"), ["ObjectAdded"]);
    r.until("the gap", |r| !r.gaps().is_empty()).await;
    let told = r.gaps();
    // One fact, and not one a kind.
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0]["what"], "API server");
    r.stop().await;
}

async fn expired_page() {
    let f = fake().await;
    for i in 0..5 {
        f.put(config_map("play", &format!("c{i}"), "1"));
    }
    f.api.fail_page("/configmaps", Fault::Status(410, "The provided continue parameter is too old", None), 1);
    let config = ClusterConfig { page_size: 2, ..ClusterConfig::default() };
    let r = Running::synced_with(&f, config, Arc::default()).await;
    for i in 0..5 {
        assert_eq!(maps(&r, &format!("c{i}")), ["ObjectAdded"]);
    }
    assert!(r.state.counts.relists.load(Ordering::Relaxed) >= 1);
    r.stop().await;
}

async fn cut_list() {
    let f = fake().await;
    let r = Running::synced(&f).await;
    f.api.fail("/configmaps", Some(false), Fault::Cut, 2);
    f.api.fail("/configmaps", Some(false), Fault::Garbage, 1);
    f.api.fail("/configmaps", Some(true), Fault::Gone(0), 1);
    f.api.reset();
    f.put(config_map("play", "a", "1"));
    r.until("a", |r| !maps(r, "a").is_empty()).await;
    assert_eq!(maps(&r, "stays"), ["ObjectAdded"]);
    r.stop().await;
}

async fn cut_watch() {
    let f = fake().await;
    f.api.fail("/configmaps", Some(true), Fault::Cut, 1);
    let r = Running::synced(&f).await;
    f.put(config_map("play", "a", "1"));
    r.until("a", |r| !maps(r, "a").is_empty()).await;
    assert_eq!(maps(&r, "a"), ["ObjectAdded"]);
    assert!(r.log.letters.lock().unwrap().is_empty());
    r.stop().await;
}

async fn garbage() {
    let f = fake().await;
    f.api.fail("/configmaps", Some(true), Fault::Garbage, 1);
    let r = Running::synced(&f).await;
    f.put(config_map("play", "a", "1"));
    f.put(config_map("play", "b", "1"));
    r.until("b", |r| !maps(r, "b").is_empty()).await;
    let letters = r.log.letters.lock().unwrap().clone();
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert!(letters[0].reason.contains("configmaps"), "{letters:?}");
    r.stop().await;
}

async fn slow() {
    let f = fake().await;
    f.api.fail("/configmaps", Some(false), Fault::Slow(20), 1);
    f.api.fail("/configmaps", Some(true), Fault::Slow(20), 1);
    let r = Running::synced(&f).await;
    f.put(config_map("play", "a", "1"));
    r.until("a", |r| !maps(r, "a").is_empty()).await;
    assert_eq!((maps(&r, "a"), maps(&r, "stays")), (vec!["ObjectAdded".into()], vec!["ObjectAdded".into()]));
    r.stop().await;
}

async fn forbidden() {
    let f = fake().await;
    f.api.refuse("/configmaps");
    let r = Running::synced(&f).await;
    let state = r.state.scopes();
    assert!(matches!(&state["configmaps"], ScopeState::Forbidden { why } if why.contains("cannot list")), "{state:?}");
    assert!(r.state.take_notes().iter().any(|n| n.contains("configmaps") && n.contains("going on without")));
    // The others are watched, and the refused kind does not count as listed.
    f.put(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "namespace": "play"}}));
    r.until("a Service", |r| !r.types("Service", "s").is_empty()).await;
    let listed = r.log.events().into_iter().find(|e| e.kind == "SnapshotTaken").unwrap();
    assert!(!listed.data.get().contains("ConfigMap"));
    f.api.allow_all();
    r.until("what was refused", |r| maps(r, "stays") == ["ObjectAdded"]).await;
    // Taken away again, it is a gap.
    f.api.refuse("/configmaps");
    f.api.reset();
    r.until("the refusal", |r| matches!(r.state.scopes()["configmaps"], ScopeState::Forbidden { .. })).await;
    f.put(config_map("play", "hidden", "1"));
    f.api.allow_all();
    r.until("what was hidden", |r| maps(r, "hidden") == ["ObjectAdded"]).await;
    assert!(r.gaps().iter().any(|g| g["what"] == "watch of configmaps"), "{:?}", r.gaps());
    r.stop().await;
}

async fn not_served() {
    let f = fake().await;
    f.api.fail("/horizontalpodautoscalers", None, Fault::Status(404, "404 page not found", None), usize::MAX);
    let r = Running::synced(&f).await;
    assert_eq!(r.state.scopes()["horizontalpodautoscalers.autoscaling"], ScopeState::NotServed);
    assert!(r.state.take_notes().is_empty(), "nobody needs to know");
    r.stop().await;
}

async fn busy() {
    let f = fake().await;
    f.api.fail("/configmaps", Some(false), Fault::Status(429, "too many requests", Some(2)), 1);
    let r = Running::synced(&f).await;
    assert_eq!(maps(&r, "stays"), ["ObjectAdded"]);
    let asked: Vec<Instant> =
        f.api.seen().iter().filter(|s| s.path.contains("/configmaps?limit")).map(|s| s.at).collect();
    assert_eq!(asked.len(), 2, "one attempt, and one after the pause");
    assert!(asked[1] - asked[0] >= Duration::from_secs(2));
    r.stop().await;
}

async fn token() {
    let f = fake().await;
    let r = Running::synced(&f).await;
    // The file has the new one first, as kubelets do it; what the client has in memory is refused from now on.
    f.write_token("better");
    f.api.set_token("better");
    f.api.reset();
    f.put(config_map("play", "a", "1"));
    r.until("a", |r| !maps(r, "a").is_empty()).await;
    assert_eq!(maps(&r, "stays"), ["ObjectAdded"]);
    r.stop().await;
}

async fn dropped() {
    let f = fake().await;
    f.api.fail("/configmaps", Some(true), Fault::Drop(1), 5);
    let r = Running::synced(&f).await;
    for i in 0..10 {
        f.put(config_map("play", &format!("c{i}"), "1"));
        if i % 3 == 0 {
            f.api.reset();
        }
    }
    r.until("the last", |r| !maps(r, "c9").is_empty()).await;
    for i in 0..10 {
        assert_eq!(maps(&r, &format!("c{i}")), ["ObjectAdded"]);
    }
    assert!(r.gaps().is_empty(), "nothing was missed: {:?}", r.gaps());
    r.stop().await;
}

fn lease(n: u64) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": "node-1", "namespace": "kube-node-lease"},
        "spec": {"holderIdentity": "node-1", "renewTime": format!("2026-01-01T00:00:{n:02}.000000Z")},
    })
}

async fn half_dead() {
    let f = fake().await;
    f.put(lease(1));
    // The connections stand, and nothing comes over them.
    f.api.fail("/configmaps", Some(true), Fault::Silent, 1);
    f.api.fail("/leases", Some(true), Fault::Silent, 2);
    let r = Running::start(&f, ClusterConfig::default(), quick(), Arc::default()).await;
    r.until("first lists", |r| r.state.synced_after_millis().is_some()).await;
    f.put(config_map("play", "a", "1"));
    f.put(lease(2));
    r.until("a", |r| !maps(r, "a").is_empty()).await;
    assert!(r.state.counts.half_dead.load(Ordering::Relaxed) >= 1);
    r.stop().await;
}

async fn away() {
    let f = fake().await;
    let r = Running::synced(&f).await;
    r.until("a heartbeat", |r| r.log.events().iter().any(|e| e.kind == "Heartbeat")).await;
    f.api.away();
    r.until("the loss", |r| !r.state.reach.is_up()).await;
    let lost = r.log.events().len();
    f.put(config_map("play", "a", "1"));
    f.put(config_map("play", "a", "2"));
    f.delete(&config_map("play", "stays", "1"));
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let meanwhile: Vec<String> = r.log.events()[lost..].iter().map(|e| e.kind.clone()).collect();
    assert!(meanwhile.is_empty(), "nobody saw anything: {meanwhile:?}");
    f.api.back();
    r.until("what happened", |r| maps(r, "a").len() == 2 && maps(r, "stays").len() == 2).await;
    // The watch goes on where it was: every step is told, once.
    assert_eq!(maps(&r, "a"), ["ObjectAdded", "ObjectModified"]);
    assert_eq!(maps(&r, "stays"), ["ObjectAdded", "ObjectDeleted"]);
    let gaps = r.gaps();
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    assert_eq!(gaps[0]["what"], "API server");
    assert!(r.state.take_notes().iter().any(|n| n.contains("is back after")));
    r.stop().await;
}

async fn burst() {
    const N: usize = 10_000;
    let f = fake().await;
    let log: Arc<MemoryLog> = Arc::default();
    // A disk that takes its time.
    log.slow.store(5, Ordering::Relaxed);
    let r = Running::synced_with(&f, ClusterConfig::default(), log).await;
    for i in 0..N {
        f.put(json!({
            "apiVersion": "v1", "kind": "Event", "metadata": {"name": format!("e{i:05}"), "namespace": "play"},
            "involvedObject": {"kind": "Pod", "namespace": "play", "name": "p"}, "reason": "BackOff", "count": 1,
        }));
    }
    r.until("all Events", |r| r.log.events().iter().filter(|e| e.kind == "Event").count() >= N).await;
    let names: Vec<String> = r.told(Some("Event")).into_iter().map(|(_, n, _)| n).collect();
    assert_eq!(names.len(), N);
    assert!(names.windows(2).all(|w| w[0] < w[1]), "in order");
    r.stop().await;
}

async fn large() {
    let f = fake().await;
    let r = Running::synced(&f).await;
    f.put(config_map("play", "large", &"x".repeat(1_500_000)));
    r.until("it", |r| !maps(r, "large").is_empty()).await;
    // Twenty of them make a page that is too large, and is asked for again in smaller ones.
    for i in 0..20 {
        f.put(config_map("play", &format!("l{i}"), &"x".repeat(1_500_000)));
    }
    r.stop().await;
    let r = Running::synced(&f).await;
    r.until("the last of them", |r| !maps(r, "stays").is_empty()).await;
    for i in 0..20 {
        assert_eq!(maps(&r, &format!("l{i}")), ["ObjectAdded"]);
    }
    r.stop().await;
}

async fn full() {
    let f = fake().await;
    let r = Running::synced(&f).await;
    r.log.failing.store(2, Ordering::Relaxed);
    for i in 0..20 {
        f.put(config_map("play", &format!("c{i}"), "1"));
    }
    r.until("the last", |r| !maps(r, "c19").is_empty()).await;
    for i in 0..20 {
        assert_eq!(maps(&r, &format!("c{i}")), ["ObjectAdded"]);
    }
    assert!(r.state.take_notes().iter().any(|n| n.contains("is full")));
    r.stop().await;
}

async fn logs() {
    let f = fake().await;
    let pod = |restarts: i64| {
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "play"},
            "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "i"}]},
            "status": {"phase": "Running", "containerStatuses": [{
                "name": "c", "restartCount": restarts, "ready": false,
                "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                "lastState": {"terminated": {"exitCode": 1}},
            }]},
        })
    };
    f.api.log("play/p/c/previous", "starting\nlevel=error password=CANARY-log\n\u{1b}[31mfatal: no route\u{1b}[0m");
    f.put(pod(1));
    let r = Running::synced(&f).await;
    let read = |r: &Running| -> Vec<Value> {
        let logs = r.log.events().into_iter().filter(|e| e.kind == "ContainerLog");
        logs.map(|e| serde_json::from_str(e.data.get()).unwrap()).collect()
    };
    r.until("the log", |r| read(r).len() == 1).await;
    let log = &read(&r)[0];
    assert_eq!((&log["pod"], &log["previous"]), (&json!("p"), &json!(true)));
    assert_eq!(log["lines"], json!(["starting", "level=error password=***", "fatal: no route"]));
    // The same run again is no news, the next one is.
    let mut same = pod(1);
    same["metadata"]["labels"] = json!({"a": "b"});
    f.put(same);
    f.put(pod(2));
    r.until("the next log", |r| read(r).len() == 2).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(read(&r).len(), 2);
    for e in r.stop().await.events() {
        assert!(!e.data.get().contains("CANARY"));
    }
}

async fn bookmarks() {
    let f = fake().await;
    f.api.set_bookmark(Duration::from_millis(50));
    let r = Running::synced(&f).await;
    for i in 0..5 {
        f.put(
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": format!("s{i}"), "namespace": "play"}}),
        );
    }
    r.until("the last Service", |r| !r.types("Service", "s4").is_empty()).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    f.api.compact();
    f.api.reset();
    f.put(config_map("play", "a", "1"));
    r.until("a", |r| !maps(r, "a").is_empty()).await;
    assert!(r.gaps().is_empty(), "nothing was missed: {:?}", r.gaps());
    assert_eq!(r.state.counts.relists.load(Ordering::Relaxed), 0);
    r.stop().await;
}

async fn secrets_traffic() {
    let f = fake().await;
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "play"}});
    f.put(secret.clone());
    f.api.fail("/secrets", Some(true), Fault::Drop(1), 2);
    let config = ClusterConfig { secrets: true, ..ClusterConfig::default() };
    let r = Running::synced_with(&f, config, Arc::default()).await;
    f.delete(&secret);
    r.until("the deletion", |r| r.types("Secret", "s").len() == 2).await;
    let seen: Vec<_> = f.api.seen().into_iter().filter(|s| s.path.contains("/secrets")).collect();
    assert!(seen.len() >= 2);
    for s in seen {
        assert!(s.accept.contains("as=PartialObjectMetadata") && !s.accept.contains(','), "{s:?}");
    }
    r.stop().await;
}
