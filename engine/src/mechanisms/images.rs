//! Images that cannot be had: the registry's own words decide which way.

use tapio_core::object::ObjectRef;

use super::{kubectl, manual, undo};
use crate::diagnosis::hypothesis::{Hypothesis, Proof};
use crate::diagnosis::symptom::{Symptom, Trouble};
use crate::diagnosis::view::{PodFacts, View};

manual! {
    /// The registry answers, but has no such repository, tag or digest.
    ///
    /// Required: a container that waits for its image, and the registry's "not found" (or "manifest unknown").
    /// Supports: the image was changed in this revision; pods of the former revision run.
    /// Refuted by: the text speaks of rights or of the network.
    /// Lag: seconds after the pod got its node.
    /// Do: correct the image, or take the rollout back.
    "image-not-found": Recorded [ImagePull];
    /// The image reference cannot be parsed.
    ///
    /// Required: a container that waits with InvalidImageName, or "couldn't parse image name".
    /// Refuted by: the reference is well-formed and the registry answered.
    /// Do: correct the reference (lower case, one tag, no spaces).
    "image-name-invalid": CapturedText [ImagePull];
    /// The registry refuses the pull: no credentials, or wrong ones.
    ///
    /// Required: a container that waits for its image, and 401, 403, "denied", "unauthorized" from the registry.
    /// Supports: imagePullSecrets are named and exist.
    /// Refuted by: the registry says "not found" to the same credentials.
    /// Do: check imagePullSecrets of the workload and its ServiceAccount.
    "image-pull-unauthorized": Recorded [ImagePull];
    /// imagePullSecrets names a Secret that does not exist.
    ///
    /// Required: the refusal of `image-pull-unauthorized`, and "Unable to retrieve some image pull secrets" or a named
    /// pull Secret that is known to be missing.
    /// Refuted by: the Secret is there.
    /// Do: create the Secret in the workload's namespace.
    "image-pull-secret-missing": CapturedText [ImagePull];
    /// The registry's host name does not resolve.
    ///
    /// Required: a container that waits for its image, and a failed look-up of the registry's host.
    /// Refuted by: the registry answered.
    /// Do: correct the host in the image, or the node's DNS.
    "image-registry-unresolvable": CapturedText [ImagePull];
    /// The registry's host resolves but does not answer, times out or limits the rate.
    ///
    /// Required: a container that waits for its image, and a timeout, refusal, 429 or 5xx of the registry.
    /// Refuted by: the registry answered "not found" or "denied".
    /// Do: check the registry, its rate limits and the nodes' way to it.
    "image-registry-unreachable": CapturedText [ImagePull];
}

/// What the registry or kubelet said, as a mechanism; none if the text does not tell.
fn classify(text: &str, reason: &str) -> Option<&'static str> {
    let t = text.to_ascii_lowercase();
    let any = |words: &[&str]| words.iter().any(|w| t.contains(w));
    if reason == "InvalidImageName" || any(&["couldn't parse image", "invalid reference format", "invalid image name"])
    {
        return Some("image-name-invalid");
    }
    if any(&["no such host", "server misbehaving", "name resolution", "name or service not known"])
        || (t.contains("lookup ") && any(&["i/o timeout", "connection refused"]))
    {
        return Some("image-registry-unresolvable");
    }
    if any(&["toomanyrequests", "too many requests", "429", "rate limit"]) {
        return Some("image-registry-unreachable");
    }
    if any(&[
        "unauthorized",
        "401",
        "403",
        "forbidden",
        "denied",
        "insufficient_scope",
        "authorization failed",
        "authentication required",
        "no basic auth credentials",
        "invalid username/password",
    ]) {
        return Some("image-pull-unauthorized");
    }
    if any(&["not found", "manifest unknown", "name unknown", "does not exist", "404"]) || reason == "ErrImageNeverPull"
    {
        return Some("image-not-found");
    }
    if any(&[
        "i/o timeout",
        "connection refused",
        "deadline exceeded",
        "tls handshake",
        "connection reset",
        "no route to host",
        "eof",
        "500",
        "502",
        "503",
        "504",
        "unreachable",
        "server gave http response",
        "x509",
        "proxyconnect",
    ]) {
        return Some("image-registry-unreachable");
    }
    None
}

/// Everything that was said about a container's image, the newest last.
fn texts<'a>(p: &PodFacts<'a>, s: &Symptom) -> Vec<&'a str> {
    let mut out: Vec<&str> = p
        .notes(&["Failed", "InspectFailed", "ErrImageNeverPull", "BackOff"])
        .filter(|n| n.container == s.container || n.container.is_none())
        .filter(|n| n.last >= p.created())
        .map(|n| n.message.as_str())
        .collect();
    if let Some(c) = s.container.as_deref().and_then(|n| p.container(n)) {
        out.push(c.waiting_message());
    }
    out
}

/// Proposes a cause for each container that waits for its image.
pub fn find(view: &View, symptoms: &[Symptom], out: &mut Vec<Hypothesis>) {
    for s in symptoms.iter().filter(|s| s.trouble == Trouble::ImagePull) {
        let Some(p) = view.pods.get(&s.object) else { continue };
        let Some(c) = s.container.as_deref().and_then(|n| p.container(n)) else { continue };
        let said = texts(p, s);
        let Some((id, _)) = said.iter().rev().find_map(|t| classify(t, c.waiting()).map(|id| (id, *t))) else {
            continue;
        };
        let image = c.spec.map_or(c.status.image.as_str(), |x| x.image.as_str());
        let missing_secret = (id == "image-pull-unauthorized").then(|| pull_secret_missing(view, p)).flatten();
        let (id, root) = match &missing_secret {
            Some(_) => ("image-pull-secret-missing", p.workload.clone()),
            None => (id, p.workload.clone()),
        };
        let says = match id {
            "image-not-found" => "the registry has no such image",
            "image-name-invalid" => "the image reference cannot be parsed",
            "image-pull-unauthorized" => "the registry refuses the pull",
            "image-pull-secret-missing" => "the registry refuses the pull and the pull Secret does not exist",
            "image-registry-unresolvable" => "the registry's host name does not resolve",
            _ => "the registry does not answer",
        };
        let mut h = Hypothesis::new(
            id,
            root,
            s.since,
            Proof::Stated,
            format!("{image}: {says}; container {} of {} cannot start", c.name(), p.workload),
        )
        .explaining([s.object.clone()])
        .counting_from(s.counts_from)
        .via("image")
        .with([view.state(
            &s.object,
            Some(s.since),
            format!("container {} waits: {} {}", c.name(), c.waiting(), c.waiting_message()),
        )]);
        for n in p.notes(&["Failed", "FailedToRetrieveImagePullSecret"]).filter(|n| n.last >= p.created()) {
            if classify(&n.message, "").is_some() || n.reason != "Failed" {
                h = h.with([view.noted(&s.object, n)]);
            }
        }
        if let Some((_, changes)) = view.last_template_change(&p.workload) {
            let images: Vec<_> = changes.into_iter().filter(|c| c.field.ends_with(".image")).collect();
            if !images.is_empty() && view.is_newest(p) {
                h = h.supported(1).changed(images);
            }
        }
        let runs_elsewhere = view.pods.values().any(|o| {
            o.workload == p.workload
                && o.containers.iter().any(|x| x.is_running() && x.spec.is_some_and(|y| y.image == image))
        });
        // A node that has the image already runs it, also when the registry has lost it since.
        h = h
            .doubted(u32::from(runs_elsewhere && id == "image-not-found"))
            .unless("the image was pulled since", c.is_running());
        if let Some(secret) = missing_secret {
            h = h.with([view.state(&secret, None, format!("{secret} does not exist"))]).next(kubectl("get", &secret));
        }
        out.push(h.next(undo(&p.workload)).next(kubectl("describe", &s.object)));
    }
}

fn pull_secret_missing(view: &View, p: &PodFacts) -> Option<ObjectRef> {
    let ns = p.key().ns();
    let account = ObjectRef::new("ServiceAccount", ns, &p.pod.spec.service_account_name);
    let of_account = match view.world.live(&account).map(|o| &o.body) {
        Some(tapio_core::object::Body::ServiceAccount(a)) => a.image_pull_secrets.clone(),
        _ => Vec::new(),
    };
    let named: Vec<ObjectRef> = p
        .pod
        .spec
        .image_pull_secrets
        .iter()
        .chain(&of_account)
        .map(|s| ObjectRef::new("Secret", ns, &s.name))
        .collect();
    let said = p.notes(&["FailedToRetrieveImagePullSecret"]).next_back();
    named.into_iter().find(|s| {
        view.world.live(s).is_none() && (said.is_some_and(|n| n.message.contains(&s.name)) || view.world.is_missing(s))
    })
}

#[cfg(test)]
mod tests {
    use super::classify;

    #[test]
    fn the_words_of_registries_decide() {
        for (text, want) in [
            (
                r#"rpc error: code = NotFound desc = failed to pull and unpack image "docker.io/library/nginx:9": failed to resolve reference "docker.io/library/nginx:9": docker.io/library/nginx:9: not found"#,
                Some("image-not-found"),
            ),
            ("manifest for repo/app:9 not found: manifest unknown: manifest unknown", Some("image-not-found")),
            (
                "failed to resolve reference \"docker.io/x/y:1\": pull access denied, repository does not exist or may require authorization: server message: insufficient_scope: authorization failed",
                Some("image-pull-unauthorized"),
            ),
            ("failed to fetch anonymous token: unexpected status: 403 Forbidden", Some("image-pull-unauthorized")),
            (
                "failed to do request: Head \"https://reg.example/v2/a/manifests/1\": dial tcp: lookup reg.example on 10.0.0.1:53: no such host",
                Some("image-registry-unresolvable"),
            ),
            ("dial tcp 10.0.0.1:443: i/o timeout", Some("image-registry-unreachable")),
            (
                "429 Too Many Requests - Server message: toomanyrequests: You have reached your pull rate limit",
                Some("image-registry-unreachable"),
            ),
            (
                "couldn't parse image name \"App:1\": invalid reference format: repository name must be lowercase",
                Some("image-name-invalid"),
            ),
            ("Back-off pulling image \"nginx:9\"", None),
        ] {
            assert_eq!(classify(text, ""), want, "{text}");
        }
    }
}
