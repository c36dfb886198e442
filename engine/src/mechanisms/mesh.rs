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
    /// Required: a failing container, and either "RBAC: access denied" in its log (or rbac_access_denied in the proxy of what
    /// it calls) with an AuthorizationPolicy that selects what it calls; or connections that are reset, a caller without a
    /// proxy, and a PeerAuthentication with mode STRICT over pods that are ready and have one.
    /// Supports: the policy is new or was changed; the proxy names it.
    /// Refuted by: what is called is not ready (then that); for STRICT: the caller has a proxy.
    /// Lag: seconds: the proxies are told of a policy at once.
    /// Do: allow the caller in the policy; for STRICT, give the caller a proxy or set the port to PERMISSIVE.
    "mesh-policy-blocks": Documented [Crashing, Unready, LogErrors, ProbeKilled, InitStuck];
}

/// The namespace whose policies hold for the whole mesh.
const ROOT_NAMESPACE: &str = "istio-system";

static NAMED: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"rbac_access_denied_matched_policy\[ns\[([^\]]+)\]-policy\[([^\]]+)\]").ok());

/// The policy that a proxy's line names: `rbac_access_denied_matched_policy[ns[shop]-policy[deny]-rule[0]]`. `none` is
/// said where there are policies that allow, and none of them matched.
fn named_policy(line: &str) -> Option<ObjectRef> {
    let c = NAMED.as_ref()?.captures(line)?;
    Some(ObjectRef::new("AuthorizationPolicy", &c[1], &c[2]))
}

/// Requests that a policy of the mesh refuses.
pub fn find(view: &View, symptoms: &[Symptom], out: &mut Vec<Hypothesis>) {
    let meshed = ["AuthorizationPolicy", "PeerAuthentication"].iter().any(|k| view.world.all(k).next().is_some());
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

fn refused(view: &View, p: &PodFacts, s: &Symptom) -> Option<Hypothesis> {
    let callees = called(view, p);
    let own = logs::newest_of(p, None, &[Class::MeshDenied]).map(|l| (p.key().clone(), l));
    let theirs = || {
        callees
            .iter()
            .find_map(|c| logs::newest_of(c, Some("istio-proxy"), &[Class::MeshDenied]).map(|l| (c.key().clone(), l)))
    };
    let (who, line): (ObjectRef, ErrorLine) = own.or_else(theirs)?;
    let named = named_policy(line.text).filter(|k| view.world.live(k).is_some());
    let policy = match &named {
        Some(k) => view.world.live(k)?,
        // Where the line names none, the newest that is meant for what is called.
        None => view
            .world
            .all("AuthorizationPolicy")
            .filter(|o| o.as_other().is_some_and(|x| x.fact("spec.action") != "AUDIT"))
            .filter(|o| callees.iter().any(|c| selects(o, c)))
            .max_by_key(|o| (formed(view, o), o.key.clone()))?,
    };
    let at = formed(view, policy);
    let dead = !callees.is_empty() && callees.iter().all(|c| !c.pod.is_ready());
    let fresh = at >= s.since.plus(-3_600 * tapio_core::time::SECOND);
    Some(
        base(view, policy, p, s, at, "refuses its requests")
            .supported(u32::from(named.is_some()) + u32::from(fresh))
            .with([view.logged(&who, Some(line.at), line.container, line.text)])
            .unless("what is called is not ready", dead && named.is_none()),
    )
}

/// A caller without a proxy, to pods that take encrypted traffic only.
fn plain_text(view: &View, p: &PodFacts, s: &Symptom) -> Option<Hypothesis> {
    let line = logs::newest_of(p, None, &[Class::Network])?;
    let reset = ["reset by peer", "connection reset", "ECONNRESET", "unexpected EOF", "upstream connect error"];
    if !reset.iter().any(|w| line.text.contains(w)) {
        return None;
    }
    // Only what the line itself names: other callees have nothing to do with it.
    let hosts = endpoints::mentioned(line.text);
    let services = hosts.iter().filter_map(|e| endpoints::resolve(view, p.key().ns(), &e.host));
    let callees: Vec<&PodFacts> = services
        .filter_map(|k| view.services.get(&k))
        .flat_map(|f| &f.pods)
        .filter_map(|k| view.pods.get(k))
        .filter(|c| has_proxy(c) && c.pod.is_ready())
        .collect();
    let callee = *callees.first()?;
    let policy = peer_authentication(view, callee)?;
    let at = formed(view, policy);
    Some(
        base(view, policy, p, s, at, "takes encrypted traffic only, and the caller has no proxy")
            .supported(u32::from(at >= s.since.plus(-3_600 * tapio_core::time::SECOND)))
            .with([view.logged(p.key(), Some(line.at), line.container, line.text)])
            .with([view.state(p.key(), None, "no container istio-proxy")])
            .unless("the caller has a proxy", has_proxy(p)),
    )
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
            (
                r#"[2026-03-02T10:00:41.123Z] "GET /v1 HTTP/1.1" 403 - rbac_access_denied_matched_policy[ns[shop]-policy[ledger-deny]-rule[0]] - "-" 0 19 0 - "-" "-""#,
                Some("ledger-deny"),
            ),
            (
                r#"[2026-03-02T10:00:41.123Z] "GET /v1 HTTP/1.1" 403 - rbac_access_denied_matched_policy[none] - "-" 0 19 0 - "-""#,
                None,
            ),
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
}
