//! The words in which an API server refuses an object: of quotas, webhooks, policies and accounts.

use std::sync::LazyLock;

use regex::Regex;
use tapio_core::object::quantity;

pub(super) static QUOTA: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"exceeded quota: ([^,\s]+), requested: (.+?), used: (.+?), limited: (.+)$").ok());
pub(super) static MUST: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"failed quota: ([^:,\s]+): must specify ([\w.,-]+)").ok());
pub(super) static ACCOUNT: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r#"serviceaccount "([^"]+)" not found"#).ok());
pub(super) static WEBHOOK: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r#"(?:failed calling|admission) webhook "([^"]+)""#).ok());

/// How it is said that a webhook did not answer.
pub(super) const FAILED: &str = "failed calling webhook";
pub(super) static POLICY: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"ValidatingAdmissionPolicy '([^']+)'(?: with binding '[^']+')? denied request").ok());

/// Who refused a pod for its rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Security {
    /// The level that its namespace enforces: since 1.22.
    Namespace,
    /// None of the policies that its account may use fits: up to 1.24, and OpenShift.
    Account,
}

pub(super) fn security(text: &str) -> Option<Security> {
    let of_account = [
        "unable to validate against any pod security policy",
        "PodSecurityPolicy: unable to admit pod",
        "no providers available to validate pod request",
        "unable to validate against any security context constraint",
    ];
    if text.contains("violates PodSecurity") {
        return Some(Security::Namespace);
    }
    of_account.iter().any(|w| text.contains(w)).then_some(Security::Account)
}

/// The quota mechanism for the resources that a refusal names.
pub(crate) fn of_resources(names: &str) -> &'static str {
    let has = |w: &str| names.contains(w);
    if has("cpu") {
        "cpu-quota-exceeded"
    } else if has("memory") {
        "memory-quota-exceeded"
    } else if has("storage") || has("persistentvolumeclaims") {
        "storage-quota-exceeded"
    } else if has("services") {
        "service-quota-exceeded"
    } else if has("pods") {
        "pod-quota-exceeded"
    } else {
        "object-quota-exceeded"
    }
}

/// The resource of which `used + requested` goes over `limited`; the whole text where that cannot be worked out.
pub(super) fn exceeded(requested: &str, used: &str, limited: &str) -> String {
    let read = |text: &str| -> Vec<(String, f64)> {
        text.split(',')
            .filter_map(|p| p.split_once('='))
            .filter_map(|(k, v)| quantity::parse(v).map(|q| (k.trim().to_owned(), q)))
            .collect()
    };
    let (r, u, l) = (read(requested), read(used), read(limited));
    let get = |list: &[(String, f64)], k: &str| list.iter().find(|(x, _)| x == k).map(|(_, v)| *v);
    let over: Vec<String> = r
        .iter()
        .filter(|(k, v)| get(&u, k).unwrap_or(0.0) + v > get(&l, k).unwrap_or(f64::MAX) * (1.0 + 1e-9))
        .map(|(k, _)| k.clone())
        .collect();
    if over.is_empty() { requested.to_owned() } else { over.join(",") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_resource_that_goes_over_decides_not_the_first_named() {
        for (requested, used, limited, want) in [
            ("requests.cpu=1", "requests.cpu=10", "requests.cpu=10", "cpu-quota-exceeded"),
            ("pods=1,requests.cpu=100m", "pods=2,requests.cpu=200m", "pods=10,requests.cpu=250m", "cpu-quota-exceeded"),
            ("pods=1", "pods=3", "pods=3", "pod-quota-exceeded"),
            ("limits.memory=1Gi", "limits.memory=7Gi", "limits.memory=7Gi", "memory-quota-exceeded"),
            ("requests.storage=2Gi", "requests.storage=0", "requests.storage=1Gi", "storage-quota-exceeded"),
        ] {
            assert_eq!(of_resources(&exceeded(requested, used, limited)), want, "{requested}");
        }
    }

    #[test]
    fn refusals_for_a_pods_rights_are_known_in_all_versions() {
        for (text, want) in [
            // 1.16 to 1.18.
            (
                "Error creating: pods \"gatekeeper-controller-manager-77ccf5456f-\" is forbidden: unable to validate against any pod security policy: []",
                Some(Security::Account),
            ),
            (
                "Error creating: pods \"nats-streaming-576964bb64-\" is forbidden: unable to validate against any pod security policy: [spec.containers[0].hostPort: Invalid value: 4222: Host port 4222 is not allowed to be used. Allowed ports: []]",
                Some(Security::Account),
            ),
            // 1.18, where there is no policy at all.
            (
                "Error creating: pods \"kube-proxy-\" is forbidden: no providers available to validate pod request",
                Some(Security::Account),
            ),
            // 1.34, of a level without and with a version.
            (
                "Error creating: pods \"d3-887bbb8f-btz5w\" is forbidden: violates PodSecurity \"restricted:latest\": allowPrivilegeEscalation != false (container \"busybox\" must set securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (container \"busybox\" must set securityContext.capabilities.drop=[\"ALL\"])",
                Some(Security::Namespace),
            ),
            (
                "pods \"p\" is forbidden: violates PodSecurity \"baseline:v1.30\": host namespaces (hostNetwork=true), privileged (container \"c\" must not set securityContext.privileged=true)",
                Some(Security::Namespace),
            ),
            // A warning refuses nothing.
            ("Warning: would violate PodSecurity \"restricted:latest\": allowPrivilegeEscalation != false", None),
            ("Error creating: pods \"cart-7d4f\" is forbidden: exceeded quota: room", None),
        ] {
            assert_eq!(security(text), want, "{text}");
        }
    }

    #[test]
    fn webhooks_are_named_in_the_refusals_of_all_versions() {
        for (text, name, fails) in [
            // Up to 1.20.
            (
                "Internal error occurred: failed calling webhook \"validation.elasticsearch.elastic.co\": Post https://elastic-webhook-service.elastic-system.svc:443/validate-elasticsearches?timeout=30s: no endpoints available for service \"elastic-webhook-service\"",
                "validation.elasticsearch.elastic.co",
                true,
            ),
            (
                "Error creating: Internal error occurred: failed calling webhook \"vsleepinfo.kb.io\": Post \"https://kube-green-webhook-service.kube-green.svc:443/validate-kube-green-com-v1alpha1-sleepinfo?timeout=10s\": context deadline exceeded",
                "vsleepinfo.kb.io",
                true,
            ),
            // Since 1.22.
            (
                "Error creating: Internal error occurred: failed calling webhook \"mspinapp.kb.io\": failed to call webhook: Post \"https://spin-operator-webhook-service.spin-operator.svc:443/mutate?timeout=10s\": no endpoints available for service \"spin-operator-webhook-service\"",
                "mspinapp.kb.io",
                true,
            ),
            // 1.34: no Service, too slow, an error of its own, another's answer, a certificate that nobody knows.
            (
                "Internal error occurred: failed calling webhook \"missing.texts.example\": failed to call webhook: Post \"https://nosuch.texts.svc:443/say?timeout=3s\": service \"nosuch\" not found",
                "missing.texts.example",
                true,
            ),
            (
                "Internal error occurred: failed calling webhook \"slow.texts.example\": failed to call webhook: Post \"https://10.250.0.1:9443/slow?timeout=3s\": context deadline exceeded",
                "slow.texts.example",
                true,
            ),
            (
                "Internal error occurred: failed calling webhook \"e500.texts.example\": failed to call webhook: an error on the server (\"boom\") has prevented the request from succeeding",
                "e500.texts.example",
                true,
            ),
            (
                "Internal error occurred: failed calling webhook \"baduid.texts.example\": received invalid webhook response: expected response.uid=\"3523a4e0-3847-4bff-aa6f-e06e76409f20\", got \"x\"",
                "baduid.texts.example",
                true,
            ),
            (
                "Internal error occurred: failed calling webhook \"untrusted.texts.example\": failed to call webhook: Post \"https://10.250.0.1:9443/say?timeout=3s\": tls: failed to verify certificate: x509: certificate signed by unknown authority",
                "untrusted.texts.example",
                true,
            ),
            (
                "Error creating: admission webhook \"say.texts.example\" denied the request: images must come from registry.example",
                "say.texts.example",
                false,
            ),
            // Of a webhook that says no more than no.
            (
                "Error creating: Internal error occurred: admission webhook \"devops.kubernetes.com\" denied the request without explanation",
                "devops.kubernetes.com",
                false,
            ),
        ] {
            let c = WEBHOOK.as_ref().unwrap().captures(text).unwrap();
            assert_eq!((&c[1], text.contains(FAILED)), (name, fails), "{text}");
        }
    }

    #[test]
    fn a_validating_policy_is_named() {
        // 1.34; since 1.26 in these words.
        let text = "(combined from similar events): Error creating: pods \"d2-6f9dfdc6bb-ckpcr\" is forbidden: ValidatingAdmissionPolicy 'no-latest' with binding 'no-latest-texts' denied request: images are named by digest";
        let c = POLICY.as_ref().unwrap().captures(text).unwrap();
        assert_eq!(&c[1], "no-latest");
    }
}
