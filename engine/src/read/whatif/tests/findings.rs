//! One row a finding: what must be found, and the twin of the manifest that is harmless.

use serde_json::{Value, json};
use tapio_core::unified::Severity::{self, High, Low, Medium};

use super::*;

struct Row {
    check: &'static str,
    severity: Severity,
    bad: Vec<Value>,
    good: Vec<Value>,
    delete: bool,
}

fn row(check: &'static str, severity: Severity, bad: Vec<Value>, good: Vec<Value>) -> Row {
    Row { check, severity, bad, good, delete: false }
}

fn gone(check: &'static str, severity: Severity, bad: Vec<Value>, good: Vec<Value>) -> Row {
    Row { check, severity, bad, good, delete: true }
}

fn judge(rows: Vec<Row>) {
    let world = shop();
    for r in rows {
        let found = ask(&world, &r.bad, r.delete);
        let hit = found.findings.iter().find(|f| f.check == r.check);
        assert_eq!(hit.map(|f| f.severity), Some(r.severity), "{} in {:#?}", r.check, told(&found));
        assert!(found.findings.is_sorted_by(|a, b| a.severity >= b.severity));
        let quiet = ask(&world, &r.good, r.delete);
        assert!(quiet.findings.is_empty(), "the twin of {}: {:#?}", r.check, told(&quiet));
    }
}

/// A Deployment's template with this in its pod.
fn with_pod(patch: Value) -> Value {
    web(json!({"spec": {"template": {"spec": patch}}}))
}

/// The web container with this in it, in its Deployment.
fn with_container(patch: Value) -> Value {
    let mut o = web(json!({}));
    merge(&mut o["spec"]["template"]["spec"]["containers"][0], patch);
    o
}

fn config(name: &str, data: Value) -> Value {
    object("v1", "ConfigMap", name, json!({ "data": data }))
}

fn policy(spec: Value) -> Value {
    object("networking.k8s.io/v1", "NetworkPolicy", "np", json!({ "spec": spec }))
}

#[test]
fn config_and_references() {
    let refers = |name: &str, key: &str, optional: bool| {
        with_container(
            json!({"env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": name, "key": key, "optional": optional}}},
            {"name": "DB_ADDR", "value": "db:5432"}]}),
        )
    };
    judge(vec![
        row(
            "key-missing",
            High,
            vec![config("app", json!({"B": "2"}))],
            vec![config("app", json!({"A": "9", "B": "2"}))],
        ),
        row("key-missing", High, vec![refers("app", "X", false)], vec![refers("app", "X", true)]),
        row(
            "key-missing",
            High,
            vec![refers("app", "X", false)],
            vec![refers("app", "X", false), config("app", json!({"A": "1", "B": "2", "X": "3"}))],
        ),
        row(
            "config-missing",
            High,
            vec![refers("new", "A", false)],
            vec![refers("new", "A", false), config("new", json!({"A": "1"}))],
        ),
        row(
            "file-gone",
            Medium,
            vec![config("files", json!({"a.conf": "1"}))],
            vec![config("files", json!({"a.conf": "7", "b.conf": "7"}))],
        ),
        row(
            "variable-gone",
            Medium,
            vec![object("v1", "Secret", "creds", json!({"data": {"user": ""}}))],
            vec![object("v1", "Secret", "creds", json!({"stringData": {"user": "", "pw": ""}}))],
        ),
        row(
            "account-missing",
            High,
            vec![with_pod(json!({"serviceAccountName": "nobody"}))],
            vec![with_pod(json!({"serviceAccountName": "default"}))],
        ),
        row(
            "priority-class-missing",
            High,
            vec![with_pod(json!({"priorityClassName": "urgent"}))],
            vec![with_pod(json!({"priorityClassName": "system-node-critical"}))],
        ),
        row(
            "pull-secret-missing",
            Medium,
            vec![with_pod(json!({"imagePullSecrets": [{"name": "reg"}]}))],
            vec![with_pod(json!({"imagePullSecrets": [{"name": "creds"}]}))],
        ),
        row(
            "claim-missing",
            High,
            vec![with_pod(json!({"volumes": [{"name": "files", "persistentVolumeClaim": {"claimName": "nodata"}}]}))],
            vec![with_pod(json!({"volumes": [{"name": "files", "persistentVolumeClaim": {"claimName": "data"}}]}))],
        ),
        row(
            "volume-missing",
            High,
            vec![with_pod(json!({"volumes": [{"name": "other", "emptyDir": {}}]}))],
            vec![with_pod(json!({"volumes": [{"name": "files", "emptyDir": {}}]}))],
        ),
        row(
            "storage-class-missing",
            High,
            vec![object("v1", "PersistentVolumeClaim", "more", json!({"spec": {"storageClassName": "quick"}}))],
            vec![object("v1", "PersistentVolumeClaim", "more", json!({"spec": {"storageClassName": "fast"}}))],
        ),
        row(
            "scale-target-missing",
            Medium,
            vec![object(
                "autoscaling/v2",
                "HorizontalPodAutoscaler",
                "h",
                json!({"spec": {"scaleTargetRef": {"kind": "Deployment", "name": "wbe"}, "maxReplicas": 3}}),
            )],
            vec![object(
                "autoscaling/v2",
                "HorizontalPodAutoscaler",
                "h",
                json!({"spec": {"scaleTargetRef": {"kind": "Deployment", "name": "web"}, "maxReplicas": 3}}),
            )],
        ),
    ]);
}

#[test]
fn services_and_routes() {
    let labels = |app: &str| web(json!({"spec": {"template": {"metadata": {"labels": {"app": app}}}}}));
    let extra = web(json!({"spec": {"template": {"metadata": {"labels": {"tier": "x"}}}}}));
    let ports = |ports: Value| web_service(json!({"spec": {"ports": ports}}));
    let backend = |name: &str, number: i64| {
        front(
            json!({"spec": {"rules": [{"host": "shop.example", "http": {"paths": [{"path": "/", "backend": {"service": {"name": name, "port": {"number": number}}}}]}}]}}),
        )
    };
    let both = |app: &str| {
        let mut o = object("apps/v1", "Deployment", "web2", json!({"spec": web(json!({}))["spec"]}));
        merge(
            &mut o,
            json!({"spec": {"selector": {"matchLabels": {"app": "web2"}}, "template": {"metadata": {"labels": {"app": "web2", "group": app}}}}}),
        );
        o
    };
    judge(vec![
        row(
            "service-selects-nothing",
            High,
            vec![web_service(json!({"spec": {"selector": {"app": "wbe"}}}))],
            vec![web_service(json!({"spec": {"selector": {"app": "web"}}}))],
        ),
        row("service-selects-nothing", High, vec![labels("shop-web")], vec![extra]),
        row(
            "service-selects-nothing",
            High,
            vec![service("new", json!({"spec": {"selector": {"app": "cache"}, "ports": [{"port": 1}]}}))],
            vec![service("new", json!({"spec": {"selector": {"app": "web2"}, "ports": [{"port": 8080}]}})), {
                let mut w = both("x");
                merge(&mut w, json!({"spec": {"replicas": 1}}));
                w
            }],
        ),
        row(
            "service-scaled-to-zero",
            High,
            vec![web(json!({"spec": {"replicas": 0}}))],
            vec![web(json!({"spec": {"replicas": 1}}))],
        ),
        row(
            "target-port-missing",
            High,
            vec![ports(json!([{"port": 80, "targetPort": "htpp"}]))],
            vec![ports(json!([{"port": 80, "targetPort": "http"}]))],
        ),
        row(
            "target-port-missing",
            High,
            vec![with_container(json!({"ports": [{"name": "web", "containerPort": 8080}]}))],
            vec![with_container(json!({"ports": [{"name": "http", "containerPort": 9090}]}))],
        ),
        row(
            "target-port-undeclared",
            Medium,
            vec![ports(json!([{"port": 80, "targetPort": 9999}]))],
            vec![ports(json!([{"port": 80, "targetPort": 8080}]))],
        ),
        row(
            "target-port-undeclared",
            Medium,
            vec![ports(json!([{"port": 80, "targetPort": 8080, "protocol": "UDP"}]))],
            vec![ports(json!([{"port": 80, "targetPort": 8080}]))],
        ),
        row(
            "call-without-port",
            High,
            vec![db_service(json!({"spec": {"ports": [{"port": 5433, "targetPort": 5432}]}}))],
            vec![db_service(json!({"spec": {"ports": [{"port": 5432, "targetPort": "pg"}]}}))],
        ),
        row("backend-missing", High, vec![backend("wbe", 80)], vec![backend("web", 80)]),
        row("backend-port-missing", High, vec![backend("web", 8080)], vec![backend("web", 80)]),
        row(
            "ingress-class-missing",
            High,
            vec![front(json!({"spec": {"ingressClassName": "traefik"}}))],
            vec![front(json!({"spec": {"ingressClassName": "nginx"}}))],
        ),
        row(
            "certificate-missing",
            Medium,
            vec![front(json!({"spec": {"tls": [{"hosts": ["a"], "secretName": "none"}]}}))],
            vec![front(json!({"spec": {"tls": [{"hosts": ["a"], "secretName": "cert"}]}}))],
        ),
    ]);
}

#[test]
fn a_workload_that_leaves_a_service_that_others_still_serve() {
    let mut world = shop();
    let mut more = db(json!({"metadata": {"name": "web-b"}}));
    merge(
        &mut more,
        json!({"spec": {"selector": {"matchLabels": {"app": "web"}}, "template": {"metadata": {"labels": {"app": "web", "v": "b"}},
        "spec": {"containers": [{"name": "x", "ports": [{"name": "http", "containerPort": 8080}]}], "volumes": []}}}}),
    );
    world.apply(Object::parse(&more.to_string()).unwrap(), now());
    let narrow = web_service(json!({"spec": {"selector": {"app": "web", "v": "b"}}}));
    let found = ask(&world, &[narrow], false);
    assert_eq!(told(&found).len(), 1, "{:#?}", told(&found));
    assert_eq!((found.findings[0].check.as_str(), found.findings[0].severity), ("service-loses-workload", High));
    let same = ask(&world, &[web_service(json!({"metadata": {"labels": {"a": "b"}}}))], false);
    assert!(same.findings.is_empty(), "{:#?}", told(&same));
}

#[test]
fn policies_that_cut_known_calls() {
    let to_db = |rules: Value| {
        policy(json!({"podSelector": {"matchLabels": {"app": "db"}}, "policyTypes": ["Ingress"], "ingress": rules}))
    };
    judge(vec![
        row(
            "policy-cuts-call",
            High,
            vec![to_db(json!([]))],
            vec![to_db(
                json!([{"from": [{"podSelector": {"matchLabels": {"app": "web"}}}], "ports": [{"port": "pg"}]}]),
            )],
        ),
        row(
            "policy-cuts-call",
            High,
            vec![to_db(json!([{"ports": [{"port": 80}]}]))],
            vec![to_db(json!([{"ports": [{"port": 5432}]}]))],
        ),
        row(
            "policy-cuts-call",
            High,
            vec![policy(
                json!({"podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Egress"], "egress": [{"ports": [{"port": 53, "protocol": "UDP"}]}]}),
            )],
            vec![policy(
                json!({"podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Ingress"], "ingress": []}),
            )],
        ),
    ]);
}

#[test]
fn nodes_quotas_and_limits() {
    let asks = |cpu: &str| with_container(json!({"resources": {"requests": {"cpu": cpu}}}));
    let affinity = |value: &str| {
        with_pod(
            json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
            {"matchExpressions": [{"key": "disk", "operator": "In", "values": [value]}]}]}}}}),
        )
    };
    // A new one: what a manifest leaves out of a live object stays.
    let silent = || {
        let mut o = with_container(json!({"resources": null}));
        merge(&mut o, json!({"metadata": {"name": "web3"}}));
        o
    };
    let tainted = |effect: &str| {
        let mut all = vec![with_container(json!({"image": "web:2"}))];
        for n in ["n1", "n2"] {
            let mut o = node(n, if n == "n1" { json!({"disk": "ssd"}) } else { json!({}) });
            merge(&mut o, json!({"spec": {"taints": [{"key": "k", "effect": effect}]}}));
            all.push(o);
        }
        all
    };
    judge(vec![
        row(
            "unschedulable",
            High,
            vec![with_pod(json!({"nodeSelector": {"disk": "nvme"}}))],
            vec![with_pod(json!({"nodeSelector": {"disk": "ssd"}}))],
        ),
        row("unschedulable", High, vec![affinity("nvme")], vec![affinity("ssd")]),
        row("unschedulable", High, tainted("NoSchedule"), tainted("PreferNoSchedule")),
        row(
            "quota-exceeded",
            High,
            vec![web(json!({"spec": {"replicas": 6}}))],
            vec![web(json!({"spec": {"replicas": 5}}))],
        ),
        row("quota-exceeded", High, vec![asks("2600m")], vec![asks("2")]),
        row(
            "quota-exceeded",
            High,
            vec![
                service("s1", json!({"spec": {"selector": {"app": "web"}, "ports": [{"port": 8080}]}})),
                service("s2", json!({"spec": {"selector": {"app": "web"}, "ports": [{"port": 8080}]}})),
            ],
            vec![service("s1", json!({"spec": {"selector": {"app": "web"}, "ports": [{"port": 8080}]}}))],
        ),
        row("limit-range", High, vec![asks("50m")], vec![asks("100m")]),
        row(
            "limit-range",
            High,
            vec![claim(json!({"spec": {"resources": {"requests": {"storage": "20Gi"}}}}))],
            vec![claim(json!({"spec": {"resources": {"requests": {"storage": "5Gi"}}}}))],
        ),
        row(
            "quota-below-use",
            Medium,
            vec![object("v1", "ResourceQuota", "q", json!({"spec": {"hard": {"pods": "2", "requests.cpu": "6"}}}))],
            vec![object("v1", "ResourceQuota", "q", json!({"spec": {"hard": {"pods": "3", "requests.cpu": "6"}}}))],
        ),
        row(
            "quota-demands",
            High,
            vec![silent(), object("v1", "LimitRange", "lr", json!({"spec": {"limits": []}}))],
            vec![
                silent(),
                object(
                    "v1",
                    "LimitRange",
                    "lr",
                    json!({"spec": {"limits": [{"type": "Container", "defaultRequest": {"cpu": "1"}}]}}),
                ),
            ],
        ),
    ]);
}

#[test]
fn room_on_the_nodes_is_counted() {
    let mut world = shop();
    // No quota in the way.
    let quota = world.live(&tapio_core::object::ObjectRef::new("ResourceQuota", "shop", "q")).unwrap().clone();
    world.delete(&quota, now());
    let scaled = |n: i64, cpu: &str| {
        let mut o = with_container(json!({"resources": {"requests": {"cpu": cpu}}}));
        merge(&mut o, json!({"spec": {"replicas": n}}));
        o
    };
    let found = ask(&world, &[scaled(4, "2")], false);
    assert_eq!(told(&found), ["Medium too-little-room: there is room for 3 of the 4 pods of Deployment shop/web"]);
    assert!(ask(&world, &[scaled(3, "2")], false).findings.is_empty());
    let found = ask(&world, &[scaled(1, "5")], false);
    assert!(
        found.findings.iter().any(|f| f.check == "unschedulable" && f.severity == High && f.evidence.len() == 2),
        "{:#?}",
        told(&found)
    );
}

#[test]
fn what_the_api_server_refuses() {
    let frozen = |v: &str| object("v1", "ConfigMap", "frozen", json!({"data": {"A": v}, "immutable": true}));
    judge(vec![
        row(
            "immutable-field",
            High,
            vec![web(
                json!({"spec": {"selector": {"matchLabels": {"app": "web", "v": "2"}}, "template": {"metadata": {"labels": {"v": "2"}}}}}),
            )],
            vec![web(json!({"spec": {"template": {"metadata": {"labels": {"v": "2"}}}}}))],
        ),
        row(
            "immutable-field",
            High,
            vec![web_service(json!({"spec": {"clusterIP": "10.0.0.99"}}))],
            vec![web_service(json!({"spec": {"clusterIP": null}}))],
        ),
        row("immutable-field", High, vec![frozen("2")], vec![frozen("1")]),
        row(
            "immutable-field",
            High,
            vec![claim(json!({"spec": {"resources": {"requests": {"storage": "1Gi"}}}}))],
            vec![claim(json!({"spec": {"resources": {"requests": {"storage": "2048Mi"}}}}))],
        ),
        row(
            "immutable-field",
            High,
            vec![claim(json!({"spec": {"storageClassName": "slow"}}))],
            vec![claim(json!({"spec": {"storageClassName": null}}))],
        ),
        row(
            "selector-not-own",
            High,
            vec![web(json!({"spec": {"template": {"metadata": {"labels": {"app": "x"}}}}}))],
            vec![web(json!({}))],
        ),
        row(
            "namespace-missing",
            Medium,
            vec![json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "namespace": "elsewhere"}})],
            vec![
                json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "namespace": "elsewhere"}}),
                json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "elsewhere"}}),
            ],
        ),
    ]);
}

#[test]
fn deletions() {
    let named = |api: &str, kind: &str, name: &str| object(api, kind, name, json!({}));
    let unused = || vec![named("v1", "ConfigMap", "frozen")];
    judge(vec![
        gone("config-missing", High, vec![named("v1", "ConfigMap", "app")], unused()),
        gone("config-missing", High, vec![named("v1", "Secret", "creds")], unused()),
        gone("certificate-missing", Medium, vec![named("v1", "Secret", "cert")], unused()),
        gone("account-missing", High, vec![named("v1", "ServiceAccount", "runner")], unused()),
        gone("claim-in-use", High, vec![named("v1", "PersistentVolumeClaim", "data")], unused()),
        gone("backend-missing", High, vec![named("v1", "Service", "web")], unused()),
        gone("call-without-service", High, vec![named("v1", "Service", "db")], unused()),
        gone("service-selects-nothing", High, vec![named("apps/v1", "Deployment", "web")], unused()),
        gone(
            "namespace-in-use",
            High,
            vec![json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})],
            vec![json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "other"}})],
        ),
        gone("node-in-use", High, vec![node("n1", json!({}))], unused()),
        gone("not-there", Low, vec![named("v1", "ConfigMap", "nosuch")], unused()),
    ]);
}

#[test]
fn a_job_that_is_applied_again_is_no_change_of_its_template() {
    let mut world = shop();
    let job = |labels: serde_json::Value, image: &str| {
        object(
            "batch/v1",
            "Job",
            "once",
            json!({"spec": {"template": {"metadata": {"labels": labels},
            "spec": {"containers": [{"name": "c", "image": image, "resources": {"requests": {"cpu": "1"}}}]}}}}),
        )
    };
    let live = job(json!({"app": "once", "controller-uid": "u", "batch.kubernetes.io/job-name": "once"}), "i:1");
    world.apply(Object::parse(&live.to_string()).unwrap(), now());
    let again = ask(&world, &[job(json!({"app": "once"}), "i:1")], false);
    assert!(again.findings.is_empty() && again.changes[0].fields.is_empty(), "{:#?}", told(&again));
    let other = ask(&world, &[job(json!({"app": "once"}), "i:2")], false);
    assert_eq!(other.findings[0].check, "immutable-field");
}
