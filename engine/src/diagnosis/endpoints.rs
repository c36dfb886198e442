//! Which Services and pods a text means: `redis-cart:6379`, `orders.shop.svc.cluster.local`, `10.68.24.136:6379`.

use std::sync::LazyLock;

use regex::Regex;
use tapio_core::object::ObjectRef;

use super::view::{PodFacts, View};

/// A host, with the port where one was said.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: Option<i64>,
}

static HOST_PORT: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"(?:^|[\s/@=:,;\x22'(\[<>|])((?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?\.)*[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?):(\d{2,5})\b").ok()
});
static LOOKUP: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"(?:lookup|resolve|resolving|UnknownHostException:?|getaddrinfo (?:ENOTFOUND|EAI_AGAIN)|host name|hostname|host)\s+[\x22']?((?:[a-zA-Z0-9_-]+\.)*[a-zA-Z][a-zA-Z0-9_-]*)").ok()
});

/// The hosts with ports, and the hosts of failed look-ups, that a text names; at most 16.
pub fn mentioned(text: &str) -> Vec<Endpoint> {
    let mut out = Vec::new();
    if let Some(re) = HOST_PORT.as_ref() {
        for c in re.captures_iter(text) {
            let (host, port) = (c[1].to_owned(), c[2].parse().ok());
            // `12:30:45` is a time, `2024-01-15T12:30:45Z` one with its day, and `file.go:120` a place in a source file.
            let time = host.chars().all(|ch| ch.is_ascii_digit()) || is_day_and_hour(&host);
            let source = host.rsplit('.').next().is_some_and(|ext| {
                matches!(
                    ext,
                    "go" | "py"
                        | "js"
                        | "ts"
                        | "java"
                        | "rs"
                        | "c"
                        | "cc"
                        | "rb"
                        | "cpp"
                        | "h"
                        | "kt"
                        | "scala"
                        | "php"
                        | "mjs"
                        | "conf"
                        | "yaml"
                        | "yml"
                        | "xml"
                )
            });
            if !time && !source && out.len() < 16 {
                out.push(Endpoint { host, port });
            }
        }
    }
    if let Some(re) = LOOKUP.as_ref() {
        for c in re.captures_iter(text) {
            if out.len() < 16 && !out.iter().any(|e| e.host == c[1]) {
                out.push(Endpoint { host: c[1].to_owned(), port: None });
            }
        }
    }
    out
}

/// Whether it is the beginning of a time of ISO 8601, up to the first colon: `2024-01-15T12` or `20240115T12`.
fn is_day_and_hour(text: &str) -> bool {
    let Some((day, hour)) = text.split_once('T') else { return false };
    let digits = |t: &str, n: usize| t.len() == n && t.bytes().all(|b| b.is_ascii_digit());
    let mut parts = day.split('-');
    let long = matches!((parts.next(), parts.next(), parts.next(), parts.next()),
        (Some(y), Some(m), Some(d), None) if digits(y, 4) && digits(m, 2) && digits(d, 2));
    digits(hour, 2) && (long || digits(day, 8))
}

/// What a host means for somebody in namespace `ns`: a Service by name or address, or a pod by address.
pub fn resolve(view: &View, ns: &str, host: &str) -> Option<ObjectRef> {
    let is_address = host.parse::<std::net::IpAddr>().is_ok();
    if is_address {
        for s in view.world.all("Service") {
            if s.as_service().is_some_and(|x| x.spec.cluster_ip == host) {
                return Some(s.key.clone());
            }
        }
        return view.pods.values().find(|p| p.pod.status.pod_ip == host).map(|p| p.key().clone());
    }
    let (name, namespace) = service_name(ns, host)?;
    let key = ObjectRef::new("Service", &namespace, &name);
    if view.world.live(&key).is_some() {
        return Some(key);
    }
    // `pod-0.service.ns`: the name of one pod of a set.
    let (_, rest) = host.split_once('.')?;
    let (name, namespace) = service_name(ns, rest)?;
    let key = ObjectRef::new("Service", &namespace, &name);
    view.world.live(&key).map(|_| key)
}

/// Name and namespace of the Service that a cluster name would mean; none for names of the outside world.
pub fn service_name(ns: &str, host: &str) -> Option<(String, String)> {
    let host = host.trim_end_matches('.');
    let mut parts = host.split('.');
    let name = parts.next().filter(|n| !n.is_empty())?;
    match (parts.next(), parts.next()) {
        (None, _) => Some((name.to_owned(), ns.to_owned())),
        (Some(space), None | Some("svc")) => Some((name.to_owned(), space.to_owned())),
        _ => None,
    }
}

/// Services (and pods) that the errors of a pod's containers name, then those that its environment names.
pub fn named_by(view: &View, p: &PodFacts) -> Vec<ObjectRef> {
    let ns = p.key().ns();
    let mut out: Vec<ObjectRef> = Vec::new();
    let mut push = |o: ObjectRef| {
        if o != *p.key() && !out.contains(&o) {
            out.push(o);
        }
    };
    for tail in p.history().logs.values() {
        for (line, _) in tail.errors().take(40) {
            for e in mentioned(line) {
                if let Some(o) = resolve(view, ns, &e.host) {
                    push(o);
                }
            }
        }
    }
    for c in &p.pod.spec.containers {
        for v in c.env.iter().filter(|v| !v.value.is_empty()) {
            for e in addresses(&v.value) {
                if let Some(o) = resolve(view, ns, &e.host) {
                    push(o);
                }
            }
        }
    }
    // An address of a pod stands for the Services over it too.
    let pods: Vec<ObjectRef> = out.iter().filter(|o| o.kind == "Pod").cloned().collect();
    out.extend(view.services_over(&pods));
    out.sort();
    out.dedup();
    out
}

/// The addresses in a configured value: `host:port`, a URL, or a bare name.
pub fn addresses(value: &str) -> Vec<Endpoint> {
    let found = mentioned(value);
    if !found.is_empty() {
        return found;
    }
    let bare = value.rsplit("://").next().unwrap_or(value).split(['/', '?']).next().unwrap_or("");
    let bare = bare.rsplit('@').next().unwrap_or(bare);
    let name_like = !bare.is_empty()
        && bare.len() <= 253
        && bare.chars().any(|c| c.is_ascii_alphabetic())
        && bare.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.'));
    if name_like { vec![Endpoint { host: bare.to_owned(), port: None }] } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_found_in_texts_and_times_and_source_places_are_not() {
        for (text, want) in [
            ("dial tcp 10.68.24.136:6379: connect: connection refused", vec!["10.68.24.136:6379"]),
            ("cannot reach redis-cart:6379 at 12:30:45", vec!["redis-cart:6379"]),
            ("panic at main.go:120", vec![]),
            ("2024-01-15T10:30:00Z cannot reach cart:7070", vec!["cart:7070"]),
            ("time=2024-01-15T10:30:00.123+01:00 level=error msg=\"no route\"", vec![]),
            ("20240115T10:30:00Z asks v2-T10:8080", vec!["v2-T10:8080"]),
            (
                "dial tcp: lookup nosuch.shop.svc on 10.96.0.10:53: no such host",
                vec!["10.96.0.10:53", "nosuch.shop.svc"],
            ),
            ("jdbc:mysql://ts-db:3307/ts", vec!["ts-db:3307"]),
            (
                "time=2026-03-02T10:00:59Z level=error error=\"dial tcp: lookup store on 10.96.0.10:53: no such host\"",
                vec!["10.96.0.10:53", "store"],
            ),
            ("20260302T10:00:59 no answer of T1000:8080", vec!["T1000:8080"]),
        ] {
            let got: Vec<String> = mentioned(text)
                .into_iter()
                .map(|e| e.port.map_or(e.host.clone(), |p| format!("{}:{p}", e.host)))
                .collect();
            assert_eq!(got, want, "{text}");
        }
    }

    #[test]
    fn cluster_names_are_read_with_and_without_namespace() {
        for (host, want) in [
            ("cart", Some(("cart", "shop"))),
            ("cart.other", Some(("cart", "other"))),
            ("cart.other.svc.cluster.local", Some(("cart", "other"))),
            ("www.example.com", None),
        ] {
            let got = service_name("shop", host);
            assert_eq!(got, want.map(|(a, b)| (a.to_owned(), b.to_owned())), "{host}");
        }
    }
}
