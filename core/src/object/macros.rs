//! How objects are read: null means default, unknown fields are skipped, the place of a wrong type is named.

use std::borrow::Cow;
use std::cell::Cell;
use std::ops::Deref;

use serde::Serialize;
use serde::de::{Deserialize, DeserializeOwned, Deserializer};

use super::{
    Body, Meta, Node, NodeSpec, NodeStatus, Object, ObjectError, ObjectRef, Other, Pod, PodSpec, PodStatus, Workload,
    WorkloadSpec, WorkloadStatus,
};
use crate::time::Time;

/// Declares API structs: camelCase, every field optional on the wire, defaults left out when written.
macro_rules! api {
    ($($(#[$outer:meta])* struct $name:ident { $($(#[$fm:meta])* $field:ident: $ty:ty,)* })*) => {$(
        $(#[$outer])*
        #[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        #[allow(missing_docs, reason = "fields are those of the Kubernetes API and documented there")]
        pub struct $name {
            $($(#[$fm])*
            #[serde(default, deserialize_with = "super::macros::nullable", skip_serializing_if = "super::macros::is_default")]
            pub $field: $ty,)*
        }
    )*};
}
pub(super) use api;

pub(super) fn nullable<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(d: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(d)?.unwrap_or_default())
}

pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A point in time of an object; one that cannot be read is taken as absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct OptTime(Option<Time>);

impl Deref for OptTime {
    type Target = Option<Time>;
    fn deref(&self) -> &Option<Time> {
        &self.0
    }
}

impl From<Time> for OptTime {
    fn from(t: Time) -> Self {
        OptTime(Some(t))
    }
}

impl<'de> Deserialize<'de> for OptTime {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> serde::de::Visitor<'de> for Text {
            type Value = OptTime;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a time")
            }
            fn visit_str<E: serde::de::Error>(self, v: &str) -> Result<OptTime, E> {
                Ok(OptTime(Time::parse(v).ok()))
            }
            fn visit_unit<E: serde::de::Error>(self) -> Result<OptTime, E> {
                Ok(OptTime(None))
            }
            fn visit_none<E: serde::de::Error>(self) -> Result<OptTime, E> {
                Ok(OptTime(None))
            }
            fn visit_some<D: Deserializer<'de>>(self, d: D) -> Result<OptTime, D::Error> {
                d.deserialize_any(Text)
            }
        }
        d.deserialize_any(Text)
    }
}

/// A number or a name, as ports are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(untagged)]
pub enum IntOrString {
    /// A number.
    Int(i64),
    /// A name, or a percentage.
    Str(String),
}

impl Default for IntOrString {
    fn default() -> Self {
        IntOrString::Int(0)
    }
}

impl std::fmt::Display for IntOrString {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            IntOrString::Int(n) => n.fmt(f),
            IntOrString::Str(s) => s.fmt(f),
        }
    }
}

impl<'de> Deserialize<'de> for IntOrString {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Either;
        impl serde::de::Visitor<'_> for Either {
            type Value = IntOrString;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a number or a name")
            }
            fn visit_i64<E: serde::de::Error>(self, v: i64) -> Result<IntOrString, E> {
                Ok(IntOrString::Int(v))
            }
            fn visit_u64<E: serde::de::Error>(self, v: u64) -> Result<IntOrString, E> {
                Ok(IntOrString::Int(i64::try_from(v).unwrap_or(i64::MAX)))
            }
            fn visit_str<E: serde::de::Error>(self, v: &str) -> Result<IntOrString, E> {
                // "8080" and 8080 are the same port.
                Ok(v.parse().map_or_else(|_| IntOrString::Str(v.to_owned()), IntOrString::Int))
            }
        }
        d.deserialize_any(Either)
    }
}

/// `apiVersion` and `kind`, read no further than both are known: they come first, and the rest is long.
#[allow(clippy::type_complexity, reason = "a pair that is unpacked at once")]
pub(super) fn head(json: &str) -> Result<(Option<Cow<'_, str>>, Option<Cow<'_, str>>), ObjectError> {
    #[derive(Default)]
    struct Found<'a> {
        api_version: Cell<Option<Cow<'a, str>>>,
        kind: Cell<Option<Cow<'a, str>>>,
        done: Cell<bool>,
    }
    #[derive(serde::Deserialize)]
    struct Borrowed<'a>(#[serde(borrow)] Option<Cow<'a, str>>);
    struct Head<'c, 'a>(&'c Found<'a>);
    impl<'de> serde::de::Visitor<'de> for Head<'_, 'de> {
        type Value = ();
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a Kubernetes object")
        }
        fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
            let (mut has_version, mut has_kind) = (false, false);
            while let Some(key) = map.next_key::<Cow<'de, str>>()? {
                match &*key {
                    "apiVersion" => {
                        self.0.api_version.set(map.next_value::<Borrowed<'de>>()?.0);
                        has_version = true;
                    }
                    "kind" => {
                        self.0.kind.set(map.next_value::<Borrowed<'de>>()?.0);
                        has_kind = true;
                    }
                    _ => {
                        map.next_value::<serde::de::IgnoredAny>()?;
                    }
                }
                if has_version && has_kind {
                    self.0.done.set(true);
                    return Err(serde::de::Error::custom("found"));
                }
            }
            Ok(())
        }
    }
    let found = Found::default();
    let read = serde_json::Deserializer::from_str(json).deserialize_map(Head(&found));
    match read {
        Err(e) if !found.done.get() => Err(ObjectError::NotJson(e.to_string())),
        _ => Ok((found.api_version.into_inner(), found.kind.into_inner())),
    }
}

#[derive(serde::Deserialize)]
struct MetaOnly {
    #[serde(default)]
    metadata: Option<Meta>,
}

/// An object of the usual shape, read in one go.
#[derive(serde::Deserialize)]
#[serde(bound(deserialize = "S: Default + Deserialize<'de>, T: Default + Deserialize<'de>"))]
struct Whole<S, T> {
    #[serde(default, deserialize_with = "nullable")]
    metadata: Meta,
    #[serde(default, deserialize_with = "nullable")]
    spec: S,
    #[serde(default, deserialize_with = "nullable")]
    status: T,
}

/// Reads metadata and body of an object of a known kind.
pub(super) fn parse_body(json: &str, kind: &str) -> Result<Object, ObjectError> {
    // The kinds that come most often, and largest, are read in one go.
    match kind {
        "Pod" => {
            let w: Whole<PodSpec, PodStatus> = read(json, kind, "")?;
            return object(kind, w.metadata, Body::Pod(Box::new(Pod { spec: w.spec, status: w.status })));
        }
        "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet" | "ReplicationController" => {
            let w: Whole<WorkloadSpec, WorkloadStatus> = read(json, kind, "")?;
            return object(kind, w.metadata, Body::Workload(Box::new(Workload { spec: w.spec, status: w.status })));
        }
        "Node" => {
            let w: Whole<NodeSpec, NodeStatus> = read(json, kind, "")?;
            return object(kind, w.metadata, Body::Node(Box::new(Node { spec: w.spec, status: w.status })));
        }
        _ => {}
    }
    let meta = read::<MetaOnly>(json, kind, "")?.metadata.unwrap_or_default();
    if meta.name.is_empty() {
        return Err(ObjectError::Missing("metadata.name"));
    }
    let key = ObjectRef::new(kind, &meta.namespace, &meta.name);
    let name = key.path();
    macro_rules! body {
        ($variant:ident) => {
            Body::$variant(Box::new(read(json, kind, &name)?))
        };
    }
    let body = match kind {
        "Job" => body!(Job),
        "CronJob" => body!(CronJob),
        "ControllerRevision" => body!(Revision),
        "Service" => body!(Service),
        "Endpoints" => body!(Endpoints),
        "EndpointSlice" => body!(EndpointSlice),
        "Ingress" => body!(Ingress),
        "NetworkPolicy" => body!(NetworkPolicy),
        "ConfigMap" => body!(ConfigMap),
        "Secret" => body!(Secret),
        "ServiceAccount" => body!(ServiceAccount),
        "Namespace" => body!(Namespace),
        "Lease" => body!(Lease),
        "PersistentVolumeClaim" => body!(Claim),
        "PersistentVolume" => body!(Volume),
        "StorageClass" => body!(StorageClass),
        "VolumeAttachment" => body!(VolumeAttachment),
        "ResourceQuota" => body!(Quota),
        "LimitRange" => body!(LimitRange),
        "PodDisruptionBudget" => body!(Budget),
        "HorizontalPodAutoscaler" => body!(Autoscaler),
        "PriorityClass" => body!(PriorityClass),
        "IngressClass" => body!(IngressClass),
        "Role" | "ClusterRole" => body!(Role),
        "RoleBinding" | "ClusterRoleBinding" => body!(Binding),
        "ValidatingWebhookConfiguration" | "MutatingWebhookConfiguration" => body!(Webhooks),
        _ => Body::Other(Box::new(Other::parse(json, kind).map_err(|e| ObjectError::NotJson(e.to_string()))?)),
    };
    Ok(Object { key, meta, body })
}

fn object(kind: &str, meta: Meta, body: Body) -> Result<Object, ObjectError> {
    if meta.name.is_empty() {
        return Err(ObjectError::Missing("metadata.name"));
    }
    Ok(Object { key: ObjectRef::new(kind, &meta.namespace, &meta.name), meta, body })
}

fn read<T: DeserializeOwned>(json: &str, kind: &str, name: &str) -> Result<T, ObjectError> {
    serde_json::from_str(json).map_err(|_| {
        // Only now the slower reader that knows the field's path.
        let mut d = serde_json::Deserializer::from_str(json);
        match serde_path_to_error::deserialize::<_, T>(&mut d) {
            Err(e) => {
                let name = if name.is_empty() { name_of(json) } else { name.to_owned() };
                ObjectError::WrongType {
                    kind: kind.to_owned(),
                    name,
                    why: format!("field `{}`: {}", e.path(), e.inner()),
                }
            }
            Ok(_) => ObjectError::NotJson("unreadable".to_owned()),
        }
    })
}

fn name_of(json: &str) -> String {
    serde_json::from_str::<serde_json::Value>(json)
        .ok()
        .and_then(|v| v.pointer("/metadata/name").and_then(|n| n.as_str()).map(str::to_owned))
        .unwrap_or_default()
}
