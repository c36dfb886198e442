//! What the credentials allow, as the server itself judges it.

use std::time::Duration;

use serde_json::json;

use crate::connection::Connection;
use crate::error::ApiError;
use crate::resource::Resource;

const LIMIT: Duration = Duration::from_secs(10);
const BYTES: usize = 256 << 10;

/// What somebody wants to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask<'a> {
    /// `list`, `watch`, `get`.
    pub verb: &'a str,
    /// To objects of which kind.
    pub resource: &'a Resource,
    /// To which part of them (`log`).
    pub subresource: &'a str,
    /// Where; everywhere if absent.
    pub namespace: Option<&'a str>,
}

/// The server's word on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it is allowed.
    pub allowed: bool,
    /// Why (not), where the server says so.
    pub reason: String,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Review {
    status: Status,
}

#[derive(Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    allowed: bool,
    reason: String,
    evaluation_error: String,
    user_info: User,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct User {
    username: String,
}

impl Connection {
    /// Whether the credentials allow it (`SelfSubjectAccessReview`).
    ///
    /// # Errors
    /// The review itself was refused, or nobody answers.
    pub async fn may(&self, ask: &Ask<'_>) -> Result<Verdict, ApiError> {
        let body = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {
                "verb": ask.verb, "group": ask.resource.group, "version": ask.resource.version,
                "resource": ask.resource.plural, "subresource": ask.subresource,
                "namespace": ask.namespace.filter(|_| ask.resource.namespaced).unwrap_or(""),
            }},
        });
        let status = self.review("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", &body).await?;
        let reason = if status.reason.is_empty() { status.evaluation_error } else { status.reason };
        Ok(Verdict { allowed: status.allowed, reason })
    }

    /// Who the server takes us for (`SelfSubjectReview`); none where it is too old to say.
    ///
    /// # Errors
    /// Nobody answers, or the credentials are refused.
    pub async fn user(&self) -> Result<Option<String>, ApiError> {
        let body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
        match self.review("/apis/authentication.k8s.io/v1/selfsubjectreviews", &body).await {
            Ok(status) => Ok(Some(status.user_info.username).filter(|u| !u.is_empty())),
            Err(ApiError::NotServed { .. } | ApiError::Forbidden(_)) => Ok(None),
            Err(e) => Err(e),
        }
    }

    async fn review(&self, path: &str, body: &serde_json::Value) -> Result<Status, ApiError> {
        let answer = self.post(path, body.to_string().into_bytes(), BYTES, LIMIT).await?;
        serde_json::from_slice::<Review>(&answer).map(|r| r.status).map_err(|e| ApiError::Garbled(e.to_string()))
    }
}
