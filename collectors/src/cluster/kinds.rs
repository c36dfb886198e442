//! Which kinds are watched, and what becomes of their objects.

use tapio_cluster::Resource;

use super::config::ClusterConfig;

/// What becomes of the objects of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Each version is an object of the graph.
    Object,
    /// Pods: their failing containers have logs, too.
    Pod,
    /// Events: each rise of the count is an occurrence; that they go means nothing.
    Event,
    /// Leases: renewals are thinned out.
    Lease,
    /// Secrets: metadata only.
    Secret,
}

/// A collection that is listed and watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scope {
    pub(crate) resource: Resource,
    /// One namespace, or all.
    pub(crate) namespace: Option<String>,
    pub(crate) form: Form,
}

impl Scope {
    /// As people read it: `pods`, `leases.coordination.k8s.io in kube-system`.
    pub(crate) fn name(&self) -> String {
        match &self.namespace {
            Some(ns) if self.resource.namespaced => format!("{} in {ns}", self.resource.name()),
            _ => self.resource.name(),
        }
    }

    /// The path of the collection.
    pub(crate) fn path(&self) -> String {
        self.resource.path(self.namespace.as_deref())
    }

    /// Under which name its objects are remembered.
    pub(crate) fn family(&self) -> String {
        family(&self.resource.group, &self.resource.kind)
    }

    /// Whether an object of its kind in this namespace is in it.
    pub(crate) fn holds(&self, namespace: &str) -> bool {
        self.namespace.as_deref().is_none_or(|n| !self.resource.namespaced || n == namespace)
    }
}

/// `apps/Deployment`; `/Pod` of the core.
pub(crate) fn family(group: &str, kind: &str) -> String {
    format!("{group}/{kind}")
}

/// Namespaces in which leases say something: of leaders, and of nodes.
const LEASES_IN: [&str; 2] = ["kube-system", "kube-node-lease"];

/// Kubernetes' own kinds: group, version, kind, plural, in namespaces.
const OWN: &[(&str, &str, &str, &str, bool)] = &[
    ("", "v1", "Namespace", "namespaces", false),
    ("", "v1", "Node", "nodes", false),
    ("", "v1", "Pod", "pods", true),
    ("", "v1", "Service", "services", true),
    ("", "v1", "Endpoints", "endpoints", true),
    ("", "v1", "PersistentVolume", "persistentvolumes", false),
    ("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims", true),
    ("", "v1", "ResourceQuota", "resourcequotas", true),
    ("", "v1", "LimitRange", "limitranges", true),
    ("", "v1", "ServiceAccount", "serviceaccounts", true),
    ("", "v1", "ReplicationController", "replicationcontrollers", true),
    ("apps", "v1", "Deployment", "deployments", true),
    ("apps", "v1", "ReplicaSet", "replicasets", true),
    ("apps", "v1", "StatefulSet", "statefulsets", true),
    ("apps", "v1", "DaemonSet", "daemonsets", true),
    ("apps", "v1", "ControllerRevision", "controllerrevisions", true),
    ("batch", "v1", "Job", "jobs", true),
    ("batch", "v1", "CronJob", "cronjobs", true),
    ("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", true),
    ("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies", true),
    ("networking.k8s.io", "v1", "Ingress", "ingresses", true),
    ("networking.k8s.io", "v1", "IngressClass", "ingressclasses", false),
    ("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers", true),
    ("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets", true),
    ("storage.k8s.io", "v1", "StorageClass", "storageclasses", false),
    ("storage.k8s.io", "v1", "VolumeAttachment", "volumeattachments", false),
    ("rbac.authorization.k8s.io", "v1", "Role", "roles", true),
    ("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings", true),
    ("rbac.authorization.k8s.io", "v1", "ClusterRole", "clusterroles", false),
    ("rbac.authorization.k8s.io", "v1", "ClusterRoleBinding", "clusterrolebindings", false),
    ("admissionregistration.k8s.io", "v1", "ValidatingWebhookConfiguration", "validatingwebhookconfigurations", false),
    ("admissionregistration.k8s.io", "v1", "MutatingWebhookConfiguration", "mutatingwebhookconfigurations", false),
    ("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses", false),
];

/// The Kubernetes' own kinds that the settings ask for.
pub(crate) fn own(config: &ClusterConfig) -> Vec<Scope> {
    let mut out = Vec::new();
    let mut add = |resource: Resource, form: Form| spread(resource, form, config, &mut out);
    for (group, version, kind, plural, namespaced) in OWN {
        let form = if *kind == "Pod" { Form::Pod } else { Form::Object };
        add(Resource::new(group, version, kind, plural, *namespaced), form);
    }
    if config.config_maps {
        add(Resource::new("", "v1", "ConfigMap", "configmaps", true), Form::Object);
    }
    if config.secrets {
        add(Resource::new("", "v1", "Secret", "secrets", true), Form::Secret);
    }
    // Of one group only: the same Event is visible in both, and would count twice.
    add(Resource::new("", "v1", "Event", "events", true), Form::Event);
    for namespace in LEASES_IN {
        let resource = Resource::new("coordination.k8s.io", "v1", "Lease", "leases", true);
        out.push(Scope { resource, namespace: Some(namespace.to_owned()), form: Form::Lease });
    }
    out
}

/// One scope, or one a namespace.
pub(crate) fn spread(resource: Resource, form: Form, config: &ClusterConfig, out: &mut Vec<Scope>) {
    if config.namespaces.is_empty() || !resource.namespaced {
        out.push(Scope { resource, namespace: None, form });
        return;
    }
    for ns in &config.namespaces {
        out.push(Scope { resource: resource.clone(), namespace: Some(ns.clone()), form });
    }
}

/// Whether `GROUP/Kind` or `GROUP/*` means this kind.
pub(crate) fn means(pattern: &str, resource: &Resource) -> bool {
    let Some((group, kind)) = pattern.rsplit_once('/') else { return false };
    // A version between them is allowed and says nothing: the server's own choice is taken.
    let group = group.split('/').next().unwrap_or("");
    group == resource.group && (kind == "*" || kind == resource.kind)
}

/// The group that a pattern is about.
pub(crate) fn group_of(pattern: &str) -> &str {
    pattern.split('/').next().unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_only_when_asked_for_and_leases_only_where_they_say_something() {
        let scopes = own(&ClusterConfig::default());
        assert!(!scopes.iter().any(|s| s.resource.kind == "Secret"));
        let leases: Vec<_> = scopes.iter().filter(|s| s.form == Form::Lease).map(Scope::path).collect();
        assert_eq!(leases.len(), 2);
        assert!(leases[0].contains("/namespaces/kube-system/"));
        let on = own(&ClusterConfig { secrets: true, ..ClusterConfig::default() });
        assert_eq!(on.iter().filter(|s| s.form == Form::Secret).count(), 1);
    }

    #[test]
    fn with_namespaces_each_has_a_watch_of_its_own_and_cluster_scoped_kinds_one() {
        let config = ClusterConfig { namespaces: vec!["a".into(), "b".into()], ..ClusterConfig::default() };
        let scopes = own(&config);
        let of = |kind: &str| scopes.iter().filter(|s| s.resource.kind == kind).count();
        assert_eq!((of("Pod"), of("Node")), (2, 1));
    }

    #[test]
    fn patterns_name_a_kind_or_a_group() {
        let r = Resource::new("chaos-mesh.org", "v1alpha1", "PodChaos", "podchaos", true);
        assert!(means("chaos-mesh.org/*", &r) && means("chaos-mesh.org/PodChaos", &r));
        assert!(means("chaos-mesh.org/v1alpha1/PodChaos", &r));
        assert!(!means("chaos-mesh.org/NetworkChaos", &r) && !means("PodChaos", &r));
    }
}
