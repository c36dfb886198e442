//! Symptoms: unhealthy states of objects, with a beginning and the moment from which they count.
//!
//! What a start, rollout, drain or controller in progress explains is none: every symptom has a hold, the time that a
//! healthy object needs to leave the state by itself.

mod alerts;
mod nodes;
mod pods;
mod services;
mod workloads;

use tapio_core::object::ObjectRef;
use tapio_core::time::Time;

use super::view::View;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// The scheduler found no node.
    Unscheduled,
    /// No scheduler looked at the pod.
    NotLookedAt,
    /// The image cannot be had.
    ImagePull,
    /// What the container refers to is not there.
    ConfigError,
    /// The container cannot be created or started.
    StartError,
    /// The container ends again and again.
    Crashing,
    /// It was killed for memory.
    OomKilled,
    /// It was killed by the kubelet because of a probe.
    ProbeKilled,
    /// A lifecycle hook fails.
    HookFailed,
    /// It runs and is not ready.
    Unready,
    /// Volumes cannot be mounted.
    VolumesPending,
    /// The sandbox or its network cannot be made.
    SandboxFailed,
    /// An init container runs and does not end.
    InitStuck,
    /// It was evicted.
    Evicted,
    /// It does not go away.
    Terminating,
    /// A controller cannot create pods.
    FailedCreate,
    /// A rollout makes no progress.
    RolloutStuck,
    /// A Service has no ready pod.
    NoEndpoints,
    /// A Service's address does not answer.
    Unreachable,
    /// A claim is not bound.
    ClaimPending,
    /// A node is not ready.
    NodeNotReady,
    /// A service of a node does not run.
    NodeService,
    /// A node is short of disk or memory.
    NodePressure,
    /// A Job failed.
    JobFailed,
    /// A CronJob does not start its runs.
    RunsMissed,
    /// An autoscaler cannot work out how many replicas are needed.
    AutoscalerStuck,
    /// A release was not applied, or only half.
    ReleaseFailed,
    /// A container logs errors although it runs and is ready.
    LogErrors,
    /// An alert fires.
    Alert,
}

/// A symptom of one object.
#[derive(Clone, Debug, PartialEq)]
pub struct Symptom {
    /// Which object.
    pub object: ObjectRef,
    /// What is wrong.
    pub trouble: Trouble,
    /// Which container, if one is meant.
    pub container: Option<String>,
    /// One sentence.
    pub says: String,
    /// Since when.
    pub since: Time,
    /// When it begins to count. One that never does by itself ([`Trouble::LogErrors`]) still leads
    /// mechanisms to what they look for.
    pub counts_from: Time,
}

impl Symptom {
    /// Whether a container runs badly or logs that it does: what a fault outside of it would look like.
    pub fn is_failing_container(&self) -> bool {
        matches!(
            self.trouble,
            Trouble::Unready | Trouble::Crashing | Trouble::LogErrors | Trouble::ProbeKilled | Trouble::InitStuck
        )
    }

    /// Whether it counts at `now`.
    pub fn counts(&self, now: Time) -> bool {
        self.counts_from <= now
    }
}

/// Time after which a state is no passing one, seconds.
mod hold {
    /// A scheduler that finds no node now may find one when another pod has gone.
    pub(super) const UNSCHEDULED: i64 = 2;
    /// Pods that make way for another have their grace period, half a minute as a rule.
    pub(super) const PROMISED: i64 = 60;
    /// Who drains a node within the budgets lifts the cordon when the work is done.
    pub(super) const MAINTENANCE: i64 = 60;
    /// A node that joins pulls the images of what makes it ready.
    pub(super) const JOIN: i64 = 120;
    /// Init containers may have much to do.
    pub(super) const INIT: i64 = 60;
    /// A scheduler needs well under a second to look at a pod.
    pub(super) const NOT_LOOKED_AT: i64 = 8;
    /// One failed pull is often repeated with success.
    pub(super) const IMAGE: i64 = 2;
    /// ConfigMap and workload are often applied together, in any order.
    pub(super) const CONFIG: i64 = 3;
    /// One crash is a start-up race; after this without recovery it is none.
    pub(super) const CRASH: i64 = 8;
    /// One failed mount is often repeated with success.
    pub(super) const VOLUME: i64 = 10;
    /// A readiness probe may fail once or twice.
    pub(super) const UNREADY: i64 = 8;
    /// Endpoints follow pods with a delay.
    pub(super) const SERVICE: i64 = 6;
    /// Binding needs a moment.
    pub(super) const CLAIM: i64 = 4;
    /// Metrics of a pod come a minute or two after it is ready.
    pub(super) const METRICS: i64 = 150;
    /// A run that is missed once may be made up for by the next.
    pub(super) const SCHEDULE: i64 = 60;
    /// A release that fails is often tried again at once.
    pub(super) const RELEASE: i64 = 20;
    /// The kubelet often reclaims what it needs without evicting anybody.
    pub(super) const PRESSURE: i64 = 10;
}

/// Every symptom in the view, in object order. Those that do not count yet are included.
pub fn symptoms(view: &View) -> Vec<Symptom> {
    let mut out = Vec::new();
    for p in view.pods.values() {
        pods::of_pod(view, p, &mut out);
    }
    workloads::of_workloads(view, &mut out);
    workloads::of_schedules(view, &mut out);
    workloads::of_autoscalers(view, &mut out);
    workloads::of_releases(view, &mut out);
    services::of_services(view, &mut out);
    services::of_claims(view, &mut out);
    nodes::of_nodes(view, &mut out);
    nodes::of_pressure(view, &mut out);
    alerts::of_alerts(view, &mut out);
    out.sort_by(|a, b| {
        (&a.object, a.trouble, &a.container, a.since).cmp(&(&b.object, b.trouble, &b.container, b.since))
    });
    out
}
