//! The words of the graph: node labels and relations. Both stores and every statement use these and no others.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! words {
    ($(#[$outer:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$outer])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name { $($(#[$doc])* $variant,)* }

        impl $name {
            /// Every word, in the order of the documentation.
            pub const ALL: &'static [$name] = &[$($name::$variant,)*];

            /// The word as it stands in the graph.
            pub const fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text,)* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// The label under which a node's key is unique.
    Label {
        /// A pod.
        Pod = "Pod",
        /// A Service.
        Service = "Service",
        /// A ConfigMap.
        ConfigMap = "ConfigMap",
        /// A Secret, without data.
        Secret = "Secret",
        /// A Deployment.
        Deployment = "Deployment",
        /// A ReplicaSet.
        ReplicaSet = "ReplicaSet",
        /// A StatefulSet.
        StatefulSet = "StatefulSet",
        /// A DaemonSet.
        DaemonSet = "DaemonSet",
        /// A Job.
        Job = "Job",
        /// A CronJob.
        CronJob = "CronJob",
        /// A node of the cluster.
        Node = "Node",
        /// A claim; its second label is `PVC`.
        PersistentVolumeClaim = "PersistentVolumeClaim",
        /// A volume.
        PersistentVolume = "PersistentVolume",
        /// A storage class.
        StorageClass = "StorageClass",
        /// A namespace.
        Namespace = "Namespace",
        /// An Ingress.
        Ingress = "Ingress",
        /// A NetworkPolicy.
        NetworkPolicy = "NetworkPolicy",
        /// An autoscaler.
        HorizontalPodAutoscaler = "HorizontalPodAutoscaler",
        /// A disruption budget.
        PodDisruptionBudget = "PodDisruptionBudget",
        /// A quota.
        ResourceQuota = "ResourceQuota",
        /// A limit range.
        LimitRange = "LimitRange",
        /// A service account.
        ServiceAccount = "ServiceAccount",
        /// An endpoint slice.
        EndpointSlice = "EndpointSlice",
        /// An object of any other kind; the kind is its second label.
        Object = "Object",
        /// Something that happened; a field-level difference has the second label `Change`.
        Event = "Event",
        /// A diagnosed incident.
        Incident = "Incident",
        /// A detected pattern.
        Pattern = "Pattern",
        /// A machine outside Kubernetes.
        Host = "Host",
        /// A person or account.
        User = "User",
        /// A process.
        Process = "Process",
        /// A container outside Kubernetes.
        Container = "Container",
        /// Anything else that an ingested event names.
        Entity = "Entity",
    }
}

impl Label {
    /// The label of a Kubernetes kind; [`Label::Object`] for kinds without one of their own.
    pub fn of_kind(kind: &str) -> Label {
        let last = Label::ALL.iter().position(|l| *l == Label::Object).unwrap_or(0);
        Label::ALL[..last].iter().copied().find(|l| l.as_str() == kind).unwrap_or(Label::Object)
    }

    /// The property that tells nodes of this label apart: `id` for what happened, `uid` for what is.
    pub const fn key_property(self) -> &'static str {
        match self {
            Label::Event | Label::Incident | Label::Pattern => "id",
            _ => "uid",
        }
    }

    /// The properties that nodes of this label can have; objects have [`OBJECT_PROPERTIES`] besides.
    pub const fn properties(self) -> &'static [&'static str] {
        match self {
            Label::Pod => &["phase", "ready", "node", "restart_count", "last_restart", "reason", "ip", "workload"],
            Label::Service => &["type", "selector", "cluster_ip", "endpoint_count", "ready_endpoint_count"],
            Label::ConfigMap => &["version", "last_modified", "last_modified_by"],
            Label::Secret => &["version", "last_modified", "last_modified_by", "type"],
            Label::Deployment | Label::ReplicaSet | Label::StatefulSet | Label::DaemonSet => {
                &["replicas", "ready", "observed_generation", "revision"]
            }
            Label::Job => &["active", "succeeded", "failed"],
            Label::Node => &["ready", "unschedulable", "taints", "conditions", "kubelet_version"],
            Label::PersistentVolumeClaim | Label::PersistentVolume => &["phase", "storage_class"],
            Label::Event => &[
                "id",
                "type",
                "severity",
                "message",
                "timestamp",
                "ts_ms",
                "source",
                "count",
                "reason",
                "container",
                "context",
                "field",
                "before",
                "after",
                "by",
                "data",
            ],
            Label::Incident => &[
                "id",
                "type",
                "state",
                "severity",
                "confidence",
                "message",
                "opened_at",
                "since",
                "updated_at",
                "resolved_at",
            ],
            Label::Pattern => &["id", "type", "state", "confidence", "severity", "message", "opened_at", "updated_at"],
            _ => &[],
        }
    }

    /// Whether nodes of this label are objects, and not what happened.
    pub const fn is_object(self) -> bool {
        !matches!(self, Label::Event | Label::Incident | Label::Pattern)
    }
}

/// The properties that every object can have.
pub const OBJECT_PROPERTIES: &[&str] = &["uid", "name", "namespace", "kind", "created_at", "updated_at", "deleted_at"];

/// Labels that stand beside another: a claim's short name, and an event that is a field-level difference.
pub const SECOND_LABELS: &[&str] = &["PVC", "Change"];

impl Relation {
    /// The properties that relations of this type can have.
    pub const fn properties(self) -> &'static [&'static str] {
        match self {
            Relation::Mounts | Relation::UsesSecret => &["as", "keys", "optional"],
            Relation::Calls => &["source"],
            Relation::Triggered => &["via", "mechanism", "confidence", "evidence", "refuters"],
            Relation::RootCause => &["mechanism", "confidence"],
            _ => &[],
        }
    }
}

words! {
    /// A relation; the comment says from what to what and with which properties.
    Relation {
        /// `(Service)-[:SELECTS]->(Pod)`
        Selects = "SELECTS",
        /// `(owner)-[:OWNS]->(owned)`, every owner reference.
        Owns = "OWNS",
        /// `(Pod)-[:MOUNTS {as, keys, optional}]->(ConfigMap)`
        Mounts = "MOUNTS",
        /// `(Pod)-[:USES_SECRET {as, keys, optional}]->(Secret)`
        UsesSecret = "USES_SECRET",
        /// `(Pod)-[:CLAIMS]->(PersistentVolumeClaim)`
        Claims = "CLAIMS",
        /// `(PersistentVolumeClaim)-[:BOUND_TO]->(PersistentVolume)`
        BoundTo = "BOUND_TO",
        /// `(Pod)-[:RUNS_ON]->(Node)`
        RunsOn = "RUNS_ON",
        /// `(Ingress)-[:ROUTES_TO]->(Service)`
        RoutesTo = "ROUTES_TO",
        /// `(HorizontalPodAutoscaler)-[:SCALES]->(workload)`
        Scales = "SCALES",
        /// `(NetworkPolicy)-[:APPLIES_TO]->(Pod)`
        AppliesTo = "APPLIES_TO",
        /// `(Pod)-[:USES_ACCOUNT]->(ServiceAccount)`
        UsesAccount = "USES_ACCOUNT",
        /// `(Pod)-[:CALLS {source}]->(Service|Pod)`; source is `ebpf`, `env` or `log`.
        Calls = "CALLS",
        /// `(Event)-[:AFFECTS]->(object)`
        Affects = "AFFECTS",
        /// `(Event)-[:TRIGGERED {via, confidence, evidence, refuters}]->(Event)`
        Triggered = "TRIGGERED",
        /// `(Event)-[:CORRELATED_WITH]->(Event)`: near in time and topology, no mechanism.
        CorrelatedWith = "CORRELATED_WITH",
        /// `(Incident)-[:ROOT_CAUSE {mechanism, confidence}]->(object)`
        RootCause = "ROOT_CAUSE",
        /// `(Incident)-[:BEGAN_WITH]->(Event)`
        BeganWith = "BEGAN_WITH",
        /// `(Incident)-[:HAS_SYMPTOM]->(Event)`
        HasSymptom = "HAS_SYMPTOM",
        /// `(Pattern)-[:DETECTED_ON]->(object)`
        DetectedOn = "DETECTED_ON",
        /// `(Host|Container)-[:GENERATED]->(Event)`
        Generated = "GENERATED",
        /// `(User|Process)-[:EXECUTED]->(Event)`
        Executed = "EXECUTED",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_without_a_label_are_objects_and_events_are_keyed_by_id() {
        assert_eq!(Label::of_kind("Pod"), Label::Pod);
        assert_eq!(Label::of_kind("HelmRelease"), Label::Object);
        assert_eq!(Label::of_kind("Event"), Label::Object);
        assert_eq!(Label::Event.key_property(), "id");
        assert_eq!(Label::Pod.key_property(), "uid");
    }
}
