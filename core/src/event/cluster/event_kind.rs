//! What an Event object tells, by reason and text.
//!
//! Reasons are the writers' own constants and hardly change; texts are looked at only where one reason says several
//! things. A reason that is not listed stays a `kubernetes_event`: its text is kept, nothing is guessed.

use crate::event::cni::words::{self, Trouble::NoAddress};
use crate::unified::EventKind::{self, *};
use crate::unified::Severity::{self, *};

/// What [`judge`] says.
pub(super) struct Judged {
    pub(super) kind: EventKind,
    pub(super) severity: Severity,
    /// One more annotation.
    pub(super) note: Option<(&'static str, &'static str)>,
}

/// All kinds that [`judge`] can say.
pub(super) const KINDS: &[EventKind] = &[
    SchedulingFailed,
    MountFailed,
    ImagePullFailed,
    ProbeFailed,
    Evicted,
    Preempted,
    FailedCreate,
    BindingFailed,
    Killing,
    BackOff,
    ContainerStartFailed,
    HookFailed,
    NodeNotReady,
    NodePressure,
    NodeCordoned,
    OomKill,
    JobFailed,
    PodNetworkFailed,
    NetworkPolicyViolation,
    HpaScaled,
    KubernetesEvent,
];

/// What the objects of a watch can be told as: the above, a pod's status, and changes of all other objects.
pub(super) const OBJECT_KINDS: &[EventKind] = &[
    PodFailed,
    PodRestart,
    PodWaiting,
    ContainerTerminated,
    PodPending,
    PodSucceeded,
    EventKind::PodReady,
    PodUnready,
    ConfigChanged,
    SecretChanged,
    ObjectAdded,
    ObjectChanged,
    ObjectDeleted,
    ImageChanged,
    ResourcesChanged,
    ProbeChanged,
    EnvChanged,
    TemplateChanged,
    ReplicasChanged,
    SelectorChanged,
    PortChanged,
    PolicyChanged,
    NodeConditionChanged,
    NodeCordoned,
    TaintChanged,
    NodeLabelChanged,
    QuotaChanged,
    VolumeChanged,
    RolloutStarted,
    RolloutProgressed,
    RolloutCompleted,
    RolloutStuck,
    HpaScaled,
    SchedulingFailed,
    MountFailed,
    ImagePullFailed,
    ProbeFailed,
    Evicted,
    Preempted,
    FailedCreate,
    BindingFailed,
    Killing,
    BackOff,
    ContainerStartFailed,
    HookFailed,
    NodeNotReady,
    NodePressure,
    OomKill,
    JobFailed,
    PodNetworkFailed,
    NetworkPolicyViolation,
    KubernetesEvent,
];

/// What an Event about an object of kind `object` tells.
pub(super) fn judge(object: &str, reason: &str, text: &str, r#type: &str) -> Judged {
    let plain = |kind, severity| Judged { kind, severity, note: None };
    match reason {
        "FailedScheduling"
        | "OutOfcpu"
        | "OutOfmemory"
        | "OutOfpods"
        | "OutOfephemeral-storage"
        | "NodeAffinity"
        | "UnexpectedAdmissionError" => plain(SchedulingFailed, Medium),
        "FailedMount" | "FailedAttachVolume" | "FailedMapVolume" | "FailedUnMount" | "FileSystemResizeFailed" => {
            plain(MountFailed, Medium)
        }
        "ErrImageNeverPull" | "InspectFailed" | "FailedToRetrieveImagePullSecret" => plain(ImagePullFailed, High),
        "Failed" if object == "Pod" => match is_about_image(text) {
            true => plain(ImagePullFailed, High),
            false => plain(ContainerStartFailed, High),
        },
        "FailedCreatePodContainer" | "FailedPrepareDynamicResources" => plain(ContainerStartFailed, High),
        "BackOff" if object == "Pod" => match text.contains("pulling image") {
            true => plain(ImagePullFailed, High),
            false => plain(EventKind::BackOff, High),
        },
        "Unhealthy" if object == "Pod" => probe(text),
        "Killing" if object == "Pod" => Judged {
            kind: Killing,
            severity: if text.contains("probe") || text.contains("hook") { Medium } else { Info },
            note: probe_note(text),
        },
        "ExceededGracePeriod" | "FailedKillPod" => plain(Killing, Medium),
        "Evicted" | "EvictedByVPA" | "NodeControllerEviction" | "Descheduled" => plain(Evicted, High),
        // The same reason says that the eviction was called off.
        "TaintManagerEviction" if text.starts_with("Cancelling") => plain(KubernetesEvent, Info),
        "TaintManagerEviction" => plain(Evicted, High),
        "Preempted" | "Preempting" => plain(Preempted, Medium),
        "FailedCreate" => plain(FailedCreate, High),
        "FailedBinding" | "ProvisioningFailed" | "ClaimLost" | "ClaimMisbound" | "VolumeMismatch" => {
            plain(BindingFailed, Medium)
        }
        "FailedPostStartHook" | "FailedPreStopHook" | "FailedPreStartHook" => plain(HookFailed, Medium),
        "FailedCreatePodSandBox" => match words::is_about_network(text) || words::trouble(text) == Some(NoAddress) {
            true => Judged { kind: PodNetworkFailed, severity: High, note: network_note(text) },
            false => plain(ContainerStartFailed, High),
        },
        "NetworkNotReady" => Judged { kind: PodNetworkFailed, severity: High, note: network_note(text) },
        "NodeNotReady"
        | "ContainerGCFailed"
        | "Rebooted"
        | "KubeletSetupFailed"
        | "FailedNodeAllocatableEnforcement" => plain(NodeNotReady, High),
        "NodeHasInsufficientMemory"
        | "NodeHasDiskPressure"
        | "NodeHasInsufficientPID"
        | "EvictionThresholdMet"
        | "FreeDiskSpaceFailed" => plain(NodePressure, High),
        "ImageGCFailed" => match text.contains("garbage collect required amount") {
            true => plain(NodePressure, High),
            false => plain(NodeNotReady, Medium),
        },
        "NodeNotSchedulable" => Judged { kind: NodeCordoned, severity: Low, note: Some(("unschedulable", "true")) },
        "NodeSchedulable" => Judged { kind: NodeCordoned, severity: Info, note: Some(("unschedulable", "false")) },
        "SystemOOM" | "OOMKilling" => plain(OomKill, High),
        "BackoffLimitExceeded" | "FailedIndexes" | "MaxFailedIndexesExceeded" | "PodFailurePolicy" => {
            plain(JobFailed, High)
        }
        "DeadlineExceeded" if object == "Job" => plain(JobFailed, High),
        "SuccessfulRescale" => plain(HpaScaled, Info),
        _ if text.contains("Denied by polic") || text.contains("(policy_deny)") => {
            plain(NetworkPolicyViolation, Medium)
        }
        _ => plain(KubernetesEvent, if r#type == "Warning" { Medium } else { Info }),
    }
}

/// `Failed` says everything that goes wrong with a container, its image included.
fn is_about_image(text: &str) -> bool {
    const IMAGE: &[&str] = &[
        "Failed to pull image",
        "ErrImagePull",
        "ImagePullBackOff",
        "ErrImageNeverPull",
        "InvalidImageName",
        "ImageInspectError",
        "ErrRegistryUnavailable",
        "SignatureValidationFailed",
        "Failed to apply default image tag",
        "Failed to inspect image",
    ];
    IMAGE.iter().any(|t| text.contains(t))
}

fn network_note(text: &str) -> Option<(&'static str, &'static str)> {
    words::trouble(text).map(|t| ("trouble", t.as_str()))
}

fn probe(text: &str) -> Judged {
    let severity = if text.starts_with("Readiness") { Medium } else { High };
    Judged { kind: ProbeFailed, severity, note: probe_note(text) }
}

fn probe_note(text: &str) -> Option<(&'static str, &'static str)> {
    ["liveness", "readiness", "startup"].into_iter().find_map(|p| {
        // `Liveness probe failed` in one Event, `failed liveness probe` in the other.
        let found = text
            .match_indices(" probe")
            .any(|(at, _)| text[..at].rsplit(' ').next().is_some_and(|word| word.eq_ignore_ascii_case(p)));
        found.then_some(("probe", p))
    })
}
