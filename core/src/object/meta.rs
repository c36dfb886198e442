//! Metadata: names, labels, owners, and who wrote which field when.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::macros::{OptTime, api};
use crate::time::Time;

/// String map, as labels, annotations and node selectors are.
pub type StringMap = BTreeMap<String, String>;

api! {
    /// `metadata`.
    struct Meta {
        name: String,
        namespace: String,
        uid: String,
        resource_version: String,
        generation: i64,
        labels: StringMap,
        annotations: StringMap,
        creation_timestamp: OptTime,
        deletion_timestamp: OptTime,
        finalizers: Vec<String>,
        owner_references: Vec<OwnerReference>,
        managed_fields: Vec<ManagedFields>,
    }
    /// `metadata.ownerReferences[]`.
    struct OwnerReference {
        api_version: String,
        kind: String,
        name: String,
        uid: String,
        controller: bool,
    }
    /// A status condition.
    struct Condition {
        r#type: String,
        status: String,
        reason: String,
        message: String,
        last_transition_time: OptTime,
        last_update_time: OptTime,
        last_probe_time: OptTime,
        last_heartbeat_time: OptTime,
    }
    /// One expression of a label selector or of node affinity.
    struct SelectorExpression {
        key: String,
        operator: String,
        values: Vec<String>,
    }
    /// Reference to an object by name.
    struct LocalRef {
        name: String,
    }
}

/// A label selector. A plain map of labels (the selector of a ReplicationController) is read as `matchLabels`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LabelSelector {
    /// Labels that must be there.
    #[serde(skip_serializing_if = "StringMap::is_empty")]
    pub match_labels: StringMap,
    /// Expressions that must hold.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub match_expressions: Vec<SelectorExpression>,
}

impl<'de> Deserialize<'de> for LabelSelector {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> serde::de::Visitor<'de> for Entries {
            type Value = LabelSelector;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a label selector")
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<LabelSelector, A::Error> {
                let mut selector = LabelSelector::default();
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "matchLabels" => selector.match_labels = map.next_value::<Option<_>>()?.unwrap_or_default(),
                        "matchExpressions" => {
                            selector.match_expressions = map.next_value::<Option<_>>()?.unwrap_or_default()
                        }
                        _ => {
                            selector.match_labels.insert(key, map.next_value()?);
                        }
                    }
                }
                Ok(selector)
            }
        }
        d.deserialize_map(Entries)
    }
}

/// `metadata.managedFields[]`: who wrote which fields, last when. The field set stays JSON text until somebody asks.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ManagedFields {
    /// Name of the writer (`kubectl-edit`, `helm`, `kube-controller-manager`).
    #[serde(default)]
    pub manager: String,
    /// `Apply` or `Update`.
    #[serde(default)]
    pub operation: String,
    /// `status`, `scale` or empty.
    #[serde(default)]
    pub subresource: String,
    /// Last write.
    #[serde(default)]
    pub time: OptTime,
    /// The field set, `{"f:data":{"f:KEY":{}}}`.
    #[serde(default, with = "field_set")]
    pub fields_v1: Option<String>,
}

impl PartialEq for ManagedFields {
    fn eq(&self, o: &Self) -> bool {
        (&self.manager, &self.operation, &self.subresource, &self.time, &self.fields_v1)
            == (&o.manager, &o.operation, &o.subresource, &o.time, &o.fields_v1)
    }
}

/// From JSON the field set comes as an object, and is kept as its text; in checkpoints it is that text.
mod field_set {
    use super::RawValue;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(v: &Option<String>, s: S) -> Result<S::Ok, S::Error> {
        if s.is_human_readable() {
            v.as_ref().and_then(|t| RawValue::from_string(t.clone()).ok()).serialize(s)
        } else {
            v.serialize(s)
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<String>, D::Error> {
        if d.is_human_readable() {
            Ok(Option::<Box<RawValue>>::deserialize(d)?.map(|r| r.get().to_owned()))
        } else {
            Option::<String>::deserialize(d)
        }
    }
}

impl Meta {
    /// The controlling owner.
    pub fn controller(&self) -> Option<&OwnerReference> {
        self.owner_references.iter().find(|o| o.controller).or_else(|| self.owner_references.first())
    }

    /// The version as a number, for comparing versions of one object; 0 where it is none.
    pub fn version(&self) -> u64 {
        self.resource_version.parse().unwrap_or(0)
    }

    /// The writer of a field and the time of the write. `path` holds the field set's own steps
    /// (`["f:data", "f:KEY"]`); the newest writer that owns it is taken.
    pub fn writer_of(&self, path: &[&str]) -> Option<(&str, Option<Time>)> {
        self.managed_fields
            .iter()
            .filter(|m| {
                let Some(text) = &m.fields_v1 else { return false };
                let Ok(set) = serde_json::from_str::<serde_json::Value>(text) else { return false };
                let mut at = &set;
                path.iter().all(|step| at.get(step).map(|next| at = next).is_some())
            })
            .max_by_key(|m| *m.time)
            .map(|m| (m.manager.as_str(), *m.time))
    }

    /// The newest write by anybody outside `status`, and by whom.
    pub fn last_spec_write(&self) -> Option<(&str, Time)> {
        self.managed_fields
            .iter()
            .filter(|m| m.subresource != "status")
            .filter_map(|m| m.time.map(|t| (m.manager.as_str(), t)))
            .max_by_key(|(_, t)| *t)
    }

    /// Fields that differ from what was last applied, as the readers noted them; empty where that is not known.
    pub fn differs_from_applied(&self) -> impl Iterator<Item = &str> {
        self.annotations
            .get("tapio.dev/differs-from-applied")
            .into_iter()
            .flat_map(|t| t.split(','))
            .filter(|f| !f.is_empty())
    }

    /// The newest time that the metadata carries.
    pub fn newest_time(&self) -> Option<Time> {
        let managed = self.managed_fields.iter().filter_map(|m| *m.time).max();
        managed.max(*self.creation_timestamp)
    }
}

impl Condition {
    /// The newest time that the condition carries.
    pub fn newest(&self) -> Option<Time> {
        (*self.last_transition_time)
            .max(*self.last_update_time)
            .max(*self.last_heartbeat_time)
            .max(*self.last_probe_time)
    }

    /// Whether the condition is of this type and has this status.
    pub fn is(&self, r#type: &str, status: &str) -> bool {
        self.r#type == r#type && self.status == status
    }
}

impl SelectorExpression {
    /// Whether labels satisfy the expression (`In`, `NotIn`, `Exists`, `DoesNotExist`, `Gt`, `Lt`).
    pub fn matches(&self, labels: &StringMap) -> bool {
        let value = labels.get(&self.key);
        let number = |bound: &str, op: fn(i64, i64) -> bool| matches!((value.and_then(|v| v.parse().ok()), bound.parse().ok()), (Some(a), Some(b)) if op(a, b));
        match self.operator.as_str() {
            "In" => value.is_some_and(|v| self.values.contains(v)),
            "NotIn" => value.is_none_or(|v| !self.values.contains(v)),
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            "Gt" => self.values.first().is_some_and(|b| number(b, |a, b| a > b)),
            "Lt" => self.values.first().is_some_and(|b| number(b, |a, b| a < b)),
            _ => false,
        }
    }
}

impl LabelSelector {
    /// Whether labels satisfy the selector; an empty selector matches everything.
    pub fn matches(&self, labels: &StringMap) -> bool {
        is_subset(&self.match_labels, labels) && self.match_expressions.iter().all(|e| e.matches(labels))
    }

    /// Whether it says nothing at all.
    pub fn is_empty(&self) -> bool {
        self.match_labels.is_empty() && self.match_expressions.is_empty()
    }
}

/// Whether every pair of `part` is in `whole`.
pub fn is_subset(part: &StringMap, whole: &StringMap) -> bool {
    part.iter().all(|(k, v)| whole.get(k) == Some(v))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> StringMap {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn expressions_follow_the_api() {
        let l = labels(&[("app", "a"), ("cpu", "8")]);
        for (operator, key, values, want) in [
            ("In", "app", vec!["a", "b"], true),
            ("NotIn", "app", vec!["a"], false),
            ("NotIn", "absent", vec!["a"], true),
            ("Exists", "app", vec![], true),
            ("DoesNotExist", "app", vec![], false),
            ("Gt", "cpu", vec!["4"], true),
            ("Lt", "cpu", vec!["4"], false),
            ("Weird", "app", vec![], false),
        ] {
            let e = SelectorExpression {
                key: key.into(),
                operator: operator.into(),
                values: values.into_iter().map(Into::into).collect(),
            };
            assert_eq!(e.matches(&l), want, "{operator} {key}");
        }
    }

    #[test]
    fn the_newest_manager_that_owns_a_key_wrote_it() {
        let m: Meta = serde_json::from_str(
            r#"{"name":"c","managedFields":[
              {"manager":"helm","operation":"Update","time":"2024-01-01T00:00:00Z","fieldsV1":{"f:data":{"f:A":{},"f:B":{}}}},
              {"manager":"kubectl-edit","operation":"Update","time":"2024-01-02T00:00:00Z","fieldsV1":{"f:data":{"f:B":{}}}}]}"#,
        )
        .unwrap();
        assert_eq!(m.writer_of(&["f:data", "f:A"]).unwrap().0, "helm");
        assert_eq!(m.writer_of(&["f:data", "f:B"]).unwrap().0, "kubectl-edit");
        assert_eq!(m.writer_of(&["f:data", "f:C"]), None);
    }
}
