//! Who calls which Service, as far as environment, configuration and seen calls tell.

use std::collections::BTreeMap;

use tapio_core::object::{Body, ObjectRef, is_subset};
use tapio_core::ontology::Relation;

use super::state::{Runner, State};
use crate::diagnosis::endpoints::{addresses, mentioned, resolve};
use crate::world::uses::uses;

/// A workload, the Service that it calls, and the port where one is named.
pub(super) type Call = (ObjectRef, ObjectRef, Option<i64>);

/// Error lines looked at of one container.
const LINES: usize = 40;
/// Words in the name of a setting that make a bare word in it a host.
const HINTS: &[&str] = &["host", "addr", "url", "uri", "server", "service", "svc", "endpoint", "broker", "target"];

/// Every call that is known in `state`, with where it stands. Names are looked up in both worlds: the Service may be the
/// one that goes.
pub(super) fn known(state: &State, other: &State) -> BTreeMap<Call, String> {
    let mut out = BTreeMap::new();
    for r in state.all_runners() {
        let ns = r.workload.ns();
        for (place, name, value) in settings(state, r) {
            for e in addresses(&value) {
                let lower = name.to_lowercase();
                let hinted = e.port.is_some() || e.host.contains('.') || HINTS.iter().any(|h| lower.contains(h));
                let found = || resolve(&state.view, ns, &e.host).or_else(|| resolve(&other.view, ns, &e.host));
                let Some(service) = Some(()).filter(|()| hinted).and_then(|()| found()) else { continue };
                let own = |s: &State| s.service(&service).is_some_and(|x| service.ns() == ns && r.selected_by(x));
                if service.kind == "Service" && !own(state) && !own(other) {
                    let call = (r.workload.clone(), service, e.port);
                    out.entry(call).or_insert_with(|| format!("{place} names {}", e.host));
                }
            }
        }
    }
    for p in state.view.pods.values().filter(|p| !p.pod.is_finished()) {
        let lines = p.history().logs.values().flat_map(|t| t.errors().take(LINES));
        for e in lines.flat_map(|(l, _)| mentioned(l)) {
            let found = resolve(&state.view, p.key().ns(), &e.host).filter(|o| o.kind == "Service");
            let Some(service) = found else { continue };
            let known = is_known(&out, &p.workload, &service);
            let own = state.service(&service).is_some_and(|s| is_subset(&s.spec.selector, &p.object.meta.labels));
            if !known && !own {
                out.insert((p.workload.clone(), service, None), format!("the log of {} names {}", p.key(), e.host));
            }
        }
    }
    for s in [state, other].into_iter().flat_map(|s| s.world.all("Service")) {
        for e in state.world.into(&s.key, Relation::Calls) {
            let workload = state.world.workload_of(&e.key);
            let named = is_known(&out, &workload, &s.key);
            if !named && state.runner(&workload).is_some() {
                out.insert((workload, s.key.clone(), None), "calls were seen".to_owned());
            }
        }
    }
    out
}

/// Whether a call between these two is there, whatever the port.
fn is_known(calls: &BTreeMap<Call, String>, from: &ObjectRef, to: &ObjectRef) -> bool {
    let first = calls.range((from.clone(), to.clone(), None)..).next();
    first.is_some_and(|((f, t, _), _)| f == from && t == to)
}

/// Place, name and value of every setting that a workload is started with.
fn settings(state: &State, r: &Runner) -> Vec<(String, String, String)> {
    let mut out = Vec::new();
    for c in r.spec.all_containers() {
        for v in c.env.iter().filter(|v| !v.value.is_empty()) {
            out.push((format!("variable {} of container {}", v.name, c.name), v.name.clone(), v.value.clone()));
        }
    }
    for u in uses(r.spec).iter().filter(|u| u.kind == "ConfigMap") {
        let key = u.target(r.workload.ns());
        let Some(Body::ConfigMap(c)) = state.world.live(&key).map(|o| &o.body) else { continue };
        for (k, v) in c.data.iter().filter(|(k, _)| u.keys.is_empty() || u.keys.contains(k)) {
            out.push((format!("key {k} of {key}"), k.clone(), v.clone()));
        }
    }
    out
}
