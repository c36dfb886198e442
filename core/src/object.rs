//! Kubernetes objects as Tapio reads them: the fields that some mechanism, relation or output needs, and no others.
//!
//! All fields are optional on the wire (`null` and absence mean the default), unknown ones are skipped, and points in
//! time that cannot be read are taken as absent: a dump written by another version must not cost an object.

mod config;
mod foreign;
mod macros;
mod meta;
mod network;
mod node;
mod pod;
mod policy;
pub mod quantity;
pub mod routes;
mod storage;
mod workload;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use config::*;
pub use foreign::Other;
pub use macros::{IntOrString, OptTime};
pub use meta::*;
pub use network::*;
pub use node::*;
pub use pod::*;
pub use policy::*;
pub use storage::*;
pub use workload::*;

use crate::time::Time;

/// Names an object: kind, namespace (none for cluster-scoped kinds) and name.
///
/// A kind of a foreign API group that has the name of a built-in one is written `Kind.group`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectRef {
    /// `Pod`, `Deployment`, …
    pub kind: String,
    /// Namespace; none for cluster-scoped kinds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
}

impl ObjectRef {
    /// A reference to a namespaced object; the namespace is dropped for cluster-scoped kinds and when empty.
    pub fn new(kind: &str, namespace: &str, name: &str) -> Self {
        let namespace = (!namespace.is_empty() && !is_cluster_scoped(kind)).then(|| namespace.to_owned());
        ObjectRef { kind: kind.to_owned(), namespace, name: name.to_owned() }
    }

    /// A reference to a cluster-scoped object.
    pub fn cluster_scoped(kind: &str, name: &str) -> Self {
        ObjectRef { kind: kind.to_owned(), namespace: None, name: name.to_owned() }
    }

    /// The namespace, `""` for cluster-scoped objects.
    pub fn ns(&self) -> &str {
        self.namespace.as_deref().unwrap_or("")
    }

    /// `ns/name` or `name`, without the kind.
    pub fn path(&self) -> String {
        match &self.namespace {
            Some(ns) => format!("{ns}/{}", self.name),
            None => self.name.clone(),
        }
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(ns) => write!(f, "{} {ns}/{}", self.kind, self.name),
            None => write!(f, "{} {}", self.kind, self.name),
        }
    }
}

/// Whether objects of this kind live outside namespaces.
pub fn is_cluster_scoped(kind: &str) -> bool {
    matches!(
        kind,
        "Node"
            | "Namespace"
            | "PersistentVolume"
            | "StorageClass"
            | "PriorityClass"
            | "IngressClass"
            | "ClusterRole"
            | "ClusterRoleBinding"
            | "ValidatingWebhookConfiguration"
            | "MutatingWebhookConfiguration"
            | "VolumeAttachment"
            | "CustomResourceDefinition"
            | "APIService"
            | "CSIDriver"
            | "CSINode"
            | "RuntimeClass"
    )
}

/// The API group of built-in kinds, to tell them from namesakes of other groups.
fn builtin_group(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "Pod"
        | "Service"
        | "ConfigMap"
        | "Secret"
        | "Node"
        | "Namespace"
        | "PersistentVolume"
        | "PersistentVolumeClaim"
        | "ResourceQuota"
        | "LimitRange"
        | "ServiceAccount"
        | "Endpoints"
        | "ReplicationController" => "",
        "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet" | "ControllerRevision" => "apps",
        "Job" | "CronJob" => "batch",
        "Ingress" | "IngressClass" | "NetworkPolicy" => "networking.k8s.io",
        "EndpointSlice" => "discovery.k8s.io",
        "HorizontalPodAutoscaler" => "autoscaling",
        "PodDisruptionBudget" => "policy",
        "StorageClass" | "VolumeAttachment" => "storage.k8s.io",
        "Role" | "RoleBinding" | "ClusterRole" | "ClusterRoleBinding" => "rbac.authorization.k8s.io",
        "ValidatingWebhookConfiguration" | "MutatingWebhookConfiguration" => "admissionregistration.k8s.io",
        "Lease" => "coordination.k8s.io",
        "PriorityClass" => "scheduling.k8s.io",
        _ => return None,
    })
}

/// The kind under which an object is known: `Service` of `serving.knative.dev` is `Service.serving.knative.dev`.
pub fn canonical_kind(api_version: &str, kind: &str) -> String {
    let group = api_version.split_once('/').map_or("", |(g, _)| g);
    match builtin_group(kind) {
        // Old API groups of the same kinds (extensions/v1beta1 Ingress, Deployment) are the same thing.
        Some(home) if home != group && group != "extensions" && !(api_version.is_empty()) => format!("{kind}.{group}"),
        _ => kind.to_owned(),
    }
}

/// What an object is, by kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Body {
    /// Pod.
    Pod(Box<Pod>),
    /// Deployment, ReplicaSet, StatefulSet, DaemonSet, ReplicationController.
    Workload(Box<Workload>),
    /// Job.
    Job(Box<Job>),
    /// CronJob.
    CronJob(Box<CronJob>),
    /// ControllerRevision.
    Revision(Box<ControllerRevision>),
    /// Service.
    Service(Box<Service>),
    /// Endpoints.
    Endpoints(Box<Endpoints>),
    /// EndpointSlice.
    EndpointSlice(Box<EndpointSlice>),
    /// Ingress.
    Ingress(Box<Ingress>),
    /// NetworkPolicy.
    NetworkPolicy(Box<NetworkPolicy>),
    /// ConfigMap.
    ConfigMap(Box<ConfigMap>),
    /// Secret: key names only.
    Secret(Box<Secret>),
    /// ServiceAccount.
    ServiceAccount(Box<ServiceAccount>),
    /// Node.
    Node(Box<Node>),
    /// Namespace.
    Namespace(Box<Namespace>),
    /// Lease.
    Lease(Box<Lease>),
    /// PersistentVolumeClaim.
    Claim(Box<Claim>),
    /// PersistentVolume.
    Volume(Box<PersistentVolume>),
    /// StorageClass.
    StorageClass(Box<StorageClass>),
    /// VolumeAttachment.
    VolumeAttachment(Box<VolumeAttachment>),
    /// ResourceQuota.
    Quota(Box<ResourceQuota>),
    /// LimitRange.
    LimitRange(Box<LimitRange>),
    /// PodDisruptionBudget.
    Budget(Box<DisruptionBudget>),
    /// HorizontalPodAutoscaler.
    Autoscaler(Box<Autoscaler>),
    /// PriorityClass.
    PriorityClass(Box<PriorityClass>),
    /// IngressClass.
    IngressClass(Box<IngressClass>),
    /// Role, ClusterRole.
    Role(Box<Role>),
    /// RoleBinding, ClusterRoleBinding.
    Binding(Box<RoleBinding>),
    /// ValidatingWebhookConfiguration, MutatingWebhookConfiguration.
    Webhooks(Box<WebhookConfiguration>),
    /// Any other kind: its conditions, and the facts that somebody asks for.
    Other(Box<Other>),
}

/// A Kubernetes object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Object {
    /// Its name in the cluster.
    pub key: ObjectRef,
    /// Its metadata.
    pub meta: Meta,
    /// The rest.
    pub body: Body,
}

/// Why a JSON text is no usable object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ObjectError {
    /// `kind` or `metadata.name` is missing.
    #[error("object has no `{0}`; expected a Kubernetes object with apiVersion, kind and metadata.name")]
    Missing(&'static str),
    /// A known field has another type than the API's.
    #[error("{kind} {name}: {why}")]
    WrongType {
        /// Kind.
        kind: String,
        /// Namespace and name.
        name: String,
        /// Serde's words, with place.
        why: String,
    },
    /// No JSON at all.
    #[error("not JSON: {0}")]
    NotJson(String),
}

impl Object {
    /// Reads an object from its JSON text.
    ///
    /// # Errors
    /// Says what is missing, or which field has a wrong type and where.
    pub fn parse(json: &str) -> Result<Object, ObjectError> {
        let (api_version, kind) = macros::head(json)?;
        let kind = kind.filter(|k| !k.is_empty()).ok_or(ObjectError::Missing("kind"))?;
        Self::parse_as(json, &canonical_kind(api_version.as_deref().unwrap_or(""), &kind))
    }

    /// Reads an object whose kind is known from elsewhere (the items of a `PodList` carry none).
    ///
    /// # Errors
    /// As [`Object::parse`].
    pub fn parse_as(json: &str, kind: &str) -> Result<Object, ObjectError> {
        macros::parse_body(json, kind)
    }

    /// The object's kind.
    pub fn kind(&self) -> &str {
        &self.key.kind
    }

    /// The pod, if it is one.
    pub fn as_pod(&self) -> Option<&Pod> {
        if let Body::Pod(p) = &self.body { Some(p) } else { None }
    }

    /// The workload controller, if it is one.
    pub fn as_workload(&self) -> Option<&Workload> {
        if let Body::Workload(w) = &self.body { Some(w) } else { None }
    }

    /// The Service, if it is one.
    pub fn as_service(&self) -> Option<&Service> {
        if let Body::Service(s) = &self.body { Some(s) } else { None }
    }

    /// The node, if it is one.
    pub fn as_node(&self) -> Option<&Node> {
        if let Body::Node(n) = &self.body { Some(n) } else { None }
    }

    /// What is kept of a foreign kind, if it is one.
    pub fn as_other(&self) -> Option<&Other> {
        if let Body::Other(o) = &self.body { Some(o) } else { None }
    }

    /// The pod template that it makes pods from, if it has one.
    pub fn template(&self) -> Option<&PodTemplate> {
        match &self.body {
            Body::Workload(w) => Some(&w.spec.template),
            Body::Job(j) => Some(&j.spec.template),
            Body::CronJob(c) => Some(&c.spec.job_template.spec.template),
            _ => None,
        }
    }

    /// The newest time that the object itself carries: conditions, starts and ends of containers, managers' writes.
    pub fn newest_time(&self) -> Option<Time> {
        let meta = self.meta.newest_time();
        let body = match &self.body {
            Body::Pod(p) => p.newest_time(),
            Body::Workload(w) => w.status.conditions.iter().filter_map(Condition::newest).max(),
            Body::Node(n) => n.status.conditions.iter().filter_map(Condition::newest).max(),
            Body::Lease(l) => *l.spec.renew_time,
            _ => None,
        };
        meta.max(body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namesakes_of_other_groups_keep_their_group() {
        assert_eq!(canonical_kind("v1", "Service"), "Service");
        assert_eq!(canonical_kind("serving.knative.dev/v1", "Service"), "Service.serving.knative.dev");
        assert_eq!(canonical_kind("extensions/v1beta1", "Ingress"), "Ingress");
        assert_eq!(canonical_kind("helm.toolkit.fluxcd.io/v2", "HelmRelease"), "HelmRelease");
    }

    #[test]
    fn null_and_absent_mean_the_default_and_unreadable_times_are_absent() {
        let o = Object::parse(
            r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","namespace":"n","labels":null,"creationTimestamp":"yesterday"},
                "spec":{"containers":[{"name":"c","env":null}]},"status":null,"unheardOf":[1]}"#,
        )
        .unwrap();
        assert_eq!(o.key, ObjectRef::new("Pod", "n", "p"));
        assert_eq!(*o.meta.creation_timestamp, None);
        assert_eq!(o.as_pod().unwrap().spec.containers[0].name, "c");
    }

    #[test]
    fn a_wrong_type_names_object_and_field() {
        let e =
            Object::parse(r#"{"kind":"Pod","metadata":{"name":"p"},"spec":{"containers":[{"name":7}]}}"#).unwrap_err();
        let text = e.to_string();
        assert!(text.contains("Pod p") && text.contains("spec.containers[0].name"), "{text}");
        assert_eq!(Object::parse(r#"{"metadata":{"name":"p"}}"#).unwrap_err(), ObjectError::Missing("kind"));
        assert_eq!(Object::parse(r#"{"kind":"Pod"}"#).unwrap_err(), ObjectError::Missing("metadata.name"));
    }
}
