//! Route tables: which path goes to which backend. From Ingresses, and from what collectors noted on the ConfigMaps of
//! gateways.

use tapio_core::object::routes::{MAX_ROUTES, ROUTES, decode};
use tapio_core::object::{Body, IngressBackend, IntOrString, Object, ObjectRef};

pub use tapio_core::object::routes::Route;

/// The table that an object holds, if it does.
pub fn table_of(o: &Object) -> Option<(ObjectRef, Vec<Route>)> {
    let mut routes: Vec<Route> = match &o.body {
        Body::ConfigMap(_) => o.meta.annotations.get(ROUTES).map(|t| decode(t)).unwrap_or_default(),
        Body::Ingress(i) => {
            let paths = i.spec.rules.iter().flat_map(|r| {
                r.http.iter().flat_map(|h| &h.paths).map(move |p| (r.host.as_str(), p.path.as_str(), &p.backend))
            });
            let default = i.spec.default_backend.iter().map(|b| ("", "/", b));
            paths.chain(default).filter_map(|(host, path, b)| of_backend(host, path, b)).collect()
        }
        _ => Vec::new(),
    };
    routes.truncate(MAX_ROUTES);
    (!routes.is_empty()).then(|| (o.key.clone(), routes))
}

fn of_backend(host: &str, path: &str, b: &IngressBackend) -> Option<Route> {
    let base = Route { path: path.to_owned(), place: host.to_owned(), ..Route::default() };
    if let Some(s) = &b.service {
        let port = if s.port.number > 0 { s.port.number.to_string() } else { s.port.name.clone() };
        return Some(Route { host: s.name.clone(), port: (!port.is_empty()).then_some(port), ..base });
    }
    // The form of before networking.k8s.io/v1.
    let port = b.service_port.as_ref().map(|p| match p {
        IntOrString::Int(n) => n.to_string(),
        IntOrString::Str(s) => s.clone(),
    });
    (!b.service_name.is_empty()).then(|| Route { host: b.service_name.clone(), port, ..base })
}
