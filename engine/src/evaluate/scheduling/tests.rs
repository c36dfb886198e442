//! The filters, one row a rule; every row has a twin that fits.

use serde_json::{Value, json};

use super::*;

fn node(name: &str, more: Value) -> Object {
    let mut o = json!({"apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {"zone": "a", "cores": "8", "kubernetes.io/hostname": name}},
        "spec": {}, "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "3"}}});
    for (k, v) in more.as_object().unwrap() {
        *o.pointer_mut(k).unwrap() = v.clone();
    }
    Object::parse(&o.to_string()).unwrap()
}

fn pod(v: Value) -> PodSpec {
    serde_json::from_value(v).unwrap()
}

fn words(v: &Verdict) -> String {
    v.reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

#[test]
fn every_filter_says_why() {
    let plain = json!({});
    let tainted = json!({"/spec": {"taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]}});
    let soft = json!({"/spec": {"taints": [{"key": "k", "effect": "PreferNoSchedule"}]}});
    let drained = json!({"/spec": {"taints": [{"key": "k", "effect": "NoExecute"}]}});
    let cordoned = json!({"/spec": {"unschedulable": true}});
    let affinity = |e: Value| {
        json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
            {"nodeSelectorTerms": [{"matchExpressions": [e]}]}}}})
    };
    let asks = |r: Value| json!({"containers": [{"name": "c", "resources": {"requests": r}}]});
    let runs = |r: Value| vec![pod(asks(r))];
    let rows: Vec<(&str, Value, &Value, Vec<PodSpec>, &str)> = vec![
        ("nothing asked", json!({}), &plain, vec![], ""),
        ("selector", json!({"nodeSelector": {"zone": "b"}}), &plain, vec![], "lacks the label zone=b"),
        ("selector that fits", json!({"nodeSelector": {"zone": "a"}}), &plain, vec![], ""),
        (
            "In",
            affinity(json!({"key": "zone", "operator": "In", "values": ["b"]})),
            &plain,
            vec![],
            "required node affinity",
        ),
        ("In that fits", affinity(json!({"key": "zone", "operator": "In", "values": ["b", "a"]})), &plain, vec![], ""),
        ("NotIn", affinity(json!({"key": "zone", "operator": "NotIn", "values": ["a"]})), &plain, vec![], "affinity"),
        (
            "NotIn without the label",
            affinity(json!({"key": "x", "operator": "NotIn", "values": ["a"]})),
            &plain,
            vec![],
            "",
        ),
        ("Exists", affinity(json!({"key": "gpu", "operator": "Exists"})), &plain, vec![], "affinity"),
        ("DoesNotExist", affinity(json!({"key": "zone", "operator": "DoesNotExist"})), &plain, vec![], "affinity"),
        ("DoesNotExist that fits", affinity(json!({"key": "gpu", "operator": "DoesNotExist"})), &plain, vec![], ""),
        ("Gt", affinity(json!({"key": "cores", "operator": "Gt", "values": ["8"]})), &plain, vec![], "affinity"),
        ("Gt that fits", affinity(json!({"key": "cores", "operator": "Gt", "values": ["7"]})), &plain, vec![], ""),
        ("Lt", affinity(json!({"key": "cores", "operator": "Lt", "values": ["8"]})), &plain, vec![], "affinity"),
        ("Lt that fits", affinity(json!({"key": "cores", "operator": "Lt", "values": ["9"]})), &plain, vec![], ""),
        (
            "terms are alternatives",
            json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                {"matchExpressions": [{"key": "gpu", "operator": "Exists"}]},
                {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}]}}}}),
            &plain,
            vec![],
            "",
        ),
        (
            "matchFields",
            json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                {"matchFields": [{"key": "metadata.name", "operator": "NotIn", "values": ["n1"]}]}]}}}}),
            &plain,
            vec![],
            "affinity",
        ),
        (
            "an empty term matches nothing",
            json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{}]}}}}),
            &plain,
            vec![],
            "affinity",
        ),
        ("taint", json!({}), &tainted, vec![], "has the taint k=v:NoSchedule, which is not tolerated"),
        ("NoExecute", json!({}), &drained, vec![], "k:NoExecute"),
        ("a preference is no filter", json!({}), &soft, vec![], ""),
        ("tolerated", json!({"tolerations": [{"key": "k", "operator": "Equal", "value": "v"}]}), &tainted, vec![], ""),
        (
            "tolerated with another effect",
            json!({"tolerations": [{"key": "k", "operator": "Exists", "effect": "NoExecute"}]}),
            &tainted,
            vec![],
            "taint",
        ),
        ("cordon", json!({}), &cordoned, vec![], "is cordoned"),
        (
            "a cordon that is tolerated",
            json!({"tolerations": [{"key": "node.kubernetes.io/unschedulable", "operator": "Exists"}]}),
            &cordoned,
            vec![],
            "",
        ),
        ("too large", asks(json!({"cpu": "4500m"})), &plain, vec![], "has 4 cpu in all, 4500m requested"),
        ("exactly", asks(json!({"cpu": "4", "memory": "8Gi"})), &plain, vec![], ""),
        (
            "too little left",
            asks(json!({"cpu": "3"})),
            &plain,
            runs(json!({"cpu": "1500m"})),
            "has 2500m cpu left, 3 requested",
        ),
        ("enough left", asks(json!({"cpu": "3"})), &plain, runs(json!({"cpu": "1"})), ""),
        (
            "memory left",
            asks(json!({"memory": "5Gi"})),
            &plain,
            runs(json!({"memory": "4Gi"})),
            "has 4Gi memory left, 5Gi requested",
        ),
        (
            "an extended resource that no node reports",
            asks(json!({"example.com/gpu": "1"})),
            &plain,
            vec![],
            "has 0 example.com/gpu in all",
        ),
        (
            "what a node does not report is not held against it",
            asks(json!({"ephemeral-storage": "1Gi"})),
            &plain,
            vec![],
            "",
        ),
        ("pod slots", json!({}), &plain, vec![pod(json!({})), pod(json!({})), pod(json!({}))], "no pod slot left"),
        ("a slot left", json!({}), &plain, vec![pod(json!({})), pod(json!({}))], ""),
        (
            "host port",
            json!({"containers": [{"name": "c", "ports": [{"containerPort": 80, "hostPort": 8080}]}]}),
            &plain,
            vec![pod(json!({"hostNetwork": true, "containers": [{"name": "c", "ports": [{"containerPort": 8080}]}]}))],
            "has host port 8080 taken",
        ),
        (
            "host port of another protocol",
            json!({"containers": [{"name": "c", "ports": [{"containerPort": 80, "hostPort": 8080, "protocol": "UDP"}]}]}),
            &plain,
            vec![pod(json!({"hostNetwork": true, "containers": [{"name": "c", "ports": [{"containerPort": 8080}]}]}))],
            "",
        ),
        (
            "host port of another address",
            json!({"containers": [{"name": "c", "ports": [{"containerPort": 80, "hostPort": 8080, "hostIP": "10.0.0.1"}]}]}),
            &plain,
            vec![pod(
                json!({"containers": [{"name": "c", "ports": [{"containerPort": 1, "hostPort": 8080, "hostIP": "10.0.0.2"}]}]}),
            )],
            "",
        ),
    ];
    for (what, spec, n, there, says) in rows {
        let o = node("n1", n.clone());
        let running = BTreeMap::from([("n1".to_owned(), there.iter().collect::<Vec<_>>())]);
        let found = feasible(&pod(spec), [&o], &running);
        assert_eq!(found[0].fits(), says.is_empty(), "{what}: {}", words(&found[0]));
        assert!(words(&found[0]).contains(says), "{what}: {}", words(&found[0]));
    }
}

#[test]
fn requests_add_up_as_the_scheduler_does() {
    let c = |cpu: &str| json!({"name": "c", "resources": {"requests": {"cpu": cpu}}});
    let side = |cpu: &str| json!({"name": "s", "restartPolicy": "Always", "resources": {"requests": {"cpu": cpu}}});
    for (what, spec, want) in [
        ("main containers add up", json!({"containers": [c("1"), c("2")]}), 3.0),
        (
            "the largest init container counts alone",
            json!({"containers": [c("1")], "initContainers": [c("3"), c("2")]}),
            3.0,
        ),
        ("sidecars run beside the main ones", json!({"containers": [c("1")], "initContainers": [side("1")]}), 2.0),
        (
            "an init container runs beside the sidecars before it",
            json!({"containers": [c("1")], "initContainers": [side("1"), c("3")]}),
            4.0,
        ),
        ("but not beside those after it", json!({"containers": [c("1")], "initContainers": [c("3"), side("1")]}), 3.0),
        ("overhead comes on top", json!({"containers": [c("1")], "overhead": {"cpu": "250m"}}), 1.25),
        (
            "a limit alone is a request",
            json!({"containers": [{"name": "c", "resources": {"limits": {"cpu": "2"}}}]}),
            2.0,
        ),
        (
            "a request wins over the limit",
            json!({"containers": [{"name": "c", "resources": {"limits": {"cpu": "2"}, "requests": {"cpu": "1"}}}]}),
            1.0,
        ),
    ] {
        assert!((request(&pod(spec), "cpu") - want).abs() < 1e-9, "{what}");
    }
}

#[test]
fn tolerations_follow_the_api() {
    let taint = Taint { key: "k".into(), value: "v".into(), effect: "NoSchedule".into(), ..Taint::default() };
    let t = |key: &str, operator: &str, value: &str, effect: &str| Toleration {
        key: key.into(),
        operator: operator.into(),
        value: value.into(),
        effect: effect.into(),
        toleration_seconds: None,
    };
    for (toleration, want) in [
        (t("k", "Equal", "v", "NoSchedule"), true),
        (t("k", "", "v", ""), true),
        (t("k", "Exists", "", ""), true),
        (t("", "Exists", "", ""), true),
        (t("k", "Equal", "w", ""), false),
        (t("k", "Exists", "", "NoExecute"), false),
    ] {
        assert_eq!(tolerated(&taint, std::slice::from_ref(&toleration)), want, "{toleration:?}");
    }
}

#[test]
fn amounts_read_as_people_write_them() {
    for (resource, base, want) in [
        ("cpu", 0.25, "250m"),
        ("cpu", 4.0, "4"),
        ("memory", 512.0 * 1_048_576.0, "512Mi"),
        ("memory", 2.0 * 1_073_741_824.0, "2Gi"),
        ("pods", 7.0, "7"),
    ] {
        assert_eq!(amount(resource, base), want);
    }
}
