//! Gateways and Ingresses that send a path to the wrong place.

use std::collections::BTreeSet;

use tapio_core::object::ObjectRef;
use tapio_core::ontology::Relation;

use super::{kubectl, manual};
use crate::diagnosis::endpoints;
use crate::diagnosis::hypothesis::{Hypothesis, Proof};
use crate::diagnosis::symptom::{Symptom, Trouble};
use crate::diagnosis::view::View;
use crate::world::alerts::Signal;
use crate::world::routes::Route;

manual! {
    /// A gateway or ingress sends a path to the wrong or an absent backend.
    ///
    /// Required: a route table (Ingress, or a gateway's configuration in a ConfigMap that a pod reads) with a route whose
    /// backend does not exist or has no such port, or is another than its path names; and either requests of that path
    /// fail, or a Service that the path names by the table's own convention is left without any route.
    /// Supports: an alert on failed requests names the path or that Service; the table was changed.
    /// Refuted by: the backend is there with its port, and the Service that the path names has another route.
    /// Do: correct the route.
    "route-backend-wrong": Recorded [Alert, LogErrors];
}

/// Routes that a table needs before it can be said to have a convention.
const MIN_ROUTES: usize = 4;

/// Routes that lead nowhere, and routes that leave the convention of their own table.
pub fn find(view: &View, symptoms: &[Symptom], out: &mut Vec<Hypothesis>) {
    for (key, table) in view.world.routes() {
        if key.kind == "ConfigMap" && !view.world.into(key, Relation::Mounts).iter().any(|e| e.is_live()) {
            continue;
        }
        let services: Vec<&str> = view.world.in_namespace("Service", key.ns()).map(|o| o.key.name.as_str()).collect();
        if services.is_empty() && !view.world.was_listed("Service", key.ns()) {
            continue;
        }
        let backends: Vec<Option<String>> = table.iter().map(|r| backend(view, key, r)).collect();
        let reached: BTreeSet<&str> = backends.iter().flatten().map(String::as_str).collect();
        let fits = |r: &Route, name: &str| words(r).iter().any(|w| plain(name).contains(w.as_str()));
        let told = backends.iter().flatten().count();
        let fitting = table.iter().zip(&backends).filter(|(r, b)| b.as_ref().is_some_and(|b| fits(r, b))).count();
        let convention = told >= MIN_ROUTES && fitting * 4 >= told * 3;
        for (r, b) in table.iter().zip(&backends) {
            let Some(b) = b else { continue };
            let target = ObjectRef::new("Service", key.ns(), b);
            let exists = services.contains(&b.as_str());
            let lacks_port = exists && !has_port(view, &target, r);
            // The Service that the path names. What another route leads to is not left without one.
            let named = (convention && !fits(r, b))
                .then(|| services.iter().filter(|s| named_by(r, s)).min_by_key(|s| (s.len(), **s)))
                .flatten();
            let routed = named.is_some_and(|s| reached.contains(*s));
            let meant = named.filter(|_| !routed).map(|s| ObjectRef::new("Service", key.ns(), s));
            let suffering = suffering(view, symptoms, r, meant.as_ref());
            let leads_nowhere = (!exists || lacks_port) && !suffering.is_empty();
            if !leads_nowhere && named.is_none() {
                continue;
            }
            out.push(
                hypothesis(view, key, r, &target, exists, meant.as_ref(), &suffering)
                    .unless("another route leads to the Service that the path names", !leads_nowhere && routed),
            );
        }
    }
}

fn hypothesis(
    view: &View,
    key: &ObjectRef,
    r: &Route,
    target: &ObjectRef,
    exists: bool,
    meant: Option<&ObjectRef>,
    suffering: &[&Symptom],
) -> Hypothesis {
    let changes: Vec<_> = view.changes(key).iter().map(|c| c.change.clone()).collect();
    let changed_at = changes.iter().filter_map(|c| c.at).max();
    let made = view.world.live(key).and_then(|o| *o.meta.creation_timestamp);
    let first_alert = suffering.iter().map(|s| s.since).min();
    let since = first_alert.or(changed_at).or(made).unwrap_or(view.now);
    let why = if !exists {
        "which does not exist".to_owned()
    } else if let Some(m) = meant {
        format!("and no route leads to {m}, which the path names")
    } else {
        "which has no such port".to_owned()
    };
    let port = r.port.as_ref().map(|p| format!(":{p}")).unwrap_or_default();
    Hypothesis::new(
        "route-backend-wrong",
        key.clone(),
        since,
        Proof::Inferred,
        format!("{key} sends {} to {}{port}, {why}", r.path, target.name),
    )
    .explaining(suffering.iter().map(|s| s.object.clone()).chain(meant.cloned()))
    .via("dependency")
    .supported(u32::from(!suffering.is_empty()) * 2 + u32::from(!changes.is_empty()) + u32::from(!exists))
    .doubted(u32::from(suffering.is_empty()))
    .with([view.state(key, changed_at.or(made), format!("{}: {} -> {}{port}", r.place, r.path, target.name))])
    .with(suffering.iter().take(4).map(|s| view.state(&s.object, Some(s.since), s.says.clone())))
    .changed(changes)
    .next(kubectl("describe", key))
}

/// The Service that a route's host means, there or not, with the variable's value where a reader of the table sets it.
pub(super) fn target(view: &View, table: &ObjectRef, r: &Route) -> Option<ObjectRef> {
    let set = r.variable.as_ref().and_then(|name| {
        let readers = view.world.into(table, Relation::Mounts);
        let pods = readers.iter().filter_map(|e| view.pods.get(&e.key));
        pods.flat_map(|p| &p.pod.spec.containers)
            .flat_map(|c| &c.env)
            .find(|v| v.name == *name)
            .map(|v| v.value.clone())
    });
    let host = set.filter(|v| !v.is_empty()).unwrap_or_else(|| r.host.clone());
    // An address, or the name of one pod of a set.
    endpoints::resolve(view, table.ns(), &host).filter(|o| o.kind == "Service").or_else(|| {
        let (name, space) = endpoints::service_name(table.ns(), &host)?;
        let named = name.chars().any(|c| c.is_ascii_alphabetic()) && name != "localhost";
        named.then(|| ObjectRef::new("Service", &space, &name))
    })
}

/// The name of a route's Service in the table's own namespace.
fn backend(view: &View, table: &ObjectRef, r: &Route) -> Option<String> {
    target(view, table, r).filter(|o| o.ns() == table.ns()).map(|o| o.name)
}

fn has_port(view: &View, service: &ObjectRef, r: &Route) -> bool {
    let Some(s) = view.world.live(service).and_then(|o| o.as_service()) else { return true };
    let ports = &s.spec.ports;
    let Some(port) = &r.port else { return true };
    match r.port_number() {
        Some(n) => ports.is_empty() || s.spec.cluster_ip == "None" || ports.iter().any(|p| p.port == n),
        None => ports.iter().any(|p| p.name == *port),
    }
}

/// Alerts on failed requests, and errors of the Service's callers, that mean this route.
fn suffering<'a>(view: &View, symptoms: &'a [Symptom], r: &Route, meant: Option<&ObjectRef>) -> Vec<&'a Symptom> {
    let path = r.path.trim_end_matches(['*', '/']);
    let telling = path.len() >= 4;
    symptoms
        .iter()
        .filter(|s| s.trouble == Trouble::Alert)
        .filter(|s| {
            view.alerts
                .iter()
                .filter(|(o, f)| **o == s.object && f.signal == Signal::Errors)
                .any(|(o, f)| meant == Some(*o) || (telling && f.says.contains(path)))
        })
        .collect()
}

/// Letters and digits alone, small.
fn plain(text: &str) -> String {
    text.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

/// What a route calls its backend: its id, and the telling segments of its path.
fn words(r: &Route) -> Vec<String> {
    let segments = r.path.split('/').filter(|s| !is_general(s));
    segments.chain([r.id.as_str()]).map(plain).filter(|w| w.len() >= 3).collect()
}

/// Whether a path's segment names nothing: `api`, `v1`, a pattern.
fn is_general(segment: &str) -> bool {
    let version = segment.strip_prefix('v').is_some_and(|n| n.chars().all(|c| c.is_ascii_digit()));
    segment.is_empty() || version || segment.contains(['*', '{', '(', '$', '^']) || segment == "api"
}

/// Whether the first telling segment of a route's path is the end of a Service's name.
fn named_by(r: &Route, service: &str) -> bool {
    let first = r.path.split('/').find(|s| !is_general(s)).map(plain).filter(|w| w.len() >= 3);
    first.is_some_and(|w| plain(service).ends_with(&w))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(id: &str, path: &str) -> Route {
        Route { id: id.to_owned(), path: path.to_owned(), ..Route::default() }
    }

    #[test]
    fn a_path_names_a_service_by_its_first_telling_segment() {
        for (path, service, want) in [
            ("/api/v1/orderservice/**", "shop-order-service", true),
            ("/api/v1/orderservice/**", "shop-travel-service", false),
            ("/cart/items", "cart", true),
            ("/cart/items", "items", false),
            ("/**", "cart", false),
            ("/v2/**", "v2", false),
        ] {
            assert_eq!(named_by(&route("", path), service), want, "{path} {service}");
        }
    }

    #[test]
    fn the_id_counts_as_a_word_and_general_segments_do_not() {
        assert_eq!(words(&route("verification-code", "/api/v1/verifycode/**")), ["verifycode", "verificationcode"]);
    }
}
