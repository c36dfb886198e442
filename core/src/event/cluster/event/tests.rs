//! Events of both shapes, what they are told as, and what makes two of them one.

use super::*;
use crate::event::{Nothing, normalise};
use crate::unified::{EventKind::*, Severity};

fn raw_of(kind: &str, data: &str) -> RawEvent {
    let text = format!(
        r#"{{"timestamp":"2024-01-15T10:30:00Z","type":"{kind}","source":"cluster_collector","metadata":{{"cluster":"c"}},"data":{data}}}"#
    );
    serde_json::from_str(&text).unwrap()
}

fn told(kind: &str, data: &str) -> UnifiedEvent {
    let raw = raw_of(kind, data);
    let mut events = normalise(&raw, &Nothing).unwrap().events;
    assert_eq!(events.len(), 1);
    events.remove(0)
}

fn core_v1(rest: &str) -> String {
    format!(
        r#"{{"apiVersion":"v1","kind":"Event","metadata":{{"name":"cart-1.17","namespace":"shop","uid":"e-1","creationTimestamp":"2024-01-15T10:00:00Z"}},
        "involvedObject":{{"apiVersion":"v1","kind":"Pod","namespace":"shop","name":"cart-1","uid":"u-1","fieldPath":"spec.containers{{app}}"}},
        "reason":"Unhealthy","message":"Readiness probe failed: HTTP probe failed with statuscode: 500","type":"Warning",
        "source":{{"component":"kubelet","host":"n1"}}{rest}}}"#
    )
}

#[test]
fn an_event_of_core_v1_gives_object_container_node_and_facts() {
    let e = told(
        "Event",
        &core_v1(r#","count":4,"firstTimestamp":"2024-01-15T10:00:00Z","lastTimestamp":"2024-01-15T10:29:00Z""#),
    );
    assert_eq!((e.kind, e.timestamp.to_string().as_str()), (ProbeFailed, "2024-01-15T10:29:00Z"));
    assert_eq!(e.message, "Pod shop/cart-1: Readiness probe failed: HTTP probe failed with statuscode: 500");
    let k8s = e.k8s.as_ref().unwrap();
    assert_eq!(k8s.object, ObjectRef::new("Pod", "shop", "cart-1"));
    assert_eq!(
        (k8s.uid.as_deref(), k8s.node.as_deref(), k8s.container.as_deref()),
        (Some("u-1"), Some("n1"), Some("app"))
    );
    for (key, value) in [
        ("reason", "Unhealthy"),
        ("type", "Warning"),
        ("count", "4"),
        ("component", "kubelet"),
        ("container", "app"),
        ("probe", "readiness"),
        ("first", "2024-01-15T10:00:00Z"),
        ("last", "2024-01-15T10:29:00Z"),
    ] {
        assert_eq!(e.note(key), Some(value), "{key}");
    }
}

#[test]
fn each_rise_of_the_count_is_an_occurrence_and_redelivery_is_none() {
    let ids: Vec<_> = [
        core_v1(r#","count":4,"lastTimestamp":"2024-01-15T10:29:00Z""#),
        core_v1(r#","count":4,"lastTimestamp":"2024-01-15T10:29:00Z""#),
        core_v1(r#","count":5,"lastTimestamp":"2024-01-15T10:29:30Z""#),
        core_v1(r#","series":{"count":6,"lastObservedTime":"2024-01-15T10:29:45Z"}"#),
    ]
    .iter()
    .flat_map(|data| [told("Event", data).id, told("ObjectModified", data).id])
    .collect();
    assert!(ids[..4].iter().all(|id| *id == ids[0]));
    assert!(ids[4] == ids[5] && ids[4] != ids[0] && ids[6] != ids[4]);
}

#[test]
fn the_shape_of_events_k8s_io_tells_the_same() {
    let v1 = core_v1(r#","series":{"count":6,"lastObservedTime":"2024-01-15T10:29:45Z"}"#);
    let new = v1
        .replace("involvedObject", "regarding")
        .replace(r#""message""#, r#""note""#)
        .replace(
            r#""source":{"component":"kubelet","host":"n1"}"#,
            r#""reportingController":"kubelet","deprecatedSource":{"component":"kubelet"}"#,
        )
        .replace(r#""apiVersion":"v1","kind":"Event""#, r#""apiVersion":"events.k8s.io/v1","kind":"Event""#);
    let (a, b) = (told("Event", &v1), told("ObjectAdded", &new));
    assert_eq!(
        (a.id, a.kind, a.timestamp, &a.message, &a.annotations),
        (b.id, b.kind, b.timestamp, &b.message, &b.annotations)
    );
}

#[test]
fn the_time_is_the_newest_that_the_event_has() {
    for (rest, want) in [
        (
            r#","series":{"count":2,"lastObservedTime":"2024-01-15T10:25:00.5Z"},"lastTimestamp":"2024-01-15T10:20:00Z""#,
            "2024-01-15T10:25:00.500Z",
        ),
        (r#","lastTimestamp":"2024-01-15T10:20:00Z","firstTimestamp":"2024-01-15T10:10:00Z""#, "2024-01-15T10:20:00Z"),
        (
            r#","lastTimestamp":null,"firstTimestamp":null,"eventTime":"2024-01-15T10:15:00.123456Z""#,
            "2024-01-15T10:15:00.123456Z",
        ),
        (r#","firstTimestamp":"2024-01-15T10:10:00Z""#, "2024-01-15T10:10:00Z"),
        ("", "2024-01-15T10:00:00Z"),
        (r#","lastTimestamp":"0001-01-01T00:00:00Z""#, "2024-01-15T10:00:00Z"),
    ] {
        assert_eq!(told("Event", &core_v1(rest)).timestamp.to_string(), want, "{rest}");
    }
}

#[test]
fn the_prefix_of_combined_events_is_taken_off_and_noted() {
    let e = told("Event", &core_v1("").replace("Readiness probe", "(combined from similar events): Readiness probe"));
    assert_eq!((e.kind, e.note("combined")), (ProbeFailed, Some("true")));
    assert!(e.message.starts_with("Pod shop/cart-1: Readiness probe failed"), "{}", e.message);
}

#[test]
fn what_no_object_is_named_for_is_about_an_entity() {
    let e = told(
        "Event",
        r#"{"metadata":{"name":"x.1","namespace":"ns"},"reason":"Odd","message":"odd","involvedObject":{}}"#,
    );
    assert!(e.k8s.is_none());
    assert_eq!(e.entity.unwrap().name, "x.1");
}

#[test]
fn a_uid_that_is_no_uid_is_not_believed() {
    for (uid, want) in
        [("n1", None), ("0a1b2c3d4e5f60718293a4b5c6d7e8f9", None), ("305c4c69-e3df-41ab", Some("305c4c69-e3df-41ab"))]
    {
        let e = told(
            "Event",
            &format!(r#"{{"involvedObject":{{"kind":"Node","name":"n1","uid":"{uid}"}},"reason":"Rebooted"}}"#),
        );
        assert_eq!(e.k8s.unwrap().uid.as_deref(), want);
    }
}

#[test]
fn the_watch_is_told_here_for_events_only_and_not_for_their_deletion() {
    for (kind, data, want) in [
        ("ObjectAdded", core_v1(""), 1),
        ("ObjectModified", core_v1(""), 1),
        ("ObjectDeleted", core_v1(""), 0),
        ("ObjectAdded", r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"}}"#.to_owned(), 0),
        ("ObjectAdded", r#"{"apiVersion":"v1","involvedObject":{"kind":"Event"},"kind":"Pod"}"#.to_owned(), 0),
        ("ObjectAdded", "[]".to_owned(), 0),
    ] {
        assert_eq!(normalise(&raw_of(kind, &data), &Nothing).unwrap().events.len(), want, "{kind} {data}");
    }
    assert_eq!(kind_of(r#"{"a":{"kind":"x"},"kind":"Pod","spec":"#).as_deref(), Some("Pod"));
}

#[test]
fn reason_and_text_decide_the_kind() {
    for (object, reason, r#type, text, want) in [
        ("Pod", "FailedScheduling", "Warning", "0/1 nodes are available: 1 Too many pods.", SchedulingFailed),
        (
            "Pod",
            "FailedMount",
            "Warning",
            r#"MountVolume.SetUp failed for volume "config" : configmap "x" not found"#,
            MountFailed,
        ),
        ("Pod", "FailedAttachVolume", "Warning", "Multi-Attach error for volume", MountFailed),
        ("Pod", "Failed", "Warning", r#"Failed to pull image "shop/app:1.11": not found"#, ImagePullFailed),
        ("Pod", "Failed", "Warning", "Error: ErrImagePull", ImagePullFailed),
        (
            "Pod",
            "Failed",
            "Warning",
            "Error: couldn't find key max-connections in ConfigMap north/sessions-env",
            ContainerStartFailed,
        ),
        ("HelmRelease", "Failed", "Warning", "install retries exhausted", KubernetesEvent),
        ("Pod", "BackOff", "Normal", r#"Back-off pulling image "shop/app:1.11""#, ImagePullFailed),
        ("Pod", "BackOff", "Warning", "Back-off restarting failed container app in pod cart-1", BackOff),
        ("Pod", "Unhealthy", "Warning", "Liveness probe failed: connection refused", ProbeFailed),
        ("Pod", "Killing", "Normal", "Stopping container app", Killing),
        (
            "Pod",
            "Evicted",
            "Warning",
            "Pod ephemeral local storage usage exceeds the total limit of containers 40Mi. ",
            Evicted,
        ),
        ("Pod", "TaintManagerEviction", "Normal", "Marking for deletion Pod shop/cart-1", Evicted),
        ("Pod", "TaintManagerEviction", "Normal", "Cancelling deletion of Pod shop/cart-1", KubernetesEvent),
        ("Pod", "Preempted", "Normal", "Preempted by pod 1d891e09 on node n1", Preempted),
        (
            "ReplicaSet",
            "FailedCreate",
            "Warning",
            r#"Error creating: pods "x" is forbidden: exceeded quota: q"#,
            FailedCreate,
        ),
        (
            "PersistentVolumeClaim",
            "FailedBinding",
            "Normal",
            "no persistent volumes available for this claim",
            BindingFailed,
        ),
        (
            "PersistentVolumeClaim",
            "ProvisioningFailed",
            "Warning",
            r#"storageclass.storage.k8s.io "x" not found"#,
            BindingFailed,
        ),
        (
            "PersistentVolumeClaim",
            "WaitForFirstConsumer",
            "Normal",
            "waiting for first consumer to be created before binding",
            KubernetesEvent,
        ),
        ("Pod", "FailedPostStartHook", "Warning", "PostStartHook failed", HookFailed),
        (
            "Pod",
            "FailedCreatePodSandBox",
            "Warning",
            r#"plugin type="calico" failed (add): Assigned 0 out of 1 requested IPv4 addresses"#,
            PodNetworkFailed,
        ),
        (
            "Pod",
            "FailedCreatePodSandBox",
            "Warning",
            "dial unix /run/containerd/containerd.sock: connect: no such file or directory",
            ContainerStartFailed,
        ),
        ("Pod", "NodeNotReady", "Warning", "Node is not ready", NodeNotReady),
        ("Node", "NodeNotReady", "Normal", "Node n1 status is now: NodeNotReady", NodeNotReady),
        ("Node", "ContainerGCFailed", "Warning", "rpc error: code = Unavailable desc = connection error", NodeNotReady),
        ("Node", "NodeHasDiskPressure", "Normal", "Node n1 status is now: NodeHasDiskPressure", NodePressure),
        ("Node", "EvictionThresholdMet", "Warning", "Attempting to reclaim ephemeral-storage", NodePressure),
        ("Node", "SystemOOM", "Warning", "System OOM encountered, victim process: java, pid: 4711", OomKill),
        ("Node", "InvalidDiskCapacity", "Warning", "invalid capacity 0 on image filesystem", KubernetesEvent),
        ("Node", "NodeNotSchedulable", "Normal", "Node n1 status is now: NodeNotSchedulable", NodeCordoned),
        ("Job", "BackoffLimitExceeded", "Warning", "Job has reached the specified backoff limit", JobFailed),
        ("Job", "DeadlineExceeded", "Warning", "Job was active longer than specified deadline", JobFailed),
        ("HorizontalPodAutoscaler", "SuccessfulRescale", "Normal", "New size: 4; reason: cpu above target", HpaScaled),
        (
            "Pod",
            "PolicyDenied",
            "Warning",
            "Outgoing packet dropped (policy_deny) to 8.8.8.8 ICMPv4. Denied by policies: deny-icmp.",
            NetworkPolicyViolation,
        ),
        ("Pod", "Scheduled", "Normal", "Successfully assigned shop/cart-1 to n1", KubernetesEvent),
    ] {
        let data = serde_json::json!({"involvedObject": {"kind": object, "name": "x", "namespace": "shop"},
            "reason": reason, "message": text, "type": r#type, "metadata": {"name": "x.1", "namespace": "shop", "uid": "e-2"}});
        let e = told("Event", &data.to_string());
        assert_eq!(e.kind, want, "{object} {reason}: {text}");
        assert!(kinds().contains(&e.kind), "{want}");
        if want == KubernetesEvent {
            assert_eq!(e.severity, if r#type == "Warning" { Severity::Medium } else { Severity::Info });
        }
    }
}

#[test]
fn a_probe_is_named_in_failures_and_kills() {
    for (reason, text, want) in [
        ("Unhealthy", "Startup probe failed: dial tcp", Some("startup")),
        ("Killing", "Container app failed liveness probe, will be restarted", Some("liveness")),
        ("Killing", "Stopping container app", None),
    ] {
        let data =
            format!(r#"{{"involvedObject":{{"kind":"Pod","name":"x"}},"reason":"{reason}","message":"{text}"}}"#);
        assert_eq!(told("Event", &data).note("probe"), want, "{text}");
    }
}
