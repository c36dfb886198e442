//! What the credentials allow, kind by kind, and what will be missing for want of it; nothing is read.

use std::sync::Arc;

use serde::Serialize;
use tapio_cluster::{ApiError, Ask, Connection, Resource};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::config::ClusterConfig;
use super::kinds::{self, Form, Scope};

/// Questions that are asked at the same time.
const AT_ONCE: usize = 8;

/// One kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// As RBAC names it, with its namespace where only one is watched.
    pub resource: String,
    /// Verbs that are needed.
    pub needs: Vec<&'static str>,
    /// Those of them that are not allowed.
    pub refused: Vec<&'static str>,
    /// The server's words on a refusal, where it has any.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// What cannot be told without it.
    pub without_it: &'static str,
}

/// What the server and the credentials are good for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Survey {
    /// Context of the kubeconfig.
    pub context: String,
    /// The server's address.
    pub server: String,
    /// Its version.
    pub version: String,
    /// Who it takes us for, where it says so.
    pub user: Option<String>,
    /// Seconds by which its clock is ahead of this machine's (negative: behind); 0 while they agree to about two.
    pub clock_ahead_secs: i64,
    /// Every kind that would be watched, by name.
    pub kinds: Vec<Finding>,
    /// What the same credentials would be allowed at the kubelets: an agent on each node needs as much.
    pub kubelet: Vec<Finding>,
    /// What the settings leave out.
    pub switched_off: Vec<&'static str>,
}

/// Asks the server what would be allowed.
///
/// # Errors
/// Nobody answers, the credentials are refused, or questions about rights are not answered.
pub async fn survey(connection: Arc<Connection>, config: &ClusterConfig) -> Result<Survey, ApiError> {
    let version = connection.version(std::time::Duration::from_secs(10)).await?;
    let user = connection.user().await?;
    let mut scopes = kinds::own(config);
    let groups = connection.groups().await?;
    for group in groups.iter().filter(|g| config.kinds.iter().any(|k| kinds::group_of(k) == g.name)) {
        for r in connection.kinds(group).await.unwrap_or_default() {
            if config.kinds.iter().any(|k| kinds::means(k, &r)) {
                kinds::spread(r, Form::Object, config, &mut scopes);
            }
        }
    }
    let mut questions: Vec<(String, Scope, &'static str, Vec<&'static str>)> =
        scopes.into_iter().map(|s| (s.name(), s, "", vec!["list", "watch"])).collect();
    if config.logs {
        let mut logs = Vec::new();
        kinds::spread(Resource::new("", "v1", "Pod", "pods", true), Form::Pod, config, &mut logs);
        questions.extend(logs.into_iter().map(|s| (s.name().replacen("pods", "pods/log", 1), s, "log", vec!["get"])));
    }
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    let mut tasks = JoinSet::new();
    for (resource, scope, subresource, needs) in questions {
        let (turns, connection) = (Arc::clone(&turns), Arc::clone(&connection));
        tasks.spawn(async move {
            let _turn = turns.acquire_owned().await;
            let (mut refused, mut why) = (Vec::new(), String::new());
            for &verb in &needs {
                let namespace = scope.namespace.as_deref();
                let verdict = connection.may(&Ask { verb, resource: &scope.resource, subresource, namespace }).await?;
                if !verdict.allowed {
                    refused.push(verb);
                    why = verdict.reason;
                }
            }
            let without_it = if subresource.is_empty() { without(&scope.resource.kind) } else { without("log") };
            Ok::<_, ApiError>(Finding { resource, needs, refused, why, without_it })
        });
    }
    let mut found = Vec::new();
    while let Some(done) = tasks.join_next().await {
        found.push(done.map_err(|e| ApiError::Garbled(format!("a question ended with a defect of tapio: {e}")))??);
    }
    found.sort_by(|a, b| a.resource.cmp(&b.resource));
    let kubelet = crate::kubelet::rights(&connection).await?;
    let off = [
        (config.config_maps, "configmaps: changes of settings and whom they hit"),
        (config.secrets, "secrets: which key of which Secret changed, and by whom (off unless asked for)"),
        (config.logs, "pods/log: what a failing container said last"),
    ];
    Ok(Survey {
        context: connection.context().to_owned(),
        server: connection.server().to_owned(),
        version: version.git_version,
        user,
        clock_ahead_secs: connection.clock_ahead() / tapio_core::time::SECOND,
        kinds: found,
        kubelet,
        switched_off: off.into_iter().filter(|(on, _)| !on).map(|(_, what)| what).collect(),
    })
}

/// What cannot be told without a kind.
fn without(kind: &str) -> &'static str {
    match kind {
        "Pod" => "nothing about pods: no incident can be told",
        "Node" => "faults of nodes: not ready, pressure, cordoned, taints",
        "Event" => "why scheduling, mounting, pulling images and probes fail",
        "log" => "what a failing container said last",
        "Namespace" => "namespaces that end, and their labels in policies",
        "Service" | "Endpoints" | "EndpointSlice" => "Services without endpoints, wrong selectors and ports",
        "ConfigMap" => "changes of settings and whom they hit",
        "Secret" => "which key of which Secret changed, and by whom",
        "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet" | "ControllerRevision" | "ReplicationController" => {
            "rollouts: what changed in them, and that they are stuck"
        }
        "Job" | "CronJob" => "jobs that fail or do not run",
        "PersistentVolume" | "PersistentVolumeClaim" | "StorageClass" | "VolumeAttachment" => {
            "why a volume is not there"
        }
        "ResourceQuota" | "LimitRange" => "quotas and limits that refuse pods",
        "NetworkPolicy" | "CiliumNetworkPolicy" | "CiliumClusterwideNetworkPolicy" | "GlobalNetworkPolicy" => {
            "connections that a policy denies"
        }
        "Ingress" | "IngressClass" => "routes from outside",
        "HorizontalPodAutoscaler" => "autoscaling that does not work, and replicas that it changed",
        "PodDisruptionBudget" => "drains that a budget blocks",
        "ServiceAccount" | "Role" | "RoleBinding" | "ClusterRole" | "ClusterRoleBinding" => "rights that pods lost",
        "Lease" => "nodes and control-plane parts that fell silent, before their status says so",
        "PriorityClass" => "pods that others pushed away",
        "ValidatingWebhookConfiguration" | "MutatingWebhookConfiguration" => "webhooks that refuse or hang",
        _ => "what this kind says about itself",
    }
}
