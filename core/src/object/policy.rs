//! Quotas, limits, budgets, priorities, access rights and webhooks.

use super::macros::{IntOrString, api};
use super::meta::{Condition, LabelSelector, StringMap};

api! {
    /// A ResourceQuota.
    struct ResourceQuota {
        spec: QuotaSpec,
        status: QuotaStatus,
    }
    /// `spec` of a quota.
    struct QuotaSpec {
        hard: StringMap,
        scopes: Vec<String>,
    }
    /// `status` of a quota.
    struct QuotaStatus {
        hard: StringMap,
        used: StringMap,
    }
    /// A LimitRange.
    struct LimitRange {
        spec: LimitRangeSpec,
    }
    /// `spec` of a LimitRange.
    struct LimitRangeSpec {
        limits: Vec<LimitItem>,
    }
    /// `limits[]`.
    struct LimitItem {
        r#type: String,
        max: StringMap,
        min: StringMap,
        default: StringMap,
        default_request: StringMap,
        max_limit_request_ratio: StringMap,
    }
    /// A PodDisruptionBudget.
    struct DisruptionBudget {
        spec: BudgetSpec,
        status: BudgetStatus,
    }
    /// `spec` of a budget.
    struct BudgetSpec {
        selector: Option<LabelSelector>,
        min_available: Option<IntOrString>,
        max_unavailable: Option<IntOrString>,
    }
    /// `status` of a budget.
    struct BudgetStatus {
        current_healthy: i64,
        desired_healthy: i64,
        disruptions_allowed: i64,
        expected_pods: i64,
        conditions: Vec<Condition>,
    }
    /// A PriorityClass.
    struct PriorityClass {
        value: i64,
        global_default: bool,
        preemption_policy: String,
    }
    /// Role or ClusterRole.
    struct Role {
        rules: Vec<AccessRule>,
    }
    /// `rules[]`.
    struct AccessRule {
        api_groups: Vec<String>,
        resources: Vec<String>,
        resource_names: Vec<String>,
        #[serde(rename = "nonResourceURLs")]
        non_resource_urls: Vec<String>,
        verbs: Vec<String>,
    }
    /// RoleBinding or ClusterRoleBinding.
    struct RoleBinding {
        role_ref: RoleRef,
        subjects: Vec<Subject>,
    }
    /// `roleRef`.
    struct RoleRef {
        kind: String,
        name: String,
    }
    /// `subjects[]`.
    struct Subject {
        kind: String,
        name: String,
        namespace: String,
    }
    /// Validating or mutating webhooks.
    struct WebhookConfiguration {
        webhooks: Vec<Webhook>,
    }
    /// `webhooks[]`.
    struct Webhook {
        name: String,
        client_config: WebhookClient,
        failure_policy: String,
        timeout_seconds: Option<i64>,
        namespace_selector: Option<LabelSelector>,
        object_selector: Option<LabelSelector>,
        rules: Vec<WebhookRule>,
    }
    /// `rules[]` of a webhook.
    struct WebhookRule {
        operations: Vec<String>,
        resources: Vec<String>,
    }
    /// `clientConfig`.
    struct WebhookClient {
        url: String,
        service: Option<WebhookService>,
    }
    /// `clientConfig.service`.
    struct WebhookService {
        name: String,
        namespace: String,
        path: String,
        port: Option<i64>,
    }
}
