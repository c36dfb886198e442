//! The routes that a gateway's configuration in a ConfigMap holds, noted before its values are hashed: nginx (`location`
//! with `proxy_pass`) and route lists of the `uri` and `Path=` form (Spring Cloud Gateway). Only paths, hosts, ports and
//! names of variables are taken; credentials in a URI and queries are not.

use std::collections::BTreeMap;

use serde_json::Value;
use tapio_core::object::routes::{MAX_ROUTES, ROUTES, Route, encode};

/// The ConfigMap with the routes of its values; none where they hold none.
pub(super) fn note_routes(json: &str, kind: &str) -> Option<String> {
    if kind != "ConfigMap" || !(json.contains("proxy_pass") || json.contains("Path=")) {
        return None;
    }
    let mut map: Value = serde_json::from_str(json).ok()?;
    let data = map.get("data")?.as_object()?;
    let mut routes: Vec<Route> = data.iter().filter_map(|(k, v)| v.as_str().map(|v| of_text(k, v))).flatten().collect();
    routes.truncate(MAX_ROUTES);
    if routes.is_empty() {
        return None;
    }
    let meta = map.get_mut("metadata")?.as_object_mut()?;
    let notes = meta.entry("annotations").or_insert_with(|| Value::Object(serde_json::Map::new()));
    if notes.is_null() {
        *notes = Value::Object(serde_json::Map::new());
    }
    notes.as_object_mut()?.insert(ROUTES.to_owned(), Value::String(encode(&routes)));
    serde_json::to_string(&map).ok()
}

fn of_text(place: &str, text: &str) -> Vec<Route> {
    if text.contains("proxy_pass") {
        of_nginx(place, text)
    } else if text.contains("Path=") && text.contains("uri:") {
        of_route_list(place, text)
    } else {
        Vec::new()
    }
}

fn of_nginx(place: &str, text: &str) -> Vec<Route> {
    let mut upstreams: BTreeMap<&str, &str> = BTreeMap::new();
    let mut inside = "";
    let mut path = "/";
    let mut found: Vec<(&str, &str)> = Vec::new();
    for line in text.lines().map(str::trim).filter(|l| !l.starts_with('#')) {
        let words: Vec<&str> = line.split([' ', '\t', '{', ';']).filter(|w| !w.is_empty()).collect();
        match words.as_slice() {
            ["upstream", name, ..] => inside = name,
            ["server", address, ..] if !inside.is_empty() => {
                upstreams.entry(inside).or_insert(address);
            }
            ["location", "=" | "~" | "~*" | "^~", p, ..] | ["location", p, ..] => path = p,
            _ => {}
        }
        if line.starts_with('}') {
            inside = "";
        }
        if let Some(at) = words.iter().position(|w| *w == "proxy_pass")
            && let Some(uri) = words.get(at + 1)
        {
            found.push((path, uri));
        }
    }
    let routes = found.into_iter().filter_map(|(path, uri)| {
        let target = uri.split_once("://").map_or(uri, |(_, rest)| rest);
        let first = target.split('/').next().unwrap_or("");
        let uri = upstreams.get(first).copied().unwrap_or(uri);
        to(uri, Route { path: path.to_owned(), place: place.to_owned(), ..Route::default() })
    });
    routes.collect()
}

fn of_route_list(place: &str, text: &str) -> Vec<Route> {
    let new = || Route { place: place.to_owned(), ..Route::default() };
    let mut out: Vec<Route> = Vec::new();
    let mut now = new();
    let mut done = |r: Route| {
        let leads = !r.host.is_empty() || r.variable.is_some();
        if leads && !r.path.is_empty() {
            out.push(r);
        }
    };
    for line in text.lines().map(str::trim).filter(|l| !l.starts_with('#')) {
        let item = line.strip_prefix("- ").unwrap_or(line).trim_start();
        let value = |name: &str| item.strip_prefix(name).map(|v| v.trim().trim_matches(['"', '\'']));
        if let Some(id) = value("id:") {
            done(std::mem::replace(&mut now, new()));
            now.id = id.to_owned();
        } else if let Some(uri) = value("uri:") {
            if !now.host.is_empty() {
                done(std::mem::replace(&mut now, new()));
            }
            let base = std::mem::take(&mut now);
            now = to(uri, base.clone()).unwrap_or(base);
        } else if let Some((_, p)) = item.split_once("Path=").filter(|_| now.path.is_empty()) {
            now.path = p.split([',', '"', '\'', ']', ' ']).next().unwrap_or("").to_owned();
        }
    }
    done(now);
    out
}

/// The route to a URI such as `http://cart:8080/x`, `lb://cart` or `http://${CART_HOST:cart}:8080`.
fn to(uri: &str, base: Route) -> Option<Route> {
    let rest = uri.split_once("://").map_or(uri, |(_, rest)| rest);
    let rest = rest.split(['/', '?']).next().unwrap_or("");
    let rest = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    let (host, variable, rest) = match rest.strip_prefix("${") {
        Some(inner) => {
            let (inside, after) = inner.split_once('}')?;
            let (name, default) = inside.split_once(':').unwrap_or((inside, ""));
            (default.to_owned(), Some(name.to_owned()), after)
        }
        // nginx's own variables say nothing here.
        None if rest.starts_with('$') => return None,
        None => {
            let end = rest.find(':').unwrap_or(rest.len());
            (rest.get(..end)?.to_owned(), None, rest.get(end..)?)
        }
    };
    let port = rest.strip_prefix(':').filter(|p| p.parse::<u16>().is_ok()).map(str::to_owned);
    let name_like = host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
    let told = name_like && (!host.is_empty() || variable.is_some());
    told.then_some(Route { host, variable, port, ..base })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn short(routes: &[Route]) -> Vec<String> {
        let port = |r: &Route| r.port.as_ref().map_or(String::new(), |p| format!(":{p}"));
        routes.iter().map(|r| format!("{} {} {}{}", r.id, r.path, r.host, port(r))).collect()
    }

    #[test]
    fn a_route_list_is_read() {
        let text = "spring:\n  cloud:\n    gateway:\n      routes:\n        - id: cart\n          uri: lb://${CART_HOST:shop-cart}\n          predicates:\n            - Path=/api/cart/**\n        # - id: old\n        - id: pay\n          uri: http://u:secret@shop-pay:8080/x?token=1\n          predicates:\n            - Path=/api/pay/**\n";
        let routes = of_text("application.yml", text);
        assert_eq!(short(&routes), ["cart /api/cart/** shop-cart", "pay /api/pay/** shop-pay:8080"]);
        assert_eq!(routes[0].variable.as_deref(), Some("CART_HOST"));
    }

    #[test]
    fn nginx_locations_are_read_with_their_upstreams() {
        let text = "upstream store {\n  server store-svc:6379 max_fails=2;\n}\nserver {\n  location /api/ {\n    proxy_pass http://api:8080;\n  }\n  location = /store {\n    proxy_pass http://store;\n  }\n  location /x { proxy_pass http://$backend; }\n}\n";
        assert_eq!(short(&of_text("nginx.conf", text)), [" /api/ api:8080", " /store store-svc:6379"]);
    }

    #[test]
    fn other_texts_hold_no_routes() {
        for text in ["", "uri: http://x", "Path=/x", "proxy_pass", "location { proxy_pass ; }", "uri:\nPath="] {
            assert!(of_text("k", text).is_empty(), "{text}");
        }
    }

    #[test]
    fn routes_are_noted_on_the_map_and_values_are_not() {
        let json = r#"{"kind":"ConfigMap","metadata":{"name":"g"},"data":{"n.conf":"location /a {\n proxy_pass http://a:80;\n}\n# password=hunter2"}}"#;
        let out = note_routes(json, "ConfigMap").unwrap_or_default();
        assert!(out.contains(r#""tapio.dev/routes":"n.conf\t\t/a\ta\t80\t""#), "{out}");
        assert_eq!(note_routes(json, "Secret"), None);
    }
}
