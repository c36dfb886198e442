//! Certificates whose time is over, or has not begun.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use regex::Regex;
use tapio_core::object::{Body, Object, ObjectRef};
use tapio_core::time::Time;

use super::{kubectl, manual};
use crate::diagnosis::endpoints;
use crate::diagnosis::hypothesis::{Hypothesis, Proof};
use crate::diagnosis::logs::{self, Class, ErrorLine};
use crate::diagnosis::symptom::Symptom;
use crate::diagnosis::view::{PodFacts, View};

manual! {
    /// A TLS certificate has expired or is not yet valid.
    ///
    /// Required: a Certificate whose notAfter is over, or whose notBefore is still to come; or a failing container whose
    /// error says that the certificate of a Service of this cluster has expired or is not yet valid, and the TLS Secret
    /// that the pods behind it mount.
    /// Supports: both; Ready=False of the Certificate.
    /// Refuted by: the Secret was written anew after the error; the clock of the caller's node is off (then that). A server
    /// that logs how some client refused its certificate, and a host outside of the cluster, are no evidence.
    /// Lag: none; a client may only notice with its next connection.
    /// Do: renew the certificate, and let the server load it.
    "certificate-expired": CapturedText [Crashing, Unready, LogErrors, ProbeKilled, InitStuck];
}

static OUT_OF_TIME: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"(?i)certificate has expired|certificate is not yet valid|CERT_HAS_EXPIRED|CERT_NOT_YET_VALID|CertificateExpiredException|CertificateNotYetValidException|certificate expired on").ok()
});
static URL: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r#"https?://([a-zA-Z0-9.-]+)"#).ok());

/// Whether a client's line says that a certificate is not valid at this time. A server's line about a client that
/// refused it comes from anywhere, also from outside.
pub(crate) fn is_out_of_time(line: &str) -> bool {
    let servers = line.contains("TLS handshake error from") || line.contains("remote error: tls");
    !servers && OUT_OF_TIME.as_ref().is_some_and(|r| r.is_match(line))
}

/// Certificates that are over, and callers that say so.
pub fn find(view: &View, symptoms: &[Symptom], out: &mut Vec<Hypothesis>) {
    let callers = callers(view, symptoms);
    for o in view.world.all("Certificate") {
        out.extend(stated(view, o, &callers));
    }
    let mut seen = BTreeSet::new();
    for c in &callers {
        let Some(secret) = secret_behind(view, c) else { continue };
        // The Certificate that makes it tells its own time.
        let made = certificate_of(view, &secret);
        if made.as_ref().is_some_and(|m| out_of_time(view, m).is_some()) || !seen.insert((secret.clone(), c.pod.key()))
        {
            continue;
        }
        out.push(by_caller(view, c, &secret, made.map(|m| m.key.clone())));
    }
}

/// A failing pod and its line.
struct Caller<'a, 'b> {
    pod: &'b PodFacts<'a>,
    symptom: &'b Symptom,
    line: ErrorLine<'a>,
}

fn callers<'a, 'b>(view: &'b View<'a>, symptoms: &'b [Symptom]) -> Vec<Caller<'a, 'b>> {
    let failing = symptoms.iter().filter(|s| s.is_failing_container() && s.counts_from < Time::MAX);
    let mut seen = BTreeSet::new();
    failing
        .filter(|s| seen.insert(&s.object))
        .filter_map(|s| {
            let pod = view.pods.get(&s.object)?;
            let line = logs::newest_of(pod, None, &[Class::Certificate]).filter(|l| is_out_of_time(l.text))?;
            Some(Caller { pod, symptom: s, line })
        })
        .collect()
}

/// Since when a Certificate is not valid, and how that is said; none if it is, or its times are not known.
fn out_of_time(view: &View, o: &Object) -> Option<(Time, String)> {
    let c = o.as_other()?;
    let time = |path: &str| Time::parse(c.fact(path)).ok();
    if let Some(end) = time("status.notAfter").filter(|t| *t < view.now) {
        return Some((end, format!("expired at {}", end.clock())));
    }
    let begin = time("status.notBefore").filter(|t| *t > view.now)?;
    let made = o.meta.creation_timestamp.unwrap_or(view.now);
    Some((made, format!("is not valid before {}", begin.clock())))
}

fn stated(view: &View, o: &Object, callers: &[Caller]) -> Option<Hypothesis> {
    let (since, says) = out_of_time(view, o)?;
    let secret = ObjectRef::new("Secret", o.key.ns(), o.as_other()?.fact("spec.secretName"));
    let harmed: Vec<&Caller> = callers.iter().filter(|c| secret_behind(view, c).is_some_and(|s| s == secret)).collect();
    // One that nobody uses, or that is over for long without a complaint, harms nobody.
    let used = view.world.into(&secret, tapio_core::ontology::Relation::UsesSecret).iter().any(|e| e.is_live());
    if harmed.is_empty() && (!used || view.age(since) > 6 * 3_600) {
        return None;
    }
    let ready = o.as_other().and_then(|c| c.condition("Ready")).filter(|c| c.status == "False");
    let mut h =
        Hypothesis::new("certificate-expired", o.key.clone(), since, Proof::Stated, format!("{} {says}", o.key))
            .explaining(harmed.iter().map(|c| c.symptom.object.clone()))
            .explaining([secret])
            .via("certificate")
            .supported(u32::from(!harmed.is_empty()) + u32::from(ready.is_some()))
            .with([view.state(&o.key, Some(since), says)])
            .with(harmed.iter().take(2).map(|c| evidence(view, c)))
            .unless("it was renewed", false)
            .next(kubectl("describe", &o.key));
    if let Some(c) = ready {
        h = h.with([view.state(&o.key, *c.last_transition_time, format!("Ready=False: {} {}", c.reason, c.message))]);
    }
    Some(h)
}

fn evidence(view: &View, c: &Caller) -> tapio_core::answer::Evidence {
    view.logged(c.pod.key(), Some(c.line.at), c.line.container, c.line.text)
}

fn by_caller(view: &View, c: &Caller, secret: &ObjectRef, made: Option<ObjectRef>) -> Hypothesis {
    let root = made.unwrap_or_else(|| secret.clone());
    let renewed = view.changes(secret).last().is_some_and(|x| x.at > c.line.at);
    Hypothesis::new(
        "certificate-expired",
        root.clone(),
        c.symptom.since,
        Proof::Inferred,
        format!("{} cannot connect: the certificate in {secret} is not valid at this time", c.pod.workload),
    )
    .explaining([c.symptom.object.clone(), secret.clone()])
    .counting_from(c.symptom.counts_from)
    .via("certificate")
    .supported(1)
    .with([evidence(view, c), view.state(secret, None, "the pods that were called mount it")])
    .unless("it was written anew after the error", renewed)
    .unless("the clock of the caller's node is off", super::machine::is_off(view, &c.pod.pod.spec.node_name))
    .next(kubectl("describe", &root))
}

/// The TLS Secret of what the line calls: mounted by the pods behind the Service that it names.
fn secret_behind(view: &View, c: &Caller) -> Option<ObjectRef> {
    let ns = c.pod.key().ns();
    let mut hosts: Vec<String> = endpoints::mentioned(c.line.text).into_iter().map(|e| e.host).collect();
    if let Some(re) = URL.as_ref() {
        hosts.extend(re.captures_iter(c.line.text).map(|m| m[1].to_owned()));
    }
    let service = hosts.iter().find_map(|h| endpoints::resolve(view, ns, h))?;
    let pods: Vec<ObjectRef> = match service.kind.as_str() {
        "Service" => view.services.get(&service)?.pods.clone(),
        _ => vec![service],
    };
    pods.iter().filter_map(|k| view.pods.get(k)).find_map(|p| tls_secret(view, p))
}

/// The first Secret of a pod that holds a certificate.
fn tls_secret(view: &View, p: &PodFacts) -> Option<ObjectRef> {
    let mounted = view.world.out(p.key(), tapio_core::ontology::Relation::UsesSecret);
    mounted.into_iter().filter_map(|e| e.live()).find_map(|o| {
        let Body::Secret(s) = &o.body else { return None };
        (s.r#type == "kubernetes.io/tls" || s.data.contains_key("tls.crt")).then(|| o.key.clone())
    })
}

/// The Certificate that writes a Secret.
fn certificate_of<'a>(view: &View<'a>, secret: &ObjectRef) -> Option<&'a Object> {
    view.world
        .in_namespace("Certificate", secret.ns())
        .find(|o| o.as_other().is_some_and(|c| c.fact("spec.secretName") == secret.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_of_several_languages_say_it_and_servers_say_something_else() {
        for (text, want) in [
            // Go up to 1.19, and since.
            (
                "Get \"https://ledger.shop.svc:8443/v1\": x509: certificate has expired or is not yet valid: current time 2026-03-02T10:00:41Z is after 2026-03-02T09:00:00Z",
                true,
            ),
            (
                "tls: failed to verify certificate: x509: certificate has expired or is not yet valid: current time 2026-03-02T10:00:41Z is before 2026-03-02T12:00:00Z",
                true,
            ),
            (
                "ssl.SSLCertVerificationError: [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: certificate has expired (_ssl.c:1007)",
                true,
            ),
            ("Error: certificate has expired { code: 'CERT_HAS_EXPIRED' }", true),
            ("Caused by: java.security.cert.CertificateExpiredException: NotAfter: Mon Mar 02 09:00:00 UTC 2026", true),
            ("http: TLS handshake error from 198.51.100.7:40122: remote error: tls: expired certificate", false),
            ("http: TLS handshake error from 10.0.0.1:51432: tls: client certificate has expired", false),
            ("x509: certificate signed by unknown authority", false),
            ("tls: failed to verify certificate: x509: certificate is valid for a.example, not b.example", false),
        ] {
            assert_eq!(is_out_of_time(text), want, "{text}");
        }
    }
}
