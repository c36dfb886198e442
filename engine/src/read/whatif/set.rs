//! The change set: what each manifest makes of its object, and the world with all of them laid over it.

use serde_json::{Map, Value};
use tapio_core::answer::FieldChange;
use tapio_core::manifest::Manifest;
use tapio_core::object::{Body, Object, ObjectError, ObjectRef, canonical_kind, is_cluster_scoped};
use tapio_core::ontology::Relation;
use tapio_core::time::Time;

use super::{Action, Asked, WhatIfError, diff};
use crate::world::World;

/// One manifest, worked out.
pub(super) struct Step {
    pub(super) object: ObjectRef,
    pub(super) place: String,
    pub(super) action: Action,
    pub(super) fields: Vec<FieldChange>,
    pub(super) not_compared: Vec<String>,
    pub(super) left: Vec<String>,
    /// The live object.
    pub(super) before: Option<Object>,
    /// The object as it would be; none if it goes.
    pub(super) after: Option<Object>,
    /// The manifest itself, for fields that the engine does not keep.
    pub(super) manifest: Value,
}

impl Step {
    /// Whether a field of this path, or below it, differs.
    pub(super) fn changes(&self, path: &str) -> bool {
        self.fields
            .iter()
            .any(|f| f.field.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '['])))
    }

    /// Whether it makes pods from another template than before.
    pub(super) fn rolls(&self) -> bool {
        let makes_pods = self.after.as_ref().is_some_and(|o| o.template().is_some());
        makes_pods && (self.action == Action::New || self.changes("spec.template") || self.changes("spec.jobTemplate"))
    }

    /// Whether its kind is one whose effects are known.
    pub(super) fn known(&self) -> bool {
        let one = self.after.as_ref().or(self.before.as_ref());
        one.is_some_and(|o| !matches!(o.body, Body::Other(_)))
    }
}

/// Works out every manifest. Of several about one object the last one counts, as when they are applied in order.
pub(super) fn steps(world: &World, manifests: &[Manifest], asked: &Asked) -> Result<Vec<Step>, WhatIfError> {
    let mut out: Vec<Step> = Vec::new();
    for m in manifests {
        let next = step(world, m, asked)?;
        out.retain(|s| s.object != next.object);
        out.push(next);
    }
    Ok(out)
}

fn step(world: &World, m: &Manifest, asked: &Asked) -> Result<Step, WhatIfError> {
    let fault = |why: String| WhatIfError { place: m.place(), why };
    let word = |at: &str| m.object.pointer(at).and_then(Value::as_str).unwrap_or_default();
    let kind = canonical_kind(word("/apiVersion"), word("/kind"));
    let name = word("/metadata/name");
    let mut want = m.object.clone();
    // A cluster-scoped object of a kind that only the cluster knows is there without a namespace.
    let bare = ObjectRef { kind: kind.clone(), namespace: None, name: name.to_owned() };
    let namespace = match word("/metadata/namespace") {
        "" if is_cluster_scoped(&kind) || world.live(&bare).is_some() => "",
        "" => asked.namespace.as_deref().unwrap_or("default"),
        ns => ns,
    }
    .to_owned();
    if let Some(meta) = want.pointer_mut("/metadata").and_then(Value::as_object_mut) {
        // Left-overs of a `kubectl get` say nothing about what is wanted.
        for left in ["uid", "resourceVersion", "managedFields", "creationTimestamp", "generation", "deletionTimestamp"]
        {
            meta.remove(left);
        }
        meta.insert("namespace".to_owned(), Value::String(namespace.clone()));
    }
    if let Some(o) = want.as_object_mut() {
        o.remove("status");
        if kind == "Secret" {
            as_data(o);
        }
    }
    let parse = |v: &Value| Object::parse_as(&v.to_string(), &kind).map_err(|e| fault(said(&e)));
    let wanted = parse(&want)?;
    let key = wanted.key.clone();
    let before = world.live(&key).cloned();
    let base = Step {
        object: key,
        place: m.place(),
        action: Action::New,
        fields: Vec::new(),
        not_compared: Vec::new(),
        left: Vec::new(),
        before: before.clone(),
        after: None,
        manifest: want.clone(),
    };
    let step = match (asked.delete, before) {
        (true, None) => Step { action: Action::Absent, ..base },
        (true, Some(_)) => Step { action: Action::Deleted, ..base },
        (false, None) => Step { after: Some(wanted), ..base },
        (false, Some(live)) => {
            let merged = diff::merge(&want, &live, &diff::value_of(&wanted));
            let after = parse(&merged.after)?;
            let action = if merged.fields.is_empty() { Action::Unchanged } else { Action::Changed };
            Step {
                action,
                fields: merged.fields,
                not_compared: merged.not_compared,
                left: merged.left,
                after: Some(after),
                ..base
            }
        }
    };
    Ok(step)
}

/// The keys of `stringData` are keys of `data`; their values were taken out before.
fn as_data(secret: &mut Map<String, Value>) {
    let Some(Value::Object(texts)) = secret.remove("stringData") else { return };
    let data = secret.entry("data").or_insert_with(|| Value::Object(Map::new()));
    if !data.is_object() {
        *data = Value::Object(Map::new());
    }
    if let Some(d) = data.as_object_mut() {
        d.extend(texts.into_iter().map(|(k, _)| (k, Value::String(String::new()))));
    }
}

fn said(e: &ObjectError) -> String {
    match e {
        ObjectError::WrongType { kind, name, why } => {
            format!("{kind} {name}: {why}; correct the field as `kubectl explain {}` says", kind.to_lowercase())
        }
        other => other.to_string(),
    }
}

/// A copy of the world as it would be with the whole change set.
pub(super) fn laid_over(world: &World, now: Time, steps: &[Step]) -> World {
    let mut out = world.clone();
    for s in steps {
        if let Some(o) = &s.after {
            out.apply(o.clone(), now);
        }
    }
    for s in steps.iter().filter(|s| s.action == Action::Deleted) {
        let mut gone: Vec<Object> = s.before.iter().cloned().collect();
        if s.object.kind == "Namespace" {
            let kinds: Vec<String> = world.kinds().map(str::to_owned).collect();
            gone.extend(kinds.iter().flat_map(|k| world.in_namespace(k, &s.object.name)).cloned());
        }
        // What it owns goes with it; owners are followed a bounded way, as in the world itself.
        let mut owners = vec![s.object.clone()];
        for _ in 0..8 {
            let owned = owners.iter().flat_map(|o| world.out(o, Relation::Owns)).filter_map(|e| e.live());
            let owned: Vec<&Object> = owned.filter(|o| !gone.iter().any(|g| g.key == o.key)).collect();
            owners = owned.iter().map(|o| o.key.clone()).collect();
            gone.extend(owned.into_iter().cloned());
        }
        for o in gone {
            out.delete(&o, now);
        }
    }
    out
}
