//! ConfigMaps, Secrets (key names only) and ServiceAccounts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::macros::api;
use super::meta::{LocalRef, StringMap};

api! {
    /// A ConfigMap. Values are what the secrets policy let through: addresses, plain numbers and keyed hashes.
    struct ConfigMap {
        data: StringMap,
        binary_data: BTreeMap<String, Hidden>,
        immutable: bool,
    }
    /// A Secret: which keys there are.
    struct Secret {
        r#type: String,
        data: BTreeMap<String, Hidden>,
        immutable: bool,
    }
    /// A ServiceAccount.
    struct ServiceAccount {
        secrets: Vec<LocalRef>,
        image_pull_secrets: Vec<LocalRef>,
    }
}

/// A value that is never looked at, kept or written: whatever stands there is skipped while reading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hidden;

impl<'de> Deserialize<'de> for Hidden {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        serde::de::IgnoredAny::deserialize(d).map(|_| Hidden)
    }
}

impl Serialize for Hidden {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str("")
    }
}

impl ConfigMap {
    /// Whether the key is there, as text or as bytes.
    pub fn has_key(&self, key: &str) -> bool {
        self.data.contains_key(key) || self.binary_data.contains_key(key)
    }
}
