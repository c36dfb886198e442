//! Kinds that are no part of Kubernetes: their conditions, and the few facts that somebody asks for.
//!
//! A foreign kind may call anything `status` or `conditions`, and its fields may have any type. So nothing here can cost
//! an object: what has another shape is absent. Facts are single values with the path at which they stand
//! (`spec.mtls.mode`), kept only for the kinds and paths in [`READ`]: most foreign objects are many and say nothing, and
//! some hold values that nobody should keep.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::meta::{Condition, StringMap};

/// An object of a foreign kind.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Other {
    /// `status.conditions`, if it is a list of conditions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Values by path; steps into lists are their numbers.
    #[serde(default, skip_serializing_if = "StringMap::is_empty")]
    pub facts: StringMap,
}

/// Facts that one object may have.
const MAX_FACTS: usize = 128;
/// Bytes of one fact.
const MAX_BYTES: usize = 600;

/// The kinds that somebody asks about, with the paths under which their facts stand.
const READ: &[(&str, &[&str])] = &[
    // Releases. Their values may hold anything, and are not kept.
    ("HelmRelease", &["spec.suspend", "spec.releaseName", "spec.targetNamespace", "status.observedGeneration"]),
    ("Kustomization", &["spec.suspend", "spec.targetNamespace", "status.observedGeneration"]),
    (
        "Application",
        &[
            "spec.destination.namespace",
            "status.health.status",
            "status.sync.status",
            "status.operationState.phase",
            "status.operationState.message",
            "status.operationState.finishedAt",
            "status.conditions",
        ],
    ),
    // Mesh.
    ("AuthorizationPolicy", &["spec.action", "spec.selector.matchLabels", "spec.rules", "spec.targetRef"]),
    ("ServerAuthorization", &["spec.server"]),
    ("Server", &["spec.accessPolicy"]),
    ("PeerAuthentication", &["spec.mtls.mode", "spec.selector.matchLabels"]),
    // Certificates.
    ("Certificate", &["spec.secretName", "status.notAfter", "status.notBefore"]),
    ("APIService", &["spec.service.name", "spec.service.namespace", "spec.group"]),
    // Chaos tools: whom they mean, and how far they are.
    ("ChaosEngine", &["spec.appinfo", "spec.engineState", "status.engineStatus", "status.experiments"]),
    ("ChaosBlade", &["spec.experiments", "status.phase", "status.expStatuses"]),
];

/// What every kind of Chaos Mesh has.
const CHAOS_MESH: &[&str] = &[
    "spec.action",
    "spec.mode",
    "spec.selector",
    "spec.target.selector",
    "status.experiment.desiredPhase",
    "status.experiment.containerRecords",
];

fn paths(kind: &str) -> &'static [&'static str] {
    match READ.iter().find(|(k, _)| *k == kind) {
        Some((_, paths)) => paths,
        None if kind.ends_with("Chaos") => CHAOS_MESH,
        None => &[],
    }
}

impl Other {
    /// Reads what is kept of an object of this kind.
    pub(super) fn parse(json: &str, kind: &str) -> Result<Other, serde_json::Error> {
        let value: Value = serde_json::from_str(json)?;
        let conditions = value.pointer("/status/conditions").cloned().unwrap_or_default();
        let mut facts = StringMap::new();
        for path in paths(kind) {
            let pointer = format!("/{}", path.replace('.', "/"));
            if let Some(v) = value.pointer(&pointer) {
                leaves(path.to_string(), v, &mut facts);
            }
        }
        Ok(Other { conditions: serde_json::from_value(conditions).unwrap_or_default(), facts })
    }

    /// The condition of this type.
    pub fn condition(&self, r#type: &str) -> Option<&Condition> {
        self.conditions.iter().find(|c| c.r#type == r#type)
    }

    /// The value at this path, `""` if there is none.
    pub fn fact(&self, path: &str) -> &str {
        self.facts.get(path).map_or("", String::as_str)
    }

    /// The values below this path, with the rest of theirs.
    pub fn below<'a>(&'a self, path: &str) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let prefix = format!("{path}.");
        let from = prefix.clone();
        self.facts.range(from..).map_while(move |(k, v)| Some((k.strip_prefix(prefix.as_str())?, v.as_str())))
    }

    /// The labels of a selector that stands at this path.
    pub fn labels(&self, path: &str) -> StringMap {
        self.below(path).map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
    }
}

fn leaves(path: String, value: &Value, out: &mut StringMap) {
    if out.len() >= MAX_FACTS {
        return;
    }
    let text = match value {
        Value::Null => return,
        Value::Object(map) => {
            for (k, v) in map {
                leaves(format!("{path}.{k}"), v, out);
            }
            return;
        }
        Value::Array(list) => {
            for (i, v) in list.iter().enumerate() {
                leaves(format!("{path}.{i}"), v, out);
            }
            return;
        }
        Value::String(s) => s.clone(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    };
    let cut = text.char_indices().map(|(i, c)| i + c.len_utf8()).take_while(|i| *i <= MAX_BYTES).last().unwrap_or(0);
    out.insert(path, text[..cut].to_owned());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::{Body, Object};

    fn other(json: &str) -> Other {
        match Object::parse(json).unwrap().body {
            Body::Other(o) => *o,
            _ => panic!("no foreign kind"),
        }
    }

    #[test]
    fn conditions_and_named_facts_are_kept_and_nothing_else() {
        let o = other(
            r#"{"apiVersion":"helm.toolkit.fluxcd.io/v2","kind":"HelmRelease","metadata":{"name":"shop","namespace":"shop"},
                "spec":{"suspend":true,"values":{"password":"no"}},
                "status":{"conditions":[{"type":"Ready","status":"False","reason":"UpgradeFailed","message":"m"}]}}"#,
        );
        assert_eq!(o.condition("Ready").unwrap().reason, "UpgradeFailed");
        assert_eq!(o.fact("spec.suspend"), "true");
        assert_eq!(o.facts.len(), 1, "{:?}", o.facts);
    }

    #[test]
    fn fields_of_another_shape_cost_no_object() {
        let o = other(
            r#"{"apiVersion":"x.io/v1","kind":"Thing","metadata":{"name":"t"},"spec":7,"status":{"conditions":"none"}}"#,
        );
        assert_eq!(o, Other::default());
        let o = other(
            r#"{"apiVersion":"chaos-mesh.org/v1alpha1","kind":"NetworkChaos","metadata":{"name":"c","namespace":"n"},
                "spec":{"selector":{"namespaces":["shop"],"labelSelectors":{"app":"cart"}}},"status":{"experiment":{"desiredPhase":"Run"}}}"#,
        );
        assert_eq!(o.fact("spec.selector.namespaces.0"), "shop");
        assert_eq!(o.labels("spec.selector.labelSelectors")["app"], "cart");
        assert_eq!(o.fact("status.experiment.desiredPhase"), "Run");
    }

    #[test]
    fn what_was_kept_survives_being_written() {
        let o = other(
            r#"{"apiVersion":"security.istio.io/v1","kind":"PeerAuthentication","metadata":{"name":"p","namespace":"n"},
                "spec":{"mtls":{"mode":"STRICT"}}}"#,
        );
        let again: Other = serde_json::from_str(&serde_json::to_string(&o).unwrap()).unwrap();
        assert_eq!(again, o);
    }
}
