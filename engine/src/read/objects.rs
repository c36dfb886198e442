//! Objects by what is known of their names.

use serde::{Deserialize, Serialize};
use tapio_core::object::ObjectRef;
use tapio_core::time::Time;

use super::find::canonical;
use crate::processor::EventProcessor;
use crate::world::Entry;

/// What is looked for; all that is given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Search {
    /// Kind as kubectl takes it.
    pub kind: Option<String>,
    /// Namespace.
    pub namespace: Option<String>,
    /// Part of the name, in any case.
    pub name: Option<String>,
    /// Also what is gone, or was only named by others.
    pub absent: bool,
    /// Only what comes after this one.
    pub after: Option<ObjectRef>,
    /// At most so many.
    pub limit: usize,
}

/// An object that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundObject {
    /// The object.
    pub object: ObjectRef,
    /// Whether it is there; one that is gone or only referred to is not.
    pub exists: bool,
    /// When it was first seen or named.
    pub first_seen: Time,
    /// When its newest version was seen.
    pub updated: Time,
    /// When it went.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<Time>,
}

impl FoundObject {
    /// What is known of an entry.
    pub fn of(e: &Entry) -> Self {
        FoundObject {
            object: e.key.clone(),
            exists: e.is_live(),
            first_seen: e.first_seen,
            updated: e.updated,
            deleted_at: e.deleted_at,
        }
    }
}

/// Objects by kind, namespace and name, in that order; and whether there are more. An unknown kind has none.
pub fn search(engine: &EventProcessor, wanted: &Search) -> (Vec<FoundObject>, bool) {
    let world = engine.world();
    let kinds: Vec<&str> = match wanted.kind.as_deref().map(|k| canonical(world, k)) {
        None => world.kinds().collect(),
        Some(Some(kind)) => world.kinds().filter(|k| *k == kind).collect(),
        Some(None) => Vec::new(),
    };
    let part = wanted.name.as_deref().map(str::to_lowercase);
    let mut found: Vec<FoundObject> = Vec::new();
    for kind in kinds {
        let mut of_kind: Vec<_> = world
            .entries(kind)
            .filter(|e| wanted.absent || e.is_live())
            .filter(|e| wanted.namespace.as_deref().is_none_or(|n| e.key.ns() == n))
            .filter(|e| part.as_deref().is_none_or(|p| e.key.name.to_lowercase().contains(p)))
            .filter(|e| wanted.after.as_ref().is_none_or(|a| e.key > *a))
            .collect();
        of_kind.sort_by(|a, b| a.key.cmp(&b.key));
        found.extend(of_kind.into_iter().take(wanted.limit + 1 - found.len()).map(FoundObject::of));
        if found.len() > wanted.limit {
            found.truncate(wanted.limit);
            return (found, true);
        }
    }
    (found, false)
}
