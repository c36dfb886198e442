//! `NetworkPolicy`: the network decided about traffic between two pods.
//!
//! ```json
//! {"verdict":"denied","direction":"ingress","policy":"deny-all","policy_namespace":"shop","src_pod":"web-1",
//!  "src_namespace":"shop","src_ip":"10.244.0.7","dst_pod":"cart-1","dst_namespace":"shop","dst_ip":"10.244.1.9",
//!  "dst_port":8080,"protocol":"TCP","reason":"Policy denied","count":12}
//! ```
//! A verdict that allows (`allowed`, `forwarded`, `accept`) is no event; an absent one means denied. The event is about
//! the pod that the policy applies to: the destination for `ingress` (and where nothing is said), the source for `egress`.

use crate::event::shape::{Text, shape};
use crate::event::{EventDoc, Malformed, Normalised, Payload, Whom, perhaps, read};
use crate::raw::RawEvent;
use crate::unified::{EventKind, Severity};

/// Documentation and samples.
pub const DOC: EventDoc = EventDoc {
    source: "cni",
    raw_type: "NetworkPolicy",
    kinds: &[EventKind::NetworkPolicyViolation],
    proof: "documented",
    samples: &[
        r#"{"timestamp":"2024-01-15T10:30:00Z","type":"NetworkPolicy","source":"cni_collector","metadata":{"cluster":"main","node":"node-1"},"data":{"verdict":"denied","direction":"ingress","policy":"deny-all","policy_namespace":"shop","src_pod":"web-7d5b8c9f4-x2x7p","src_namespace":"shop","src_ip":"10.244.0.7","dst_pod":"cart-5f9dbcfb-82fb7","dst_namespace":"shop","dst_ip":"10.244.1.9","dst_port":8080,"protocol":"TCP","count":12}}"#,
    ],
    about: "traffic was refused by a NetworkPolicy",
};

shape! {
    /// A verdict about traffic.
    struct NetworkPolicy {
        /// What was decided.
        verdict: Text<'a>,
        /// `ingress` or `egress`.
        direction: Text<'a>,
        /// NetworkPolicy that decided, where known.
        policy: Text<'a>,
        /// Its namespace.
        policy_namespace: Text<'a>,
        /// Pod that sends.
        src_pod: Text<'a>,
        /// Its namespace.
        src_namespace: Text<'a>,
        /// Its address.
        src_ip: Text<'a>,
        /// Pod that should receive.
        dst_pod: Text<'a>,
        /// Its namespace.
        dst_namespace: Text<'a>,
        /// Its address.
        dst_ip: Text<'a>,
        /// Its port.
        dst_port: i64,
        /// `TCP`, `UDP`, …
        protocol: Text<'a>,
        /// Why, in the network's words.
        reason: Text<'a>,
        /// How many packets or connections this stands for.
        count: i64,
    }
}

/// Normalises one verdict.
pub(crate) fn normalise(raw: &RawEvent) -> Result<Normalised<'_>, Malformed> {
    let data: NetworkPolicy = read(raw)?;
    let allowed = ["allow", "allowed", "forwarded", "accept", "accepted", "pass"];
    let denied = !allowed.iter().any(|w| data.verdict.eq_ignore_ascii_case(w));
    let event = denied.then(|| {
        let end = |namespace, pod, ip| Whom { namespace, pod, uid: "", container: "", otherwise: ip };
        let source = end(&data.src_namespace, &data.src_pod, &data.src_ip);
        let target = end(&data.dst_namespace, &data.dst_pod, &data.dst_ip);
        let egress = data.direction.eq_ignore_ascii_case("egress");
        let whom = if egress { &source } else { &target };
        let port = data.dst_port.to_string();
        let by = match (&*data.policy, &*data.policy_namespace) {
            ("", _) => String::new(),
            (policy, "") => format!(" by policy {policy}"),
            (policy, ns) => format!(" by policy {ns}/{policy}"),
        };
        let message = format!("traffic from {} to {} port {port} was refused{by}", source.name(), target.name());
        let parts: [&str; 6] = [&data.src_pod, &data.src_ip, &data.dst_pod, &data.dst_ip, &port, &data.policy];
        let mut event = whom
            .event(raw, EventKind::NetworkPolicyViolation, &parts)
            .saying(Severity::Medium, message)
            .with("direction", if egress { "egress" } else { "ingress" })
            .with("dst_port", port)
            .with("count", data.count.max(1).to_string());
        for (key, value) in
            [("policy", &data.policy), ("src_pod", &data.src_pod), ("dst_pod", &data.dst_pod), ("reason", &data.reason)]
        {
            if !value.is_empty() {
                event = event.with(key, &**value);
            }
        }
        event
    });
    Ok(perhaps(event, Payload::NetworkPolicy(data)))
}
