//! A kind of object as the API serves it.

use serde::{Deserialize, Serialize};

/// Which kind, of which group and version, under which name in a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Resource {
    /// API group; `""` for the core.
    pub group: String,
    /// Version in it.
    pub version: String,
    /// Kind, as objects say it.
    pub kind: String,
    /// Plural, as paths say it.
    pub plural: String,
    /// Whether its objects are in namespaces.
    pub namespaced: bool,
}

impl Resource {
    /// From its parts.
    pub fn new(group: &str, version: &str, kind: &str, plural: &str, namespaced: bool) -> Self {
        let own = str::to_owned;
        Resource { group: own(group), version: own(version), kind: own(kind), plural: own(plural), namespaced }
    }

    /// `v1`, `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// `pods`, `deployments.apps`: as kubectl and RBAC name it.
    pub fn name(&self) -> String {
        if self.group.is_empty() { self.plural.clone() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// The path of the collection: of one namespace, or of all.
    pub fn path(&self, namespace: Option<&str>) -> String {
        let root = if self.group.is_empty() {
            format!("/api/{}", self.version)
        } else {
            format!("/apis/{}/{}", self.group, self.version)
        };
        match namespace.filter(|_| self.namespaced) {
            Some(ns) => format!("{root}/namespaces/{ns}/{}", self.plural),
            None => format!("{root}/{}", self.plural),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_api() {
        let pods = Resource::new("", "v1", "Pod", "pods", true);
        assert_eq!(pods.path(None), "/api/v1/pods");
        assert_eq!(pods.path(Some("shop")), "/api/v1/namespaces/shop/pods");
        let nodes = Resource::new("", "v1", "Node", "nodes", false);
        assert_eq!(nodes.path(Some("shop")), "/api/v1/nodes");
        let d = Resource::new("apps", "v1", "Deployment", "deployments", true);
        assert_eq!((d.path(None).as_str(), d.name().as_str()), ("/apis/apps/v1/deployments", "deployments.apps"));
    }
}
