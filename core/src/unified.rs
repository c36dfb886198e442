//! `UnifiedEvent`: what a piece of evidence means, with its Kubernetes context.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::id::{Id, IdBuilder};
use crate::object::ObjectRef;
use crate::raw::RawEvent;
use crate::time::Time;

/// How bad one event is by itself; it decides nothing about causes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Normal life.
    #[default]
    Info,
    /// Worth a look in hindsight.
    Low,
    /// Something does not work as meant.
    Medium,
    /// Something failed.
    High,
    /// People notice.
    Critical,
}

impl Severity {
    /// The lower-case word used in every output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Low => "low",
            Severity::Medium => "medium",
            Severity::High => "high",
            Severity::Critical => "critical",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

macro_rules! event_kinds {
    ($($(#[$doc:meta])* $variant:ident = $text:literal,)*) => {
        /// What happened, in Tapio's own words. One variant an event; the compiler lists what must learn a new one.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum EventKind { $($(#[$doc])* $variant,)* }

        impl EventKind {
            /// All kinds, in the order of the documentation.
            pub const ALL: &'static [EventKind] = &[$(EventKind::$variant,)*];

            /// The word in events, graph and documentation.
            pub const fn as_str(self) -> &'static str {
                match self { $(EventKind::$variant => $text,)* }
            }
        }
    };
}

event_kinds! {
    /// A pod entered phase Failed.
    PodFailed = "pod_failed",
    /// A container was started again; one event a restart, told apart by its number.
    PodRestart = "pod_restart",
    /// A container waits for a reason (CrashLoopBackOff, ImagePullBackOff, CreateContainerConfigError …).
    PodWaiting = "pod_waiting",
    /// A container ended, with exit code and reason.
    ContainerTerminated = "container_terminated",
    /// A pod is in phase Pending.
    PodPending = "pod_pending",
    /// A pod ran to its end.
    PodSucceeded = "pod_succeeded",
    /// A pod became ready.
    PodReady = "pod_ready",
    /// A pod stopped being ready.
    PodUnready = "pod_unready",
    /// A liveness, readiness or startup probe failed.
    ProbeFailed = "probe_failed",
    /// The last error lines of a failing container.
    LogError = "log_error",
    /// CPU, memory, storage and network use at one moment.
    ResourceSample = "resource_sample",
    /// A node is short of memory, disk or process ids.
    NodePressure = "node_pressure",
    /// A connection was refused, timed out, was reset or had no route.
    ConnectionFailed = "connection_failed",
    /// A Service was called and has no ready endpoint.
    ServiceUnavailable = "service_unavailable",
    /// The kernel killed a process for memory.
    OomKill = "oom_kill",
    /// A container's process ended.
    ProcessExit = "process_exit",
    /// The kernel dropped a packet, with its reason.
    PacketDropped = "packet_dropped",
    /// A name could not be resolved.
    DnsFailed = "dns_failed",
    /// A name was resolved slowly.
    DnsSlow = "dns_slow",
    /// TCP segments were sent again.
    Retransmits = "retransmits",
    /// Traffic was refused by a NetworkPolicy.
    NetworkPolicyViolation = "network_policy_violation",
    /// The network of a pod could not be set up.
    PodNetworkFailed = "pod_network_failed",
    /// The CNI configuration of a node changed.
    CniConfigChanged = "cni_config_changed",
    /// Few addresses are left for pods of a node.
    IpPoolLow = "ip_pool_low",
    /// A ConfigMap changed: which keys, by which manager.
    ConfigChanged = "config_changed",
    /// A Secret changed: which keys, by which manager; never a value.
    SecretChanged = "secret_changed",
    /// An object appeared.
    ObjectAdded = "object_added",
    /// An object changed in a way that no other kind names.
    ObjectChanged = "object_changed",
    /// An object was deleted.
    ObjectDeleted = "object_deleted",
    /// A container's image changed in a template.
    ImageChanged = "image_changed",
    /// Requests or limits changed in a template.
    ResourcesChanged = "resources_changed",
    /// A probe changed in a template.
    ProbeChanged = "probe_changed",
    /// Environment, command or arguments changed in a template.
    EnvChanged = "env_changed",
    /// Another part of a pod template changed.
    TemplateChanged = "template_changed",
    /// The desired number of replicas changed.
    ReplicasChanged = "replicas_changed",
    /// A selector or the labels that it looks at changed.
    SelectorChanged = "selector_changed",
    /// A Service's or container's port changed.
    PortChanged = "port_changed",
    /// A NetworkPolicy, webhook, role or binding changed.
    PolicyChanged = "policy_changed",
    /// A condition of a node changed.
    NodeConditionChanged = "node_condition_changed",
    /// A node was cordoned or uncordoned.
    NodeCordoned = "node_cordoned",
    /// Taints of a node changed.
    TaintChanged = "taint_changed",
    /// Labels of a node changed.
    NodeLabelChanged = "node_label_changed",
    /// A ResourceQuota or LimitRange changed.
    QuotaChanged = "quota_changed",
    /// A claim, volume or storage class changed.
    VolumeChanged = "volume_changed",
    /// A rollout began.
    RolloutStarted = "rollout_started",
    /// A rollout made progress.
    RolloutProgressed = "rollout_progressed",
    /// A rollout came to its end.
    RolloutCompleted = "rollout_completed",
    /// A rollout makes no progress.
    RolloutStuck = "rollout_stuck",
    /// An autoscaler changed the number of replicas.
    HpaScaled = "hpa_scaled",
    /// The scheduler found no node.
    SchedulingFailed = "scheduling_failed",
    /// A volume could not be attached or mounted.
    MountFailed = "mount_failed",
    /// An image could not be pulled.
    ImagePullFailed = "image_pull_failed",
    /// A pod was evicted.
    Evicted = "evicted",
    /// A pod gave way to one of higher priority.
    Preempted = "preempted",
    /// A controller could not create an object.
    FailedCreate = "failed_create",
    /// A claim could not be bound or provisioned.
    BindingFailed = "binding_failed",
    /// The kubelet kills a container, and why.
    Killing = "killing",
    /// The kubelet waits before it tries again.
    BackOff = "back_off",
    /// A container could not be created or started.
    ContainerStartFailed = "container_start_failed",
    /// A lifecycle hook failed.
    HookFailed = "hook_failed",
    /// A node became unready, or its services complain.
    NodeNotReady = "node_not_ready",
    /// A Job failed or was stopped.
    JobFailed = "job_failed",
    /// A Kubernetes Event without a kind of its own.
    KubernetesEvent = "kubernetes_event",
    /// A service of a node (kubelet, runtime, kube-proxy, scheduler …) does not run.
    NodeServiceDown = "node_service_down",
    /// A service of a node runs.
    NodeServiceUp = "node_service_up",
    /// A probe of a Service's address failed.
    ServiceUnreachable = "service_unreachable",
    /// A probe of a Service's address succeeded.
    ServiceReachable = "service_reachable",
    /// Nothing but time.
    Heartbeat = "heartbeat",
    /// A source saw nothing for a while.
    SourceGap = "source_gap",
    /// An alert began to fire.
    AlertFired = "alert_fired",
    /// An alert stopped firing.
    AlertResolved = "alert_resolved",
    /// A type that Tapio has no word for; kept as it came.
    Unknown = "unknown",
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How sure it is which object an event is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resolution {
    /// The object was named by the source.
    #[default]
    Exact,
    /// The object was named, and has not been seen yet.
    Pending,
    /// The object never appeared.
    Unknown,
}

/// Which Kubernetes object an event is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct K8sContext {
    /// Cluster, `""` where nobody said.
    pub cluster: String,
    /// The object.
    pub object: ObjectRef,
    /// Its uid, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// The node it runs on, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The container in the pod, where one is meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// Owners from the nearest (ReplicaSet) to the furthest (Deployment).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub owners: Vec<ObjectRef>,
    /// Labels of the object, where known.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// How sure that is.
    #[serde(default)]
    pub resolution: Resolution,
}

/// What an event is about when it is no Kubernetes object (a host, a user, a process, an address).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntityInfo {
    /// `Host`, `User`, `Process`, `Container` or `Entity`.
    pub kind: String,
    /// Its name in its own world.
    pub name: String,
    /// More facts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
}

/// A normalised event.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UnifiedEvent {
    /// Hash of meaning.
    pub id: Id,
    /// What happened.
    pub kind: EventKind,
    /// When it happened.
    pub timestamp: Time,
    /// Which collector said so.
    pub source: String,
    /// The Kubernetes object, if it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub k8s: Option<K8sContext>,
    /// What else it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entity: Option<EntityInfo>,
    /// How bad.
    pub severity: Severity,
    /// One sentence for people.
    pub message: String,
    /// The payload: the raw one, or what the normaliser made of it.
    pub data: Option<Box<RawValue>>,
    /// The observation's metadata.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// When the event log took it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processed_at: Option<Time>,
    /// What the processing added (`restart`, `reason`, `container`, …): short facts that rules read.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl UnifiedEvent {
    /// An event about `object`, with the id made of kind, cluster, object, time and `discriminators`.
    ///
    /// The uid does not count for the id: one source has it, another not, and they must mean the same event.
    pub fn about(raw: &RawEvent, kind: EventKind, at: Time, object: ObjectRef, discriminators: &[&str]) -> Self {
        let mut b = IdBuilder::new("event")
            .text(kind.as_str())
            .text(raw.cluster())
            .text(&object.kind)
            .text(object.namespace.as_deref().unwrap_or(""))
            .text(&object.name)
            .number(at.micros());
        for d in discriminators {
            b = b.text(d);
        }
        UnifiedEvent {
            id: b.finish(),
            kind,
            timestamp: at,
            source: raw.source.clone(),
            k8s: Some(K8sContext {
                cluster: raw.cluster().to_owned(),
                uid: raw.metadata.get("pod_uid").filter(|_| object.kind == "Pod").cloned(),
                node: raw.node().map(str::to_owned),
                object,
                ..K8sContext::default()
            }),
            entity: None,
            severity: Severity::Info,
            message: String::new(),
            data: None,
            metadata: BTreeMap::new(),
            processed_at: None,
            annotations: BTreeMap::new(),
        }
    }

    /// The same event with this severity and message.
    #[must_use]
    pub fn saying(mut self, severity: Severity, message: impl Into<String>) -> Self {
        self.severity = severity;
        self.message = message.into();
        self
    }

    /// The same event with one more annotation.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<String>) -> Self {
        self.annotations.insert(key.to_owned(), value.into());
        self
    }

    /// The same event about one container of its pod.
    #[must_use]
    pub fn in_container(mut self, container: &str) -> Self {
        if let Some(k8s) = &mut self.k8s {
            k8s.container = Some(container.to_owned());
        }
        self
    }

    /// An annotation, if there.
    pub fn note(&self, key: &str) -> Option<&str> {
        self.annotations.get(key).map(String::as_str)
    }

    /// The object that it is about.
    pub fn object(&self) -> Option<&ObjectRef> {
        self.k8s.as_ref().map(|k| &k.object)
    }
}
