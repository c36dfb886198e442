//! Events that we write ourselves: the one thing that this client ever creates, and only where somebody asks for it.

use std::time::Duration;

use serde_json::Value;

use crate::connection::Connection;
use crate::error::ApiError;
use crate::resource::Resource;

const LIMIT: Duration = Duration::from_secs(10);
const BYTES: usize = 64 << 10;

/// What Events are, for paths and for questions about rights.
pub fn event_resource() -> Resource {
    Resource::new("events.k8s.io", "v1", "Event", "events", true)
}

impl Connection {
    /// Creates an Event of `events.k8s.io/v1`. One of that name being there already is well: it is the same one.
    ///
    /// # Errors
    /// As [`Connection::get`]; `Forbidden` without the right to create events.
    pub async fn create_event(&self, namespace: &str, event: &Value) -> Result<(), ApiError> {
        let path = event_resource().path(Some(namespace));
        match self.post(&path, event.to_string().into_bytes(), BYTES, LIMIT).await {
            Ok(_) | Err(ApiError::Refused { code: 409, .. }) => Ok(()),
            Err(e) => Err(e),
        }
    }
}
