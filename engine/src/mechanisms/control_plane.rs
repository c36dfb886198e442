//! The API server as its clients see it.

use std::collections::BTreeMap;

use tapio_core::answer::Evidence;
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

/// Words of the server and of etcd beside those of the class.
const WORDS: &[&str] = &[
    // A change of leader passes by itself and is told once to each client: it is not among these.
    "etcdserver: no leader",
    "could not be completed at this time, please try again",
    // The server's own limit on a request.
    "request did not complete within the allotted timeout",
];
/// The same limit, of a request that changes something: since 1.20 "requested timeout", before "allowed duration". Such a
/// request waits for webhooks, too, so alone it accuses nobody.
const OF_A_CHANGE: &[&str] =
    &["request did not complete within requested timeout", "request did not complete within allowed duration"];
/// The body of a refusal: any server may say so, so the line has to name a call of the API.
const BODY: &str = "Too many requests, please try again later.";

/// What a text says of the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    /// It refuses or delays.
    Overload,
    /// It delays, or a webhook behind it, or the network before it.
    Perhaps,
}

/// What a text says of the API server, if anything. Throttling by the client itself is its own choice.
fn said(text: &str) -> Option<Said> {
    // Of a webhook it is said by name.
    let class = logs::class_of(text)?;
    if text.contains("webhook") {
        return None;
    }
    let api = || ["/api/v1", "/apis/", "the server has"].iter().any(|w| text.contains(w));
    if class == Class::ApiOverload || WORDS.iter().any(|w| text.contains(w)) || text.contains(BODY) && api() {
        return Some(Said::Overload);
    }
    // A client that waited in vain does not know for whom.
    let waited = ["Client.Timeout exceeded while awaiting headers", ": context deadline exceeded"];
    let in_vain = ["/api/v1/", "/apis/"].iter().any(|w| text.contains(w)) && waited.iter().any(|w| text.contains(w));
    (in_vain || OF_A_CHANGE.iter().any(|w| text.contains(w))).then_some(Said::Perhaps)
}

/// One who was told so: a workload, or a component that writes events.
struct Client {
    evidence: Evidence,
    /// When it was told first.
    since: Time,
}

/// An API server that several clients find overloaded.
pub fn find(view: &View, _: &[Symptom], out: &mut Vec<Hypothesis>) {
    let mut clients: BTreeMap<String, Client> = BTreeMap::new();
    let mut complaints = 0;
    let mut surely = false;
    let mut take = |who: String, what: Said, times: u64, client: Client| {
        complaints += times;
        surely |= what == Said::Overload;
        clients.entry(who).or_insert(client);
    };
    for p in view.pods.values() {
        let lines = logs::errors(p, None, 60).into_iter().filter(|l| view.age(l.at) < TOGETHER);
        for (l, what) in lines.filter_map(|l| said(l.text).map(|what| (l, what))) {
            let evidence = view.logged(p.key(), Some(l.at), l.container, l.text);
            take(p.workload.to_string(), what, 1, Client { evidence, since: l.at });
        }
    }
    for kind in ["ReplicaSet", "StatefulSet", "DaemonSet", "Job", "CronJob", "Deployment", "Pod"] {
        for e in view.world.entries(kind) {
            let told = e.history.notes.iter().filter(|n| n.warning && view.age(n.last) < TOGETHER);
            for (n, what) in told.filter_map(|n| said(&n.message).map(|what| (n, what))) {
                let client = Client { evidence: view.noted(&e.key, n), since: n.first };
                take(n.component.clone(), what, n.count.max(1), client);
            }
        }
    }
    if clients.is_empty() || !surely || complaints < COMPLAINTS {
        return;
    }
    let mut times: Vec<Time> = clients.values().map(|c| c.since).collect();
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
    let list: Vec<&str> = clients.keys().map(String::as_str).collect();
    let alone = clients.len() < 2;
    out.push(
        Hypothesis::new(
            "api-server-overloaded",
            root.clone(),
            times[0],
            Proof::Inferred,
            format!("the API server refuses or delays requests of {}", shorten(&list.join(", "), 200)),
        )
        .counting_from(times.get(1).copied().unwrap_or(Time::MAX))
        .via("control-plane")
        .supported(u32::from(clients.len() > 2) + u32::from(!probes.is_empty()))
        .with(clients.values().take(4).map(|c| c.evidence.clone()))
        .with(probes)
        .unless("only one client is told so", alone)
        .next(kubectl("describe", &root))
        .next("kubectl get --raw /metrics | grep apiserver_flowcontrol_rejected_requests_total"),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_refusal_is_told_from_the_clients_own_restraint() {
        const SURELY: Option<Said> = Some(Said::Overload);
        for (text, want) in [
            // Of a client of any version: the words are the client's own for 429 and 504.
            ("error: the server has received too many requests and has asked us to try again later (get pods)", SURELY),
            (
                "E0827 01:02:00.631536       1 cronjob_controller.go:118] can't list Jobs: the server was unable to return a response in the time allotted, but may still be processing the request (get jobs.batch)",
                SURELY,
            ),
            (
                "E1120 00:23:54.054533       1 leaderelection.go:332] error retrieving resource lock kube-system/plndr-cp-lock: the server was unable to return a response in the time allotted, but may still be processing the request (get leases.coordination.k8s.io plndr-cp-lock)",
                SURELY,
            ),
            // 1.9 with etcd 3.0, and later ones.
            ("error from server: rpc error: code = 14 desc = etcdserver: request timed out", SURELY),
            (
                "E0827 01:00:11.664330       1 leaderelection.go:258] Failed to update lock: etcdserver: request timed out",
                SURELY,
            ),
            (
                "error: rpc error: code = Unavailable desc = etcdserver: request timed out, possibly due to previous leader failure",
                SURELY,
            ),
            // The body that other clients print: 1.34, where the queue of a priority level is full.
            (
                "ERROR Failure executing: GET at: https://10.96.0.1:443/api/v1/namespaces/shop/pods. Message: Too many requests, please try again later.",
                SURELY,
            ),
            ("error: Timeout: request did not complete within the allotted timeout", SURELY),
            // Up to 1.19, and since: it may be a webhook's fault.
            ("Error creating: Timeout: request did not complete within allowed duration", Some(Said::Perhaps)),
            (
                "Error creating: Timeout: request did not complete within requested timeout - context deadline exceeded",
                Some(Said::Perhaps),
            ),
            // 1.34, while etcd stands still: told by the server, and by clients that stopped waiting.
            (
                r#"E1121 18:27:55.938737    9199 controller.go:195] "Failed to update lease" err="the server was unable to return a response in the time allotted, but may still be processing the request (put leases.coordination.k8s.io apiserver-wlv32tlttr4jl3gtroqexyxapa)""#,
                SURELY,
            ),
            (
                r#"E1121 18:27:37.061536   15089 leaderelection.go:441] Failed to update lock optimistically: Put "https://127.0.0.1:16443/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/kube-scheduler?timeout=3s": net/http: request canceled (Client.Timeout exceeded while awaiting headers), falling back to slow path"#,
                Some(Said::Perhaps),
            ),
            (
                r#"E1121 18:27:43.065529   15089 leaderelection.go:316] error retrieving resource lock kube-system/kube-scheduler: Get "https://127.0.0.1:16443/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/kube-scheduler?timeout=3s": context deadline exceeded"#,
                Some(Said::Perhaps),
            ),
            (
                "E1121 18:27:40.064600   15089 leaderelection.go:448] error retrieving resource lock kube-system/kube-scheduler: client rate limiter Wait returned an error: context deadline exceeded",
                None,
            ),
            // It passes by itself.
            (
                "E1205 03:00:09.333218       1 leaderelection.go:332] error retrieving resource lock redis/lock: etcdserver: leader changed",
                None,
            ),
            (
                "Waited for 3.19s due to client-side throttling, not priority and fairness, request: GET:https://10.96.0.1:443/apis",
                None,
            ),
            ("Error creating: pods \"cart-1\" is forbidden: exceeded quota", None),
            (
                "Error creating: Internal error occurred: failed calling webhook \"v.kb.io\": failed to call webhook: the server was unable to return a response in the time allotted, but may still be processing the request",
                None,
            ),
            ("429 Too Many Requests from registry", None),
            ("ERROR shop-api answered: Too many requests, please try again later.", None),
        ] {
            assert_eq!(said(text), want, "{text}");
        }
    }
}
