//! What an object's last applied configuration says against the object itself: which fields somebody changed by other
//! means. Only field names leave this file; the configuration itself, values and all, is dropped afterwards.

use serde_json::Value;

/// Annotation that `kubectl apply` leaves.
const APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Annotation that carries the names of the fields that differ, separated by commas.
pub(super) const DIFFERS: &str = "tapio.dev/differs-from-applied";
/// Fields named at most.
const MAX_FIELDS: usize = 32;

/// The object with the names of the fields that differ from what was applied; none where nothing differs.
pub(super) fn note_differences(json: &str, kind: &str) -> Option<String> {
    if !matches!(kind, "ConfigMap" | "Service" | "NetworkPolicy" | "Deployment" | "StatefulSet" | "DaemonSet")
        || !json.contains(APPLIED)
    {
        return None;
    }
    let mut live: Value = serde_json::from_str(json).ok()?;
    let text = live.pointer("/metadata/annotations")?.get(APPLIED)?.as_str()?.to_owned();
    let applied: Value = serde_json::from_str(&text).ok()?;
    let mut found = Vec::new();
    match kind {
        "ConfigMap" => {
            compare(applied.get("data"), live.get("data"), "data", &mut found);
            let (a, b) = (applied.get("data").and_then(Value::as_object), live.get("data").and_then(Value::as_object));
            let added = b.into_iter().flatten().filter(|(k, _)| a.is_none_or(|a| !a.contains_key(*k)));
            found.extend(added.map(|(k, _)| format!("data.{k}")));
        }
        "Service" => {
            for part in ["selector", "ports", "type"] {
                let at = format!("/spec/{part}");
                compare(applied.pointer(&at), live.pointer(&at), &format!("spec.{part}"), &mut found);
            }
        }
        "NetworkPolicy" => compare(applied.get("spec"), live.get("spec"), "spec", &mut found),
        _ => {
            let at = "/spec/template";
            compare(applied.pointer(at), live.pointer(at), "spec.template", &mut found);
        }
    }
    found.truncate(MAX_FIELDS);
    if found.is_empty() {
        return None;
    }
    let annotations = live.pointer_mut("/metadata/annotations")?.as_object_mut()?;
    annotations.remove(APPLIED);
    annotations.insert(DIFFERS.to_owned(), Value::String(found.join(",")));
    serde_json::to_string(&live).ok()
}

/// Names the fields of `applied` that `live` has otherwise. What only `live` has are the API's defaults.
fn compare(applied: Option<&Value>, live: Option<&Value>, path: &str, found: &mut Vec<String>) {
    if found.len() >= MAX_FIELDS {
        return;
    }
    match (applied, live) {
        (None | Some(Value::Null), _) => {}
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            // Quantities have several spellings; replicas belong to whoever scales.
            for (k, v) in
                a.iter().filter(|(k, _)| !matches!(k.as_str(), "resources" | "creationTimestamp" | "replicas"))
            {
                compare(Some(v), b.get(k), &format!("{path}.{k}"), found);
            }
        }
        (Some(Value::Array(a)), Some(Value::Array(b))) if a.len() == b.len() => {
            for (i, (x, y)) in a.iter().zip(b).enumerate() {
                let name = x.get("name").and_then(Value::as_str).map_or_else(|| i.to_string(), str::to_owned);
                compare(Some(x), Some(y), &format!("{path}[{name}]"), found);
            }
        }
        (Some(Value::Array(a)), None) if a.is_empty() => {}
        (Some(Value::Object(a)), None) if a.is_empty() => {}
        (Some(a), Some(b)) if a == b || plain(a) == plain(b) => {}
        _ => found.push(path.to_owned()),
    }
}

/// `80` and `"80"` are the same to the API.
fn plain(v: &Value) -> String {
    v.as_str().map_or_else(|| v.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_fields_that_differ_remain() {
        let json = r#"{"kind":"ConfigMap","metadata":{"name":"c","annotations":{"kubectl.kubernetes.io/last-applied-configuration":
            "{\"data\":{\"A\":\"1\",\"B\":\"old-secret\"}}"}},"data":{"A":"1","B":"new","C":"x"}}"#;
        let out = note_differences(json, "ConfigMap").unwrap();
        assert!(out.contains(r#""tapio.dev/differs-from-applied":"data.B,data.C""#), "{out}");
        assert!(!out.contains("old-secret"), "{out}");
        let same = json.replace("old-secret", "new").replace(r#","C":"x""#, "");
        assert_eq!(note_differences(&same, "ConfigMap"), None);
    }

    #[test]
    fn defaults_of_the_api_are_no_difference() {
        let json = r#"{"kind":"Service","metadata":{"name":"s","annotations":{"kubectl.kubernetes.io/last-applied-configuration":
            "{\"spec\":{\"ports\":[{\"port\":80,\"targetPort\":\"8080\"}]}}"}},"spec":{"ports":[{"port":80,"targetPort":8080,"protocol":"TCP"}],"clusterIP":"10.0.0.1"}}"#;
        assert_eq!(note_differences(json, "Service"), None);
        let edited = json.replace("\"targetPort\":8080", "\"targetPort\":9999");
        assert!(note_differences(&edited, "Service").unwrap().contains("spec.ports[0].targetPort"));
    }
}
