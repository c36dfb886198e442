//! What a pod's status means, from the watch and from the kubelet.

use std::collections::BTreeMap;

use super::*;
use crate::event::{Before, Nothing, Payload, normalise};
use crate::object::Object;
use crate::unified::EventKind::*;

struct Known(BTreeMap<ObjectRef, PodBefore>);

impl Before for Known {
    fn pod(&self, _cluster: &str, pod: &ObjectRef) -> Option<&PodBefore> {
        self.0.get(pod)
    }
}

fn raw(kind: &str, at: &str, data: &str) -> RawEvent {
    let text = format!(
        r#"{{"timestamp":"{at}","type":"{kind}","source":"s","metadata":{{"cluster":"c","node":"n1"}},"data":{data}}}"#
    );
    serde_json::from_str(&text).unwrap()
}

/// The pod that a status makes: uid, phase, Ready and statuses (main, init, ephemeral) as JSON.
fn pod(uid: &str, phase: &str, ready: &str, main: &str, init: &str, ephemeral: &str) -> String {
    format!(
        r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"cart-1","namespace":"shop","uid":"{uid}"}},
        "spec":{{"nodeName":"n1","containers":[{{"name":"app"}},{{"name":"proxy"}}],
          "initContainers":[{{"name":"migrate"}},{{"name":"mesh","restartPolicy":"Always"}}]}},
        "status":{{"phase":"{phase}","conditions":[{{"type":"Ready","status":"{ready}","lastTransitionTime":"2024-01-15T10:00:00Z"}}],
          "containerStatuses":[{main}],"initContainerStatuses":[{init}],"ephemeralContainerStatuses":[{ephemeral}]}}}}"#
    )
}

fn running(name: &str, restarts: i64) -> String {
    format!(
        r#"{{"name":"{name}","restartCount":{restarts},"containerID":"containerd://{name}{restarts}","state":{{"running":{{"startedAt":"2024-01-15T10:{restarts:02}:00Z"}}}}}}"#
    )
}

fn crashed(name: &str, restarts: i64, code: i64, reason: &str) -> String {
    format!(
        r#"{{"name":"{name}","restartCount":{restarts},"containerID":"containerd://{name}{restarts}",
        "state":{{"waiting":{{"reason":"CrashLoopBackOff","message":"back-off 40s restarting failed container"}}}},
        "lastState":{{"terminated":{{"exitCode":{code},"reason":"{reason}","startedAt":"2024-01-15T10:{restarts:02}:00Z","finishedAt":"2024-01-15T10:{restarts:02}:05Z"}}}}}}"#
    )
}

fn step(old: Option<&str>, new: &str) -> Vec<UnifiedEvent> {
    let read = |text: &str| Object::parse(text).unwrap();
    let old = old.map(read).map(|o| PodBefore::of(&o.meta.uid, &o.as_pod().unwrap().status));
    let o = read(new);
    let r = raw("ObjectModified", "2024-01-15T11:00:00Z", "{}");
    changes(&r, &o.key, &o.meta, old.as_ref(), o.as_pod().unwrap())
}

fn told(events: &[UnifiedEvent]) -> Vec<String> {
    events
        .iter()
        .map(|e| {
            let n = |k: &str| e.note(k).map_or(String::new(), |v| format!(" {v}"));
            format!("{}{}{}{}", e.kind, n("container"), n("restart"), n("role"))
        })
        .collect()
}

#[test]
fn containers_are_told_one_by_one_with_their_roles() {
    let (a, b) = ("u-1", "True");
    let old = pod(
        a,
        "Running",
        b,
        &[running("app", 0), running("proxy", 1)].join(","),
        &[running("migrate", 0), running("mesh", 0)].join(","),
        &running("debug", 0),
    );
    let failed = |name| {
        format!(
            r#"{{"name":"{name}","restartCount":0,"state":{{"terminated":{{"exitCode":2,"reason":"Error","finishedAt":"2024-01-15T10:30:00Z"}}}}}}"#
        )
    };
    for (new, want) in [
        (
            pod(a, "Running", b, &[running("app", 0), running("proxy", 2)].join(","), &running("mesh", 0), ""),
            vec!["pod_restart proxy 2"],
        ),
        (
            pod(a, "Running", b, &[running("app", 0), running("proxy", 1)].join(","), &running("mesh", 1), ""),
            vec!["pod_restart mesh 1 sidecar"],
        ),
        (
            pod(a, "Running", b, &[running("app", 0), running("proxy", 1)].join(","), &failed("migrate"), ""),
            vec!["container_terminated migrate init"],
        ),
        (
            pod(a, "Running", b, &[failed("app"), running("proxy", 2)].join(","), "", &failed("debug")),
            vec!["pod_restart proxy 2", "container_terminated app", "container_terminated debug ephemeral"],
        ),
    ] {
        assert_eq!(told(&step(Some(&old), &new)), want);
    }
}

#[test]
fn a_rise_by_three_is_three_restarts_told_apart_by_number() {
    let old = pod("u-1", "Running", "False", &running("app", 2), "", "");
    let new = pod("u-1", "Running", "False", &crashed("app", 5, 137, "OOMKilled"), "", "");
    let events = step(Some(&old), &new);
    let restarts: Vec<_> = events.iter().filter(|e| e.kind == PodRestart).map(|e| e.note("restart").unwrap()).collect();
    assert_eq!(restarts, ["3", "4", "5"]);
    let ids: std::collections::BTreeSet<_> = events.iter().map(|e| e.id).collect();
    assert_eq!(ids.len(), events.len());
    let ended = events.iter().find(|e| e.kind == ContainerTerminated).unwrap();
    assert_eq!(ended.message, "container app of pod shop/cart-1 ended with exit code 137 (OOMKilled)");
    assert_eq!(ended.timestamp.to_string(), "2024-01-15T10:05:05Z");
    assert!(events.iter().any(|e| e.kind == PodWaiting && e.severity == Severity::High));
}

#[test]
fn redelivery_resync_and_longer_back_off_say_nothing() {
    let old = pod("u-1", "Running", "False", &crashed("app", 5, 1, "Error"), "", "");
    assert_eq!(told(&step(Some(&old), &old)), Vec::<String>::new());
    let longer = old.replace("back-off 40s", "back-off 1m20s");
    assert_eq!(told(&step(Some(&old), &longer)), Vec::<String>::new());
}

#[test]
fn at_first_sight_old_restarts_are_history_and_the_state_counts() {
    for (status, want) in [
        (running("app", 7), vec!["pod_unready"]),
        (crashed("app", 7, 1, "Error"), vec!["pod_unready", "container_terminated app", "pod_waiting app 7"]),
    ] {
        let new = pod("u-1", "Running", "False", &status, "", "");
        assert_eq!(told(&step(None, &new)), want);
    }
    let creating = r#"{"name":"app","restartCount":0,"state":{"waiting":{"reason":"ContainerCreating"}}}"#;
    assert_eq!(told(&step(None, &pod("u-1", "Pending", "False", creating, "", ""))), ["pod_pending"]);
}

#[test]
fn a_namesake_with_another_uid_is_seen_for_the_first_time_and_has_ids_of_its_own() {
    let old = pod("u-1", "Running", "True", &running("web", 4), "", "");
    let again = pod("u-2", "Running", "True", &running("web", 0), "", "");
    assert_eq!(told(&step(Some(&old), &again)), ["pod_ready"]);
    let (first, second) = (
        step(
            Some(&pod("u-1", "Running", "True", &running("web", 0), "", "")),
            &pod("u-1", "Running", "True", &running("web", 1), "", ""),
        ),
        step(Some(&again), &pod("u-2", "Running", "True", &running("web", 1), "", "")),
    );
    assert_eq!((told(&first), told(&second)), (vec!["pod_restart web 1".into()], vec!["pod_restart web 1".into()]));
    assert_ne!(first[0].id, second[0].id);
}

#[test]
fn a_count_that_falls_is_no_restart_and_a_new_container_under_the_same_count_is_one() {
    let old = pod("u-1", "Running", "True", &running("app", 4), "", "");
    assert_eq!(
        told(&step(Some(&old), &pod("u-1", "Running", "True", &running("app", 2), "", ""))),
        Vec::<String>::new()
    );
    let other = running("app", 4).replace("containerd://app4", "containerd://other");
    assert_eq!(told(&step(Some(&old), &pod("u-1", "Running", "True", &other, "", ""))), ["pod_restart app 4"]);
}

#[test]
fn a_nonsensical_count_stays_bounded() {
    let old = pod("u-1", "Running", "True", &running("app", 0), "", "");
    let new = pod("u-1", "Running", "True", r#"{"name":"app","restartCount":9000000000}"#, "", "");
    let events = step(Some(&old), &new);
    assert_eq!(events.len(), 100);
    assert!(step(Some(&new), &pod("u-1", "Running", "True", r#"{"name":"app","restartCount":-5}"#, "", "")).is_empty());
    let huge = format!(r#"{{"name":"app","restartCount":{}}}"#, i64::MAX);
    assert_eq!(step(Some(&new), &pod("u-1", "Running", "True", &huge, "", "")).len(), 100);
}

#[test]
fn phases_and_readiness_are_told_once_and_starting_is_not_unready() {
    let at = |phase, ready| pod("u-1", phase, ready, "", "", "");
    for (old, new, want) in [
        (at("Pending", "False"), at("Running", "False"), vec![]),
        (at("Running", "False"), at("Running", "True"), vec!["pod_ready"]),
        (at("Running", "True"), at("Running", "False"), vec!["pod_unready"]),
        (at("Running", "True"), at("Succeeded", "False"), vec!["pod_succeeded"]),
        (at("Running", "True"), at("Failed", "False"), vec!["pod_failed"]),
        (at("Failed", "False"), at("Failed", "False"), vec![]),
    ] {
        assert_eq!(told(&step(Some(&old), &new)), want, "{old} {new}");
    }
}

#[test]
fn the_kubelet_and_the_watch_tell_the_same_facts_with_the_same_ids() {
    let statuses = [crashed("app", 5, 1, "Error"), running("proxy", 1)].join(",");
    let mesh = running("mesh", 2);
    let new = pod("u-1", "Running", "False", &statuses, &mesh, "");
    let old =
        pod("u-1", "Running", "True", &[running("app", 3), running("proxy", 1)].join(","), &running("mesh", 0), "");
    let mut cluster: Vec<_> = step(Some(&old), &new);

    let data = format!(
        r#"{{"pod":"cart-1","namespace":"shop","uid":"u-1","phase":"Running","ready":false,"readySince":"2024-01-15T10:00:00Z",
            "containers":[{statuses}],"initContainers":[{}]}}"#,
        mesh.replacen('{', r#"{"type":"sidecar","#, 1)
    );
    let old = Object::parse(&old).unwrap();
    let known = Known([(old.key.clone(), PodBefore::of("u-1", &old.as_pod().unwrap().status))].into());
    // The kubelet sees it at another moment than the watch.
    let raw = raw("PodStatusUpdate", "2024-01-15T11:00:03Z", &data);
    let seen = normalise(&raw, &known).unwrap();
    let mut kubelet = seen.events;
    for events in [&mut cluster, &mut kubelet] {
        events.sort_by_key(|e| e.id);
    }
    assert_eq!(cluster.len(), 7, "{:?}", told(&cluster));
    let facts = |events: &[UnifiedEvent]| {
        events.iter().map(|e| (e.id, e.kind, e.timestamp, e.message.clone(), e.annotations.clone())).collect::<Vec<_>>()
    };
    assert_eq!(facts(&cluster), facts(&kubelet));

    // What the kubelet's report leaves to remember is what the object leaves.
    let Payload::PodStatusUpdate(update) = seen.payload else { panic!("no report") };
    let object = Object::parse(&new).unwrap();
    assert_eq!(update.before(&raw), PodBefore::of("u-1", &object.as_pod().unwrap().status));
    let again = Known([(object.key.clone(), update.before(&raw))].into());
    assert!(normalise(&raw, &again).unwrap().events.is_empty());
}

#[test]
fn a_recorded_crash_loop_goes_from_terminated_to_waiting_without_a_restart() {
    let read = |text: &str| -> (RawEvent, Object) {
        let raw: RawEvent = serde_json::from_str(text).unwrap();
        let object = Object::parse(raw.data.get()).unwrap();
        (raw, object)
    };
    let (first, before) = read(include_str!("../../samples/pod_modified_before.json"));
    let (second, after) = read(include_str!("../../samples/pod_modified.json"));
    let at_first = changes(&first, &before.key, &before.meta, None, before.as_pod().unwrap());
    assert_eq!(told(&at_first), ["pod_unready", "container_terminated app"]);
    let known = PodBefore::of(&before.meta.uid, &before.as_pod().unwrap().status);
    let then = changes(&second, &after.key, &after.meta, Some(&known), after.as_pod().unwrap());
    assert_eq!(told(&then), ["pod_waiting app 2"]);
    // The kubelet's report of the same moment, seen for the first time, says nothing that was not said.
    let kubelet: RawEvent = serde_json::from_str(include_str!("../../samples/pod_status_update.json")).unwrap();
    let told_by_watch: Vec<_> = at_first.iter().chain(&then).map(|e| e.id).collect();
    for e in normalise(&kubelet, &Nothing).unwrap().events {
        assert!(told_by_watch.contains(&e.id), "{e:?}");
    }
}
