//! Service mesh: requests that the proxies refuse.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use regex::Regex;
use tapio_core::object::{Object, ObjectRef, StringMap, is_subset};
use tapio_core::time::Time;

use super::{kubectl, manual};
use crate::diagnosis::endpoints;
use crate::diagnosis::hypothesis::{Hypothesis, Proof};
use crate::diagnosis::logs::{self, Class, ErrorLine};
use crate::diagnosis::symptom::Symptom;
use crate::diagnosis::view::{PodFacts, View};

manual! {
    /// The mesh refuses the traffic (mTLS mode, authorization policy).
    ///
    /// Required: a failing container, and either "RBAC: access denied" in its log, or a denial in the words of the proxy of
    /// what it calls (a sidecar of Istio or Linkerd, or a ztunnel), with a policy that selects what it calls; or connections
    /// that are reset, a caller without a proxy, and a PeerAuthentication with mode STRICT over pods that are ready and
    /// have one.
    /// Supports: the policy is new or was changed; the proxy names it, or names the caller.
    /// Refuted by: what is called is not ready (then that); for STRICT: the caller has a proxy.
    /// Lag: seconds: the proxies are told of a policy at once.
    /// Do: allow the caller in the policy; for STRICT, give the caller a proxy or set the port to PERMISSIVE.
    "mesh-policy-blocks": Documented [Crashing, Unready, LogErrors, ProbeKilled, InitStuck];
}

/// The namespace whose policies hold for the whole mesh.
const ROOT_NAMESPACE: &str = "istio-system";

static NAMED: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"rbac_access_denied_matched_policy\[ns\[([^\]]+)\]-policy\[([^\]]+)\]").ok());
/// Of a proxy of Linkerd: 2.11 says `server=`, later ones `server.name=`, each of a request and of a connection.
static SERVER: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"(?:Request|Connection) denied (?:server=|.*?\bserver\.name=)(\S+)").ok());
/// Of a ztunnel: the pod that was called, its namespace, and the policy where it is one that denies.
static ZTUNNEL: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r#"dst\.workload="([^"]+)".*dst\.namespace="([^"]+)".*policy rejection: (?:explicitly denied by: ([^/"\s]+)/([^"\s]+))?"#).ok()
});

/// The policy that a proxy's line names: `rbac_access_denied_matched_policy[ns[shop]-policy[deny]-rule[0]]`. `none` is
/// said where there are policies that allow, and none of them matched.
fn named_policy(line: &str) -> Option<ObjectRef> {
    let c = NAMED.as_ref()?.captures(line)?;
    Some(ObjectRef::new("AuthorizationPolicy", &c[1], &c[2]))
}

/// The Server of Linkerd at which a proxy denied something. `default:…` is a policy of the proxy, and no object.
fn named_server(line: &str) -> Option<&str> {
    SERVER.as_ref()?.captures(line)?.get(1).map(|m| m.as_str()).filter(|n| !n.contains(':'))
}

/// The pod, as namespace and name, to which a ztunnel let nobody through, and the policy that it names.
fn named_workload(line: &str) -> Option<((&str, &str), Option<ObjectRef>)> {
    let c = ZTUNNEL.as_ref()?.captures(line)?;
    let (name, ns) = (c.get(1)?.as_str(), c.get(2)?.as_str());
    let policy = c.get(3).zip(c.get(4)).map(|(ns, n)| ObjectRef::new("AuthorizationPolicy", ns.as_str(), n.as_str()));
    Some(((ns, name), policy))
}

/// A denial in somebody's log.
struct Denial<'a> {
    /// Whose log.
    who: ObjectRef,
    container: &'a str,
    text: &'a str,
    at: Time,
    /// The policy that it names.
    policy: Option<ObjectRef>,
}

/// The newest line of a container's log of which `take` makes something.
fn newest<'a, T>(
    p: &PodFacts<'a>,
    container: &str,
    take: impl Fn(&'a str) -> Option<T>,
) -> Option<(&'a str, &'a str, Time, T)> {
    let tails = p.history().logs.iter().filter(|((name, previous), _)| name == container && !previous);
    tails
        .flat_map(|((name, _), t)| t.lines.iter().rev().map(move |l| (name.as_str(), l.as_str(), t.at)))
        .find_map(|(name, l, at)| take(l).map(|x| (name, l, at, x)))
}

/// Requests that a policy of the mesh refuses.
pub fn find(view: &View, symptoms: &[Symptom], out: &mut Vec<Hypothesis>) {
    let meshed =
        ["AuthorizationPolicy", "PeerAuthentication", "Server"].iter().any(|k| view.world.all(k).next().is_some());
    if !meshed {
        return;
    }
    let mut seen = BTreeSet::new();
    let failing = symptoms.iter().filter(|s| s.is_failing_container() && s.counts_from < Time::MAX);
    for s in failing.filter(|s| seen.insert(&s.object)) {
        let Some(p) = view.pods.get(&s.object) else { continue };
        out.extend(refused(view, p, s).or_else(|| plain_text(view, p, s)));
    }
}

fn has_proxy(p: &PodFacts) -> bool {
    p.pod.spec.containers.iter().chain(&p.pod.spec.init_containers).any(|c| c.name == "istio-proxy")
}

/// The pods of the Services that a failing pod calls, without its own.
fn called<'a, 'b>(view: &'b View<'a>, p: &PodFacts) -> Vec<&'b PodFacts<'a>> {
    let named = endpoints::named_by(view, p);
    let services = named.iter().filter_map(|k| view.services.get(k));
    services.flat_map(|f| &f.pods).filter_map(|k| view.pods.get(k)).filter(|x| x.workload != p.workload).collect()
}

/// Whether a policy is meant for this pod: by namespace and labels.
fn selects(policy: &Object, p: &PodFacts) -> bool {
    let Some(o) = policy.as_other() else { return false };
    let labels: StringMap = o.labels("spec.selector.matchLabels");
    let near = policy.key.ns() == p.key().ns() || policy.key.ns() == ROOT_NAMESPACE;
    near && is_subset(&labels, &p.object.meta.labels)
}

/// When a policy got the form that it has.
fn formed(view: &View, o: &Object) -> Time {
    let changed = view.changes(&o.key).last().map(|c| c.at);
    changed.or(*o.meta.creation_timestamp).unwrap_or(view.now)
}

/// What an Envoy says by itself, in the log of the caller or of the callee.
fn of_envoy<'a>(p: &PodFacts<'a>, container: Option<&str>) -> Option<Denial<'a>> {
    let l: ErrorLine = logs::newest_of(p, container, &[Class::MeshDenied])?;
    let (container, text) = (l.container, l.text);
    Some(Denial { who: p.key().clone(), container, text, at: l.at, policy: named_policy(text) })
}

/// What a callee's proxy of Linkerd says. It is at the level of information, so it is no error line.
fn of_linkerd<'a>(view: &View, callee: &PodFacts<'a>) -> Option<Denial<'a>> {
    let (container, text, at, server) = newest(callee, "linkerd-proxy", named_server)?;
    let server = ObjectRef::new("Server", callee.key().ns(), server);
    // What a person changes is who may call the Server; the Server itself where nobody may.
    let about = |o: &&Object| {
        let fact = |path: &str| o.as_other().is_some_and(|x| x.fact(path) == server.name);
        o.key.ns() == server.ns() && (fact("spec.targetRef.name") || fact("spec.server.name"))
    };
    let policies = ["AuthorizationPolicy", "ServerAuthorization"].into_iter().flat_map(|k| view.world.all(k));
    let newest = policies.filter(about).max_by_key(|o| (formed(view, o), o.key.clone())).map(|o| o.key.clone());
    Some(Denial { who: callee.key().clone(), container, text, at, policy: newest.or(Some(server)) })
}

/// What a ztunnel says of connections to a callee.
fn of_ztunnel<'a>(view: &View<'a>, callee: &PodFacts) -> Option<Denial<'a>> {
    let key = (callee.key().ns(), callee.key().name.as_str());
    let tunnels = view.pods.values().filter(|p| p.object.meta.labels.get("app").is_some_and(|a| a == "ztunnel"));
    tunnels.into_iter().find_map(|t| {
        let take = |l| named_workload(l).filter(|(who, _)| *who == key).map(|(_, policy)| policy);
        let (container, text, at, policy) = newest(t, "istio-proxy", take)?;
        let policy = policy.and_then(|k| written(view, k, callee));
        Some(Denial { who: t.key().clone(), container, text, at, policy })
    })
}

/// The policy that a person wrote: what a PeerAuthentication says is told to ztunnels as policies of other names.
fn written(view: &View, named: ObjectRef, callee: &PodFacts) -> Option<ObjectRef> {
    if named.name == "istio_converted_static_strict" {
        return peer_authentication(view, callee).map(|o| o.key.clone());
    }
    match named.name.strip_prefix("converted_peer_authentication_") {
        Some(name) => Some(ObjectRef::new("PeerAuthentication", named.ns(), name)),
        None => Some(named),
    }
}

fn refused(view: &View, p: &PodFacts, s: &Symptom) -> Option<Hypothesis> {
    let callees = called(view, p);
    let denial = of_envoy(p, None)
        .or_else(|| callees.iter().find_map(|c| of_envoy(c, Some("istio-proxy"))))
        .or_else(|| callees.iter().find_map(|c| of_linkerd(view, c)))
        .or_else(|| callees.iter().find_map(|c| of_ztunnel(view, c)))?;
    let named = denial.policy.filter(|k| view.world.live(k).is_some());
    let policy = match &named {
        Some(k) => view.world.live(k)?,
        // Where the line names none, the newest that is meant for what is called. Those of Linkerd have a target.
        None => view
            .world
            .all("AuthorizationPolicy")
            .filter(|o| {
                o.as_other()
                    .is_some_and(|x| x.fact("spec.action") != "AUDIT" && x.fact("spec.targetRef.name").is_empty())
            })
            .filter(|o| callees.iter().any(|c| selects(o, c)))
            .max_by_key(|o| (formed(view, o), o.key.clone()))?,
    };
    let at = formed(view, policy);
    let dead = !callees.is_empty() && callees.iter().all(|c| !c.pod.is_ready());
    let fresh = at >= s.since.plus(-3_600 * tapio_core::time::SECOND);
    Some(
        base(view, policy, p, s, at, "refuses its requests")
            .supported(u32::from(named.is_some()) + u32::from(fresh))
            .with([view.logged(&denial.who, Some(denial.at), denial.container, denial.text)])
            .unless("what is called is not ready", dead && named.is_none()),
    )
}

/// What clients of several languages say when a server ends a connection that it does not understand.
const RESETS: &[&str] =
    &["reset by peer", "connection reset", "econnreset", "unexpected eof", "upstream connect error"];

/// A caller without a proxy, to pods that take encrypted traffic only.
fn plain_text(view: &View, p: &PodFacts, s: &Symptom) -> Option<Hypothesis> {
    let line = logs::newest_of(p, None, &[Class::Network])
        .filter(|l| RESETS.iter().any(|w| l.text.to_lowercase().contains(w)));
    // The proxy of a callee names the address of whom it did not understand.
    let ip = &p.pod.status.pod_ip;
    let refused = |l: &str| (!ip.is_empty() && not_understood(l).is_some_and(|from| from == ip)).then_some(());
    let told = |c: &PodFacts| {
        newest(c, "istio-proxy", refused)
            .map(|(container, text, at, ())| view.logged(c.key(), Some(at), container, text))
    };
    // Only what the line itself names: other callees have nothing to do with it.
    let hosts = line.as_ref().map(|l| endpoints::mentioned(l.text)).unwrap_or_default();
    let services = hosts.iter().filter_map(|e| endpoints::resolve(view, p.key().ns(), &e.host));
    let named = services.filter_map(|k| view.services.get(&k)).flat_map(|f| &f.pods).filter_map(|k| view.pods.get(k));
    let callee = named
        .chain(called(view, p).into_iter().filter(|c| told(c).is_some()))
        .find(|c| has_proxy(c) && c.pod.is_ready())?;
    let policy = peer_authentication(view, callee)?;
    let at = formed(view, policy);
    let theirs = told(callee);
    Some(
        base(view, policy, p, s, at, "takes encrypted traffic only, and the caller has no proxy")
            .supported(u32::from(at >= s.since.plus(-3_600 * tapio_core::time::SECOND)) + u32::from(theirs.is_some()))
            .with(line.map(|l| view.logged(p.key(), Some(l.at), l.container, l.text)))
            .with(theirs)
            .with([view.state(p.key(), None, "no container istio-proxy")])
            .unless("the caller has a proxy", has_proxy(p)),
    )
}

/// The address of whoever spoke in a way for which a proxy has no filter chain, from its access log: plain text to a
/// port that takes encrypted traffic only.
fn not_understood(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once(" NR filter_chain_not_found ")?;
    // The last two addresses are the proxy's own and the other end's.
    let mut addresses = rest.split_ascii_whitespace().filter_map(|w| w.rsplit_once(':'));
    addresses.nth(1).map(|(ip, _)| ip)
}

/// The PeerAuthentication that holds for a pod, if it is strict: that with a selector before that of the namespace before
/// that of the mesh.
fn peer_authentication<'a>(view: &View<'a>, p: &PodFacts) -> Option<&'a Object> {
    let rank = |o: &Object| {
        let selective = o.as_other().is_some_and(|x| x.below("spec.selector.matchLabels").next().is_some());
        (selective, o.key.ns() == p.key().ns())
    };
    let holds =
        view.world.all("PeerAuthentication").filter(|o| selects(o, p)).max_by_key(|o| (rank(o), o.key.clone()))?;
    holds.as_other().filter(|x| x.fact("spec.mtls.mode") == "STRICT").map(|_| holds)
}

fn base(view: &View, policy: &Object, p: &PodFacts, s: &Symptom, at: Time, why: &str) -> Hypothesis {
    let changes = view.changes(&policy.key);
    Hypothesis::new(
        "mesh-policy-blocks",
        policy.key.clone(),
        at.min(s.since),
        Proof::Inferred,
        format!("{} {why}: {} fails", policy.key, p.workload),
    )
    .explaining([s.object.clone()])
    .counting_from(s.counts_from)
    .via("policy")
    .changed(changes.last().map(|c| c.change.clone()))
    .with([view.state(&policy.key, Some(at), format!("{} is so since {}", policy.key, at.clock()))])
    .next(format!("{} -o yaml", kubectl("get", &policy.key)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proxy_names_the_policy_that_denied() {
        for (text, want) in [
            // Istio 1.9 to 1.27: one format.
            (
                r#"[2026-03-02T10:00:41.123Z] "GET /v1 HTTP/1.1" 403 - rbac_access_denied_matched_policy[ns[shop]-policy[ledger-deny]-rule[0]] - "-" 0 19 0 - "-" "-""#,
                Some("ledger-deny"),
            ),
            (
                r#"[2026-03-02T10:00:41.123Z] "GET /v1 HTTP/1.1" 403 - rbac_access_denied_matched_policy[none] - "-" 0 19 0 - "-""#,
                None,
            ),
            // Of a connection that is no HTTP.
            (
                r#"[2026-03-02T10:00:41.123Z] "- - -" 0 - rbac_access_denied_matched_policy[ns[shop]-policy[store-deny]-rule[0]] - "-" 0 0 0 - "-" "-" "-" "-" "-" inbound|6379|| - 10.244.0.14:6379 10.244.0.12:52784 - -"#,
                Some("store-deny"),
            ),
            // Before 1.9 the log of the proxy has no such word; the answer is the same.
            ("upstream answered 403: RBAC: access denied", None),
            ("RBAC: access denied", None),
        ] {
            assert_eq!(named_policy(text).map(|k| k.name), want.map(str::to_owned), "{text}");
            assert_eq!(logs::class_of(text), Some(Class::MeshDenied), "{text}");
        }
        assert_eq!(
            logs::class_of(r#"[2026-03-02T10:00:41.123Z] "GET /v1 HTTP/1.1" 200 - via_upstream - "-" 0 19 3 2"#),
            None
        );
    }

    #[test]
    fn proxies_of_linkerd_name_the_server_that_denied() {
        for (text, want) in [
            // 2.11.
            (
                "[ 623.878567s] INFO ThreadId(01) inbound:server{port=8085}: linkerd_app_inbound::policy::authorize::http: Request denied server=metrics-api tls=None(NoClientHello) client=192.168.1.253:39024",
                Some("metrics-api"),
            ),
            (
                "[    10.120143s]  INFO ThreadId(02) daemon:admin{listen.addr=0.0.0.0:4191}: linkerd_app_inbound::policy::authorize::http: Request denied server=default:cluster-unauthenticated tls=None(NoClientHello) client=127.0.0.1:58456",
                None,
            ),
            // 2.12, of a connection.
            (
                "[1892678.776921s]  INFO ThreadId(01) inbound:server{port=9090}: linkerd_app_inbound::policy::tcp: Connection denied server.group=policy.linkerd.io server.kind=server server.name=prometheus-admin tls=Some(Established { client_id: None, negotiated_protocol: None }) client=10.2.76.70:52118",
                Some("prometheus-admin"),
            ),
            // 2.14 and later.
            (
                "[  1289.245238s]  INFO ThreadId(02) daemon:admin{listen.addr=0.0.0.0:4191}: linkerd_app_inbound::policy::http: Request denied server.group=policy.linkerd.io server.kind=server server.name=onboarding-linkerd route.group= route.kind=default route.name=default client.tls=None(NoClientHello) client.ip=10.0.3.252",
                Some("onboarding-linkerd"),
            ),
            ("[ 0.1s] INFO ThreadId(01) linkerd2_proxy: Admin interface on 0.0.0.0:4191", None),
        ] {
            assert_eq!(named_server(text), want, "{text}");
        }
    }

    #[test]
    fn a_ztunnel_names_the_pod_and_a_policy_that_denies() {
        let line = |error: &str| {
            format!(
                r#"2026-03-02T10:00:41.123Z error access connection complete src.addr=10.244.0.12:40064 src.workload="web-5d9c" src.namespace="shop" src.identity="spiffe://cluster.local/ns/shop/sa/web" dst.addr=10.244.0.14:15008 dst.service="ledger.shop.svc.cluster.local" dst.workload="ledger-6f78-h2bpn" dst.namespace="shop" dst.identity="spiffe://cluster.local/ns/shop/sa/ledger" direction="inbound" bytes_sent=0 bytes_recv=0 duration="0ms" error="{error}""#
            )
        };
        let none = line("connection closed due to policy rejection: allow policies exist, but none allowed");
        assert_eq!(named_workload(&none), Some((("shop", "ledger-6f78-h2bpn"), None)));
        let one = line("connection closed due to policy rejection: explicitly denied by: shop/ledger-deny");
        let want = ObjectRef::new("AuthorizationPolicy", "shop", "ledger-deny");
        assert_eq!(named_workload(&one), Some((("shop", "ledger-6f78-h2bpn"), Some(want))));
        // Of a mode STRICT; the caller is none of the mesh.
        let strict = r#"2025-10-30T22:23:01.120766Z error access connection complete src.addr=10.217.0.2:44480 dst.addr=10.217.0.248:8080 dst.workload="golang-ex-6d957754b-nfbfv" dst.namespace="test" direction="inbound" bytes_sent=0 bytes_recv=0 duration="0ms" error="connection closed due to policy rejection: explicitly denied by: istio-system/istio_converted_static_strict""#;
        let want = ObjectRef::new("AuthorizationPolicy", "istio-system", "istio_converted_static_strict");
        assert_eq!(named_workload(strict), Some((("test", "golang-ex-6d957754b-nfbfv"), Some(want))));
        assert_eq!(named_workload(&line("connection failed: deadline has elapsed")), None);
    }

    #[test]
    fn a_proxy_that_takes_encrypted_traffic_only_names_who_spoke_plainly() {
        for (text, want) in [
            // Istio 1.14 and 1.17; later ones say the same.
            (
                r#"[2022-07-06T03:33:58.083Z] "- - -" 0 NR filter_chain_not_found - "-" 0 0 0 - "-" "-" "-" "-" "-" - - 10.10.0.32:8090 10.10.0.29:43434 - -"#,
                Some("10.10.0.29"),
            ),
            (
                r#"[2023-02-21T19:45:06.559Z] "- - -" 0 NR filter_chain_not_found - "-" 0 0 4995 - "-" "-" "-" "-" "-" - - 10.1.2.188:50000 10.1.2.182:50001 - -"#,
                Some("10.1.2.182"),
            ),
            (
                r#"[2022-07-06T03:33:58.083Z] "GET / HTTP/1.1" 404 NR route_not_found - "-" 0 0 0 - "10.1.2.3:1" "10.1.2.4:2""#,
                None,
            ),
        ] {
            assert_eq!(not_understood(text), want, "{text}");
        }
        for text in [
            "curl: (56) Recv failure: Connection reset by peer",
            "ConnectionResetError: [Errno 104] Connection reset by peer",
            "java.net.SocketException: Connection reset",
            "Error: read ECONNRESET",
        ] {
            assert_eq!(logs::class_of(text), Some(Class::Network), "{text}");
            assert!(RESETS.iter().any(|w| text.to_lowercase().contains(w)), "{text}");
        }
    }
}
