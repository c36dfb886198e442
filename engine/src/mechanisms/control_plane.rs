//! The API server as its clients see it.

use std::collections::BTreeSet;

use tapio_core::object::ObjectRef;
use tapio_core::time::Time;

use super::{kubectl, manual};
use crate::diagnosis::hypothesis::{Hypothesis, Proof};
use crate::diagnosis::logs::{self, Class};
use crate::diagnosis::symptom::Symptom;
use crate::diagnosis::view::{View, shorten};

manual! {
    /// The API server refuses or delays requests.
    ///
    /// Required: two clients or more that are refused with "too many requests", or told that etcd or the server did not
    /// answer in time, within ten minutes and again and again; in the logs of their pods or in their events.
    /// Supports: the API server's own probes fail.
    /// Refuted by: only one client is told so (then it asks too much). Throttling by the client itself is no refusal.
    /// Lag: none.
    /// Do: look at the API server's load by client and at etcd's disk; stop the client that floods it.
    "api-server-overloaded": Documented [];
}

/// Seconds within which clients must complain together.
const TOGETHER: i64 = 600;
/// Complaints that are no passing ones: a leader of etcd that changes makes one for each client.
const COMPLAINTS: u64 = 4;

/// Whether a text says that the API server refuses or delays. Throttling by the client itself is its own choice.
fn is_overload(text: &str) -> bool {
    logs::class_of(text) == Some(Class::ApiOverload)
}

/// An API server that several clients find overloaded.
pub fn find(view: &View, _: &[Symptom], out: &mut Vec<Hypothesis>) {
    let mut clients: BTreeSet<String> = BTreeSet::new();
    let mut evidence = Vec::new();
    let mut times: Vec<Time> = Vec::new();
    let mut complaints = 0;
    for p in view.pods.values() {
        let lines: Vec<_> = logs::errors(p, None, 60)
            .into_iter()
            .filter(|l| l.class == Class::ApiOverload && view.age(l.at) < TOGETHER)
            .collect();
        complaints += lines.len() as u64;
        let Some(l) = lines.first() else { continue };
        if clients.insert(p.workload.to_string()) {
            evidence.push(view.logged(p.key(), Some(l.at), l.container, l.text));
            times.push(l.at);
        }
    }
    for kind in ["ReplicaSet", "StatefulSet", "DaemonSet", "Job", "CronJob", "Deployment", "Pod"] {
        for e in view.world.entries(kind) {
            let told = e.history.notes.iter().filter(|n| n.warning && view.age(n.last) < TOGETHER);
            for n in told.filter(|n| is_overload(&n.message)) {
                complaints += n.count.max(1);
                if clients.insert(n.component.clone()) {
                    evidence.push(view.noted(&e.key, n));
                    times.push(n.first);
                }
            }
        }
    }
    if clients.len() < 2 || complaints < COMPLAINTS {
        return;
    }
    times.sort_unstable();
    let servers: Vec<_> = view
        .pods
        .values()
        .filter(|p| {
            p.key().ns() == "kube-system"
                && p.object.meta.labels.get("component").is_some_and(|c| c == "kube-apiserver")
        })
        .collect();
    // Where there is one server it is that; else what all of them stand behind.
    let root = match servers.as_slice() {
        [one] => one.key().clone(),
        _ => ObjectRef::new("Service", "default", "kubernetes"),
    };
    let probes: Vec<_> = servers
        .iter()
        .filter_map(|p| p.notes(&["Unhealthy"]).rfind(|n| view.age(n.last) < TOGETHER).map(|n| view.noted(p.key(), n)))
        .collect();
    let list: Vec<&str> = clients.iter().map(String::as_str).collect();
    out.push(
        Hypothesis::new(
            "api-server-overloaded",
            root.clone(),
            times[0],
            Proof::Inferred,
            format!("the API server refuses or delays requests of {}", shorten(&list.join(", "), 200)),
        )
        .counting_from(times[1])
        .via("control-plane")
        .supported(u32::from(clients.len() > 2) + u32::from(!probes.is_empty()))
        .with(evidence.into_iter().take(4))
        .with(probes)
        .unless("only one client is told so", false)
        .next(kubectl("describe", &root))
        .next("kubectl get --raw /metrics | grep apiserver_flowcontrol_rejected_requests_total"),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_refusal_is_told_from_the_clients_own_restraint() {
        for (text, want) in [
            ("error: the server has received too many requests and has asked us to try again later (get pods)", true),
            ("Error updating: etcdserver: request timed out", true),
            (
                "Error creating: the server was unable to return a response in the time allotted, but may still be processing the request (post pods)",
                true,
            ),
            (
                "Waited for 3.19s due to client-side throttling, not priority and fairness, request: GET:https://10.96.0.1:443/apis",
                false,
            ),
            ("Error creating: pods \"cart-1\" is forbidden: exceeded quota", false),
            ("429 Too Many Requests from registry", false),
        ] {
            assert_eq!(is_overload(text), want, "{text}");
        }
    }
}
