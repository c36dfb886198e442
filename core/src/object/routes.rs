//! Routes of a gateway's configuration, as collectors note them on a ConfigMap before its values are redacted.

/// Annotation that carries the routes that a ConfigMap's values hold.
pub const ROUTES: &str = "tapio.dev/routes";
/// Routes noted of one object.
pub const MAX_ROUTES: usize = 1_000;

/// Where a path goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Route {
    /// Where it stands: the key of a ConfigMap, the host of an Ingress.
    pub place: String,
    /// Its name, where it has one.
    pub id: String,
    /// The path, as it is written.
    pub path: String,
    /// The host of the backend; the default, where a variable gives it.
    pub host: String,
    /// The port of the backend: a number or a name.
    pub port: Option<String>,
    /// The variable that gives the host, where one does.
    pub variable: Option<String>,
}

impl Route {
    /// The port, where it is a number.
    pub fn port_number(&self) -> Option<i64> {
        self.port.as_ref().and_then(|p| p.parse().ok())
    }
}

/// The text of the annotation: one line a route, fields between tabs.
pub fn encode(routes: &[Route]) -> String {
    let clean = |s: &str| s.replace(['\t', '\n', '\r'], " ");
    let lines = routes.iter().take(MAX_ROUTES).map(|r| {
        let (port, variable) = (r.port.as_deref().unwrap_or(""), r.variable.as_deref().unwrap_or(""));
        [&r.place, &r.id, &r.path, &r.host, port, variable].map(clean).join("\t")
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Reads the annotation; lines of another form are left out.
pub fn decode(text: &str) -> Vec<Route> {
    let lines = text.lines().take(MAX_ROUTES).filter_map(|l| {
        let mut fields = l.split('\t').map(str::to_owned);
        let mut next = || fields.next();
        let (place, id, path, host) = (next()?, next()?, next()?, next()?);
        let (port, variable) = (next()?, next()?);
        let told = |s: String| (!s.is_empty()).then_some(s);
        Some(Route { place, id, path, host, port: told(port), variable: told(variable) })
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back_and_other_lines_are_left_out() {
        let routes = vec![
            Route { place: "a.yml".into(), id: "x".into(), path: "/x/**".into(), host: "x".into(), ..Route::default() },
            Route {
                place: "n".into(),
                path: "/y".into(),
                host: "y".into(),
                port: Some("80".into()),
                variable: Some("Y_HOST".into()),
                ..Route::default()
            },
        ];
        assert_eq!(decode(&encode(&routes)), routes);
        assert_eq!(decode("nonsense\n\ta\t"), []);
        assert_eq!(routes[1].port_number(), Some(80));
    }
}
