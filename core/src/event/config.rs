//! ConfigMaps and Secrets: which keys changed, by whom. Values of a Secret never get here; of a ConfigMap they are not
//! needed here.
//!
//! Both types have one shape:
//! ```json
//! {"namespace":"shop","name":"cart-env","uid":"…","resourceVersion":"15512","action":"modified","added":[],
//!  "changed":["MAX_CONNECTIONS"],"removed":[],"by":"kubectl-edit","changedAt":"2024-01-15T10:29:58Z"}
//! ```
//! `name` is needed. `action` is `added`, `modified` (also when absent) or `deleted`; `by` is the field manager that wrote
//! last, `changedAt` when. The id is made of uid or name and `resourceVersion`, so that a change seen by two collectors is
//! one; [`changed`] gives the same event to whoever compares two versions of the object itself.

pub mod config_map_update;
pub mod secret_update;

use crate::event::shape::{Text, shape};
use crate::event::{Malformed, Normalised, Payload, about, fact, need, one, read};
use crate::object::ObjectRef;
use crate::raw::RawEvent;
use crate::time::Time;
use crate::unified::{EventKind, Severity, UnifiedEvent};

shape! {
    /// A change of a ConfigMap or Secret.
    #[serde(rename_all = "camelCase")]
    struct ConfigUpdate {
        /// Namespace.
        namespace: Text<'a>,
        /// Name.
        name: Text<'a>,
        /// Uid.
        uid: Text<'a>,
        /// The version that the change made.
        resource_version: Text<'a>,
        /// `added`, `modified` or `deleted`.
        action: Text<'a>,
        /// Keys that are new.
        added: Vec<Text<'a>>,
        /// Keys with another value.
        changed: Vec<Text<'a>>,
        /// Keys that are gone.
        removed: Vec<Text<'a>>,
        /// Field manager that wrote last.
        by: Text<'a>,
        /// When it wrote.
        changed_at: Text<'a>,
    }
}

/// What changed in a ConfigMap or Secret.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeyChange<'a> {
    /// Uid of the object, `""` where unknown.
    pub uid: &'a str,
    /// The version that the change made, `""` where unknown.
    pub resource_version: &'a str,
    /// `added`, `modified` or `deleted`.
    pub action: &'a str,
    /// Keys that are new.
    pub added: &'a [&'a str],
    /// Keys with another value.
    pub changed: &'a [&'a str],
    /// Keys that are gone.
    pub removed: &'a [&'a str],
    /// Who wrote, `""` where unknown.
    pub by: &'a str,
}

/// The event of a change of `key`, which is a ConfigMap or a Secret.
pub fn changed(raw: &RawEvent, key: ObjectRef, at: Time, change: KeyChange<'_>) -> UnifiedEvent {
    let (kind, noun) = match key.kind.as_str() {
        "Secret" => (EventKind::SecretChanged, "Secret"),
        _ => (EventKind::ConfigChanged, "ConfigMap"),
    };
    let id = fact(raw, kind, &key).text(change.action);
    let id = if change.resource_version.is_empty() { id.number(at.micros()) } else { id.text(change.resource_version) };
    let id = id.finish();
    let mut what = String::new();
    for (verb, keys) in [("added", change.added), ("changed", change.changed), ("removed", change.removed)] {
        if !keys.is_empty() {
            what.push_str(if what.is_empty() { ": " } else { "; " });
            what.push_str(verb);
            what.push(' ');
            what.push_str(&keys.join(", "));
        }
    }
    let verb = match change.action {
        "added" => "was created",
        "deleted" => "was deleted",
        _ => "changed",
    };
    let by = if change.by.is_empty() { String::new() } else { format!(" by {}", change.by) };
    let message = format!("{noun} {} {verb}{by}{what}", key.path());
    let severity =
        if change.action == "deleted" || !change.removed.is_empty() { Severity::Medium } else { Severity::Low };
    let mut event = about(raw, id, kind, at, key, change.uid).saying(severity, message);
    if let Some(k8s) = &mut event.k8s {
        k8s.node = None;
    }
    for (name, keys) in [("added", change.added), ("changed", change.changed), ("removed", change.removed)] {
        if !keys.is_empty() {
            event = event.with(name, keys.join(","));
        }
    }
    if !change.by.is_empty() {
        event = event.with("by", change.by);
    }
    event.with("action", change.action)
}

fn normalise<'a>(raw: &'a RawEvent, kind: &str) -> Result<Normalised<'a>, Malformed> {
    let data: ConfigUpdate = read(raw)?;
    let key = ObjectRef::new(kind, &data.namespace, need(raw, "name", &data.name)?);
    let [a, c, r] = [&data.added, &data.changed, &data.removed].map(|l| l.iter().map(|k| &**k).collect::<Vec<&str>>());
    let change = KeyChange {
        uid: &data.uid,
        resource_version: &data.resource_version,
        action: if data.action.is_empty() { "modified" } else { &data.action },
        added: &a,
        changed: &c,
        removed: &r,
        by: &data.by,
    };
    let at = data.changed_at.time().unwrap_or(raw.timestamp);
    let event = changed(raw, key, at, change);
    Ok(one(event, Payload::ConfigUpdate(data)))
}
