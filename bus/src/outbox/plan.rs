//! Who is to be told, and how.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tapio_core::alert::Alert;
use tapio_core::unified::Severity;

/// Alerts that may wait for one sink, where nothing else is said.
pub(super) const MAX_PENDING: u32 = 5_000;

/// What alerts that come within a short time share, to go as one message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GroupBy {
    /// Each goes alone.
    #[default]
    None,
    /// Everything of one namespace.
    Namespace,
    /// Everything of one cluster.
    Cluster,
    /// Everything of one workload.
    Owner,
}

impl GroupBy {
    /// The group of an alert; none where it goes alone.
    pub(super) fn of(self, labels: &BTreeMap<String, String>) -> Option<String> {
        let label = match self {
            GroupBy::None => return None,
            GroupBy::Namespace => "namespace",
            GroupBy::Cluster => "cluster",
            GroupBy::Owner => "owner",
        };
        let of = |name: &str| labels.get(name).map_or("", String::as_str);
        Some(format!("{}/{label}/{}", of("cluster"), of(label)))
    }
}

/// One sink, as the outbox sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkPlan {
    /// Its name in the settings.
    pub name: String,
    /// Incidents below this are not told.
    pub min_severity: Severity,
    /// What is sent as one message.
    pub group_by: GroupBy,
    /// Milliseconds that the first of a group waits for others.
    pub group_wait_millis: u64,
    /// Messages in a minute; 0: no limit.
    pub max_per_minute: u32,
    /// Alerts that may wait.
    pub max_pending: u32,
    /// Milliseconds after which an alert that cannot be sent is a dead letter.
    pub give_up_millis: u64,
}

impl SinkPlan {
    /// A sink that is told everything at once.
    pub fn new(name: &str) -> Self {
        SinkPlan {
            name: name.to_owned(),
            min_severity: Severity::Info,
            group_by: GroupBy::None,
            group_wait_millis: 0,
            max_per_minute: 0,
            max_pending: MAX_PENDING,
            give_up_millis: 24 * 3_600 * 1_000,
        }
    }

    pub(super) fn wants(&self, alert: &Alert) -> bool {
        alert.severity >= self.min_severity
    }
}

/// All sinks, and whose incidents they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The cluster's name in labels.
    pub cluster: String,
    /// The sinks.
    pub sinks: Vec<SinkPlan>,
    /// Milliseconds for which is kept what was told.
    pub keep_millis: u64,
}
