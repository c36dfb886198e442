//! When an answer is right: its object is one of the accepted ones, and its mechanism too.

use serde_json::Value;

use super::Scored;

/// Kinds that have no namespace, whatever an answer says.
const CLUSTER_WIDE: &[&str] = &[
    "Node",
    "Namespace",
    "PersistentVolume",
    "StorageClass",
    "PriorityClass",
    "IngressClass",
    "ClusterRole",
    "ClusterRoleBinding",
    "ValidatingWebhookConfiguration",
    "MutatingWebhookConfiguration",
];

/// Kind, namespace and name, in the one form in which they are compared.
type Key = (String, String, String);

/// What is accepted.
pub(super) struct Truth {
    objects: Vec<Key>,
    pub(super) mechanisms: Vec<String>,
    want: String,
}

impl Truth {
    pub(super) fn read(v: &Value) -> Truth {
        let list = v["objects"].as_array().map(Vec::as_slice).unwrap_or_default();
        let text = |m: &Value| m.as_str().unwrap_or_default().to_owned();
        let mechanisms: Vec<String> = v["mechanisms"].as_array().into_iter().flatten().map(text).collect();
        let first = list.first().map(key).unwrap_or_default();
        let want = format!("{}/{} {}", first.0, first.2, mechanisms.join("|"));
        Truth { objects: list.iter().map(key).collect(), mechanisms, want }
    }

    /// Whether a cause is right.
    pub(super) fn accepts(&self, cause: &Value) -> bool {
        let mechanism = cause["mechanism"].as_str().unwrap_or_default();
        self.objects.contains(&key(&cause["object"])) && self.mechanisms.iter().any(|m| m == mechanism)
    }
}

fn key(o: &Value) -> Key {
    let text = |field: &str| o[field].as_str().unwrap_or_default().to_owned();
    let (mut kind, mut name, mut namespace) = (text("kind"), text("name"), text("namespace"));
    match kind.as_str() {
        "PVC" => kind = "PersistentVolumeClaim".to_owned(),
        "PV" => kind = "PersistentVolume".to_owned(),
        "HPA" => kind = "HorizontalPodAutoscaler".to_owned(),
        "PDB" => kind = "PodDisruptionBudget".to_owned(),
        "Container" => {
            kind = "Pod".to_owned();
            name =
                o["pod"].as_str().map_or_else(|| name.split('/').next().unwrap_or_default().to_owned(), str::to_owned);
        }
        "EndpointSlice" => {
            kind = "Endpoints".to_owned();
            if let Some((head, tail)) = name.rsplit_once('-')
                && tail.len() == 5
            {
                name = head.to_owned();
            }
        }
        _ => {}
    }
    if CLUSTER_WIDE.contains(&kind.as_str()) {
        namespace.clear();
    }
    (kind, namespace, name)
}

/// Scores a ranked list of causes.
pub(super) fn causes(id: &str, truth: &Truth, list: &Value, millis: f64) -> Scored {
    let list = list.as_array().map(Vec::as_slice).unwrap_or_default();
    Scored {
        id: id.to_owned(),
        rank: list.iter().position(|c| truth.accepts(c)).map(|i| i + 1),
        first: list.first().map(said),
        want: truth.want.clone(),
        mechanisms: truth.mechanisms.clone(),
        millis,
        given: list.iter().take(3).map(|c| (c["confidence"].as_f64().unwrap_or(0.0), truth.accepts(c))).collect(),
        notes: Vec::new(),
    }
}

/// A cause in short: mechanism, and kind with name.
pub(super) fn said(cause: &Value) -> (String, String) {
    let (kind, _, name) = key(&cause["object"]);
    (cause["mechanism"].as_str().unwrap_or("unknown").to_owned(), format!("{kind}/{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn object_and_mechanism_must_both_be_right_and_names_are_compared_in_one_form() {
        let t = Truth::read(
            &json!({"objects": [{"kind": "Pod", "namespace": "a", "name": "p"}, {"kind": "Node", "name": "n"}],
                                    "mechanisms": ["x"]}),
        );
        let cause = |kind: &str, ns: &str, name: &str, m: &str| json!({"object": {"kind": kind, "namespace": ns, "name": name}, "mechanism": m});
        assert!(t.accepts(&cause("Pod", "a", "p", "x")));
        assert!(t.accepts(&cause("Container", "a", "p/c", "x")));
        assert!(t.accepts(&cause("Node", "", "n", "x")));
        assert!(!t.accepts(&cause("Pod", "a", "p", "y")));
        assert!(!t.accepts(&cause("Pod", "b", "p", "x")));
        let list = json!([cause("Pod", "b", "p", "x"), cause("Pod", "a", "p", "x")]);
        assert_eq!(causes("id", &t, &list, 1.0).rank, Some(2));
        assert_eq!(causes("id", &t, &json!([]), 1.0).rank, None);
    }
}
