//! Every finding with a twin that must stay silent, in one small shop.

mod findings;
mod told;

use serde_json::{Value, json};
use tapio_core::manifest::Manifest;
use tapio_core::object::Object;
use tapio_core::time::Time;

use super::{Asked, WhatIf, in_world};
use crate::world::World;

/// The moment of all tests.
fn now() -> Time {
    Time::parse("2024-01-15T10:30:00Z").unwrap()
}

/// An object of namespace shop.
fn object(api: &str, kind: &str, name: &str, rest: Value) -> Value {
    let mut o = json!({"apiVersion": api, "kind": kind, "metadata": {"name": name, "namespace": "shop"}});
    merge(&mut o, rest);
    o
}

/// Lays a patch over a value; `null` takes a field out.
fn merge(at: &mut Value, patch: Value) {
    match (at, patch) {
        (Value::Object(a), Value::Object(p)) => {
            for (k, v) in p {
                match v {
                    Value::Null => drop(a.remove(&k)),
                    v => merge(a.entry(k).or_insert(Value::Null), v),
                }
            }
        }
        (at, patch) => *at = patch,
    }
}

fn web(patch: Value) -> Value {
    let mut o = object(
        "apps/v1",
        "Deployment",
        "web",
        json!({"spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"serviceAccountName": "runner", "containers": [{"name": "app", "image": "web:1",
                "ports": [{"name": "http", "containerPort": 8080}],
                "env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "app", "key": "A"}}},
                    {"name": "DB_ADDR", "value": "db:5432"}],
                "resources": {"requests": {"cpu": "500m"}},
                "volumeMounts": [{"name": "files", "mountPath": "/files"}]}],
                "volumes": [{"name": "files", "configMap": {"name": "files"}}]}}}}),
    );
    merge(&mut o, patch);
    o
}

fn db(patch: Value) -> Value {
    let mut o = object(
        "apps/v1",
        "Deployment",
        "db",
        json!({"spec": {"replicas": 1, "selector": {"matchLabels": {"app": "db"}}, "template": {
            "metadata": {"labels": {"app": "db"}},
            "spec": {"containers": [{"name": "pg", "image": "pg:1", "ports": [{"name": "pg", "containerPort": 5432}],
                "envFrom": [{"secretRef": {"name": "creds"}}], "resources": {"requests": {"cpu": "1"}},
                "volumeMounts": [{"name": "data", "mountPath": "/data"}]}],
                "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]}}}}),
    );
    merge(&mut o, patch);
    o
}

fn service(name: &str, patch: Value) -> Value {
    let mut o = object("v1", "Service", name, json!({"spec": {"type": "ClusterIP"}}));
    merge(&mut o, patch);
    o
}

fn web_service(patch: Value) -> Value {
    let mut o = service(
        "web",
        json!({"spec": {"selector": {"app": "web"}, "clusterIP": "10.0.0.10", "ports": [{"port": 80, "targetPort": "http", "protocol": "TCP"}]}}),
    );
    merge(&mut o, patch);
    o
}

fn db_service(patch: Value) -> Value {
    let mut o = service(
        "db",
        json!({"spec": {"selector": {"app": "db"}, "clusterIP": "10.0.0.11", "ports": [{"port": 5432, "targetPort": 5432, "protocol": "TCP"}]}}),
    );
    merge(&mut o, patch);
    o
}

fn front(patch: Value) -> Value {
    let mut o = object(
        "networking.k8s.io/v1",
        "Ingress",
        "front",
        json!({"spec": {"ingressClassName": "nginx", "tls": [{"hosts": ["shop.example"], "secretName": "cert"}],
            "rules": [{"host": "shop.example", "http": {"paths": [{"path": "/", "backend": {"service": {"name": "web", "port": {"number": 80}}}}]}}]}}),
    );
    merge(&mut o, patch);
    o
}

fn claim(patch: Value) -> Value {
    let mut o = object(
        "v1",
        "PersistentVolumeClaim",
        "data",
        json!({"spec": {"storageClassName": "fast", "volumeName": "pv1", "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "2Gi"}}}}),
    );
    merge(&mut o, patch);
    o
}

fn pod(name: &str, set: &str, ip: &str, node: &str, of: Value) -> Value {
    let template = of["spec"]["template"].clone();
    let mut o = object(
        "v1",
        "Pod",
        name,
        json!({"metadata": {"labels": template["metadata"]["labels"], "ownerReferences": [
        {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": set, "uid": "", "controller": true}]}, "spec": template["spec"]}),
    );
    merge(
        &mut o,
        json!({"metadata": {"labels": {"pod-template-hash": "h"}}, "spec": {"nodeName": node}, "status": {"phase": "Running", "podIP": ip,
        "conditions": [{"type": "Ready", "status": "True"}]}}),
    );
    o
}

fn set(name: &str, of: &str, template: Value) -> Value {
    object(
        "apps/v1",
        "ReplicaSet",
        name,
        json!({"metadata": {"ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": of, "uid": "", "controller": true}]},
        "spec": {"replicas": 1, "selector": {}, "template": template["spec"]["template"]}}),
    )
}

fn node(name: &str, labels: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels},
        "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "110"}}})
}

/// The shop, everything of it listed.
fn shop() -> World {
    let mut all = vec![
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "labels": {"team": "shop"}}}),
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "other"}}),
        node("n1", json!({"disk": "ssd"})),
        node("n2", json!({})),
        object("v1", "ConfigMap", "app", json!({"data": {"A": "1", "B": "2"}})),
        object("v1", "ConfigMap", "files", json!({"data": {"a.conf": "1", "b.conf": "2"}})),
        object("v1", "ConfigMap", "frozen", json!({"data": {"A": "1"}, "immutable": true})),
        object("v1", "Secret", "creds", json!({"type": "Opaque", "data": {"user": "", "pw": ""}})),
        object("v1", "Secret", "cert", json!({"type": "kubernetes.io/tls", "data": {"tls.crt": "", "tls.key": ""}})),
        object("v1", "ServiceAccount", "runner", json!({})),
        claim(json!({})),
        json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "fast"}, "provisioner": "x"}),
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": {"name": "nginx"}, "spec": {"controller": "x"}}),
        web(json!({})),
        set("web-h", "web", web(json!({}))),
        pod("web-1", "web-h", "10.1.0.1", "n1", web(json!({}))),
        pod("web-2", "web-h", "10.1.0.2", "n2", web(json!({}))),
        db(json!({})),
        set("db-h", "db", db(json!({}))),
        pod("db-1", "db-h", "10.1.0.3", "n1", db(json!({}))),
        web_service(json!({})),
        db_service(json!({})),
        front(json!({})),
        object(
            "v1",
            "ResourceQuota",
            "q",
            json!({"spec": {"hard": {"pods": "6", "requests.cpu": "6", "services": "3"}},
            "status": {"hard": {"pods": "6", "requests.cpu": "6", "services": "3"}, "used": {"pods": "3", "requests.cpu": "2", "services": "2"}}}),
        ),
        object(
            "v1",
            "LimitRange",
            "lr",
            json!({"spec": {"limits": [{"type": "Container", "max": {"cpu": "3"}, "min": {"cpu": "100m"}, "defaultRequest": {"cpu": "200m"}},
            {"type": "PersistentVolumeClaim", "max": {"storage": "10Gi"}}]}}),
        ),
    ];
    let mut world = World::default();
    for o in all.drain(..) {
        world.apply(Object::parse(&o.to_string()).unwrap(), now());
    }
    for kind in [
        "ConfigMap",
        "Secret",
        "ServiceAccount",
        "PersistentVolumeClaim",
        "Service",
        "StorageClass",
        "PriorityClass",
        "IngressClass",
        "Deployment",
        "StatefulSet",
        "Namespace",
        "PersistentVolume",
        "NetworkPolicy",
    ] {
        world.listed.insert((String::new(), kind.to_owned()));
    }
    world
}

fn ask(world: &World, manifests: &[Value], delete: bool) -> WhatIf {
    let one =
        |(i, o): (usize, &Value)| Manifest { file: "m.yaml".to_owned(), document: i + 1, line: 1, object: o.clone() };
    let manifests: Vec<Manifest> = manifests.iter().enumerate().map(one).collect();
    in_world(world, now(), &manifests, &Asked { namespace: None, delete }).unwrap()
}

fn told(w: &WhatIf) -> Vec<String> {
    w.findings.iter().map(|f| format!("{:?} {}: {}", f.severity, f.check, f.says)).collect()
}
