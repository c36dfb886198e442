//! What must not leave a collector, and how it is taken out.
//!
//! Invariant: no value of a Secret ever enters a [`RawEvent`](tapio_core::raw::RawEvent). Values of Secrets are
//! emptied (their keys stay), `last-applied-configuration` is dropped, literals of `env` and of ConfigMaps stay only
//! where they are an address, a plain number or a boolean and become `<hash:…>` otherwise, and in texts what stands
//! after a deny-listed word is masked. What is redacted reads back as itself.

mod applied;
mod literal;
mod rewrite;
mod routes;
mod text;

use serde_json::value::RawValue;

pub use text::LineMask;
pub(crate) use text::mask;

/// The rules with the key of their hashes.
#[derive(Clone)]
pub struct Redaction {
    key: [u8; 32],
}

/// Why a text could not be redacted, and so must not be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RedactionError {
    /// Not one JSON value.
    #[error("not JSON")]
    NotJson,
    /// Nested beyond what a Kubernetes object can be.
    #[error("nested more than 127 levels deep")]
    TooDeep,
}

impl Default for Redaction {
    /// The key of offline runs: fixed, so that answers are the same everywhere.
    fn default() -> Self {
        Redaction { key: *blake3::hash(b"tapio: hashes of literals in offline runs").as_bytes() }
    }
}

impl std::fmt::Debug for Redaction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Redaction { key: *** }")
    }
}

impl Redaction {
    /// Rules with the key of an installation.
    pub fn with_key(key: [u8; 32]) -> Self {
        Redaction { key }
    }

    /// The keyed hash of a value: 16 hexadecimal digits.
    pub fn hash(&self, value: &str) -> String {
        blake3::keyed_hash(&self.key, value.as_bytes()).to_hex()[..16].to_owned()
    }

    /// The object's JSON text as it may leave, in one line. `kind` decides about `data` (`Secret`, `ConfigMap`).
    ///
    /// # Errors
    /// The text is not JSON, or nested too deeply; it must not be used then.
    pub fn object(&self, json: &str, kind: &str) -> Result<Box<RawValue>, RedactionError> {
        self.object_with(json, kind, "")
    }

    /// As [`Redaction::object`], with further members (`"kind":"Pod"`) put in front.
    pub(crate) fn object_with(&self, json: &str, kind: &str, lead: &str) -> Result<Box<RawValue>, RedactionError> {
        let noted = applied::note_differences(json, kind);
        let json = noted.as_deref().unwrap_or(json);
        let routed = routes::note_routes(json, kind);
        let text = rewrite::Rewriter::new(routed.as_deref().unwrap_or(json), kind, self).run(lead)?;
        // Checks the text as a whole, too: what is no JSON does not get out.
        RawValue::from_string(text).map_err(|_| RedactionError::NotJson)
    }

    /// The payload of any other event as it may leave.
    ///
    /// # Errors
    /// As [`Redaction::object`].
    pub fn payload(&self, json: &str, event_type: &str) -> Result<Box<RawValue>, RedactionError> {
        let kind = crate::json::member(json, 0, "kind").unwrap_or_default();
        let kind = match event_type {
            _ if !kind.is_empty() => kind,
            t if t.starts_with("Secret") => "Secret".to_owned(),
            t if t.starts_with("ConfigMap") => "ConfigMap".to_owned(),
            _ => kind,
        };
        self.object(json, &kind)
    }

    /// A piece of unusable input as it may be shown: at most 2,048 bytes, masked, and cut off before anything that
    /// looks like a Secret or a literal.
    pub fn excerpt(&self, bytes: &[u8]) -> String {
        let head = String::from_utf8_lossy(bytes.get(..2_048.min(bytes.len())).unwrap_or(bytes));
        let cut = [
            "Secret",
            "secret",
            "\"data\"",
            "data:",
            "stringData",
            "\"env\"",
            "env:",
            "\"value\"",
            "value:",
            "last-applied",
        ]
        .iter()
        .filter_map(|w| head.find(w))
        .min();
        let head = match cut {
            Some(at) => head.get(..at).unwrap_or(""),
            None => &head,
        };
        let masked = mask(head).unwrap_or_else(|| head.to_owned());
        let mut shown = String::with_capacity(masked.len().min(2_048));
        for c in masked.chars() {
            let c = if c.is_control() && c != '\n' && c != '\t' { '?' } else { c };
            if shown.len() + c.len_utf8() > 2_048 {
                break;
            }
            shown.push(c);
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_no_change_stays_byte_for_byte() {
        let r = Redaction::default();
        for json in [
            r#"{"kind":"ClusterRole","aggregationRule":{"x":[]},"rules":[{"verbs":["*"]},{"apiGroups":[""],"n":-1.5e3,"b":true,"z":null}]}"#,
            r#"{"kind":"Deployment","metadata":{"name":"a","labels":{}},"spec":{"replicas":1,"template":{"spec":{"containers":[{"env":[{"name":"PORT","value":"80"}],"args":["-c"]}]}}}}"#,
            r#"{"kind":"X","metadata":{"annotations":{"a":"ü\u00fc\n"}}}"#,
        ] {
            assert_eq!(r.object(json, "X").map(|v| v.get().to_owned()), Ok(json.to_owned()));
        }
    }
}
