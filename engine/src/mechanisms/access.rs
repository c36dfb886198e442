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

static DENIED: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r#"is forbidden: User "system:serviceaccount:([^:"]+):([^"]+)" cannot (\w+) resource "([^"]+)" in API group "([^"]*)"(?: in the namespace "([^"]+)")?"#).ok()
});
static NO_ROLE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r#"RBAC: \[?((?:cluster)?role)\.rbac\.authorization\.k8s\.io "([^"]+)" not found"#).ok()
});

/// A call that was forbidden.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Call {
    account: ObjectRef,
    verb: String,
    resource: String,
    group: String,
    /// None for the whole cluster.
    namespace: Option<String>,
    /// A role that a binding names and that does not exist.
    lacking: Option<(String, String)>,
}

fn read(line: &str) -> Option<Call> {
    // In a structured log the quotes are escaped.
    let text = line.replace("\\\"", "\"");
    let c = DENIED.as_ref()?.captures(&text)?;
    let lacking = NO_ROLE.as_ref().and_then(|r| r.captures(&text)).map(|m| (m[1].to_owned(), m[2].to_owned()));
    Some(Call {
        account: ObjectRef::new("ServiceAccount", &c[1], &c[2]),
        verb: c[3].to_owned(),
        resource: c[4].to_owned(),
        group: c[5].to_owned(),
        namespace: c.get(6).map(|m| m.as_str().to_owned()),
        lacking,
    })
}

/// Pods whose calls are forbidden.
pub fn find(view: &View, symptoms: &[Symptom], out: &mut Vec<Hypothesis>) {
    for p in view.pods.values() {
        let Some(line) = logs::newest_of(p, None, &[Class::Forbidden]) else { continue };
        let Some(call) = read(line.text) else { continue };
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
    if let Some((kind, name)) = &call.lacking {
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
    rule.resource_names.is_empty()
        && any(&rule.verbs, &call.verb)
        && any(&rule.resources, &call.resource)
        && any(&rule.api_groups, &call.group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forbidden_calls_are_read_from_plain_and_structured_lines() {
        let call = |resource: &str, group: &str, namespace: Option<&str>, lacking: Option<(&str, &str)>| Call {
            account: ObjectRef::new("ServiceAccount", "shop", "watcher"),
            verb: "list".to_owned(),
            resource: resource.to_owned(),
            group: group.to_owned(),
            namespace: namespace.map(str::to_owned),
            lacking: lacking.map(|(a, b)| (a.to_owned(), b.to_owned())),
        };
        for (text, want) in [
            (
                r#"E0302 10:00:41.1 1 reflector.go:147] failed to list *v1.ConfigMap: configmaps is forbidden: User "system:serviceaccount:shop:watcher" cannot list resource "configmaps" in API group "" in the namespace "shop""#,
                Some(call("configmaps", "", Some("shop"), None)),
            ),
            (
                r#"level=error msg="deployments.apps is forbidden: User \"system:serviceaccount:shop:watcher\" cannot list resource \"deployments\" in API group \"apps\" at the cluster scope""#,
                Some(call("deployments", "apps", None, None)),
            ),
            (
                r#"pods is forbidden: User "system:serviceaccount:shop:watcher" cannot list resource "pods" in API group "" in the namespace "shop": RBAC: role.rbac.authorization.k8s.io "watcher" not found"#,
                Some(call("pods", "", Some("shop"), Some(("role", "watcher")))),
            ),
            (
                r#"pods "cart-1" is forbidden: exceeded quota: pods, requested: pods=1, used: pods=3, limited: pods=3"#,
                None,
            ),
            (
                r#"secrets is forbidden: User "jane" cannot list resource "secrets" in API group "" in the namespace "shop""#,
                None,
            ),
        ] {
            assert_eq!(read(text), want, "{text}");
        }
    }

    #[test]
    fn rules_grant_by_verb_resource_and_group() {
        let call = read(r#"pods is forbidden: User "system:serviceaccount:n:a" cannot list resource "pods" in API group "" in the namespace "n""#).unwrap();
        let rule = |verbs: &[&str], resources: &[&str], groups: &[&str]| AccessRule {
            verbs: verbs.iter().map(|s| (*s).to_owned()).collect(),
            resources: resources.iter().map(|s| (*s).to_owned()).collect(),
            api_groups: groups.iter().map(|s| (*s).to_owned()).collect(),
            resource_names: Vec::new(),
        };
        assert!(grants(&rule(&["get", "list"], &["pods"], &[""]), &call));
        assert!(grants(&rule(&["*"], &["*"], &["*"]), &call));
        assert!(!grants(&rule(&["get"], &["pods"], &[""]), &call));
        assert!(!grants(&rule(&["list"], &["pods"], &["apps"]), &call));
        assert!(!grants(&rule(&["list"], &["pods/log"], &[""]), &call));
    }
}
