//! Access rights: calls to the API that RBAC forbids.

use std::sync::LazyLock;

use regex::Regex;
use tapio_core::answer::{Evidence, FieldChange};
use tapio_core::object::{AccessRule, Body, Object, ObjectRef, RoleBinding};
use tapio_core::time::Time;

use super::{kubectl, manual};
use crate::diagnosis::hypothesis::{Hypothesis, Proof};
use crate::diagnosis::logs::{self, Class, ErrorLine};
use crate::diagnosis::symptom::Symptom;
use crate::diagnosis::view::{PodFacts, View};

manual! {
    /// An API call is forbidden: the role or binding is missing or changed.
    ///
    /// Required: an error of a pod that its own ServiceAccount may not do something, and either a container of it that fails,
    /// or a Role or binding of that account that was changed or deleted within the hour before.
    /// Supports: no rule that is bound to the account grants the call; the change that took it.
    /// Refuted by: a rule grants it now. A pod that runs and is ready, and whose rights nobody touched, can do without.
    /// Lag: none: rights count at once.
    /// Do: grant the verb in the Role, or bind the ServiceAccount again.
    "rbac-denied": CapturedText [Crashing, Unready, LogErrors, ProbeKilled, InitStuck];
}

/// Since 1.12, in the order of the words: the object's name where one was asked for, account, verb, resource, API group.
static DENIED: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r#"(?:[\w.-]+ "([^"]+)" )?is forbidden: User "system:serviceaccount:([^:"]+):([^"]+)" cannot (\w+) resource "([^"]+)" in API group "([^"]*)"(?: in the namespace "([^"]+)")?"#).ok()
});
/// Up to 1.11: the resource without quotes, with its group after a dot.
static DENIED_OLD: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r#"(?:[\w.-]+ "([^"]+)" )?is forbidden: User "system:serviceaccount:([^:"]+):([^"]+)" cannot (\w+) ([a-z0-9][\w./-]*) (?:in the namespace "([^"]+)"|at the cluster scope)"#).ok()
});
/// A path that is no resource's, such as `/metrics`.
static DENIED_PATH: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r#"forbidden: User "system:serviceaccount:([^:"]+):([^"]+)" cannot (\w+) path "([^"]+)""#).ok()
});
/// What a kubelet answers; with finer rights (1.34) with a list of subresources of which one would do.
static DENIED_BY_KUBELET: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"Forbidden \(user=system:serviceaccount:([^:,]+):([^,]+), verb=(\w+), resource=(\w+), subresource(?:\(s\))?=\[?([\w ]+)\]?\)").ok()
});
static NO_ROLE: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r#"((?:cluster)?role)\.rbac\.authorization\.k8s\.io "([^"]+)" not found"#).ok());

/// Error lines of a pod that are looked at.
const LINES: usize = 60;

/// A call that was forbidden.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Call {
    account: ObjectRef,
    verb: String,
    /// With its subresource; for a path that is no resource's the path.
    resource: String,
    /// None for a path that is no resource's.
    group: Option<String>,
    /// None for the whole cluster.
    namespace: Option<String>,
    /// The object that was asked for by its name.
    name: Option<String>,
    /// Roles that bindings name and that do not exist: a Role, which only its own namespace can mean, before a ClusterRole.
    lacking: Vec<(String, String)>,
}

fn read(line: &str) -> Option<Call> {
    // In a structured log the quotes are escaped.
    let text = line.replace("\\\"", "\"");
    let captured = |re: &'static LazyLock<Option<Regex>>| re.as_ref().and_then(|r| r.captures(&text));
    let account = |ns: &str, name: &str| ObjectRef::new("ServiceAccount", ns, name);
    let mut lacking: Vec<(String, String)> =
        NO_ROLE.iter().flat_map(|r| r.captures_iter(&text)).map(|m| (m[1].to_owned(), m[2].to_owned())).collect();
    lacking.sort_by(|a, b| b.0.cmp(&a.0));
    let word = |m: Option<regex::Match>| m.map(|m| m.as_str().to_owned());
    if let Some(c) = captured(&DENIED) {
        return Some(Call {
            account: account(&c[2], &c[3]),
            verb: c[4].to_owned(),
            resource: c[5].to_owned(),
            group: Some(c[6].to_owned()),
            namespace: word(c.get(7)),
            name: word(c.get(1)),
            lacking,
        });
    }
    if let Some(c) = captured(&DENIED_OLD) {
        let (whole, sub) = c[5].split_once('/').map_or((&c[5], None), |(r, s)| (r, Some(s)));
        let (resource, group) = whole.split_once('.').unwrap_or((whole, ""));
        return Some(Call {
            account: account(&c[2], &c[3]),
            verb: c[4].to_owned(),
            resource: sub.map_or(resource.to_owned(), |s| format!("{resource}/{s}")),
            group: Some(group.to_owned()),
            namespace: word(c.get(6)),
            name: word(c.get(1)),
            lacking,
        });
    }
    if let Some(c) = captured(&DENIED_PATH) {
        return Some(Call {
            account: account(&c[1], &c[2]),
            verb: c[3].to_owned(),
            resource: c[4].to_owned(),
            lacking,
            ..Call::default()
        });
    }
    let c = captured(&DENIED_BY_KUBELET)?;
    // Of several that would do, the first is the narrowest.
    let sub = c[5].split(' ').next().unwrap_or(&c[5]).to_owned();
    Some(Call {
        account: account(&c[1], &c[2]),
        verb: c[3].to_owned(),
        resource: format!("{}/{sub}", &c[4]),
        group: Some(String::new()),
        ..Call::default()
    })
}

/// The newest line of a pod that tells of a forbidden call. Forms that the class does not know are errors like others.
fn told<'a>(p: &PodFacts<'a>) -> Option<(ErrorLine<'a>, Call)> {
    let known = logs::newest_of(p, None, &[Class::Forbidden]);
    let lines = known.into_iter().chain(logs::errors(p, None, LINES));
    lines.filter(|l| l.text.contains("orbidden")).find_map(|l| read(l.text).map(|c| (l, c)))
}

/// Pods whose calls are forbidden.
pub fn find(view: &View, symptoms: &[Symptom], out: &mut Vec<Hypothesis>) {
    for p in view.pods.values() {
        let Some((line, call)) = told(p) else { continue };
        let own = call.account.ns() == p.key().ns() && call.account.name == account(p);
        if own && view.age(line.at) < 3_600 {
            let failing =
                symptoms.iter().find(|s| s.object == *p.key() && s.is_failing_container() && s.counts_from < Time::MAX);
            out.extend(denied(view, p, &line, &call, failing));
        }
    }
}

fn account<'a>(p: &PodFacts<'a>) -> &'a str {
    let name = p.pod.spec.service_account_name.as_str();
    if name.is_empty() { "default" } else { name }
}

fn denied(view: &View, p: &PodFacts, line: &ErrorLine, call: &Call, failing: Option<&Symptom>) -> Option<Hypothesis> {
    let bound = bindings(view, call);
    let rules = |b: &Object| role(b).and_then(|r| view.world.live(&r)).map(|o| (o.key.clone(), o));
    let roles: Vec<(ObjectRef, &Object)> = bound.iter().filter_map(|b| rules(b)).collect();
    let granted =
        roles.iter().any(|(_, o)| matches!(&o.body, Body::Role(r) if r.rules.iter().any(|x| grants(x, call))));
    let taken = taken(view, call, &roles, line.at);
    if failing.is_none() && taken.is_none() {
        return None;
    }
    let listed = view.world.was_listed("RoleBinding", call.account.ns()) || !bound.is_empty();
    let root = root(view, call, &bound, &roles, taken.as_ref());
    let since = taken.as_ref().map_or_else(|| failing.map_or(line.at, |s| s.since), |t| t.at);
    let counts = failing.map_or(line.at, |s| s.counts_from);
    let place = call.namespace.as_ref().map_or("the whole cluster".to_owned(), |n| format!("namespace {n}"));
    let mut h = Hypothesis::new(
        "rbac-denied",
        root.clone(),
        since,
        if listed || taken.is_some() { Proof::Stated } else { Proof::Inferred },
        format!("{} may not {} {} in {place}, which {} needs", call.account, call.verb, call.resource, p.workload),
    )
    .explaining([p.key().clone()])
    .counting_from(counts)
    .via("access")
    .supported(u32::from(taken.is_some()) + u32::from(listed))
    .with([view.logged(p.key(), Some(line.at), line.container, line.text)])
    .unless("a rule grants it now", granted)
    .next(kubectl("describe", &root))
    .next(format!(
        "kubectl auth can-i {} {}{} --as=system:serviceaccount:{}:{}",
        call.verb,
        call.resource,
        call.namespace.as_ref().map(|n| format!(" -n {n}")).unwrap_or_default(),
        call.account.ns(),
        call.account.name
    ));
    if let Some(t) = taken {
        h = h.with([t.evidence]).changed(t.change);
    }
    Some(h)
}

/// A right that was taken.
struct Taken {
    object: ObjectRef,
    at: Time,
    change: Option<FieldChange>,
    evidence: Evidence,
}

/// The newest change or deletion of a Role or binding of the account, within the hour before the error.
fn taken(view: &View, call: &Call, roles: &[(ObjectRef, &Object)], line: Time) -> Option<Taken> {
    let near = |t: Time| t <= line && line.since(t) < 3_600 * tapio_core::time::SECOND;
    let mut found: Vec<Taken> = Vec::new();
    let kinds = ["RoleBinding", "ClusterRoleBinding"];
    let entries = kinds.iter().flat_map(|k| view.world.entries(k));
    for e in entries {
        let Some(Body::Binding(b)) = e.object.as_ref().map(|o| &o.body) else { continue };
        let was = names(b, &call.account);
        if let Some(at) = e.deleted_at.filter(|t| was && near(*t)) {
            let evidence = view.state(&e.key, Some(at), format!("{} was deleted", e.key));
            found.push(Taken { object: e.key.clone(), at, change: None, evidence });
        }
        for c in e.history.changes.iter().filter(|c| near(c.at)) {
            let about = [&c.change.before, &c.change.after]
                .into_iter()
                .flatten()
                .any(|t| logs::names_word(t, &call.account.name));
            if was || about {
                let evidence = view.changed(&e.key, &c.change, Some(c.id));
                found.push(Taken { object: e.key.clone(), at: c.at, change: Some(c.change.clone()), evidence });
            }
        }
    }
    for (key, _) in roles {
        for c in view.changes(key).iter().filter(|c| near(c.at)) {
            let evidence = view.changed(key, &c.change, Some(c.id));
            found.push(Taken { object: key.clone(), at: c.at, change: Some(c.change.clone()), evidence });
        }
    }
    // A role that is gone while its binding is still there.
    for b in bindings(view, call) {
        if let Some(r) = role(b)
            && let Some(at) = view.world.entry(&r).and_then(|e| e.deleted_at).filter(|t| near(*t))
        {
            let evidence = view.state(&r, Some(at), format!("{r} was deleted"));
            found.push(Taken { object: r, at, change: None, evidence });
        }
    }
    found.into_iter().max_by(|a, b| (a.at, &a.object).cmp(&(b.at, &b.object)))
}

/// What a person would mend: what was taken, a role that is missing or lacks the rule, else the account.
fn root(
    view: &View,
    call: &Call,
    bound: &[&Object],
    roles: &[(ObjectRef, &Object)],
    taken: Option<&Taken>,
) -> ObjectRef {
    if let Some(t) = taken {
        return t.object.clone();
    }
    if let Some((kind, name)) = call.lacking.first() {
        let kind = if kind == "role" { "Role" } else { "ClusterRole" };
        return ObjectRef::new(kind, call.namespace.as_deref().unwrap_or(call.account.ns()), name);
    }
    if let Some(r) = bound.iter().filter_map(|b| role(b)).find(|r| view.world.is_missing(r)) {
        return r;
    }
    let near = roles.iter().find(
        |(_, o)| matches!(&o.body, Body::Role(r) if r.rules.iter().any(|x| x.resources.contains(&call.resource))),
    );
    let own: Vec<&ObjectRef> = roles.iter().map(|(k, _)| k).filter(|k| k.kind == "Role").collect();
    match (near, own.as_slice()) {
        (Some((k, _)), _) => k.clone(),
        (None, [one]) => (*one).clone(),
        _ => call.account.clone(),
    }
}

/// Bindings that give the account rights where the call went.
fn bindings<'a>(view: &View<'a>, call: &Call) -> Vec<&'a Object> {
    let mut out: Vec<&Object> = Vec::new();
    if let Some(ns) = &call.namespace {
        out.extend(view.world.in_namespace("RoleBinding", ns));
    }
    out.extend(view.world.all("ClusterRoleBinding"));
    out.retain(|o| matches!(&o.body, Body::Binding(b) if names(b, &call.account)));
    out
}

/// Whether a binding means the account, by name or by a group of all accounts.
fn names(b: &RoleBinding, account: &ObjectRef) -> bool {
    let of_namespace = format!("system:serviceaccounts:{}", account.ns());
    b.subjects.iter().any(|s| match s.kind.as_str() {
        "ServiceAccount" => s.name == account.name && s.namespace == account.ns(),
        "Group" => s.name == "system:serviceaccounts" || s.name == "system:authenticated" || s.name == of_namespace,
        "User" => s.name == format!("system:serviceaccount:{}:{}", account.ns(), account.name),
        _ => false,
    })
}

/// The role that a binding refers to.
fn role(binding: &Object) -> Option<ObjectRef> {
    let Body::Binding(b) = &binding.body else { return None };
    Some(ObjectRef::new(&b.role_ref.kind, binding.key.ns(), &b.role_ref.name))
}

fn grants(rule: &AccessRule, call: &Call) -> bool {
    let any = |list: &[String], word: &str| list.iter().any(|x| x == "*" || x == word);
    let Some(group) = &call.group else {
        let covers = |p: &String| match p.strip_suffix('*') {
            Some(head) => call.resource.starts_with(head),
            None => *p == call.resource,
        };
        return any(&rule.verbs, &call.verb) && rule.non_resource_urls.iter().any(covers);
    };
    // `*/scale` means that subresource of everything.
    let sub = call.resource.split_once('/').map(|(_, s)| format!("*/{s}"));
    let named = rule.resource_names.is_empty() || call.name.as_ref().is_some_and(|n| rule.resource_names.contains(n));
    named
        && any(&rule.verbs, &call.verb)
        && (any(&rule.resources, &call.resource) || sub.is_some_and(|s| rule.resources.contains(&s)))
        && any(&rule.api_groups, group)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(account: &str, verb: &str, resource: &str, group: Option<&str>, namespace: Option<&str>) -> Call {
        let (ns, name) = account.split_once('/').unwrap();
        Call {
            account: ObjectRef::new("ServiceAccount", ns, name),
            verb: verb.to_owned(),
            resource: resource.to_owned(),
            group: group.map(str::to_owned),
            namespace: namespace.map(str::to_owned),
            ..Call::default()
        }
    }

    #[test]
    fn forbidden_calls_are_read_in_the_forms_of_all_versions() {
        let lost = ("clusterrole".to_owned(), "texts-nosuch".to_owned());
        let watcher = |resource, group, namespace| of("shop/watcher", "list", resource, Some(group), namespace);
        for (text, want) in [
            // 1.9 and 1.10: the resource without quotes, its group after a dot.
            (
                r#"E1111 08:33:21.181850       5 reflector.go:205] pkg/storage/kube/apicache/liststore.go:36: Failed to list *v1.Pod: pods is forbidden: User "system:serviceaccount:default:gateway" cannot list pods in the namespace "default""#,
                Some(of("default/gateway", "list", "pods", Some(""), Some("default"))),
            ),
            (
                r#"E0819 11:40:29.495079       1 reflector.go:205] controller/ingest.go:82: Failed to list *v1.Pgingest: pgingests.cr.client-go.k8s.io is forbidden: User "system:serviceaccount:default:default" cannot list pgingests.cr.client-go.k8s.io in the namespace "default""#,
                Some(of("default/default", "list", "pgingests", Some("cr.client-go.k8s.io"), Some("default"))),
            ),
            (
                r#"level=error msg="failed to terminate victim" err="pods is forbidden: User \"system:serviceaccount:chaoskube:default\" cannot list pods at the cluster scope""#,
                Some(of("chaoskube/default", "list", "pods", Some(""), None)),
            ),
            // Since 1.12.
            (
                r#"time="2019-11-25T16:30:34Z" level=error msg="namespaces is forbidden: User \"system:serviceaccount:kube-system:pdb-controller\" cannot list resource \"namespaces\" in API group \"\" at the cluster scope""#,
                Some(of("kube-system/pdb-controller", "list", "namespaces", Some(""), None)),
            ),
            (
                r#"E0302 10:00:41.1 1 reflector.go:147] failed to list *v1.ConfigMap: configmaps is forbidden: User "system:serviceaccount:shop:watcher" cannot list resource "configmaps" in API group "" in the namespace "shop""#,
                Some(watcher("configmaps", "", Some("shop"))),
            ),
            (
                r#"pods is forbidden: User "system:serviceaccount:shop:watcher" cannot list resource "pods" in API group "" in the namespace "shop": RBAC: role.rbac.authorization.k8s.io "watcher" not found"#,
                Some(Call {
                    lacking: vec![("role".to_owned(), "watcher".to_owned())],
                    ..watcher("pods", "", Some("shop"))
                }),
            ),
            // 1.34: of one object, of a part of it, of a path; with what bindings name and does not exist.
            (
                r#"Error from server (Forbidden): deployments.apps "cart" is forbidden: User "system:serviceaccount:texts:watcher" cannot get resource "deployments" in API group "apps" in the namespace "texts": RBAC: [clusterrole.rbac.authorization.k8s.io "texts-nosuch" not found, role.rbac.authorization.k8s.io "nosuch" not found]"#,
                Some(Call {
                    name: Some("cart".to_owned()),
                    lacking: vec![("role".to_owned(), "nosuch".to_owned()), lost.clone()],
                    ..of("texts/watcher", "get", "deployments", Some("apps"), Some("texts"))
                }),
            ),
            (
                r#"Error from server (Forbidden): nodes "tapio-node" is forbidden: User "system:serviceaccount:texts:watcher" cannot get resource "nodes/proxy" in API group "" at the cluster scope: RBAC: clusterrole.rbac.authorization.k8s.io "texts-nosuch" not found"#,
                Some(Call {
                    name: Some("tapio-node".to_owned()),
                    lacking: vec![lost.clone()],
                    ..of("texts/watcher", "get", "nodes/proxy", Some(""), None)
                }),
            ),
            (
                r#"Error from server (Forbidden): forbidden: User "system:serviceaccount:texts:watcher" cannot get path "/metrics": RBAC: clusterrole.rbac.authorization.k8s.io "texts-nosuch" not found"#,
                Some(Call { lacking: vec![lost.clone()], ..of("texts/watcher", "get", "/metrics", None, None) }),
            ),
            // A kubelet of 1.34: one right of several would do.
            (
                r#"E1121 18:23:09.1 1 scraper.go:149] "Failed to scrape" err="403 Forbidden: Forbidden (user=system:serviceaccount:texts:watcher, verb=get, resource=nodes, subresource(s)=[pods proxy])""#,
                Some(of("texts/watcher", "get", "nodes/pods", Some(""), None)),
            ),
            // A kubelet up to 1.31.
            (
                r#"E0514 09:03:05.004174       1 summary.go:97] error while getting metrics summary from Kubelet node-01 (172.18.8.101:10250): request failed - "403 Forbidden", response: "Forbidden (user=system:serviceaccount:kube-system:metrics-server, verb=get, resource=nodes, subresource=stats)""#,
                Some(of("kube-system/metrics-server", "get", "nodes/stats", Some(""), None)),
            ),
            // Not a right of RBAC, not an account of a pod.
            (
                r#"pods "cart-1" is forbidden: exceeded quota: pods, requested: pods=1, used: pods=3, limited: pods=3"#,
                None,
            ),
            (
                r#"secrets is forbidden: User "jane" cannot list resource "secrets" in API group "" in the namespace "shop""#,
                None,
            ),
            (r#"forbidden: User "system:anonymous" cannot get path "/""#, None),
        ] {
            assert_eq!(read(text), want, "{text}");
            // What is read has to be among the error lines.
            assert!(want.is_none() || logs::class_of(text).is_some(), "{text}");
        }
    }

    #[test]
    fn rules_grant_by_verb_resource_group_name_and_path() {
        let call = of("n/a", "list", "pods", Some(""), Some("n"));
        let list = |words: &[&str]| words.iter().map(|s| (*s).to_owned()).collect::<Vec<String>>();
        let rule = |verbs: &[&str], resources: &[&str], groups: &[&str]| AccessRule {
            verbs: list(verbs),
            resources: list(resources),
            api_groups: list(groups),
            ..AccessRule::default()
        };
        assert!(grants(&rule(&["get", "list"], &["pods"], &[""]), &call));
        assert!(grants(&rule(&["*"], &["*"], &["*"]), &call));
        assert!(!grants(&rule(&["get"], &["pods"], &[""]), &call));
        assert!(!grants(&rule(&["list"], &["pods"], &["apps"]), &call));
        assert!(!grants(&rule(&["list"], &["pods/log"], &[""]), &call));
        let log = Call { resource: "pods/log".to_owned(), ..call.clone() };
        assert!(grants(&rule(&["list"], &["*/log"], &[""]), &log));
        assert!(!grants(&rule(&["list"], &["*/exec"], &[""]), &log));
        // By name only that object, and no list.
        let by_name = AccessRule { resource_names: list(&["cart"]), ..rule(&["list"], &["pods"], &[""]) };
        assert!(!grants(&by_name, &call));
        assert!(grants(&by_name, &Call { name: Some("cart".to_owned()), ..call.clone() }));
        // A path is granted by paths alone.
        let path = of("n/a", "get", "/metrics/slis", None, None);
        assert!(!grants(&rule(&["*"], &["*"], &["*"]), &path));
        let paths =
            |p: &str| AccessRule { verbs: list(&["get"]), non_resource_urls: list(&[p]), ..AccessRule::default() };
        assert!(
            grants(&paths("/metrics/*"), &path) && grants(&paths("*"), &path) && grants(&paths("/metrics/slis"), &path)
        );
        assert!(!grants(&paths("/metrics"), &path));
    }
}
