//! What the collector costs: its own process beside a kubelet with 50 pods, with default times.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tapio_cluster::{Connection, KubeletTarget};
use tapio_collectors::cluster::Sink;
use tapio_collectors::cni::{CniCollector, CniConfig};
use tapio_collectors::kubelet::{KubeletCollector, KubeletConfig};
use tapio_collectors::redaction::Redaction;
use tapio_core::ports::{BoxFuture, LogError, Position};
use tapio_core::raw::{DeadLetter, RawEvent};

use super::fake_kubelet::{node, pod, used};
use super::place::{Fake, Place};

/// Names the port and the folder for the process that is measured.
pub(crate) const CHILD: &str = "TAPIO_TEST_KUBELET_COST";
const PODS: usize = 50;
/// Seconds that are measured, after as many to begin; TAPIO_TEST_COST_SECS says other.
const SECS: u64 = 120;

/// Counts, and forgets.
struct Nowhere;

impl Sink for Nowhere {
    fn append(&mut self, events: Vec<RawEvent>) -> BoxFuture<'_, Result<Position, LogError>> {
        Box::pin(async move { Ok(Position(events.len() as u64)) })
    }

    fn bury(&mut self, _: Vec<DeadLetter>) -> BoxFuture<'_, Result<(), LogError>> {
        Box::pin(async { Ok(()) })
    }

    fn remember(&mut self, _: Position, _: u32, _: Vec<u8>) -> BoxFuture<'_, Result<(), LogError>> {
        Box::pin(async { Ok(()) })
    }
}

/// The process that is measured: kubelet and CNI collectors until it is killed.
pub(crate) fn child() {
    let said = std::env::var(CHILD).unwrap();
    let (port, dir) = said.split_once(' ').unwrap();
    let dir = std::path::PathBuf::from(dir);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let target = KubeletTarget {
            port: port.parse().unwrap(),
            ca_file: Some(dir.join("ca.crt")),
            token_file: Some(dir.join("token")),
            ..KubeletTarget::new("127.0.0.1")
        };
        let connection = Arc::new(Connection::to_kubelet(target).await.unwrap());
        let kubelet =
            KubeletCollector::new(KubeletConfig::default(), connection, "node-1", "test", Redaction::default());
        let cni = CniConfig { conf_dir: dir.clone(), ..CniConfig::default() };
        let cni = CniCollector::new(cni, "node-1", "test", Redaction::default());
        let never = std::future::pending::<()>;
        let _ = tokio::join!(kubelet.run(Nowhere, never()), cni.run(Nowhere, never()));
    });
}

/// A pod as large as they are: managed fields, volumes, probes.
fn large(i: usize) -> Value {
    let mut p = pod("shop", &format!("cart-{i}"), &format!("uid-{i}"));
    let fields: serde_json::Map<String, Value> =
        (0..120).map(|n| (format!("f:field{n}"), json!({"f:x": {}}))).collect();
    p["metadata"]["managedFields"] = json!([{"manager": "kube-controller-manager", "fieldsV1": fields}]);
    let env: Vec<Value> =
        (0..30).map(|n| json!({"name": format!("NAME_{n}"), "value": "a value of some length"})).collect();
    p["spec"]["containers"][0]["env"] = env.into();
    p
}

fn cadvisor() -> String {
    let mut text = String::new();
    for i in 0..PODS {
        for n in 0..90 {
            text.push_str(&format!(
                "container_metric_{n}_total{{container=\"c\",id=\"/kubepods/burstable/poduid-{i}/0ad28381516eec4849685eee58deefd4667c725e1638fe4fb2a62c5a6450b4fd\",image=\"registry.k8s.io/app:1\",name=\"0ad28381516eec4849685eee58deefd4667c725e1638fe4fb2a62c5a6450b4fd\",namespace=\"shop\",pod=\"cart-{i}\"}} {n} 1795295765694\n"
            ));
        }
        for name in ["container_cpu_cfs_periods_total", "container_cpu_cfs_throttled_periods_total"] {
            text.push_str(&format!(
                "{name}{{container=\"c\",namespace=\"shop\",pod=\"cart-{i}\"}} {i} 1795295765694\n"
            ));
        }
    }
    text
}

/// Ticks of the processor and resident kilobytes of a process.
fn used_by(pid: u32) -> (u64, u64) {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let rest: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks = rest[11].parse::<u64>().unwrap() + rest[12].parse::<u64>().unwrap();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let rss = status.lines().find(|l| l.starts_with("VmRSS")).unwrap();
    (ticks, rss.split_whitespace().nth(1).unwrap().parse().unwrap())
}

pub(crate) async fn measure() {
    let p = Fake::start().await;
    let _ = p.target(false);
    for i in 0..PODS {
        p.kubelet.put(large(i));
    }
    let summary = |grown: usize| {
        let pods: Vec<Value> = (0..PODS)
            .map(|i| {
                used(
                    "shop",
                    &format!("cart-{i}"),
                    &format!("uid-{i}"),
                    (8 + if i < 5 { grown as u64 } else { 0 }) << 20,
                )
            })
            .collect();
        json!({"node": node(), "pods": pods})
    };
    p.kubelet.summary(summary(0));
    p.kubelet.metrics("/metrics/cadvisor", &cadvisor());
    let secs = std::env::var("TAPIO_TEST_COST_SECS").ok().and_then(|s| s.parse().ok()).unwrap_or(SECS);
    let said = format!("{} {}", p.kubelet.address.port(), p.dir.path().display());
    let mut child = std::process::Command::new(std::env::current_exe().unwrap()).env(CHILD, said).spawn().unwrap();
    tokio::time::sleep(Duration::from_secs(secs / 2)).await;
    let (before, _) = used_by(child.id());
    let (begun, mut most) = (Instant::now(), 0);
    let mut n = 0;
    while begun.elapsed() < Duration::from_secs(secs) {
        tokio::time::sleep(Duration::from_secs(5)).await;
        // A little happens: a restart every half minute, and a leak in five pods.
        n += 1;
        if n % 6 == 0 {
            p.kubelet.put(super::fake_kubelet::crashed(large(n % PODS), i64::try_from(n).unwrap(), ""));
        }
        p.kubelet.summary(summary(n));
        most = most.max(used_by(child.id()).1);
    }
    let (after, _) = used_by(child.id());
    child.kill().unwrap();
    child.wait().unwrap();
    // The kernel counts a hundred ticks a second.
    let percent = (after - before) as f64 / begun.elapsed().as_secs_f64();
    println!(
        "{PODS} pods, {secs} s: {percent:.2} % of a core, at most {:.1} MB resident; asked for /pods {} times",
        most as f64 / 1_024.0,
        p.kubelet.seen("/pods")
    );
    assert!(most < 30 << 10, "{most} kB");
    assert!(percent < 2.0, "{percent} %");
}
