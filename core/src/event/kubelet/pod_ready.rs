//! `PodReady`: a pod became ready, or stopped being so.
//!
//! ```json
//! {"pod":"cart-1","namespace":"shop","uid":"ab76…","ready":false,"since":"2024-01-15T10:29:58Z",
//!  "reason":"ContainersNotReady","message":"containers with unready status: [app]"}
//! ```
//! `pod` and `ready` are needed. `since` is the transition time of condition Ready; without it the event's own time is
//! taken, and the fact cannot be recognised as the one that the cluster's watch tells.

use crate::event::cluster::pod::{Now, Ready};
use crate::event::shape::{Text, shape};
use crate::event::{Before, EventDoc, Malformed, Normalised, Payload, missing, need, read};
use crate::object::ObjectRef;
use crate::raw::RawEvent;
use crate::unified::EventKind;

/// Documentation and samples.
pub const DOC: EventDoc = EventDoc {
    source: "kubelet",
    raw_type: "PodReady",
    kinds: &[EventKind::PodReady, EventKind::PodUnready],
    proof: "documented",
    samples: &[
        r#"{"timestamp":"2024-01-15T10:30:01Z","type":"PodReady","source":"kubelet_collector","metadata":{"node":"node-1","cluster":"main"},"data":{"pod":"cart-5f9dbcfb-82fb7","namespace":"shop","uid":"ab76584e-5003-422d-abe5-2a89ec64816c","ready":false,"since":"2024-01-15T10:29:58Z","reason":"ContainersNotReady","message":"containers with unready status: [app]"}}"#,
        r#"{"timestamp":"2024-01-15T10:31:01Z","type":"PodReady","source":"kubelet_collector","metadata":{"node":"node-1","cluster":"main"},"data":{"pod":"cart-5f9dbcfb-82fb7","namespace":"shop","uid":"ab76584e-5003-422d-abe5-2a89ec64816c","ready":true,"since":"2024-01-15T10:31:00Z"}}"#,
    ],
    about: "a pod became ready, or stopped being so",
};

shape! {
    /// Readiness of a pod.
    struct PodReady {
        /// Name.
        pod: Text<'a>,
        /// Namespace.
        namespace: Text<'a>,
        /// Uid.
        uid: Text<'a>,
        /// Whether it is ready.
        ready: Option<bool>,
        /// Since when.
        since: Text<'a>,
        /// Why.
        reason: Text<'a>,
        /// Why, in a sentence.
        message: Text<'a>,
    }
}

/// Normalises one report.
pub(crate) fn normalise<'a>(raw: &'a RawEvent, before: &dyn Before) -> Result<Normalised<'a>, Malformed> {
    let data: PodReady = read(raw)?;
    need(raw, "pod", &data.pod)?;
    let ready = data.ready.ok_or_else(|| missing(raw, "ready"))?;
    let key = ObjectRef::new("Pod", &data.namespace, &data.pod);
    let pod_uid = raw.metadata.get("pod_uid").map_or("", String::as_str);
    let old = before.pod(raw.cluster(), &key);
    let now = Now {
        key: &key,
        uid: if data.uid.is_empty() { pod_uid } else { &data.uid },
        node: raw.node().unwrap_or(""),
        // The report says nothing of the phase: the known one stands, and a pod that has readiness runs.
        phase: old.map_or("Running", |o| &o.phase),
        reason: "",
        message: "",
        created: None,
        deleting: false,
        ready: Some(Ready { ready, since: data.since.time(), reason: &data.reason, message: &data.message }),
        unschedulable: None,
        containers: Vec::new(),
    };
    let events = now.events(raw, old);
    Ok(Normalised { events, payload: Payload::PodReady(data) })
}
