//! Controllers that make pods, and their autoscalers.

use super::macros::{IntOrString, OptTime, api};
use super::meta::{Condition, LabelSelector};
use super::pod::PodTemplate;

api! {
    /// Deployment, ReplicaSet, StatefulSet, DaemonSet or ReplicationController: what they have in common.
    struct Workload {
        spec: WorkloadSpec,
        status: WorkloadStatus,
    }
    /// Their `spec`.
    struct WorkloadSpec {
        replicas: Option<i64>,
        selector: LabelSelector,
        template: PodTemplate,
        strategy: Option<Strategy>,
        update_strategy: Option<Strategy>,
        paused: bool,
        min_ready_seconds: i64,
        progress_deadline_seconds: Option<i64>,
        revision_history_limit: Option<i64>,
        service_name: String,
        pod_management_policy: String,
    }
    /// `strategy`, `updateStrategy`.
    struct Strategy {
        r#type: String,
        rolling_update: Option<RollingUpdate>,
    }
    /// `rollingUpdate`.
    struct RollingUpdate {
        max_unavailable: Option<IntOrString>,
        max_surge: Option<IntOrString>,
        partition: Option<i64>,
    }
    /// Their `status`.
    struct WorkloadStatus {
        observed_generation: i64,
        replicas: i64,
        ready_replicas: i64,
        updated_replicas: i64,
        available_replicas: i64,
        unavailable_replicas: i64,
        current_revision: String,
        update_revision: String,
        current_number_scheduled: i64,
        desired_number_scheduled: i64,
        number_ready: i64,
        number_available: i64,
        number_unavailable: i64,
        updated_number_scheduled: i64,
        conditions: Vec<Condition>,
    }
    /// A Job.
    struct Job {
        spec: JobSpec,
        status: JobStatus,
    }
    /// `spec` of a Job.
    struct JobSpec {
        parallelism: Option<i64>,
        completions: Option<i64>,
        backoff_limit: Option<i64>,
        active_deadline_seconds: Option<i64>,
        suspend: bool,
        template: PodTemplate,
    }
    /// `status` of a Job.
    struct JobStatus {
        active: i64,
        succeeded: i64,
        failed: i64,
        start_time: OptTime,
        completion_time: OptTime,
        conditions: Vec<Condition>,
    }
    /// A CronJob.
    struct CronJob {
        spec: CronJobSpec,
        status: CronJobStatus,
    }
    /// `spec` of a CronJob.
    struct CronJobSpec {
        schedule: String,
        suspend: bool,
        concurrency_policy: String,
        starting_deadline_seconds: Option<i64>,
        job_template: JobTemplate,
    }
    /// `jobTemplate`.
    struct JobTemplate {
        spec: JobSpec,
    }
    /// `status` of a CronJob.
    struct CronJobStatus {
        last_schedule_time: OptTime,
        last_successful_time: OptTime,
    }
    /// A stored revision of a StatefulSet or DaemonSet.
    struct ControllerRevision {
        revision: i64,
        data: RevisionData,
    }
    /// What it holds: a patch with the template.
    struct RevisionData {
        spec: RevisionSpec,
    }
    /// `data.spec`.
    struct RevisionSpec {
        template: PodTemplate,
    }
    /// A HorizontalPodAutoscaler.
    struct Autoscaler {
        spec: AutoscalerSpec,
        status: AutoscalerStatus,
    }
    /// `spec` of an autoscaler.
    struct AutoscalerSpec {
        scale_target_ref: ScaleTarget,
        min_replicas: Option<i64>,
        max_replicas: i64,
    }
    /// `scaleTargetRef`.
    struct ScaleTarget {
        kind: String,
        name: String,
    }
    /// `status` of an autoscaler.
    struct AutoscalerStatus {
        current_replicas: i64,
        desired_replicas: i64,
        last_scale_time: OptTime,
        conditions: Vec<Condition>,
    }
}

impl Workload {
    /// Desired pods; for a DaemonSet what its status says.
    pub fn desired(&self, kind: &str) -> i64 {
        if kind == "DaemonSet" { self.status.desired_number_scheduled } else { self.spec.replicas.unwrap_or(1) }
    }

    /// Ready pods.
    pub fn ready(&self, kind: &str) -> i64 {
        if kind == "DaemonSet" { self.status.number_ready } else { self.status.ready_replicas }
    }

    /// The condition of this type.
    pub fn condition(&self, r#type: &str) -> Option<&Condition> {
        self.status.conditions.iter().find(|c| c.r#type == r#type)
    }
}
