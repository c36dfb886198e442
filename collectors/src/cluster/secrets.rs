//! Secrets, without what they hide: the one place that asks for them.
//!
//! The server is asked for metadata alone, and whatever it answers is read into [`SecretMeta`], which has no field for
//! data: a value that came all the same would be skipped unread. Names of keys are taken from the managers' field sets,
//! and stand in the event as a redacted Secret has them, with empty values.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

/// Asks for a list of metadata. Nothing else is acceptable: a server that has no such form answers 406.
pub(super) const ACCEPT_LIST: &str = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
/// Asks for a watch of metadata.
pub(super) const ACCEPT_WATCH: &str = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";

/// A Secret as it may be known. Annotations are left out, too: what was applied last repeats the values.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct SecretMeta {
    metadata: Meta,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
struct Meta {
    name: String,
    namespace: String,
    uid: String,
    resource_version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    creation_timestamp: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deletion_timestamp: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    owner_references: Vec<Owner>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    managed_fields: Vec<Managed>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
struct Owner {
    api_version: String,
    kind: String,
    name: String,
    uid: String,
    controller: bool,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
struct Managed {
    manager: String,
    operation: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
    fields_v1: Fields,
}

/// The field set: which keys, and nothing else of it.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct Fields {
    #[serde(rename = "f:data", skip_serializing_if = "BTreeMap::is_empty")]
    data: BTreeMap<String, Nothing>,
}

/// Whatever stands there; written as `{}`.
#[derive(Debug, Default)]
struct Nothing;

impl<'de> Deserialize<'de> for Nothing {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        serde::de::IgnoredAny::deserialize(d).map(|_| Nothing)
    }
}

impl Serialize for Nothing {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_map(std::iter::empty::<((), ())>())
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Told<'a> {
    api_version: &'static str,
    kind: &'static str,
    metadata: &'a Meta,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    data: BTreeMap<&'a str, &'static str>,
}

/// The object as it is told.
pub(super) fn told(json: &str) -> Result<Box<RawValue>, String> {
    // Serde's words could quote a value that stands where none should.
    let secret: SecretMeta = serde_json::from_str(json).map_err(|_| "no metadata of a Secret".to_owned())?;
    let keys = secret.metadata.managed_fields.iter().flat_map(|m| m.fields_v1.data.keys());
    let data = keys.filter_map(|k| k.strip_prefix("f:")).map(|k| (k, "")).collect();
    let told = Told { api_version: "v1", kind: "Secret", metadata: &secret.metadata, data };
    to_raw_value(&told).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_writers_are_told_and_values_are_not_even_read() {
        let json = r#"{"kind":"Secret","apiVersion":"v1","data":{"password":"Y2FuYXJ5"},"stringData":{"x":"canary"},
            "metadata":{"name":"s","namespace":"n","uid":"u","resourceVersion":"7",
              "annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{\"data\":{\"password\":\"Y2FuYXJ5\"}}"},
              "managedFields":[{"manager":"kubectl","operation":"Update","time":"2024-01-15T10:30:00Z","fieldsType":"FieldsV1",
                "fieldsV1":{"f:data":{".":{},"f:password":{}},"f:type":{}}}]}}"#;
        let out = told(json).unwrap();
        let text = out.get();
        assert!(!text.contains("Y2FuYXJ5") && !text.contains("canary"), "{text}");
        assert!(text.contains(r#""data":{"password":""}"#) && text.contains("kubectl"), "{text}");
        let object = tapio_core::object::Object::parse(text).unwrap();
        assert_eq!(object.meta.resource_version, "7");
        assert!(matches!(object.body, tapio_core::object::Body::Secret(s) if s.data.contains_key("password")));
    }
}
