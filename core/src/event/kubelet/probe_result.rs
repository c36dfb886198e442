//! `ProbeResult`: a probe of a container, as the kubelet counts it.
//!
//! ```json
//! {"pod":"cart-1","namespace":"shop","uid":"ab76…","container":"app","probe":"liveness","ok":false,"failures":3,
//!  "message":"HTTP probe failed with statuscode: 500"}
//! ```
//! `pod` and `probe` (`liveness`, `readiness`, `startup`) are needed; `ok` absent means it failed. A probe that
//! succeeds is no event. `failures` is how often it has failed in all, so each rise is an occurrence. The kubelet
//! collector has it from the kubelet's own counts: the first failure of a run of them, then each doubling of their number.

use crate::event::shape::{Text, shape};
use crate::event::{EventDoc, Malformed, Normalised, Payload, Whom, need, perhaps, read, shorten};
use crate::raw::RawEvent;
use crate::unified::{EventKind, Severity};

/// Documentation and samples.
pub const DOC: EventDoc = EventDoc {
    source: "kubelet",
    raw_type: "ProbeResult",
    kinds: &[EventKind::ProbeFailed],
    proof: "documented",
    samples: &[
        r#"{"timestamp":"2024-01-15T10:30:00Z","type":"ProbeResult","source":"kubelet_collector","metadata":{"node":"node-1","cluster":"main"},"data":{"pod":"cart-5f9dbcfb-82fb7","namespace":"shop","container":"app","probe":"liveness","ok":false,"failures":3,"message":"HTTP probe failed with statuscode: 500"}}"#,
    ],
    about: "a liveness, readiness or startup probe failed",
};

shape! {
    /// The result of a probe.
    struct ProbeResult {
        /// Pod.
        pod: Text<'a>,
        /// Its namespace.
        namespace: Text<'a>,
        /// Its uid.
        uid: Text<'a>,
        /// Container.
        container: Text<'a>,
        /// `liveness`, `readiness` or `startup`.
        probe: Text<'a>,
        /// Whether it succeeded.
        ok: bool,
        /// How often it has failed.
        failures: i64,
        /// What it said.
        message: Text<'a>,
    }
}

/// Normalises one result.
pub(crate) fn normalise(raw: &RawEvent) -> Result<Normalised<'_>, Malformed> {
    let data: ProbeResult = read(raw)?;
    need(raw, "pod", &data.pod)?;
    let probe = need(raw, "probe", &data.probe)?;
    let event = (!data.ok).then(|| {
        let whom = Whom {
            namespace: &data.namespace,
            pod: &data.pod,
            uid: &data.uid,
            container: &data.container,
            otherwise: "",
        };
        let severity = if probe.eq_ignore_ascii_case("readiness") { Severity::Medium } else { Severity::High };
        let times = data.failures.max(1);
        let why = match (&*data.message, times) {
            // The kubelet counts failures, and keeps no word of theirs.
            ("", 1) => String::new(),
            ("", n) => format!(", {n} times in all"),
            (message, _) => format!(": {}", shorten(message, 300)),
        };
        let text = format!("{probe} probe of container {} of {} failed{why}", data.container, whom.name());
        whom.event(raw, EventKind::ProbeFailed, &[&data.container, probe])
            .saying(severity, text)
            .with("probe", probe.to_ascii_lowercase())
            .with("container", &*data.container)
            .with("count", times.to_string())
    });
    Ok(perhaps(event, Payload::ProbeResult(data)))
}
