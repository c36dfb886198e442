//! What the credentials allow at the kubelets, as the API server judges it: a kubelet asks it in turn.

use std::sync::Arc;

use tapio_cluster::{ApiError, Ask, Connection, Resource};

use super::state::Topic;
use crate::cluster::Finding;

/// Each right at the kubelets that is of use, with what is missing without it.
pub(crate) async fn rights(connection: &Arc<Connection>) -> Result<Vec<Finding>, ApiError> {
    let nodes = Resource::new("", "v1", "Node", "nodes", false);
    let mut found: Vec<Finding> = Vec::new();
    for topic in [Topic::Pods, Topic::Stats, Topic::Probes, Topic::Health, Topic::Logs] {
        let subresource = topic.right().trim_start_matches("nodes/");
        let verdict = connection.may(&Ask { verb: "get", resource: &nodes, subresource, namespace: None }).await?;
        let refused = if verdict.allowed { Vec::new() } else { vec!["get"] };
        found.push(Finding {
            resource: topic.right().to_owned(),
            needs: vec!["get"],
            refused,
            why: verdict.reason,
            without_it: topic.without(),
        });
    }
    Ok(found)
}
