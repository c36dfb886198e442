//! `DnsResult`: how a name was resolved.
//!
//! ```json
//! {"namespace":"shop","pod":"cart-1","uid":"…","container":"app","query":"store.shop.svc.cluster.local",
//!  "query_type":"A","rcode":"NXDOMAIN","latency_ms":2,"timeout":false,"server":"10.96.0.10","count":1}
//! ```
//! `query` is needed. `rcode` other than `NOERROR`, or `timeout`, is `dns_failed`; an answer after a second or later is
//! `dns_slow`; any other is no event.

use crate::event::shape::{Text, shape};
use crate::event::{EventDoc, Malformed, Normalised, Payload, Whom, need, perhaps, read};
use crate::raw::RawEvent;
use crate::unified::{EventKind, Severity};

/// Documentation and samples.
pub const DOC: EventDoc = EventDoc {
    source: "ebpf",
    raw_type: "DnsResult",
    kinds: &[EventKind::DnsFailed, EventKind::DnsSlow],
    proof: "documented",
    samples: &[
        r#"{"timestamp":"2024-01-15T10:30:00Z","type":"DnsResult","source":"ebpf_collector","metadata":{"cluster":"main","node":"node-1"},"data":{"namespace":"shop","pod":"cart-5f9dbcfb-82fb7","container":"app","query":"store.shop.svc.cluster.local","query_type":"A","rcode":"NXDOMAIN","latency_ms":2,"server":"10.96.0.10","count":4}}"#,
        r#"{"timestamp":"2024-01-15T10:30:00Z","type":"DnsResult","source":"ebpf_collector","metadata":{"cluster":"main","node":"node-1"},"data":{"namespace":"shop","pod":"cart-5f9dbcfb-82fb7","container":"app","query":"store.shop.svc.cluster.local","query_type":"A","rcode":"NOERROR","latency_ms":1204,"server":"10.96.0.10"}}"#,
    ],
    about: "a name could not be resolved, or slowly",
};

shape! {
    /// The answer to a query.
    struct DnsResult {
        /// Namespace of the pod.
        namespace: Text<'a>,
        /// Pod whose process it is, where the agent knows it.
        pod: Text<'a>,
        /// Its uid.
        uid: Text<'a>,
        /// Its container.
        container: Text<'a>,
        /// Name that was asked for.
        query: Text<'a>,
        /// `A`, `AAAA`, …
        query_type: Text<'a>,
        /// `NOERROR`, `NXDOMAIN`, `SERVFAIL`, …
        rcode: Text<'a>,
        /// How long it took.
        latency_ms: i64,
        /// Whether no answer came.
        timeout: bool,
        /// Who was asked.
        server: Text<'a>,
        /// How many such answers this stands for.
        count: i64,
    }
}

/// Answers that take longer are slow: a resolver's retry begins at several seconds, a cluster's answer takes some ms.
const SLOW_MS: i64 = 1_000;

/// Normalises one answer.
pub(crate) fn normalise(raw: &RawEvent) -> Result<Normalised<'_>, Malformed> {
    let data: DnsResult = read(raw)?;
    let query = need(raw, "query", &data.query)?;
    let whom =
        Whom { namespace: &data.namespace, pod: &data.pod, uid: &data.uid, container: &data.container, otherwise: "" };
    let rcode = match (&*data.rcode, data.timeout) {
        (_, true) => "TIMEOUT",
        ("", false) => "NOERROR",
        (rcode, false) => rcode,
    };
    let told = match rcode {
        "NOERROR" if data.latency_ms < SLOW_MS => None,
        "NOERROR" => Some((
            EventKind::DnsSlow,
            Severity::Low,
            format!("{query} was resolved for {} after {} ms", whom.name(), data.latency_ms),
        )),
        _ => Some((
            EventKind::DnsFailed,
            Severity::Medium,
            format!("{query} could not be resolved for {}: {rcode}", whom.name()),
        )),
    };
    let event = told.map(|(kind, severity, message)| {
        let mut event = whom
            .event(raw, kind, &[query, rcode, &data.query_type])
            .saying(severity, message)
            .with("query", query)
            .with("rcode", rcode)
            .with("count", data.count.max(1).to_string());
        if !data.server.is_empty() {
            event = event.with("server", &*data.server);
        }
        event
    });
    Ok(perhaps(event, Payload::DnsResult(data)))
}
