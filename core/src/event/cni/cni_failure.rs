//! `CniFailure`: a plugin could not set up or tear down the network of a pod.
//!
//! ```json
//! {"namespace":"shop","pod":"cart-1","uid":"…","container":"","plugin":"calico","operation":"ADD",
//!  "error":"no IP addresses available in range set: 10.244.0.1-10.244.0.254","code":11}
//! ```
//! `error` is needed. Without `pod` the event is about the plugin on its node. What the error means is found in its words
//! (annotation `trouble`: `no_address`, `not_configured`, `bad_configuration`, `no_plugin`, `agent_away`,
//! `unauthorised`, `leftover`, `timeout`).

use crate::event::cni::words;
use crate::event::shape::{Text, shape};
use crate::event::{EventDoc, Malformed, Normalised, Payload, Whom, need, one, read, shorten};
use crate::raw::RawEvent;
use crate::unified::{EventKind, Severity};

/// Documentation and samples.
pub const DOC: EventDoc = EventDoc {
    source: "cni",
    raw_type: "CniFailure",
    kinds: &[EventKind::PodNetworkFailed],
    proof: "documented",
    samples: &[
        r#"{"timestamp":"2024-01-15T10:30:00Z","type":"CniFailure","source":"cni_collector","metadata":{"cluster":"main","node":"node-1"},"data":{"namespace":"shop","pod":"cart-5f9dbcfb-82fb7","uid":"ab76584e-5003-422d-abe5-2a89ec64816c","plugin":"host-local","operation":"ADD","error":"failed to allocate for range 0: no IP addresses available in range set: 10.244.0.1-10.244.0.254","code":11}}"#,
    ],
    about: "the network of a pod could not be set up",
};

shape! {
    /// A failure of a plugin.
    struct CniFailure {
        /// Namespace of the pod.
        namespace: Text<'a>,
        /// Pod whose process it is, where the agent knows it.
        pod: Text<'a>,
        /// Its uid.
        uid: Text<'a>,
        /// Its container.
        container: Text<'a>,
        /// Plugin.
        plugin: Text<'a>,
        /// `ADD`, `DEL`, `CHECK`.
        operation: Text<'a>,
        /// What it said.
        error: Text<'a>,
        /// Its error code.
        code: i64,
    }
}

/// Normalises one failure.
pub(crate) fn normalise(raw: &RawEvent) -> Result<Normalised<'_>, Malformed> {
    let data: CniFailure = read(raw)?;
    let error = need(raw, "error", &data.error)?;
    let plugin = if data.plugin.is_empty() { words::plugin(error).unwrap_or("") } else { &data.plugin };
    let whom = Whom {
        namespace: &data.namespace,
        pod: &data.pod,
        uid: &data.uid,
        container: &data.container,
        otherwise: plugin,
    };
    // What fails on tearing down leaves something behind; no pod waits for it.
    let severity = if data.operation.eq_ignore_ascii_case("DEL") { Severity::Low } else { Severity::High };
    let message = format!("the network of {} could not be set up by {plugin}: {}", whom.name(), shorten(error, 500));
    let mut event = whom
        .event(raw, EventKind::PodNetworkFailed, &[plugin, &data.operation, error])
        .saying(severity, message)
        .with("reason", shorten(error, 200));
    if let Some(trouble) = words::trouble(error) {
        event = event.with("trouble", trouble.as_str());
    }
    for (key, value) in [("plugin", plugin), ("operation", &*data.operation)] {
        if !value.is_empty() {
            event = event.with(key, value);
        }
    }
    Ok(one(event, Payload::CniFailure(data)))
}
