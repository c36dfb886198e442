//! The faults: what is there before, what breaks it, when that can be seen, what has to be said of it, and how it heals.

use serde_json::{Value, json};

use super::cluster::Cluster;

/// When the cluster shows enough to know the cause.
pub(crate) enum Decisive {
    /// With the change itself.
    AtOnce,
    /// A container waits or ended for one of these reasons.
    Container(&'static [&'static str]),
    /// An Event with one of these reasons.
    Event(&'static [&'static str]),
}

pub(crate) struct Fault {
    pub(crate) name: &'static str,
    /// What is there, and healthy, before.
    pub(crate) before: fn() -> Vec<Value>,
    pub(crate) broken: fn(&Cluster, &str),
    pub(crate) decisive: Decisive,
    /// The root: kind and name; a node's name is not known before.
    pub(crate) root: (&'static str, &'static str),
    /// The mechanisms that a person would accept.
    pub(crate) mechanisms: &'static [&'static str],
    /// Takes it back, where that shows within a minute.
    pub(crate) healed: Option<fn(&Cluster, &str)>,
}

fn deployment(name: &str, image: &str, command: &[&str], more: &Value) -> Value {
    let mut container = json!({"name": "c", "image": image, "command": command});
    let mut pod = json!({"terminationGracePeriodSeconds": 1});
    for (key, value) in more.as_object().unwrap() {
        let place = if key == "volumes" { &mut pod } else { &mut container };
        place[key] = value.clone();
    }
    pod["containers"] = json!([container]);
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": {
        "selector": {"matchLabels": {"app": name}},
        "template": {"metadata": {"labels": {"app": name}}, "spec": pod}}})
}

const BUSYBOX: &str = "busybox:1.36";
const SLEEP: &[&str] = &["sleep", "3600"];

fn idle() -> Value {
    deployment("web", BUSYBOX, SLEEP, &json!({}))
}

fn service(port: u16) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": port}]}})
}

/// A server behind a Service, and somebody who asks it all the time.
fn called() -> Vec<Value> {
    let serve = ["python3", "-m", "http.server", "8080"];
    let ports = json!({"ports": [{"name": "http", "containerPort": 8080}], "workingDir": "/tmp"});
    let call = ["sh", "-c", "while true; do curl -sS -m 2 -o /dev/null http://web/; sleep 1; done"];
    let ready = json!({"readinessProbe": {"exec": {"command": ["curl", "-sS", "-m", "2", "-o", "/dev/null", "http://web/"]},
        "periodSeconds": 2, "timeoutSeconds": 4}});
    vec![
        deployment("web", "python:3.12-slim", &serve, &ports),
        service(8080),
        deployment("caller", "curlimages/curl:8.10.1", &call, &ready),
    ]
}

fn config(mode: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "conf"}, "data": {"MODE": mode}})
}

fn by_env() -> Vec<Value> {
    let run = "[ \"$MODE\" = good ] || { echo \"fatal: unknown mode $MODE\"; exit 1; }; sleep 3600";
    let env = json!({"envFrom": [{"configMapRef": {"name": "conf"}}]});
    vec![config("good"), deployment("web", BUSYBOX, &["sh", "-c", run], &env)]
}

fn by_volume() -> Vec<Value> {
    let run = "while grep -q good /conf/MODE; do sleep 1; done; echo \"fatal: bad mode in /conf/MODE\"; exit 1";
    let mount = json!({"volumeMounts": [{"name": "conf", "mountPath": "/conf"}],
        "volumes": [{"name": "conf", "configMap": {"name": "conf"}}]});
    vec![config("good"), deployment("web", BUSYBOX, &["sh", "-c", run], &mount)]
}

/// Changes a field of a Deployment or Service `web`.
fn patch(cluster: &Cluster, namespace: &str, kind: &str, path: &str, value: &Value) {
    let patch = json!([{"op": "add", "path": path, "value": value}]).to_string();
    cluster.kubectl(&["patch", "-n", namespace, kind, "web", "--type=json", "-p", &patch], "");
}

fn container(cluster: &Cluster, namespace: &str, field: &str, value: &Value) {
    patch(cluster, namespace, "deployment", &format!("/spec/template/spec/containers/0/{field}"), value);
}

fn apply(cluster: &Cluster, namespace: &str, object: &Value) {
    cluster.apply(namespace, &object.to_string());
}

fn undo(cluster: &Cluster, namespace: &str) {
    cluster.kubectl(&["rollout", "undo", "-n", namespace, "deployment/web"], "");
}

fn probe(kind: &str) -> Value {
    json!({kind: {"exec": {"command": ["cat", "/tmp/well"]}, "periodSeconds": 1, "failureThreshold": 2}})
}

const WELL: &[&str] = &["sh", "-c", "touch /tmp/well; sleep 3600"];

fn exec(cluster: &Cluster, namespace: &str, command: &str) {
    cluster.kubectl(&["exec", "-n", namespace, "deployment/web", "--", "sh", "-c", command], "");
}

pub(crate) const FAULTS: &[Fault] = &[
    Fault {
        name: "configmap-by-env",
        before: by_env,
        broken: |c, ns| {
            apply(c, ns, &config("turbo"));
            c.kubectl(&["rollout", "restart", "-n", ns, "deployment/web"], "");
        },
        decisive: Decisive::Container(&["CrashLoopBackOff", "Error"]),
        root: ("ConfigMap", "conf"),
        mechanisms: &["config-content-invalid"],
        healed: Some(|c, ns| {
            apply(c, ns, &config("good"));
            c.kubectl(&["rollout", "restart", "-n", ns, "deployment/web"], "");
        }),
    },
    Fault {
        name: "configmap-by-volume",
        before: by_volume,
        broken: |c, ns| apply(c, ns, &config("turbo")),
        decisive: Decisive::Container(&["CrashLoopBackOff", "Error"]),
        root: ("ConfigMap", "conf"),
        mechanisms: &["config-content-invalid"],
        healed: None,
    },
    Fault {
        name: "configmap-key",
        before: || vec![config("good"), idle()],
        broken: |c, ns| {
            let env = json!([{"name": "X", "valueFrom": {"configMapKeyRef": {"name": "conf", "key": "SIZE"}}}]);
            container(c, ns, "env", &env);
        },
        decisive: Decisive::Container(&["CreateContainerConfigError"]),
        root: ("Deployment", "web"),
        mechanisms: &["configmap-key-missing"],
        healed: Some(undo),
    },
    Fault {
        name: "secret",
        before: || vec![idle()],
        broken: |c, ns| {
            let env = json!([{"name": "X", "valueFrom": {"secretKeyRef": {"name": "login", "key": "password"}}}]);
            container(c, ns, "env", &env);
        },
        decisive: Decisive::Container(&["CreateContainerConfigError"]),
        root: ("Deployment", "web"),
        mechanisms: &["secret-missing"],
        healed: Some(undo),
    },
    Fault {
        name: "image",
        before: || vec![idle()],
        broken: |c, ns| container(c, ns, "image", &json!("busybox:no-such-tag")),
        decisive: Decisive::Container(&["ErrImagePull", "ImagePullBackOff"]),
        root: ("Deployment", "web"),
        mechanisms: &["image-not-found"],
        healed: Some(undo),
    },
    Fault {
        name: "command",
        before: || vec![idle()],
        broken: |c, ns| container(c, ns, "command", &json!(["/no/such/program"])),
        decisive: Decisive::Container(&["RunContainerError", "StartError", "CrashLoopBackOff"]),
        root: ("Deployment", "web"),
        mechanisms: &["container-command-invalid"],
        healed: Some(undo),
    },
    Fault {
        name: "rollout",
        before: || vec![idle()],
        broken: |c, ns| container(c, ns, "command", &json!(["sh", "-c", "echo panic: no route table; exit 2"])),
        decisive: Decisive::Container(&["CrashLoopBackOff", "Error"]),
        root: ("Deployment", "web"),
        mechanisms: &["rollout-broke-workload"],
        healed: Some(undo),
    },
    Fault {
        name: "memory",
        before: || Vec::new(),
        broken: |c, ns| {
            let grow = ["python3", "-c", "a = []\nwhile True: a.append(bytearray(1 << 20))"];
            let limit = json!({"resources": {"limits": {"memory": "32Mi"}}});
            apply(c, ns, &deployment("web", "python:3.12-slim", &grow, &limit));
        },
        decisive: Decisive::Container(&["OOMKilled"]),
        root: ("Deployment", "web"),
        mechanisms: &["container-oom-killed"],
        healed: None,
    },
    Fault {
        name: "liveness",
        before: || vec![deployment("web", BUSYBOX, WELL, &probe("livenessProbe"))],
        broken: |c, ns| {
            container(
                c,
                ns,
                "livenessProbe",
                &json!({"tcpSocket": {"port": 9}, "periodSeconds": 1,
            "failureThreshold": 2}),
            )
        },
        decisive: Decisive::Event(&["Killing"]),
        root: ("Deployment", "web"),
        mechanisms: &["liveness-probe-wrong-port", "liveness-probe-too-aggressive"],
        healed: None,
    },
    Fault {
        name: "readiness",
        before: || vec![deployment("web", BUSYBOX, WELL, &probe("readinessProbe")), service(8080)],
        broken: |c, ns| exec(c, ns, "rm /tmp/well"),
        decisive: Decisive::Event(&["Unhealthy"]),
        root: ("Deployment", "web"),
        mechanisms: &["readiness-lost"],
        healed: Some(|c, ns| exec(c, ns, "touch /tmp/well")),
    },
    Fault {
        name: "selector",
        before: || vec![idle(), service(8080)],
        broken: |c, ns| patch(c, ns, "service", "/spec/selector/app", &json!("wbe")),
        decisive: Decisive::AtOnce,
        root: ("Service", "web"),
        mechanisms: &["service-selector-mismatch"],
        healed: Some(|c, ns| patch(c, ns, "service", "/spec/selector/app", &json!("web"))),
    },
    Fault {
        name: "target-port",
        before: called,
        broken: |c, ns| patch(c, ns, "service", "/spec/ports/0/targetPort", &json!(8081)),
        decisive: Decisive::Event(&["Unhealthy"]),
        root: ("Service", "web"),
        mechanisms: &["service-target-port-mismatch"],
        healed: Some(|c, ns| patch(c, ns, "service", "/spec/ports/0/targetPort", &json!(8080))),
    },
    Fault {
        name: "network-policy",
        before: called,
        broken: |c, ns| {
            let spec = json!({"podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Ingress"]});
            apply(
                c,
                ns,
                &json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
                "metadata": {"name": "deny"}, "spec": spec}),
            );
        },
        decisive: Decisive::Event(&["Unhealthy"]),
        root: ("NetworkPolicy", "deny"),
        mechanisms: &["network-policy-blocks"],
        healed: Some(|c, ns| drop(c.kubectl(&["delete", "-n", ns, "networkpolicy", "deny"], ""))),
    },
    Fault {
        name: "quota",
        before: || vec![idle()],
        broken: |c, ns| {
            c.kubectl(&["create", "quota", "pods", "-n", ns, "--hard=pods=1"], "");
            c.kubectl(&["scale", "-n", ns, "deployment/web", "--replicas=3"], "");
        },
        decisive: Decisive::Event(&["FailedCreate"]),
        root: ("ResourceQuota", "pods"),
        mechanisms: &["pod-quota-exceeded"],
        healed: Some(|c, ns| drop(c.kubectl(&["delete", "-n", ns, "quota", "pods"], ""))),
    },
    Fault {
        name: "claim",
        before: || Vec::new(),
        broken: |c, ns| {
            let spec = json!({"accessModes": ["ReadWriteOnce"], "storageClassName": "no-such-class",
                "resources": {"requests": {"storage": "1Gi"}}});
            apply(
                c,
                ns,
                &json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"},
                "spec": spec}),
            );
            let mount = json!({"volumeMounts": [{"name": "data", "mountPath": "/data"}],
                "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]});
            apply(c, ns, &deployment("web", BUSYBOX, SLEEP, &mount));
        },
        decisive: Decisive::Event(&["ProvisioningFailed"]),
        root: ("PersistentVolumeClaim", "data"),
        mechanisms: &["storage-class-missing"],
        healed: None,
    },
    Fault {
        name: "scaled-to-zero",
        before: || vec![idle(), service(8080)],
        broken: |c, ns| drop(c.kubectl(&["scale", "-n", ns, "deployment/web", "--replicas=0"], "")),
        decisive: Decisive::AtOnce,
        root: ("Deployment", "web"),
        mechanisms: &["workload-scaled-to-zero"],
        healed: Some(|c, ns| drop(c.kubectl(&["scale", "-n", ns, "deployment/web", "--replicas=1"], ""))),
    },
    Fault {
        name: "init",
        before: || vec![idle()],
        broken: |c, ns| {
            let init =
                json!([{"name": "i", "image": BUSYBOX, "command": ["sh", "-c", "echo migration failed; exit 1"]}]);
            patch(c, ns, "deployment", "/spec/template/spec/initContainers", &init);
        },
        decisive: Decisive::Container(&["CrashLoopBackOff", "Error"]),
        root: ("Deployment", "web"),
        mechanisms: &["rollout-broke-workload", "init-container-failing"],
        healed: Some(undo),
    },
];

/// What hits everybody who needs a node, so one after the other, when the others are over.
pub(crate) const OF_NODES: &[Fault] = &[
    Fault {
        name: "cordon",
        before: || vec![idle()],
        broken: |c, ns| {
            c.kubectl(&["cordon", &c.node()], "");
            c.kubectl(&["scale", "-n", ns, "deployment/web", "--replicas=2"], "");
        },
        decisive: Decisive::Event(&["FailedScheduling"]),
        root: ("Node", ""),
        mechanisms: &["node-cordoned"],
        healed: Some(|c, _| drop(c.kubectl(&["uncordon", &c.node()], ""))),
    },
    Fault {
        name: "taint",
        before: || vec![idle()],
        broken: |c, ns| {
            c.kubectl(&["taint", "node", &c.node(), "e2e=yes:NoSchedule"], "");
            c.kubectl(&["scale", "-n", ns, "deployment/web", "--replicas=2"], "");
        },
        decisive: Decisive::Event(&["FailedScheduling"]),
        root: ("Node", ""),
        mechanisms: &["node-taint-not-tolerated"],
        healed: Some(|c, _| drop(c.kubectl(&["taint", "node", &c.node(), "e2e-"], ""))),
    },
];
