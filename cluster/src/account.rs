//! Whose token it is: the API server judges the tokens of others (`TokenReview`).

use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use crate::connection::Connection;
use crate::error::ApiError;

const LIMIT: Duration = Duration::from_secs(10);
const BYTES: usize = 256 << 10;

/// An account that the API server vouches for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// `system:serviceaccount:NAMESPACE:NAME` for a ServiceAccount.
    pub user: String,
    /// The node of the pod that the token is bound to, where the server says so (1.32 and later).
    pub node: Option<String>,
    /// That pod.
    pub pod: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Review {
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    authenticated: bool,
    audiences: Vec<String>,
    user: User,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct User {
    username: String,
    extra: std::collections::BTreeMap<String, Vec<String>>,
}

impl Connection {
    /// Whose token it is; none where it is nobody's, has expired, was revoked, or is meant for another audience.
    ///
    /// # Errors
    /// The review itself is not allowed, or nobody answers.
    pub async fn review_token(&self, token: &str, audience: &str) -> Result<Option<Account>, ApiError> {
        let body = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
            "spec": {"token": token, "audiences": [audience]},
        });
        let path = "/apis/authentication.k8s.io/v1/tokenreviews";
        let answer = self.post(path, body.to_string().into_bytes(), BYTES, LIMIT).await?;
        let review: Review = serde_json::from_slice(&answer).map_err(|e| ApiError::Garbled(e.to_string()))?;
        let Status { authenticated, audiences, mut user } = review.status;
        // A server that knows no audiences names none: such an answer proves nothing.
        if !authenticated || user.username.is_empty() || !audiences.iter().any(|a| a == audience) {
            return Ok(None);
        }
        let mut extra =
            |key: &str| user.extra.remove(&format!("authentication.kubernetes.io/{key}"))?.into_iter().next();
        let (node, pod) = (extra("node-name"), extra("pod-name"));
        Ok(Some(Account { user: user.username, node, pod }))
    }
}
