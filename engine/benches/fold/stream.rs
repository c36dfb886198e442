//! Streams to measure with: a cluster of so many pods, its objects, and what kubelet, kernel and API say of it.

use std::fmt::Write as _;

/// 2026-01-01T00:00:00Z.
const START_SECS: u64 = 1_767_225_600;
/// Pods of one workload.
const REPLICAS: usize = 10;

/// The cluster that the streams speak of.
#[derive(Clone, Copy)]
pub(crate) struct Cluster {
    pub(crate) pods: usize,
}

/// How much of a stream is bad news.
#[derive(Clone, Copy)]
pub(crate) enum News {
    /// One event in a hundred, about one pod in fifty.
    Routine,
    /// Every second event, about one pod in ten.
    Trouble,
}

/// RFC 3339 of so many microseconds after the start.
fn at(micros: u64) -> String {
    let (secs, rest) = (START_SECS + micros / 1_000_000, micros % 1_000_000);
    let (days, s) = (secs / 86_400, secs % 86_400);
    // Days since 1970-01-01 to a date, after Howard Hinnant's civil_from_days.
    let z = days + 719_468;
    let era = z / 146_097;
    let doe = z % 146_097;
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let (day, month) = (doy - (153 * mp + 2) / 5 + 1, if mp < 10 { mp + 3 } else { mp - 9 });
    let year = yoe + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{rest:06}Z", s / 3_600, s / 60 % 60, s % 60)
}

fn pod(n: usize) -> (String, String, String) {
    let app = n / REPLICAS;
    (format!("app{app}-5f9dbcfb-{n:05}"), format!("ns{}", app % 20), format!("ab76584e-5003-422d-abe5-{n:012}"))
}

fn envelope(micros: u64, kind: &str, source: &str, n: usize, data: &str) -> Vec<u8> {
    format!(
        r#"{{"timestamp":"{}","type":"{kind}","source":"{source}","metadata":{{"cluster":"main","node":"node-{}"}},"data":{data}}}"#,
        at(micros),
        n % 20
    )
    .into_bytes()
}

impl Cluster {
    /// The objects as a first list gives them.
    pub(crate) fn objects(self) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        for app in 0..self.pods.div_ceil(REPLICAS) {
            let ns = format!("ns{}", app % 20);
            let meta = |kind: &str, name: &str, owner: &str| {
                format!(
                    r#""metadata":{{"name":"{name}","namespace":"{ns}","uid":"{kind}-{app}","resourceVersion":"1","creationTimestamp":"2025-12-31T00:00:00Z","labels":{{"app":"app{app}"}}{owner}}}"#
                )
            };
            let name = format!("app{app}");
            let rs = format!("app{app}-5f9dbcfb");
            let selector = format!(r#""selector":{{"matchLabels":{{"app":"app{app}"}}}}"#);
            let status = format!(
                r#""status":{{"observedGeneration":1,"replicas":{REPLICAS},"readyReplicas":{REPLICAS},"availableReplicas":{REPLICAS},"updatedReplicas":{REPLICAS}}}"#
            );
            for (kind, api, meta, spec) in [
                (
                    "Deployment",
                    "apps/v1",
                    meta("d", &name, ""),
                    format!(r#""spec":{{"replicas":{REPLICAS},{selector}}},{status}"#),
                ),
                (
                    "ReplicaSet",
                    "apps/v1",
                    meta(
                        "r",
                        &rs,
                        &format!(
                            r#","ownerReferences":[{{"apiVersion":"apps/v1","kind":"Deployment","name":"{name}","uid":"d-{app}","controller":true}}]"#
                        ),
                    ),
                    format!(r#""spec":{{"replicas":{REPLICAS},{selector}}},{status}"#),
                ),
                (
                    "Service",
                    "v1",
                    meta("s", &name, ""),
                    format!(r#""spec":{{"selector":{{"app":"app{app}"}},"ports":[{{"port":80,"targetPort":8080}}]}}"#),
                ),
                ("ConfigMap", "v1", meta("c", "cart-env", ""), r#""data":{"a":"1"}"#.to_owned()),
            ] {
                let object = format!(r#"{{"apiVersion":"{api}","kind":"{kind}",{meta},{spec}}}"#);
                out.push(envelope(0, "ObjectAdded", "cluster_collector", app, &object));
            }
        }
        out.extend((0..self.pods).map(|n| self.pod_object(n, 0, 0, "ObjectAdded")));
        out
    }

    /// A full Pod object of about 7 KB; every version is another heartbeat of its status.
    fn pod_object(self, n: usize, micros: u64, version: usize, kind: &str) -> Vec<u8> {
        const SAMPLE: &str = include_str!("pod.json");
        let (name, ns, uid) = pod(n);
        let object = SAMPLE
            .trim()
            .replace("@NAME@", &name)
            .replace("@NS@", &ns)
            .replace("@APP@", &format!("app{}", n / REPLICAS))
            .replace("@UID@", &uid)
            .replace("@VERSION@", &(n + 1 + version * self.pods).to_string())
            .replace("@SEEN@", &at(micros));
        envelope(micros, kind, "cluster_collector", n, &object)
    }

    /// `count` updates of pods, `per_second` of them in a second of stream time.
    pub(crate) fn pod_updates(self, count: usize, per_second: usize) -> Vec<Vec<u8>> {
        (0..count)
            .map(|i| {
                let micros = 60_000_000 + i as u64 * 1_000_000 / per_second as u64;
                self.pod_object(i * 7 % self.pods, micros, 1 + i / self.pods, "ObjectModified")
            })
            .collect()
    }

    /// The `i`th small event.
    pub(crate) fn small(self, i: usize, per_second: usize, news: News) -> Vec<u8> {
        let micros = 60_000_000 + i as u64 * 1_000_000 / per_second as u64;
        let (bad_every, sick) = match news {
            News::Routine => (100, (self.pods / 50).max(1)),
            News::Trouble => (2, (self.pods / 10).max(1)),
        };
        let bad = i.is_multiple_of(bad_every);
        let n = if bad { i / bad_every * 13 % sick } else { i * 7 % self.pods };
        let (name, ns, uid) = pod(n);
        let who = format!(r#""pod":"{name}","namespace":"{ns}","uid":"{uid}","container":"app""#);
        let turn = i / if bad { bad_every } else { 1 };
        let mut data = String::new();
        let (kind, source) = match (bad, turn % 6) {
            (false, 0) => {
                let _ = write!(
                    data,
                    r#"{{"pod":"{name}","namespace":"{ns}","uid":"{uid}","cpu":{{"usageNanoCores":{i}}},"memory":{{"workingSetBytes":52428800}},"ephemeral-storage":{{"usedBytes":4096}},"containers":[{{"name":"app","cpu":{{"usageNanoCores":{i}}},"memory":{{"workingSetBytes":32428800,"limitBytes":67108864}}}}]}}"#
                );
                ("PodStats", "kubelet_collector")
            }
            (false, 1 | 2) => {
                let _ = write!(
                    data,
                    r#"{{"src_pod":"{name}","src_namespace":"{ns}","src_uid":"{uid}","dst_service":"app{}","dst_namespace":"{ns}","dst_ip":"10.96.1.237","dst_port":8080,"protocol":"TCP","state":"established","elapsed_ms":1,"attempts":1,"pid":{i}}}"#,
                    n / REPLICAS
                );
                ("NetworkConnection", "ebpf_collector")
            }
            (false, 3) => {
                let _ = write!(data, r#"{{{who},"probe":"readiness","ok":true,"failures":0,"message":""}}"#);
                ("ProbeResult", "kubelet_collector")
            }
            (false, 4) => {
                let _ = write!(
                    data,
                    r#"{{{who},"query":"store.shop.svc.cluster.local","query_type":"A","rcode":"NOERROR","latency_ms":2,"server":"10.96.0.10","pid":{i}}}"#
                );
                ("DnsResult", "ebpf_collector")
            }
            (false, _) => {
                let _ = write!(
                    data,
                    r#"{{"pod":"{name}","namespace":"{ns}","uid":"{uid}","phase":"Running","ready":true,"containers":[{{"name":"app","restartCount":0,"ready":true,"image":"shop/app:1.0","state":{{"running":{{"startedAt":"2025-12-31T00:00:05Z"}}}}}}]}}"#
                );
                ("PodStatusUpdate", "kubelet_collector")
            }
            (true, 0) => {
                let _ = write!(
                    data,
                    r#"{{"src_pod":"{name}","src_namespace":"{ns}","src_uid":"{uid}","dst_service":"app0","dst_namespace":"ns0","dst_ip":"10.96.1.237","dst_port":8080,"protocol":"TCP","state":"connection_refused","errno":111,"elapsed_ms":1,"attempts":3}}"#
                );
                ("NetworkConnection", "ebpf_collector")
            }
            (true, 1) => {
                let _ = write!(
                    data,
                    r#"{{{who},"probe":"liveness","ok":false,"failures":3,"message":"HTTP probe failed with statuscode: 500"}}"#
                );
                ("ProbeResult", "kubelet_collector")
            }
            (true, 2) => {
                let _ = write!(
                    data,
                    r#"{{{who},"query":"store.shop.svc.cluster.local","query_type":"A","rcode":"NXDOMAIN","latency_ms":2,"server":"10.96.0.10","count":4}}"#
                );
                ("DnsResult", "ebpf_collector")
            }
            (true, 3) => {
                let _ = write!(
                    data,
                    r#"{{{who},"pid":{i},"comm":"app","exit_code":1,"signal":0,"oom":false,"main":true}}"#
                );
                ("ProcessExit", "ebpf_collector")
            }
            (true, 4) => {
                let _ =
                    write!(data, r#"{{{who},"src_ip":"10.244.0.7","dst_ip":"10.244.1.9","dst_port":8080,"count":7}}"#);
                ("TcpRetransmit", "ebpf_collector")
            }
            (true, _) => {
                let runs = 1 + i / bad_every / sick / 6;
                let _ = write!(
                    data,
                    r#"{{"pod":"{name}","namespace":"{ns}","uid":"{uid}","phase":"Running","ready":false,"containers":[{{"name":"app","restartCount":{runs},"ready":false,"image":"shop/app:1.0","state":{{"waiting":{{"reason":"CrashLoopBackOff","message":"back-off 20s restarting failed container"}}}},"lastState":{{"terminated":{{"reason":"Error","exitCode":1,"finishedAt":"{}"}}}}}}]}}"#,
                    at(micros)
                );
                ("PodStatusUpdate", "kubelet_collector")
            }
        };
        envelope(micros, kind, source, n, &data)
    }
}
