//! How a pod consumes ConfigMaps, Secrets and claims: the way decides when and whether a change reaches it.

use serde::{Deserialize, Serialize};
use tapio_core::object::{Container, ObjectRef, PodSpec};

/// The way in which something is consumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Way {
    /// One variable from one key: read at container start.
    Env,
    /// All keys as variables: read at container start.
    EnvFrom,
    /// Mounted as a folder: follows a change after the kubelet's sync.
    Volume,
    /// A single file of it mounted: read at container start only.
    SubPath,
    /// Part of a projected volume: follows a change.
    Projected,
    /// Credentials for pulling images.
    PullSecret,
}

impl Way {
    /// The word in the graph's `as` property.
    pub fn as_str(self) -> &'static str {
        match self {
            Way::Env => "env",
            Way::EnvFrom => "envFrom",
            Way::Volume => "volume",
            Way::SubPath => "subPath",
            Way::Projected => "projected",
            Way::PullSecret => "imagePullSecret",
        }
    }

    /// Whether a running container sees a change without a restart.
    pub fn follows_changes(self) -> bool {
        matches!(self, Way::Volume | Way::Projected)
    }
}

/// One use of a ConfigMap or Secret by a pod spec.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Use {
    /// `ConfigMap` or `Secret`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The way.
    pub way: Way,
    /// The container; none for a volume that no container mounts, and for pull secrets.
    pub container: Option<String>,
    /// The keys that must be there; empty: whatever is there.
    pub keys: Vec<String>,
    /// Whether it may be missing.
    pub optional: bool,
}

impl Use {
    /// The object that is used, in this namespace.
    pub fn target(&self, namespace: &str) -> ObjectRef {
        ObjectRef::new(&self.kind, namespace, &self.name)
    }
}

/// Every ConfigMap and Secret that a pod spec refers to, in the order of the spec.
pub fn uses(spec: &PodSpec) -> Vec<Use> {
    let mut out = Vec::new();
    for c in spec.all_containers() {
        of_environment(c, &mut out);
    }
    for v in &spec.volumes {
        let mut add = |kind: &str, name: &str, way: Way, keys: Vec<String>, optional: bool| {
            let mut mounted = false;
            for c in spec.all_containers() {
                for m in c.volume_mounts.iter().filter(|m| m.name == v.name) {
                    mounted = true;
                    let sub = !m.sub_path.is_empty() || !m.sub_path_expr.is_empty();
                    let way = if sub { Way::SubPath } else { way };
                    out.push(Use {
                        kind: kind.to_owned(),
                        name: name.to_owned(),
                        way,
                        container: Some(c.name.clone()),
                        keys: keys.clone(),
                        optional,
                    });
                }
            }
            if !mounted {
                let (kind, name) = (kind.to_owned(), name.to_owned());
                out.push(Use { kind, name, way, container: None, keys, optional });
            }
        };
        if let Some(c) = &v.config_map {
            add("ConfigMap", &c.name, Way::Volume, c.items.iter().map(|i| i.key.clone()).collect(), c.optional);
        }
        if let Some(s) = &v.secret {
            add("Secret", &s.secret_name, Way::Volume, s.items.iter().map(|i| i.key.clone()).collect(), s.optional);
        }
        for p in v.projected.iter().flat_map(|p| &p.sources) {
            if let Some(c) = &p.config_map {
                add("ConfigMap", &c.name, Way::Projected, c.items.iter().map(|i| i.key.clone()).collect(), c.optional);
            }
            if let Some(s) = &p.secret {
                add("Secret", &s.name, Way::Projected, s.items.iter().map(|i| i.key.clone()).collect(), s.optional);
            }
        }
    }
    for s in &spec.image_pull_secrets {
        out.push(Use {
            kind: "Secret".to_owned(),
            name: s.name.clone(),
            way: Way::PullSecret,
            container: None,
            keys: Vec::new(),
            optional: true,
        });
    }
    out.retain(|u| !u.name.is_empty());
    out
}

fn of_environment(c: &Container, out: &mut Vec<Use>) {
    let mut add = |kind: &str, name: &str, way: Way, keys: Vec<String>, optional: bool| {
        out.push(Use {
            kind: kind.to_owned(),
            name: name.to_owned(),
            way,
            container: Some(c.name.clone()),
            keys,
            optional,
        });
    };
    for from in &c.env_from {
        if let Some(r) = &from.config_map_ref {
            add("ConfigMap", &r.name, Way::EnvFrom, Vec::new(), r.optional);
        }
        if let Some(r) = &from.secret_ref {
            add("Secret", &r.name, Way::EnvFrom, Vec::new(), r.optional);
        }
    }
    for source in c.env.iter().filter_map(|e| e.value_from.as_ref()) {
        if let Some(r) = &source.config_map_key_ref {
            add("ConfigMap", &r.name, Way::Env, vec![r.key.clone()], r.optional);
        }
        if let Some(r) = &source.secret_key_ref {
            add("Secret", &r.name, Way::Env, vec![r.key.clone()], r.optional);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sub_path_mount_is_no_volume_mount_and_every_way_is_seen() {
        let spec: PodSpec = serde_json::from_str(
            r#"{"containers":[{"name":"a","envFrom":[{"configMapRef":{"name":"all"}}],
                "env":[{"name":"P","valueFrom":{"secretKeyRef":{"name":"s","key":"k"}}}],
                "volumeMounts":[{"name":"v","mountPath":"/v"},{"name":"w","mountPath":"/w/x","subPath":"x"}]}],
              "volumes":[{"name":"v","configMap":{"name":"folder"}},{"name":"w","configMap":{"name":"file","optional":true}},
                {"name":"u","secret":{"secretName":"unmounted"}}],"imagePullSecrets":[{"name":"reg"}]}"#,
        )
        .unwrap();
        let got: Vec<_> = uses(&spec).iter().map(|u| format!("{} {} {}", u.name, u.way.as_str(), u.optional)).collect();
        assert_eq!(
            got,
            [
                "all envFrom false",
                "s env false",
                "folder volume false",
                "file subPath true",
                "unmounted volume false",
                "reg imagePullSecret true"
            ]
        );
    }
}
