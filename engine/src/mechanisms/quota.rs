//! Admission: what refuses objects before they exist. The refusal stands in the Event of whoever tried.

mod words;

use tapio_core::object::{Body, ObjectRef, quantity};
use tapio_core::time::{MINUTE, SECOND};

use super::{kubectl, manual};
use crate::diagnosis::hypothesis::{Hypothesis, Proof};
use crate::diagnosis::releases;
use crate::diagnosis::symptom::{Symptom, Trouble};
use crate::diagnosis::view::{View, shorten};
use crate::world::history::Note;
use words::{ACCOUNT, FAILED, MUST, POLICY, QUOTA, Security, WEBHOOK, exceeded, security};

pub(crate) use words::of_resources;

manual! {
    /// A ResourceQuota on CPU requests or limits refuses new pods.
    ///
    /// Required: "exceeded quota" naming CPU (or "must specify … cpu" of a quota), from a controller that still lacks pods.
    /// Supports: the quota's own status agrees; its limit was lowered.
    /// Refuted by: the controller has all its pods now, or the quota has room for the request.
    /// Do: raise the quota, or lower requests.
    "cpu-quota-exceeded": Recorded [FailedCreate];
    /// A ResourceQuota on memory requests or limits refuses new pods.
    ///
    /// Required: "exceeded quota" naming memory (or "must specify … memory"), from a controller that still lacks pods.
    /// Refuted by: the controller has all its pods now, or the quota has room for the request.
    /// Do: raise the quota, or lower requests.
    "memory-quota-exceeded": Recorded [FailedCreate];
    /// A ResourceQuota on the number of pods refuses new pods.
    ///
    /// Required: "exceeded quota" naming pods, from a controller that still lacks pods.
    /// Refuted by: the controller has all its pods now, or the quota has room.
    /// Do: raise the quota, or scale something else down.
    "pod-quota-exceeded": Recorded [FailedCreate];
    /// A ResourceQuota on the number of Services refuses a Service.
    ///
    /// Required: a refusal that names services; or a quota on services that is used up, while a workload that others
    /// call by name has no Service.
    /// Refuted by: the Service is there, or the quota has room.
    /// Do: raise the quota, or remove a Service that is not needed.
    "service-quota-exceeded": Recorded [Unreachable];
    /// A ResourceQuota on storage or claims refuses a claim.
    ///
    /// Required: a refusal that names storage or persistentvolumeclaims; or such a quota used up while a claim that a
    /// pod needs does not exist.
    /// Refuted by: the claim is there, or the quota has room.
    /// Do: raise the quota, or remove a claim that is not needed.
    "storage-quota-exceeded": CapturedText [FailedCreate];
    /// A ResourceQuota on any other resource or object count refuses a create.
    ///
    /// Required: "exceeded quota" naming neither CPU, memory, pods, services nor storage.
    /// Refuted by: the quota has room now.
    /// Do: raise the quota.
    "object-quota-exceeded": CapturedText [FailedCreate];
    /// A LimitRange refuses the pod (minimum, maximum or ratio).
    ///
    /// Required: "maximum … usage per", "minimum … usage per" or "max limit to request ratio" in a refusal.
    /// Refuted by: the controller has all its pods now.
    /// Do: bring the workload's requests and limits inside the LimitRange.
    "limit-range-violated": CapturedText [FailedCreate];
    /// Pods are refused because their ServiceAccount does not exist.
    ///
    /// Required: "error looking up service account … not found", from a controller that still lacks pods.
    /// Refuted by: the ServiceAccount is there and the controller has its pods.
    /// Do: create the ServiceAccount, or name another one.
    "service-account-missing": Recorded [FailedCreate];
    /// Pod Security admission, or what came before it, refuses the pod.
    ///
    /// Required: "violates PodSecurity" in a refusal, or up to 1.24 that no pod security policy fits the pod; on OpenShift
    /// that no security context constraint does.
    /// Refuted by: the controller has all its pods now.
    /// Do: lower the namespace's enforce level, or mend the pod's securityContext; for the others, let its ServiceAccount
    /// use one that fits.
    "pod-security-violated": CapturedText [FailedCreate];
    /// A webhook with failurePolicy Fail does not answer, or its certificate is not trusted.
    ///
    /// Required: "failed calling webhook" in a refusal.
    /// Supports: the webhook's Service has no ready pod.
    /// Refuted by: the create succeeded since.
    /// Do: mend the workload behind the webhook, or remove the configuration.
    "admission-webhook-failing": Recorded [FailedCreate];
    /// A webhook or policy engine answers, and refuses the object.
    ///
    /// Required: "admission webhook … denied the request" or "ValidatingAdmissionPolicy … denied request" in a refusal.
    /// Refuted by: the create succeeded since.
    /// Do: satisfy the policy that the text names.
    "admission-webhook-denied": CapturedText [FailedCreate];
}

/// Refused creates, by the words of the refusal.
pub fn find(view: &View, symptoms: &[Symptom], out: &mut Vec<Hypothesis>) {
    for s in symptoms.iter().filter(|s| s.trouble == Trouble::FailedCreate) {
        let Some(entry) = view.world.entry(&s.object) else { continue };
        // The newest refusal decides: while objects are applied, the first ones only say what was not there yet.
        let Some(newest) = entry.history.notes.iter().rfind(|n| n.reason == "FailedCreate") else { continue };
        if let Some(h) = refused(view, s, newest) {
            out.push(h);
        }
    }
    exhausted_services(view, out);
    refused_services(view, out);
    refused_releases(view, symptoms, out);
}

/// Releases that were not applied because a quota refuses a part of them: the refusal stands in the release's own word.
fn refused_releases(view: &View, symptoms: &[Symptom], out: &mut Vec<Hypothesis>) {
    for s in symptoms.iter().filter(|s| s.trouble == Trouble::ReleaseFailed) {
        let Some((_, why)) = view.world.live(&s.object).and_then(|o| o.as_other()).and_then(releases::failed) else {
            continue;
        };
        let Some(c) = QUOTA.as_ref().and_then(|r| r.captures(&why)) else { continue };
        // A release may be kept in another namespace than what it applies; only a quota that is known is accused.
        let mut spaces = view.world.all("ResourceQuota").filter(|o| o.key.name == c[1]);
        let own = ObjectRef::new("ResourceQuota", s.object.ns(), &c[1]);
        let quota = match (view.world.live(&own), spaces.next(), spaces.next()) {
            (Some(_), ..) => own,
            (None, Some(o), None) => o.key.clone(),
            _ => continue,
        };
        let id = of_resources(&exceeded(&c[2], &c[3], &c[4]));
        let summary =
            format!("{quota} allows {}, {} is in use, and {} asks for {} more", &c[4], &c[3], s.object, &c[2]);
        out.push(
            Hypothesis::new(id, quota.clone(), s.since, Proof::Stated, summary)
                .explaining([s.object.clone()])
                .counting_from(s.counts_from)
                .via("quota/admission")
                .supported(1)
                .with([view.state(&s.object, Some(s.since), shorten(&why, 300))])
                .unless("the release was applied since", false)
                .next(kubectl("describe", &quota)),
        );
    }
}

fn refused(view: &View, s: &Symptom, n: &Note) -> Option<Hypothesis> {
    let workload = view.world.workload_of(&s.object);
    let ns = s.object.ns();
    let text = n.message.as_str();
    let with = |id: &'static str, root: ObjectRef, summary: String| {
        let since = n.first;
        Hypothesis::new(id, root, since, Proof::Stated, summary)
            .explaining([s.object.clone(), workload.clone()])
            .counting_from(since.plus(2 * SECOND))
            .with([view.noted(&s.object, n)])
            .via("quota/admission")
            .unless(format!("{workload} has all its pods"), false)
            .next(kubectl("describe", &s.object))
    };
    if let Some(c) = QUOTA.as_ref().and_then(|r| r.captures(text)) {
        let quota = ObjectRef::new("ResourceQuota", ns, &c[1]);
        let resource = exceeded(&c[2], &c[3], &c[4]);
        let id = of_resources(&resource);
        let summary = format!("{quota} allows {}, {} is in use, and {workload} asks for {} more", &c[4], &c[3], &c[2]);
        let changes: Vec<_> = view.changes(&quota).iter().map(|c| c.change.clone()).collect();
        let h = with(id, quota.clone(), summary).supported(1).next(kubectl("describe", &quota));
        return Some(if changes.is_empty() { h } else { h.supported(1).changed(changes) });
    }
    if let Some(c) = MUST.as_ref().and_then(|r| r.captures(text)) {
        let quota = ObjectRef::new("ResourceQuota", ns, &c[1]);
        let summary = format!("{quota} demands that pods specify {}, and those of {workload} do not", &c[2]);
        return Some(with(of_resources(&c[2]), quota.clone(), summary).next(kubectl("describe", &quota)));
    }
    if let Some(c) = ACCOUNT.as_ref().and_then(|r| r.captures(text)) {
        let account = ObjectRef::new("ServiceAccount", ns, &c[1]);
        let back = view.world.live(&account).is_some();
        let summary = format!("{account} does not exist, so {workload} cannot create pods");
        return Some(
            with("service-account-missing", account.clone(), summary)
                .unless(format!("{account} exists for more than a minute"), back && view.age(n.last) > 60)
                .doubted(u32::from(back))
                .counting_from(n.first.plus(if back { MINUTE } else { 2 * SECOND }))
                .next(format!("kubectl -n {ns} create serviceaccount {}", &c[1])),
        );
    }
    match security(text) {
        Some(Security::Namespace) => {
            let namespace = ObjectRef::cluster_scoped("Namespace", ns);
            let summary = format!("Pod Security admission of {namespace} refuses the pods of {workload}");
            return Some(with("pod-security-violated", namespace, summary));
        }
        Some(Security::Account) => {
            let summary = format!("no security policy that the ServiceAccount of {workload} may use fits its pods");
            return Some(with("pod-security-violated", workload.clone(), summary));
        }
        None => {}
    }
    if let Some(c) = POLICY.as_ref().and_then(|r| r.captures(text)) {
        let policy = ObjectRef::cluster_scoped("ValidatingAdmissionPolicy", &c[1]);
        let summary = format!("{policy} denies the pods of {workload}");
        return Some(with("admission-webhook-denied", policy, summary));
    }
    if ["usage per Container is", "usage per Pod is", "limit to request ratio", "usage per PersistentVolumeClaim is"]
        .iter()
        .any(|w| text.contains(w))
    {
        let range = view.world.in_namespace("LimitRange", ns).next().map(|o| o.key.clone());
        let summary = format!("a LimitRange of namespace {ns} refuses the pods of {workload}");
        return Some(with("limit-range-violated", range.unwrap_or_else(|| workload.clone()), summary));
    }
    if let Some(c) = WEBHOOK.as_ref().and_then(|r| r.captures(text)) {
        let (configuration, service) = webhook(view, &c[1]).unwrap_or_else(|| (workload.clone(), None));
        if text.contains(FAILED) {
            let mut h = with(
                "admission-webhook-failing",
                configuration.clone(),
                format!("webhook {} does not answer, so creating pods of {workload} fails", &c[1]),
            );
            if let Some(f) = service.as_ref().and_then(|s| view.services.get(s)).filter(|f| f.ready == 0) {
                h = h
                    .supported(1)
                    .with([view.state(&f.object.key, None, format!("{} has no ready pod", f.object.key))])
                    .explaining([f.object.key.clone()].into_iter().chain(f.pods.iter().cloned()));
                // The workload behind it has no pods at all: its Service is empty because of the same thing.
            }
            return Some(h.next(kubectl("get", &configuration)));
        }
        let summary = format!("webhook {} denies the pods of {workload}", &c[1]);
        return Some(with("admission-webhook-denied", configuration, summary));
    }
    None
}

/// The configuration that holds a webhook, and the Service that it calls.
fn webhook(view: &View, name: &str) -> Option<(ObjectRef, Option<ObjectRef>)> {
    for kind in ["ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"] {
        for o in view.world.all(kind) {
            let Body::Webhooks(w) = &o.body else { continue };
            if let Some(hook) = w.webhooks.iter().find(|h| h.name == name) {
                let s = hook.client_config.service.as_ref();
                return Some((o.key.clone(), s.map(|s| ObjectRef::new("Service", &s.namespace, &s.name))));
            }
        }
    }
    None
}

/// A quota on Services of any type, as every Service needs. One on load balancers or node ports is another thing.
fn counts_services(resource: &str) -> bool {
    matches!(resource, "services" | "count/services")
}

/// A quota on what claims ask for, of all classes or of one. What pods use of their node's disk is another thing.
fn counts_storage(resource: &str) -> bool {
    resource.contains("storage") && !resource.contains("ephemeral")
}

fn counts_claims(resource: &str) -> bool {
    resource.contains("persistentvolumeclaims")
}

/// A quota of a namespace on such a resource of which nothing is left: quota, resource, used, hard.
fn used_up(view: &View, ns: &str, about: fn(&str) -> bool) -> Option<(ObjectRef, String, String, String)> {
    for o in view.world.in_namespace("ResourceQuota", ns) {
        let Body::Quota(q) = &o.body else { continue };
        let hard = if q.status.hard.is_empty() { &q.spec.hard } else { &q.status.hard };
        for (resource, limit) in hard.iter().filter(|(r, _)| about(r)) {
            let used = q.status.used.get(resource).map_or("0", String::as_str);
            if quantity::parse(used).zip(quantity::parse(limit)).is_some_and(|(u, l)| u >= l) {
                return Some((o.key.clone(), resource.clone(), used.to_owned(), limit.clone()));
            }
        }
    }
    None
}

/// A Service that others call by name and that does not exist, in a namespace whose quota on services is used up.
fn exhausted_services(view: &View, out: &mut Vec<Hypothesis>) {
    let mut seen = std::collections::BTreeSet::new();
    for p in view.pods.values() {
        let ns = p.key().ns();
        if !seen.insert(ns.to_owned()) {
            continue;
        }
        let Some((quota, resource, used, limit)) = used_up(view, ns, counts_services) else { continue };
        // All are known if they were listed, or are as many as the quota counts.
        let known = view.world.in_namespace("Service", ns).count();
        let all = quantity::parse(&used).is_some_and(|u| known as f64 >= u);
        if !all && !view.world.was_listed("Service", ns) {
            continue;
        }
        // Named in an environment, a workload of that name runs, and there is no Service.
        let named = super::dependencies::named_services(view, ns);
        for (service, callers) in named {
            let key = ObjectRef::new("Service", ns, &service);
            let workload = ObjectRef::new("Deployment", ns, &service);
            if view.world.live(&key).is_some() || view.world.live(&workload).is_none() {
                continue;
            }
            let since = view.world.live(&workload).and_then(|o| *o.meta.creation_timestamp).unwrap_or(view.now);
            let who = callers.first().map_or_else(|| "a probe".to_owned(), ToString::to_string);
            out.push(
                Hypothesis::new(
                    "service-quota-exceeded",
                    quota.clone(),
                    since,
                    Proof::Inferred,
                    format!("{quota} allows {limit} {resource} and {used} are in use: {key}, which {who} names, could not be created"),
                )
                .explaining(callers.iter().cloned().chain([key.clone()]))
                .with([
                    view.state(&quota, None, format!("{resource}: used {used} of {limit}")),
                    view.state(&key, None, format!("{key} does not exist")),
                    view.state(&workload, None, format!("{workload} runs and has no Service of its name")),
                ])
                .via("quota/admission")
                .supported(1)
                .unless(format!("{key} exists"), false)
                .next(kubectl("describe", &quota)),
            );
        }
    }
}

/// A Service or claim whose create was refused with an Event on some other object.
fn refused_services(view: &View, out: &mut Vec<Hypothesis>) {
    // A pod that needs a claim that was never created, in a namespace whose storage is used up.
    for p in view.pods.values().filter(|p| p.pod.spec.node_name.is_empty() && !p.pod.is_finished()) {
        let ns = p.key().ns();
        for claim in crate::world::links::claims(&p.pod.spec, &p.key().name) {
            let key = ObjectRef::new("PersistentVolumeClaim", ns, &claim);
            if view.world.live(&key).is_some() || !view.world.is_missing(&key) {
                continue;
            }
            let quota = used_up(view, ns, counts_storage).or_else(|| used_up(view, ns, counts_claims));
            let Some((quota, resource, used, limit)) = quota.or_else(|| storage_quota(view, ns)) else { continue };
            out.push(
                Hypothesis::new(
                    "storage-quota-exceeded",
                    quota.clone(),
                    p.created(),
                    Proof::Inferred,
                    format!(
                        "{quota} limits {resource} to {limit} ({used} in use): {key}, which {} needs, does not exist",
                        p.workload
                    ),
                )
                .explaining([key.clone(), p.key().clone()])
                .with([
                    view.state(&quota, None, format!("{resource}: used {used} of {limit}")),
                    view.state(&key, None, format!("{key} does not exist")),
                ])
                .via("quota/admission")
                .unless(format!("{key} exists"), false)
                .next(kubectl("describe", &quota)),
            );
        }
    }
}

/// Whether a quota of the namespace limits storage or the number of claims.
pub(crate) fn has_storage_quota(view: &View, ns: &str) -> bool {
    storage_quota(view, ns).is_some() || used_up(view, ns, counts_claims).is_some()
}

/// A quota of the namespace on storage, used up or not: what a claim asked for is not known once it was refused.
fn storage_quota(view: &View, ns: &str) -> Option<(ObjectRef, String, String, String)> {
    view.world.in_namespace("ResourceQuota", ns).find_map(|o| {
        let Body::Quota(q) = &o.body else { return None };
        let (resource, limit) = q.spec.hard.iter().find(|(r, _)| counts_storage(r))?;
        let used = q.status.used.get(resource).cloned().unwrap_or_else(|| "0".to_owned());
        Some((o.key.clone(), resource.clone(), used, limit.clone()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_on_one_type_is_none_on_all() {
        for (resource, services, storage) in [
            ("services", true, false),
            ("count/services", true, false),
            ("services.loadbalancers", false, false),
            ("services.nodeports", false, false),
            ("requests.storage", false, true),
            ("gold.storageclass.storage.k8s.io/requests.storage", false, true),
            ("requests.ephemeral-storage", false, false),
        ] {
            assert_eq!((counts_services(resource), counts_storage(resource)), (services, storage), "{resource}");
        }
    }
}
