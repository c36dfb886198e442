//! The course: calm, all faults at once with a kill in the middle, healing, the node, ordinary life.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::cluster::Cluster;
use super::faults::{Decisive, FAULTS, Fault, OF_NODES};
use super::hook::{Alert, Hook};
use super::watcher::Watcher;

/// From the decisive signal to the alert.
const IN_TIME: Duration = Duration::from_secs(15);
/// A mounted ConfigMap follows after up to 90 s; everything else is quicker.
const SHOWN: Duration = Duration::from_secs(180);
/// What heals has to be told as over within this.
const HEALED: Duration = Duration::from_secs(120);
/// Seconds from a record to the alert, for 99 of 100.
const LATENCY: f64 = 0.25;
const LOOK: Duration = Duration::from_millis(500);

pub(crate) fn run(kubeconfig: PathBuf) {
    let cluster = Cluster::new(kubeconfig);
    let hook = Hook::start();
    let mut watcher = Watcher::start(&cluster, &hook);
    begin(&cluster, FAULTS);
    quiet(&cluster, &hook, Duration::from_secs(20), "while everything starts");

    let times = broken(&cluster, &hook, FAULTS, |n| match n {
        2 => watcher.kill_and_begin(),
        6 => kill_api_server(),
        _ => {}
    });
    tell(&times);
    heal(&cluster, &hook, FAULTS);
    for fault in OF_NODES {
        begin(&cluster, std::slice::from_ref(fault));
        let times = broken(&cluster, &hook, std::slice::from_ref(fault), |_| {});
        tell(&times);
        heal(&cluster, &hook, std::slice::from_ref(fault));
    }
    let before = opened(&cluster, &hook).len();
    live(&cluster);
    let after = opened(&cluster, &hook);
    assert_eq!(after.len(), before, "ordinary life raised {}", titles(&after[before..]));
    once(&cluster, &hook);

    let (n, late) = latency(&watcher.metrics());
    println!("{n} incidents since the last start, 99 of 100 within {late} s; {} MiB at most", watcher.resident_mib());
    assert!(late <= LATENCY, "{late} s");
}

/// Kills the API server and starts it again, where a script that can is named; with what ended because of that.
fn kill_api_server() {
    let Some(script) = std::env::var_os("TAPIO_SERVICE_TEST") else { return };
    let call = |what: &str, name: &str| {
        assert!(Command::new(&script).args([what, name]).status().unwrap().success(), "{what} {name}");
    };
    call("kill", "kube-apiserver");
    for name in ["kube-apiserver", "kube-controller-manager", "kube-scheduler"] {
        call("start", name);
    }
}

/// Everything healthy, before it is broken.
fn begin(cluster: &Cluster, faults: &[Fault]) {
    for fault in faults {
        let namespace = cluster.namespace(fault.name);
        cluster.kubectl(&["create", "namespace", &namespace], "");
        for object in (fault.before)() {
            cluster.apply(&namespace, &object.to_string());
        }
    }
    for fault in faults.iter().filter(|f| (f.before)().iter().any(|o| o["kind"] == "Deployment")) {
        let namespace = cluster.namespace(fault.name);
        let wait = ["wait", "-n", &namespace, "--for=condition=Available", "deployment", "--all", "--timeout=120s"];
        cluster.try_kubectl(&wait, "").unwrap();
    }
}

/// What concerns this run: its namespaces, and nodes.
fn ours(cluster: &Cluster, alert: &Alert) -> bool {
    alert.label("kind") == "Node" || cluster.fault(alert.label("namespace")).is_some()
}

fn opened(cluster: &Cluster, hook: &Hook) -> Vec<Alert> {
    hook.alerts().into_iter().filter(|a| a.transition == "opened" && ours(cluster, a)).collect()
}

/// What they say, one a line.
fn titles(alerts: &[Alert]) -> String {
    alerts.iter().map(|a| format!("\n  {}  {}", a.title, a.why)).collect()
}

fn quiet(cluster: &Cluster, hook: &Hook, time: Duration, when: &str) {
    std::thread::sleep(time);
    let found = opened(cluster, hook);
    assert!(found.is_empty(), "{when}: {}", titles(&found));
}

/// Whether an alert names the root of a fault.
fn names(cluster: &Cluster, fault: &Fault, alert: &Alert) -> bool {
    let (kind, name) = fault.root;
    let place = if kind == "Node" {
        cluster.node() == alert.label("name")
    } else {
        alert.label("name") == name && alert.label("namespace") == cluster.namespace(fault.name)
    };
    place && alert.label("kind") == kind && fault.mechanisms.contains(&alert.label("mechanism"))
}

/// Breaks all, and waits for an alert of each: how long after the decisive signal it came. `disturb` is called after each
/// break with its number.
fn broken(
    cluster: &Cluster,
    hook: &Hook,
    faults: &[Fault],
    mut disturb: impl FnMut(usize),
) -> Vec<(&'static str, Duration)> {
    let before = opened(cluster, hook).len();
    let mut shown: BTreeMap<&str, SystemTime> = BTreeMap::new();
    for (n, fault) in faults.iter().enumerate() {
        (fault.broken)(cluster, &cluster.namespace(fault.name));
        if matches!(fault.decisive, Decisive::AtOnce) {
            shown.insert(fault.name, SystemTime::now());
        }
        disturb(n);
    }
    let begun = SystemTime::now();
    loop {
        let objects = cluster.objects("pods,events");
        let now = SystemTime::now();
        for fault in faults {
            let namespace = cluster.namespace(fault.name);
            let mut own = objects.iter().filter(|o| o["metadata"]["namespace"] == namespace.as_str());
            if own.any(|o| shows(&fault.decisive, o)) {
                shown.entry(fault.name).or_insert(now);
            }
        }
        let found = opened(cluster, hook).split_off(before);
        let alert = |f: &Fault| found.iter().find(|a| names(cluster, f, a)).map(|a| a.at);
        let missing: Vec<&str> = faults.iter().filter(|f| alert(f).is_none()).map(|f| f.name).collect();
        if missing.is_empty() {
            assert_eq!(found.len(), faults.len(), "one alert a fault: {}", titles(&found));
            let late = |f: &Fault| {
                let decisive = shown.get(f.name).copied().unwrap_or(now);
                (f.name, alert(f).unwrap().duration_since(decisive).unwrap_or_default())
            };
            return faults.iter().map(late).collect();
        }
        for name in &missing {
            let over = shown.get(name).is_some_and(|at| now.duration_since(*at).unwrap_or_default() > IN_TIME * 2);
            assert!(!over, "{name} is not told; there are {}", titles(&found));
        }
        assert!(begun.elapsed().unwrap_or_default() < SHOWN, "{missing:?} do not show; {}", titles(&found));
        std::thread::sleep(LOOK);
    }
}

/// Whether an object is the decisive signal.
fn shows(decisive: &Decisive, object: &Value) -> bool {
    match decisive {
        Decisive::AtOnce => false,
        Decisive::Event(reasons) => {
            object["kind"] == "Event" && object["reason"].as_str().is_some_and(|r| reasons.contains(&r))
        }
        Decisive::Container(reasons) => {
            let of = |list: &Value| list.as_array().cloned().unwrap_or_default();
            let status = &object["status"];
            let all = [of(&status["containerStatuses"]), of(&status["initContainerStatuses"])].concat();
            let reason = |v: &Value| v["reason"].as_str().is_some_and(|r| reasons.contains(&r));
            all.iter().any(|c| {
                reason(&c["state"]["waiting"])
                    || reason(&c["state"]["terminated"])
                    || reason(&c["lastState"]["terminated"])
            })
        }
    }
}

fn tell(times: &[(&'static str, Duration)]) {
    for (name, late) in times {
        println!("{name:<22} {:>5.1} s after its decisive signal", late.as_secs_f64());
        assert!(*late <= IN_TIME, "{name} came {late:?} after its decisive signal");
    }
}

/// Takes the faults back, and waits until each is told as over.
fn heal(cluster: &Cluster, hook: &Hook, faults: &[Fault]) {
    let healing: Vec<&Fault> = faults.iter().filter(|f| f.healed.is_some()).collect();
    for fault in &healing {
        fault.healed.unwrap()(cluster, &cluster.namespace(fault.name));
    }
    let begun = SystemTime::now();
    loop {
        let alerts = hook.alerts();
        let over = |f: &Fault| alerts.iter().any(|a| a.transition == "resolved" && names(cluster, f, a));
        let open: Vec<&str> = healing.iter().filter(|f| !over(f)).map(|f| f.name).collect();
        if open.is_empty() {
            break;
        }
        assert!(begun.elapsed().unwrap_or_default() < HEALED, "{open:?} are not told as over");
        std::thread::sleep(LOOK);
    }
    // What goes raises nothing either.
    let before = opened(cluster, hook).len();
    for fault in faults {
        cluster.kubectl(&["delete", "namespace", &cluster.namespace(fault.name), "--wait=false"], "");
    }
    std::thread::sleep(Duration::from_secs(20));
    let found = opened(cluster, hook);
    assert_eq!(found.len(), before, "the end of the namespaces raised {}", titles(&found[before..]));
}

/// Rollouts, scaling up and down, Jobs that end well, a ConfigMap that changes for the better.
fn live(cluster: &Cluster) {
    let namespace = cluster.namespace("life");
    let ns = namespace.as_str();
    cluster.kubectl(&["create", "namespace", ns], "");
    cluster.kubectl(&["create", "deployment", "web", "-n", ns, "--image=busybox:1.36", "--", "sleep", "3600"], "");
    cluster.kubectl(&["expose", "deployment", "web", "-n", ns, "--port=80"], "");
    for round in 0..4 {
        cluster.kubectl(&["scale", "-n", ns, "deployment/web", &format!("--replicas={}", 1 + round % 3)], "");
        cluster.kubectl(&["rollout", "restart", "-n", ns, "deployment/web"], "");
        let job = format!("job-{round}");
        cluster.kubectl(&["create", "job", &job, "-n", ns, "--image=busybox:1.36", "--", "sh", "-c", "sleep 3"], "");
        cluster.kubectl(&["rollout", "status", "-n", ns, "deployment/web", "--timeout=60s"], "");
        std::thread::sleep(Duration::from_secs(8));
    }
}

/// No incident was told twice in the same way: opened again only after it was resolved.
fn once(cluster: &Cluster, hook: &Hook) {
    let mut open: BTreeMap<String, bool> = BTreeMap::new();
    for alert in hook.alerts().iter().filter(|a| ours(cluster, a) && a.transition != "escalated") {
        let is_open = open.entry(alert.label("incident").to_owned()).or_default();
        let opens = alert.transition == "opened";
        assert_ne!(*is_open, opens, "{} {} twice", alert.title, alert.transition);
        *is_open = opens;
    }
}

/// How many incidents the histogram of detection has counted, and the bound below which 99 of 100 are.
fn latency(metrics: &str) -> (u64, f64) {
    let buckets: Vec<(f64, u64)> = metrics
        .lines()
        .filter_map(|l| l.strip_prefix("tapio_detection_duration_seconds_bucket{le=\"")?.split_once("\"} "))
        .map(|(le, n)| (le.parse().unwrap_or(f64::INFINITY), n.parse().unwrap()))
        .collect();
    let all = buckets.last().map_or(0, |b| b.1);
    let needed = (all * 99).div_ceil(100);
    (all, buckets.iter().find(|b| b.1 >= needed).map_or(0.0, |b| b.0))
}
