//! What the server is, and which kinds it serves.

use std::time::Duration;

use serde::Deserialize;

use crate::connection::Connection;
use crate::error::ApiError;
use crate::resource::Resource;

const LIMIT: Duration = Duration::from_secs(10);
const BYTES: usize = 8 << 20;
const JSON: &str = "application/json";

/// The server's version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServerVersion {
    /// `v1.34.4`.
    pub git_version: String,
    /// `linux/amd64`.
    pub platform: String,
}

/// A group that the server has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServedGroup {
    /// Its name.
    pub name: String,
    /// The version that the server prefers.
    pub version: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Groups {
    groups: Vec<Group>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Group {
    name: String,
    preferred_version: Version,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Version {
    version: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Resources {
    resources: Vec<Served>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Served {
    name: String,
    kind: String,
    namespaced: bool,
    verbs: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Named {
    metadata: Meta,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Meta {
    uid: String,
}

impl Connection {
    /// The server's version; anybody may ask, so it tells whether the server is there.
    ///
    /// # Errors
    /// Nobody answers, or not as an API server does.
    pub async fn version(&self, limit: Duration) -> Result<ServerVersion, ApiError> {
        read(&self.get("/version", JSON, 64 << 10, limit).await?)
    }

    /// What tells this cluster from any other: the uid of its namespace `kube-system`; none where that may not be
    /// read.
    ///
    /// # Errors
    /// Nobody answers, or the credentials are refused.
    pub async fn identity(&self) -> Result<Option<String>, ApiError> {
        match self.get("/api/v1/namespaces/kube-system", JSON, 1 << 20, LIMIT).await {
            Ok(body) => Ok(read::<Named>(&body).ok().map(|n| n.metadata.uid).filter(|u| !u.is_empty())),
            Err(ApiError::Forbidden(_) | ApiError::NotServed { .. }) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// The groups that the server has beside the core.
    ///
    /// # Errors
    /// Nobody answers, or discovery is not allowed.
    pub async fn groups(&self) -> Result<Vec<ServedGroup>, ApiError> {
        let groups: Groups = read(&self.get("/apis", JSON, BYTES, LIMIT).await?)?;
        let of = |g: Group| ServedGroup { name: g.name, version: g.preferred_version.version };
        Ok(groups.groups.into_iter().map(of).collect())
    }

    /// The kinds of a group that can be listed and watched.
    ///
    /// # Errors
    /// Nobody answers, or whoever serves the group is away.
    pub async fn kinds(&self, group: &ServedGroup) -> Result<Vec<Resource>, ApiError> {
        let path = format!("/apis/{}/{}", group.name, group.version);
        let list: Resources = read(&self.get(&path, JSON, BYTES, LIMIT).await?)?;
        let able = |r: &Served, verb: &str| r.verbs.iter().any(|v| v == verb);
        Ok(list
            .resources
            .into_iter()
            .filter(|r| !r.name.contains('/') && able(r, "list") && able(r, "watch"))
            .map(|r| Resource::new(&group.name, &group.version, &r.kind, &r.name, r.namespaced))
            .collect())
    }
}

fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|e| ApiError::Garbled(e.to_string()))
}
