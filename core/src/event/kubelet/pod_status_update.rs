//! `PodStatusUpdate`: the kubelet's own view of a pod's status.
//!
//! ```json
//! {"pod":"cart-1","namespace":"shop","uid":"ab76584e-…","phase":"Running","reason":"","message":"","ready":false,
//!  "readySince":"2024-01-15T10:29:58Z",
//!  "containers":[{"name":"app","restartCount":3,"ready":false,"containerID":"containerd://…",
//!    "state":{"waiting":{"reason":"CrashLoopBackOff","message":"back-off 40s …"}},
//!    "lastState":{"terminated":{"reason":"Error","exitCode":1,"startedAt":"…","finishedAt":"…"}},
//!    "type":"init|sidecar|ephemeral"}],
//!  "initContainers":[{…}]}
//! ```
//! `deleting` is whether somebody has asked for its deletion. `pod` is needed. `type` is absent for the pod's own containers; those of `initContainers` are `init` unless they say
//! `sidecar`. `readySince` is the transition time of condition Ready; instead of both, `conditions` may come as in the
//! API. The events are those of [`cluster::pod`](crate::event::cluster::pod): the watch and the kubelet tell the same.

use serde::Deserialize;

use crate::event::cluster::pod::{Now, PodBefore, Ready, Role};
use crate::event::{Before, EventDoc, Malformed, Normalised, Payload, need, read};
use crate::object::{Condition, ContainerState, ContainerStatus, ObjectRef, OptTime, PodStatus};
use crate::raw::RawEvent;
use crate::unified::EventKind;

/// Documentation and samples.
pub const DOC: EventDoc = EventDoc {
    source: "kubelet",
    raw_type: "PodStatusUpdate",
    kinds: &[
        EventKind::PodFailed,
        EventKind::PodRestart,
        EventKind::PodWaiting,
        EventKind::ContainerTerminated,
        EventKind::PodPending,
        EventKind::PodSucceeded,
        EventKind::PodReady,
        EventKind::PodUnready,
    ],
    proof: "recorded",
    samples: &[
        include_str!("../samples/pod_status_update.json"),
        r#"{"timestamp":"2024-01-15T10:30:00.123456Z","type":"PodStatusUpdate","source":"kubelet_collector","metadata":{"node":"node-1","cluster":"prod-west"},"data":{"pod":"frontend-5d4b5c6d7-xyz","namespace":"production","phase":"Failed","reason":"OOMKilled","containers":[{"name":"nginx","restartCount":3,"lastState":{"terminated":{"reason":"OOMKilled","exitCode":137}}}]}}"#,
    ],
    about: "a pod's status as its kubelet reports it, told container by container",
};

/// The kubelet's report.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodStatusUpdate {
    /// Name.
    #[serde(deserialize_with = "nullable")]
    pub pod: String,
    /// Namespace.
    #[serde(deserialize_with = "nullable")]
    pub namespace: String,
    /// Uid.
    #[serde(deserialize_with = "nullable")]
    pub uid: String,
    /// Phase.
    #[serde(deserialize_with = "nullable")]
    pub phase: String,
    /// Why the pod as a whole is in that phase.
    #[serde(deserialize_with = "nullable")]
    pub reason: String,
    /// The same in a sentence.
    #[serde(deserialize_with = "nullable")]
    pub message: String,
    /// Whether it is being deleted.
    #[serde(deserialize_with = "nullable")]
    pub deleting: bool,
    /// Condition Ready.
    pub ready: Option<bool>,
    /// When Ready last changed.
    #[serde(deserialize_with = "nullable")]
    pub ready_since: OptTime,
    /// Conditions as in the API, instead of `ready` and `readySince`.
    #[serde(deserialize_with = "nullable")]
    pub conditions: Vec<Condition>,
    /// Containers of any role.
    #[serde(deserialize_with = "nullable")]
    pub containers: Vec<Reported>,
    /// Init containers and sidecars, where they come apart.
    #[serde(deserialize_with = "nullable")]
    pub init_containers: Vec<Reported>,
}

/// A container as reported.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(from = "Wire")]
pub struct Reported {
    /// Its status, as in the API.
    pub status: ContainerStatus,
    /// What it is for; none if the report does not say.
    pub role: Option<Role>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Wire {
    #[serde(deserialize_with = "nullable")]
    name: String,
    #[serde(deserialize_with = "nullable")]
    ready: bool,
    started: Option<bool>,
    #[serde(deserialize_with = "nullable")]
    restart_count: i64,
    #[serde(deserialize_with = "nullable")]
    image: String,
    #[serde(rename = "imageID", deserialize_with = "nullable")]
    image_id: String,
    #[serde(rename = "containerID", deserialize_with = "nullable")]
    container_id: String,
    #[serde(deserialize_with = "nullable")]
    state: ContainerState,
    #[serde(deserialize_with = "nullable")]
    last_state: ContainerState,
    #[serde(deserialize_with = "nullable")]
    r#type: String,
}

use crate::event::shape::nullable;

impl From<Wire> for Reported {
    fn from(w: Wire) -> Self {
        let role = match w.r#type.as_str() {
            "init" => Some(Role::Init),
            "sidecar" => Some(Role::Sidecar),
            "ephemeral" => Some(Role::Ephemeral),
            "main" => Some(Role::Main),
            _ => None,
        };
        let status = ContainerStatus {
            name: w.name,
            ready: w.ready,
            started: w.started,
            restart_count: w.restart_count,
            image: w.image,
            image_id: w.image_id,
            container_id: w.container_id,
            state: w.state,
            last_state: w.last_state,
        };
        Reported { status, role }
    }
}

impl PodStatusUpdate {
    /// Reads the data of a raw event.
    ///
    /// # Errors
    /// Where a known field has a wrong type, or `pod` is missing.
    pub fn parse(raw: &RawEvent) -> Result<Self, Malformed> {
        let update: Self = read(raw)?;
        need(raw, "pod", &update.pod)?;
        Ok(update)
    }

    /// Init containers first, with what each is for.
    pub fn roles(&self) -> impl Iterator<Item = (&ContainerStatus, Role)> {
        let init = self.init_containers.iter().map(|c| (&c.status, c.role.unwrap_or(Role::Init)));
        init.chain(self.containers.iter().map(|c| (&c.status, c.role.unwrap_or_default())))
    }

    /// The pod it is about.
    pub fn key(&self) -> ObjectRef {
        ObjectRef::new("Pod", &self.namespace, &self.pod)
    }

    /// The same as the API has it.
    pub fn status(&self) -> PodStatus {
        let mut status = PodStatus {
            phase: self.phase.clone(),
            reason: self.reason.clone(),
            message: self.message.clone(),
            conditions: self.conditions.clone(),
            ..PodStatus::default()
        };
        if let Some(ready) = self.ready
            && !status.conditions.iter().any(|c| c.r#type == "Ready")
        {
            status.conditions.push(Condition {
                r#type: "Ready".to_owned(),
                status: if ready { "True" } else { "False" }.to_owned(),
                last_transition_time: self.ready_since,
                ..Condition::default()
            });
        }
        for (c, role) in self.roles() {
            match role {
                Role::Main => status.container_statuses.push(c.clone()),
                Role::Init | Role::Sidecar => status.init_container_statuses.push(c.clone()),
                Role::Ephemeral => status.ephemeral_container_statuses.push(c.clone()),
            }
        }
        status
    }

    /// What to remember of it.
    pub fn before(&self, raw: &RawEvent) -> PodBefore {
        PodBefore::of(self.uid_in(raw), &self.status())
    }

    fn uid_in<'s>(&'s self, raw: &'s RawEvent) -> &'s str {
        if self.uid.is_empty() { raw.metadata.get("pod_uid").map_or("", String::as_str) } else { &self.uid }
    }

    fn condition(&self, r#type: &str) -> Option<&Condition> {
        self.conditions.iter().find(|c| c.r#type == r#type)
    }
}

/// Normalises one report.
pub(crate) fn normalise<'a>(raw: &'a RawEvent, before: &dyn Before) -> Result<Normalised<'a>, Malformed> {
    let update = PodStatusUpdate::parse(raw)?;
    let key = update.key();
    let said = update.condition("Ready").map(|c| Ready {
        ready: c.status == "True",
        since: *c.last_transition_time,
        reason: &c.reason,
        message: &c.message,
    });
    let ready = said.or_else(|| {
        let ready = update.ready?;
        Some(Ready { ready, since: *update.ready_since, ..Ready::default() })
    });
    let now = Now {
        key: &key,
        uid: update.uid_in(raw),
        node: raw.node().unwrap_or(""),
        phase: &update.phase,
        reason: &update.reason,
        message: &update.message,
        created: None,
        deleting: update.deleting,
        ready,
        unschedulable: None,
        containers: update.roles().collect(),
    };
    let events = now.events(raw, before.pod(raw.cluster(), &key));
    Ok(Normalised { events, payload: Payload::PodStatusUpdate(Box::new(update)) })
}
