//! A Kubernetes Event (`events.k8s.io/v1`) on the object that would have to be changed, for `kubectl describe` and
//! `kubectl events`. The only sink that writes to the cluster; it needs the right to create events.
//!
//! The Event's name is made of the alert's key, so that a second delivery finds it there already.

use serde_json::{Value, json};
use tapio_core::alert::{Alert, Transition};
use tapio_core::object::ObjectRef;
use tapio_core::ports::{AlertSink, BoxFuture, SinkError};
use tapio_core::time::Time;

/// Who the Event says it is from.
pub const CONTROLLER: &str = "tapio.io/incidents";
/// Bytes of a note that the API takes.
const NOTE: usize = 1_024;

/// Who writes Events: the Kubernetes client.
pub trait EventWriter: Send + Sync {
    /// Creates an Event in a namespace; one of that name being there is well.
    fn create<'a>(&'a self, namespace: &'a str, event: &'a Value) -> BoxFuture<'a, Result<(), SinkError>>;
}

/// Events in the cluster.
pub struct KubernetesEvent<W> {
    writer: W,
    instance: String,
}

impl<W: EventWriter> KubernetesEvent<W> {
    /// Events through `writer`; `instance`: which of our processes says so.
    pub fn new(writer: W, instance: &str) -> Self {
        KubernetesEvent { writer, instance: instance.chars().take(128).collect() }
    }

    async fn record(&self, alert: &Alert) -> Result<(), SinkError> {
        // A summary or a test is about no object.
        let Some(object) = &alert.object else { return Ok(()) };
        let namespace = object.namespace.as_deref().unwrap_or("default");
        self.writer.create(namespace, &event(alert, object, &self.instance)).await
    }
}

fn event(a: &Alert, object: &ObjectRef, instance: &str) -> Value {
    let namespace = object.namespace.as_deref().unwrap_or("default");
    let mut regarding = json!({"kind": object.kind, "name": object.name});
    if let Some(ns) = &object.namespace {
        regarding["namespace"] = json!(ns);
    }
    if let Some(version) = api_version(&object.kind) {
        regarding["apiVersion"] = json!(version);
    }
    // Without it `kubectl describe` does not find the Event.
    if let Some(uid) = &a.uid {
        regarding["uid"] = json!(uid);
    }
    let (kind, reason) = match a.transition {
        Transition::Resolved => ("Normal", "IncidentResolved"),
        Transition::Escalated => ("Warning", "IncidentEscalated"),
        _ => ("Warning", "IncidentOpened"),
    };
    let key = a.key.to_string();
    json!({
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": format!("tapio.{key}"), "namespace": namespace},
        "eventTime": a.at.to_chrono().format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string(),
        "type": kind,
        "reason": reason,
        "action": "Diagnosed",
        "note": note(a),
        "reportingController": CONTROLLER,
        "reportingInstance": instance,
        "regarding": regarding,
    })
}

/// The version of kinds that are causes most often.
fn api_version(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "Pod"
        | "Service"
        | "ConfigMap"
        | "Secret"
        | "Node"
        | "Namespace"
        | "PersistentVolumeClaim"
        | "PersistentVolume"
        | "ServiceAccount"
        | "ResourceQuota"
        | "LimitRange" => "v1",
        "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" => "apps/v1",
        "Job" | "CronJob" => "batch/v1",
        "NetworkPolicy" | "Ingress" => "networking.k8s.io/v1",
        "HorizontalPodAutoscaler" => "autoscaling/v2",
        "PodDisruptionBudget" => "policy/v1",
        "StorageClass" => "storage.k8s.io/v1",
        _ => return None,
    })
}

fn note(a: &Alert) -> String {
    let b = &a.body;
    let mut text = format!("{} ({}); {}; since {}", b.title, a.severity, b.what, b.since);
    if let Some(next) = b.next.first().filter(|_| a.transition != Transition::Resolved) {
        text.push_str(&format!("; run: {next}"));
    }
    if text.len() > NOTE {
        let end = (0..=NOTE - 3).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}

impl<W: EventWriter> AlertSink for KubernetesEvent<W> {
    fn kind(&self) -> &'static str {
        "kubernetes_event"
    }

    fn send<'a>(&'a self, alerts: &'a [Alert], _: Time) -> BoxFuture<'a, Result<(), SinkError>> {
        Box::pin(async move {
            for a in alerts {
                self.record(a).await?;
            }
            Ok(())
        })
    }
}
