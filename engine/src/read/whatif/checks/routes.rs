//! Ingresses that lead nowhere.

use tapio_core::object::{Body, IngressBackend, ObjectRef};
use tapio_core::unified::Severity;

use crate::read::whatif::Problem;
use crate::read::whatif::state::State;

/// Backends, ports, classes and certificates that are not there.
pub(super) fn find(state: &State, out: &mut Vec<Problem>) {
    for o in state.world.all("Ingress") {
        let Body::Ingress(i) = &o.body else { continue };
        let ns = o.key.ns();
        let lacks = |severity: Severity, check: &'static str, key: &ObjectRef, detail: String, says: String| {
            Problem::new(severity, check, &o.key, says).because(key).detail(detail).seen(&o.key, format!("names {key}"))
        };
        let rules =
            i.spec.rules.iter().flat_map(|r| {
                r.http.iter().flat_map(|h| &h.paths).map(|p| (format!("{}{}", r.host, p.path), &p.backend))
            });
        let all: Vec<(String, &IngressBackend)> =
            rules.chain(i.spec.default_backend.iter().map(|b| ("the default backend".to_owned(), b))).collect();
        for (path, backend) in all {
            let Some((name, port)) = backend.target() else { continue };
            let key = ObjectRef::new("Service", ns, name);
            match state.service(&key) {
                None if state.world.is_missing(&key) => {
                    let says = format!("{} leads {path} to {key}, which does not exist", o.key);
                    out.push(lacks(Severity::High, "backend-missing", &key, format!("{path} {key}"), says));
                }
                Some(s) if !s.spec.ports.iter().any(|p| p.name == port || p.port.to_string() == port) => {
                    let has: Vec<String> = s.spec.ports.iter().map(|p| p.port.to_string()).collect();
                    let says = format!("{} leads {path} to {key} port {port}, which it does not have", o.key);
                    out.push(
                        lacks(Severity::High, "backend-port-missing", &key, format!("{path} {key} {port}"), says)
                            .seen(&key, format!("has port {}", has.join(", "))),
                    );
                }
                _ => {}
            }
        }
        let class = i.spec.ingress_class_name.as_str();
        let key = ObjectRef::cluster_scoped("IngressClass", class);
        if !class.is_empty() && state.world.is_missing(&key) {
            let says = format!("{} is of class {class}, which does not exist: no controller takes it", o.key);
            out.push(lacks(Severity::High, "ingress-class-missing", &key, class.to_owned(), says));
        }
        for t in i.spec.tls.iter().filter(|t| !t.secret_name.is_empty()) {
            let key = ObjectRef::new("Secret", ns, &t.secret_name);
            if state.world.is_missing(&key) {
                let says =
                    format!("{} has its certificate for {} in {key}, which does not exist", o.key, t.hosts.join(", "));
                out.push(lacks(Severity::Medium, "certificate-missing", &key, key.to_string(), says));
            }
        }
    }
}
