//! The pods of a node as their kubelet sees them, and what of it is news.
//!
//! Of a pod only its status is read: the types here have no field for `env`, commands or annotations but the two that
//! say where a pod comes from. What the API server tells of the same pod means the same: `uid`, number of the restart
//! and times are its own, so one fact has one id whoever told it.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Pods of a node that are followed; a kubelet starts 110 by default.
const MOST: usize = 5_000;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Pod {
    metadata: Meta,
    spec: Spec,
    status: Status,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Meta {
    name: String,
    namespace: String,
    uid: String,
    deletion_timestamp: Option<serde::de::IgnoredAny>,
    annotations: Option<Annotations>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Annotations {
    #[serde(rename = "kubernetes.io/config.source")]
    source: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    containers: Option<Vec<Container>>,
    init_containers: Option<Vec<Container>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Container {
    name: String,
    restart_policy: Option<String>,
    resources: Option<Resources>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Resources {
    limits: Option<Limits>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Limits {
    cpu: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    phase: String,
    reason: String,
    message: String,
    conditions: Option<Vec<Condition>>,
    container_statuses: Option<Vec<ContainerStatus>>,
    init_container_statuses: Option<Vec<ContainerStatus>>,
    ephemeral_container_statuses: Option<Vec<ContainerStatus>>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
struct Condition {
    r#type: String,
    status: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    reason: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_transition_time: Option<String>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
struct ContainerStatus {
    name: String,
    ready: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    started: Option<bool>,
    restart_count: i64,
    image: String,
    #[serde(rename = "imageID")]
    image_id: String,
    #[serde(rename = "containerID")]
    container_id: String,
    state: State,
    last_state: State,
    /// What it is for, where it is none of the pod's own.
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    r#type: Option<&'static str>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct State {
    #[serde(skip_serializing_if = "Option::is_none")]
    waiting: Option<Waiting>,
    #[serde(skip_serializing_if = "Option::is_none")]
    running: Option<Running>,
    #[serde(skip_serializing_if = "Option::is_none")]
    terminated: Option<Terminated>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct Waiting {
    reason: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    message: String,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
struct Running {
    started_at: Option<String>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
struct Terminated {
    exit_code: i64,
    #[serde(skip_serializing_if = "is_zero")]
    signal: i64,
    reason: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    message: String,
    started_at: Option<String>,
    finished_at: Option<String>,
    #[serde(rename = "containerID")]
    container_id: String,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(n: &i64) -> bool {
    *n == 0
}

/// News of a pod.
pub(super) struct Update {
    /// Its uid; empty for one that the API server knows under another.
    pub(super) uid: String,
    /// The data of `PodStatusUpdate`.
    pub(super) data: Value,
}

/// What is kept of a pod.
struct Known {
    namespace: String,
    name: String,
    told: u64,
    /// From a file of the node: its uid is not the one that the API server has for it.
    is_static: bool,
    bad: bool,
    seen: Instant,
    round: u32,
    /// CPU limits of its containers, in billionths of a core.
    cpu_limits: Vec<(String, i64)>,
}

/// The pods of a node.
#[derive(Default)]
pub(super) struct Pods {
    known: HashMap<String, Known>,
    round: u32,
    /// Pods beyond the bound, in this round.
    over: usize,
}

/// What a look brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) pods: usize,
    /// Something is not as it should be.
    pub(super) bad: bool,
    /// Pods that were not looked at.
    pub(super) over: usize,
}

impl Pods {
    /// A list begins.
    pub(super) fn begin(&mut self) {
        self.round = self.round.wrapping_add(1);
        self.over = 0;
    }

    /// Takes a pod of the list; what is new of it.
    ///
    /// # Errors
    /// It is no pod.
    pub(super) fn take(&mut self, json: &[u8], now: Instant) -> Result<Option<Update>, serde_json::Error> {
        let pod: Pod = serde_json::from_slice(json)?;
        if pod.metadata.name.is_empty() || pod.metadata.uid.is_empty() {
            return Err(serde::de::Error::custom("a pod without name or uid"));
        }
        if !self.known.contains_key(&pod.metadata.uid) && self.known.len() >= MOST {
            self.over += 1;
            return Ok(None);
        }
        let source = pod.metadata.annotations.and_then(|a| a.source);
        let is_static = source.is_some_and(|s| s != "api");
        let cpu_limits = limits(&pod.spec);
        let sidecar = |name: &str| {
            let mut init = pod.spec.init_containers.iter().flatten();
            init.any(|c| c.name == name && c.restart_policy.as_deref() == Some("Always"))
        };
        let mut s = pod.status;
        let deleting = pod.metadata.deletion_timestamp.is_some();
        let bad = !deleting && is_bad(&s);
        let init: Vec<ContainerStatus> = s.init_container_statuses.take().unwrap_or_default();
        let init: Vec<_> =
            init.into_iter().map(|c| ContainerStatus { r#type: sidecar(&c.name).then_some("sidecar"), ..c }).collect();
        let mut containers = s.container_statuses.take().unwrap_or_default();
        let late = s.ephemeral_container_statuses.take().unwrap_or_default();
        containers.extend(late.into_iter().map(|c| ContainerStatus { r#type: Some("ephemeral"), ..c }));
        let uid = if is_static { String::new() } else { pod.metadata.uid.clone() };
        let mut data = json!({
            "namespace": pod.metadata.namespace, "pod": pod.metadata.name, "phase": s.phase,
            "conditions": s.conditions.unwrap_or_default(), "containers": containers,
        });
        for (name, value) in [("uid", &uid), ("reason", &s.reason), ("message", &s.message)] {
            if !value.is_empty() {
                data[name] = value.as_str().into();
            }
        }
        if !init.is_empty() {
            data["initContainers"] = serde_json::to_value(init)?;
        }
        if deleting {
            data["deleting"] = true.into();
        }
        let mut hasher = DefaultHasher::new();
        hasher.write(data.to_string().as_bytes());
        let told = hasher.finish();
        let news = self.known.get(&pod.metadata.uid).is_none_or(|k| k.told != told);
        let (namespace, name) = (pod.metadata.namespace, pod.metadata.name);
        let known = Known { namespace, name, told, is_static, bad, seen: now, round: self.round, cpu_limits };
        self.known.insert(pod.metadata.uid, known);
        Ok(news.then_some(Update { uid, data }))
    }

    /// A list is complete: what was not in it for long is forgotten.
    pub(super) fn end(&mut self, now: Instant, forget: Duration) -> Look {
        self.known.retain(|_, k| now.saturating_duration_since(k.seen) < forget);
        let here = self.known.values().filter(|k| k.round == self.round);
        let (pods, bad) = here.fold((0, false), |(n, bad), k| (n + 1, bad || k.bad));
        Look { pods, bad, over: self.over }
    }

    /// The uid under which the API server knows a pod of the kubelet's; none where that is not known.
    pub(super) fn api_uid<'u>(&self, uid: &'u str) -> &'u str {
        if self.known.get(uid).is_some_and(|k| k.is_static) { "" } else { uid }
    }

    /// Whether a pod is known.
    pub(super) fn knows(&self, uid: &str) -> bool {
        self.known.contains_key(uid)
    }

    /// The CPU limit of a container, in billionths of a core.
    pub(super) fn cpu_limit(&self, uid: &str, container: &str) -> Option<i64> {
        let known = self.known.get(uid)?;
        known.cpu_limits.iter().find(|(name, _)| name == container).map(|(_, n)| *n)
    }

    /// The uid of a pod by its name.
    pub(super) fn uid_of(&self, namespace: &str, name: &str) -> Option<&str> {
        let of_name = self.known.iter().filter(|(_, k)| k.name == name && k.namespace == namespace);
        of_name.max_by_key(|(_, k)| k.round).map(|(uid, _)| uid.as_str())
    }
}

fn limits(spec: &Spec) -> Vec<(String, i64)> {
    let all = spec.containers.iter().chain(&spec.init_containers).flatten();
    let cpu = |c: &Container| {
        let text = c.resources.as_ref()?.limits.as_ref()?.cpu.as_ref()?;
        Some((c.name.clone(), nano_cores(text)?))
    };
    all.filter_map(cpu).collect()
}

/// `500m`, `2`, `0.5` in billionths of a core.
fn nano_cores(quantity: &Value) -> Option<i64> {
    let text = quantity.as_str().map(str::to_owned).unwrap_or_else(|| quantity.to_string());
    let (number, unit) = match text.as_bytes().last()? {
        b'm' => (text.trim_end_matches('m'), 1e6),
        b'u' => (text.trim_end_matches('u'), 1e3),
        b'n' => (text.trim_end_matches('n'), 1.0),
        _ => (text.as_str(), 1e9),
    };
    let n = number.parse::<f64>().ok().filter(|n| n.is_finite() && *n > 0.0)? * unit;
    #[allow(clippy::cast_possible_truncation, reason = "a cast of floats stops at the bounds")]
    Some(n as i64)
}

fn is_bad(s: &Status) -> bool {
    let waits = |c: &ContainerStatus| {
        let reason = c.state.waiting.as_ref().map(|w| w.reason.as_str());
        reason.is_some_and(|r| !matches!(r, "" | "ContainerCreating" | "PodInitializing"))
    };
    let main = s.container_statuses.iter().flatten();
    let init = s.init_container_statuses.iter().flatten();
    // What starts is watched as closely as what fails: both end soon.
    s.phase == "Pending"
        || main.clone().chain(init).any(waits)
        || main.clone().any(|c| c.state.running.is_some() && !c.ready)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(uid: &str, more: &str, status: &str) -> String {
        format!(
            r#"{{"metadata":{{"name":"p","namespace":"n","uid":"{uid}"{more}}},"spec":{{"containers":[{{"name":"c","env":[{{"name":"TOKEN","value":"CANARY"}}],"resources":{{"limits":{{"cpu":"500m"}}}}}}],"initContainers":[{{"name":"i","restartPolicy":"Always"}}]}},"status":{status}}}"#
        )
    }

    fn take(p: &mut Pods, json: &str) -> Option<Value> {
        p.take(json.as_bytes(), Instant::now()).unwrap().map(|u| u.data)
    }

    const RUNS: &str = r#"{"phase":"Running","conditions":[{"type":"Ready","status":"True","lastProbeTime":"2026-01-01T00:00:00Z","lastTransitionTime":"2026-01-01T00:00:00Z"}],"initContainerStatuses":[{"name":"i","ready":true,"state":{"running":{}}}],"containerStatuses":[{"name":"c","ready":true,"restartCount":0,"state":{"running":{"startedAt":"2026-01-01T00:00:00Z"}}}]}"#;

    #[test]
    fn a_pod_is_told_when_it_comes_and_when_its_status_changes() {
        let mut p = Pods::default();
        p.begin();
        let data = take(&mut p, &pod("u", "", RUNS)).expect("news");
        assert_eq!(data["initContainers"][0]["type"], "sidecar");
        assert_eq!(data["uid"], "u");
        assert!(!data.to_string().contains("CANARY"));
        // Nothing but the time of a probe is new.
        assert!(take(&mut p, &pod("u", "", &RUNS.replace("2026-01-01T00:00:00Z\",\"lastT", "x\",\"lastT"))).is_none());
        let crashed = RUNS.replace(r#""restartCount":0"#, r#""restartCount":1"#);
        assert_eq!(take(&mut p, &pod("u", "", &crashed)).unwrap()["containers"][0]["restartCount"], 1);
        assert_eq!(p.cpu_limit("u", "c"), Some(500_000_000));
        let look = p.end(Instant::now(), Duration::from_secs(9));
        assert_eq!(look, Look { pods: 1, bad: false, over: 0 });
        let gone = pod("u", r#","deletionTimestamp":"2026-01-01T00:00:00Z""#, RUNS);
        assert_eq!(take(&mut p, &gone).unwrap()["deleting"], true);
    }

    #[test]
    fn a_list_that_is_empty_for_a_moment_makes_nothing_news() {
        let mut p = Pods::default();
        p.begin();
        assert!(take(&mut p, &pod("u", "", RUNS)).is_some());
        p.begin();
        assert_eq!(p.end(Instant::now(), Duration::from_secs(9)).pods, 0);
        p.begin();
        assert!(take(&mut p, &pod("u", "", RUNS)).is_none());
        p.begin();
        p.end(Instant::now() + Duration::from_secs(10), Duration::from_secs(9));
        assert!(take(&mut p, &pod("u", "", RUNS)).is_some());
    }

    #[test]
    fn a_pod_from_a_file_has_no_uid_of_the_api_server() {
        let mut p = Pods::default();
        p.begin();
        let file = r#","annotations":{"kubernetes.io/config.source":"file"}"#;
        let data = take(&mut p, &pod("hash", file, RUNS)).unwrap();
        assert!(data.get("uid").is_none());
        assert_eq!((p.api_uid("hash"), p.api_uid("u")), ("", "u"));
        assert_eq!(p.uid_of("n", "p"), Some("hash"));
    }

    #[test]
    fn what_starts_waits_or_is_not_ready_is_bad() {
        let status = |s: &str| serde_json::from_str::<Status>(s).unwrap();
        assert!(!is_bad(&status(RUNS)));
        for bad in [
            r#"{"phase":"Pending"}"#,
            r#"{"phase":"Running","containerStatuses":[{"state":{"running":{}},"ready":false}]}"#,
            r#"{"phase":"Running","containerStatuses":[{"state":{"waiting":{"reason":"CrashLoopBackOff"}}}]}"#,
        ] {
            assert!(is_bad(&status(bad)), "{bad}");
        }
        assert!(!is_bad(&status(r#"{"phase":"Succeeded","containerStatuses":[{"state":{"terminated":{}}}]}"#)));
    }

    #[test]
    fn quantities_of_cpu() {
        for (text, n) in [("500m", Some(500_000_000)), ("2", Some(2_000_000_000)), ("0.5", Some(500_000_000))] {
            assert_eq!(nano_cores(&text.into()), n);
        }
        assert_eq!(nano_cores(&json!(1)), Some(1_000_000_000));
        for bad in ["", "x", "-1", "m", "1e400"] {
            assert_eq!(nano_cores(&bad.into()), None, "{bad}");
        }
    }
}
