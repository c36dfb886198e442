//! `kill -9` of agent and server in turn, while a node is full of events.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use serde_json::json;
use tapio_core::ports::Record;

use super::fake_kubelet::{crashed, node, pod, used};
use super::place::{NODE, Place};

/// Pods that crash.
const PODS: usize = 6;

/// Something happens on the node twenty times a second, until this goes.
struct Churn {
    over: Arc<AtomicBool>,
    told: Arc<AtomicI64>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Churn {
    fn start(place: &Place) -> Self {
        let (over, told) = (Arc::<AtomicBool>::default(), Arc::<AtomicI64>::default());
        let (kubelet, its, n) = (place.kubelet.clone(), Arc::clone(&over), Arc::clone(&told));
        let thread = std::thread::spawn(move || {
            while !its.load(Ordering::SeqCst) {
                let turn = n.fetch_add(1, Ordering::SeqCst) + 1;
                let mut uses = Vec::new();
                for k in 0..PODS {
                    let (name, uid) = (format!("app-{k}"), format!("uid-{k}"));
                    kubelet.put(crashed(pod("shop", &name, &uid), turn, "cannot open its file"));
                    uses.push(used("shop", &name, &uid, (1 + turn.unsigned_abs() % 60) << 20));
                }
                kubelet.summary(json!({"node": node(), "pods": uses}));
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        Churn { over, told, thread: Some(thread) }
    }

    /// Ends it; the last turn.
    fn end(mut self) -> i64 {
        self.over.store(true, Ordering::SeqCst);
        self.thread.take().unwrap().join().unwrap();
        self.told.load(Ordering::SeqCst)
    }
}

/// What tells an event from any other, on both sides of the way.
fn mark(r: &Record) -> String {
    let e = &r.event;
    format!("{} {} {} {}", e.timestamp, e.kind, e.source, e.data.get())
}

#[test]
fn everything_that_an_agent_told_arrives_once_whatever_is_killed() {
    let place = Place::new();
    let mut server = place.server("127.0.0.1:0");
    let address = server.address;
    let mut agent = place.agent(address);
    let churn = Churn::start(&place);
    server.until("the first events", |s| {
        s.metric(r#"tapio_ingest_events_total{outcome="accepted"}"#).is_some_and(|n| n > 10.0)
    });
    for round in 0..8_u64 {
        std::thread::sleep(Duration::from_millis(700 + 230 * round));
        place.network(&format!("net-{round}"));
        if round % 2 == 0 {
            agent.kill();
            agent = place.agent(address);
        } else {
            server.kill();
            std::thread::sleep(Duration::from_millis(300 * round));
            server = place.server(&address.to_string());
        }
    }
    server.until_ready();
    let last = churn.end();
    // Whatever is on the node now is seen, kept, sent.
    std::thread::sleep(Duration::from_secs(3));
    agent.until("an empty spool", |a| {
        a.metric("tapio_agent_spool_waiting_events") == Some(0.0) && a.metric("tapio_agent_connected") == Some(1.0)
    });
    let (status, said) = agent.end();
    assert!(status.success() && said.contains(" 0 wait in the spool"), "{said}");
    let (status, said) = server.end();
    assert!(status.success(), "{said}");

    let spool = place.records("agent/spool.sqlite");
    let log = place.records("server/log.sqlite");
    let of_agents: Vec<&Record> = log.iter().filter(|r| r.event.source != "cluster_collector").collect();
    let count = |records: &mut dyn Iterator<Item = &Record>| {
        let mut marks = BTreeMap::<String, usize>::new();
        records.for_each(|r| *marks.entry(mark(r)).or_default() += 1);
        marks
    };
    let (sent, arrived) = (count(&mut spool.iter()), count(&mut of_agents.iter().copied()));
    println!("{} events told, {} arrived, {last} turns on the node", spool.len(), of_agents.len());
    let lost: Vec<_> = sent.keys().filter(|m| !arrived.contains_key(*m)).collect();
    assert!(lost.is_empty(), "{} of {} lost, the first is {}", lost.len(), spool.len(), lost[0]);
    let doubled: Vec<_> = arrived.iter().filter(|(m, n)| sent.get(*m) != Some(n)).collect();
    assert!(doubled.is_empty(), "{} doubled, the first is {:?}", doubled.len(), doubled[0]);
    assert_eq!(spool.len(), of_agents.len());
    assert!(spool.len() > 150, "only {} events", spool.len());
    assert!(of_agents.iter().all(|r| r.event.node() == Some(NODE) && r.event.cluster() == "fake"));
    for source in ["kubelet_collector", "cni_collector"] {
        assert!(of_agents.iter().any(|r| r.event.source == source), "nothing of {source}");
    }
    let newest = format!(r#""restartCount":{last}"#);
    let seen = of_agents.iter().filter(|r| r.event.kind == "PodStatusUpdate" && r.event.data.get().contains(&newest));
    assert_eq!(seen.count(), PODS, "the last turn of every pod: {newest}");
    assert_eq!(place.dead_letters("server/log.sqlite"), Vec::<String>::new());
    let all: String = log.iter().map(|r| r.event.data.get()).collect();
    assert!(!all.contains("CANARY"), "a secret came through");
}
