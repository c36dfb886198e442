//! `NetworkConnection`: a TCP connection was tried, and how that ended.
//!
//! ```json
//! {"src_pod":"frontend-5d4b…","src_namespace":"shop","src_container":"web","src_uid":"…","src_ip":"10.244.0.7",
//!  "dst_service":"backend","dst_namespace":"shop","dst_pod":"","dst_ip":"10.96.1.237","dst_port":8080,
//!  "protocol":"TCP","state":"connection_refused","errno":111,"elapsed_ms":1,"retransmits":0,"attempts":15,
//!  "pid":4711,"comm":"web","dst_ready_endpoints":0}
//! ```
//! `state` is needed: `connection_refused`, `connection_timeout`, `connection_reset`, `unreachable`, `no_endpoints`;
//! `established` and `closed` are no failures. The kernel gives `err=0` where an application gave up waiting, so a time-out
//! is told by retransmits and elapsed time before it gets here. An address becomes a Service or pod in the engine.
//! `service_unavailable` follows where the Service is known to have no ready endpoint.

use crate::event::shape::{Text, shape};
use crate::event::{Before, EventDoc, Malformed, Normalised, Payload, Whom, about, fact, need, read};
use crate::object::ObjectRef;
use crate::raw::RawEvent;
use crate::unified::{EventKind, Resolution, Severity, UnifiedEvent};

/// Documentation and samples.
pub const DOC: EventDoc = EventDoc {
    source: "ebpf",
    raw_type: "NetworkConnection",
    kinds: &[EventKind::ConnectionFailed, EventKind::ServiceUnavailable],
    proof: "documented",
    samples: &[
        r#"{"timestamp":"2024-01-15T10:30:00Z","type":"NetworkConnection","source":"ebpf_collector","metadata":{"node":"node-1"},"data":{"src_pod":"frontend-5d4b5c6d7-xyz","dst_service":"backend-service","protocol":"TCP","state":"connection_refused","attempts":15}}"#,
        r#"{"timestamp":"2024-01-15T10:30:00Z","type":"NetworkConnection","source":"ebpf_collector","metadata":{"cluster":"main","node":"node-1"},"data":{"src_pod":"frontend-5d4b5c6d7-xyz","src_namespace":"shop","dst_service":"backend","dst_namespace":"shop","dst_ip":"10.96.1.237","dst_port":8080,"protocol":"TCP","state":"connection_refused","errno":111,"elapsed_ms":1,"attempts":3,"dst_ready_endpoints":0}}"#,
    ],
    about: "a connection was refused, timed out, was reset or had no route",
};

shape! {
    /// A connection as the kernel saw it.
    struct NetworkConnection {
        /// Pod that connects.
        src_pod: Text<'a>,
        /// Its namespace.
        src_namespace: Text<'a>,
        /// Its uid.
        src_uid: Text<'a>,
        /// Its container.
        src_container: Text<'a>,
        /// Its address.
        src_ip: Text<'a>,
        /// Its port.
        src_port: i64,
        /// Service that is called, where known.
        dst_service: Text<'a>,
        /// Pod that is called, where known.
        dst_pod: Text<'a>,
        /// Namespace of what is called; that of the caller if absent.
        dst_namespace: Text<'a>,
        /// Address that is called.
        dst_ip: Text<'a>,
        /// Port that is called.
        dst_port: i64,
        /// How many ready endpoints the Service has, where the agent knows.
        dst_ready_endpoints: Option<i64>,
        /// `TCP`, …
        protocol: Text<'a>,
        /// How it ended.
        state: Text<'a>,
        /// The kernel's error number.
        errno: i64,
        /// How long it took.
        elapsed_ms: i64,
        /// How often the first packet was sent again.
        retransmits: i64,
        /// How many connections this stands for.
        attempts: i64,
        /// Process.
        pid: i64,
        /// Its command.
        comm: Text<'a>,
    }
}

/// How a connection failed, and the words for it; none if it did not.
fn failure(state: &str) -> Option<(&'static str, &'static str)> {
    Some(match state {
        "connection_refused" | "refused" => ("refused", "was refused"),
        "connection_timeout" | "connection_timed_out" | "timeout" => ("timeout", "timed out"),
        "connection_reset" | "reset" => ("reset", "was reset"),
        "unreachable" | "host_unreachable" | "network_unreachable" | "no_route" => ("unreachable", "had no route"),
        "no_endpoints" | "service_unavailable" => ("no_endpoints", "found no ready endpoint"),
        _ => return None,
    })
}

/// Normalises one connection.
pub(crate) fn normalise<'a>(raw: &'a RawEvent, before: &dyn Before) -> Result<Normalised<'a>, Malformed> {
    let data: NetworkConnection = read(raw)?;
    let state = need(raw, "state", &data.state)?;
    let events = match failure(state) {
        Some((outcome, verb)) => failed(raw, before, &data, outcome, verb),
        None => Vec::new(),
    };
    Ok(Normalised { events, payload: Payload::NetworkConnection(Box::new(data)) })
}

fn failed(
    raw: &RawEvent,
    before: &dyn Before,
    d: &NetworkConnection<'_>,
    outcome: &str,
    verb: &str,
) -> Vec<UnifiedEvent> {
    let attempts = d.attempts.max(1);
    let namespace = if d.dst_namespace.is_empty() { &d.src_namespace } else { &d.dst_namespace };
    let slash = if namespace.is_empty() { "" } else { "/" };
    let target = match (&*d.dst_service, &*d.dst_pod, &*d.dst_ip) {
        ("", "", "") => "an unknown address".to_owned(),
        ("", "", ip) => ip.to_owned(),
        ("", pod, _) => format!("pod {}{slash}{pod}", &**namespace),
        (service, _, _) => format!("service {}{slash}{service}", &**namespace),
    };
    let port = if d.dst_port == 0 { String::new() } else { d.dst_port.to_string() };
    let on_port = if port.is_empty() { String::new() } else { format!(" port {port}") };
    let whom = Whom {
        namespace: &d.src_namespace,
        pod: &d.src_pod,
        uid: &d.src_uid,
        container: &d.src_container,
        otherwise: &d.src_ip,
    };
    let message = format!("connection from {} to {target}{on_port} {verb} ({attempts} attempts)", whom.name());
    let mut event = whom
        .event(raw, EventKind::ConnectionFailed, &[&target, &port, outcome])
        .saying(Severity::Medium, message)
        .with("outcome", outcome)
        .with("count", attempts.to_string());
    for (key, value) in [
        ("dst_service", &*d.dst_service),
        ("dst_pod", &*d.dst_pod),
        ("dst_ip", &*d.dst_ip),
        ("dst_namespace", &**namespace),
        ("dst_port", &*port),
    ] {
        if !value.is_empty() {
            event = event.with(key, value);
        }
    }
    let mut events = vec![event];
    if !d.dst_service.is_empty() {
        let key = ObjectRef::new("Service", namespace, &d.dst_service);
        let ready = d
            .dst_ready_endpoints
            .or_else(|| before.ready_endpoints(raw.cluster(), &key).and_then(|n| n.try_into().ok()));
        if ready == Some(0) || outcome == "no_endpoints" {
            let id = fact(raw, EventKind::ServiceUnavailable, &key).number(raw.timestamp.micros()).text(&port).finish();
            let message = format!("{target} was called by {} and has no ready endpoint", whom.name());
            let mut event = about(raw, id, EventKind::ServiceUnavailable, raw.timestamp, key, "")
                .saying(Severity::High, message)
                .with("count", attempts.to_string());
            if let Some(k8s) = &mut event.k8s {
                // The node is that of the caller; a Service is on none.
                k8s.node = None;
                if namespace.is_empty() {
                    k8s.resolution = Resolution::Pending;
                }
            }
            events.push(event);
        }
    }
    events
}
