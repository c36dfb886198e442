//! The object that a path names, or why it is not clear which.

use serde::Deserialize;
use tapio_core::object::ObjectRef;
use tapio_engine::EventProcessor;
use tapio_engine::read::{Lookup, find};
use utoipa::IntoParams;

use crate::problem::Problem;

/// An object by kind and name.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct Named {
    /// Kind as kubectl takes it: `pod`, `deploy`, `configmaps`.
    kind: String,
    /// Name.
    name: String,
}

/// An object by kind, namespace and name.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct NamedIn {
    /// Kind as kubectl takes it: `pod`, `deploy`, `configmaps`.
    kind: String,
    /// Namespace.
    namespace: String,
    /// Name.
    name: String,
}

/// Either of them.
pub(super) struct Target {
    kind: String,
    namespace: Option<String>,
    name: String,
}

impl From<Named> for Target {
    fn from(n: Named) -> Self {
        Target { kind: n.kind, namespace: None, name: n.name }
    }
}

impl From<NamedIn> for Target {
    fn from(n: NamedIn) -> Self {
        Target { kind: n.kind, namespace: Some(n.namespace), name: n.name }
    }
}

impl Target {
    /// The object that is meant.
    pub(super) fn find(&self, engine: &EventProcessor) -> Result<ObjectRef, Problem> {
        let Target { kind, namespace, name } = self;
        match find(engine.world(), kind, name, namespace.as_deref()) {
            Lookup::One(object) => Ok(object),
            Lookup::Many(list) => {
                let spaces: Vec<&str> = list.iter().map(ObjectRef::ns).collect();
                let detail = format!("{kind}/{name} is in {} namespaces: {}", spaces.len(), spaces.join(", "));
                let remedy = "say which: …/KIND/NAMESPACE/NAME";
                Err(Problem::parameter("namespace", detail, remedy).near(list))
            }
            Lookup::None { near } => {
                let place = namespace.as_ref().map(|n| format!(" in namespace {n}")).unwrap_or_default();
                let remedy = match near.as_slice() {
                    [] => "GET /api/v1/objects lists what is known".to_owned(),
                    list => format!("did you mean {}", list.iter().map(typed).collect::<Vec<_>>().join(", ")),
                };
                Err(Problem::not_found(format!("no {kind}/{name}{place}"), remedy).near(near))
            }
            Lookup::NoKind { near } => {
                let remedy = match near.as_slice() {
                    [] => "give a kind as kubectl takes it, e.g. pod, deploy, cm".to_owned(),
                    list => format!("did you mean {}", list.join(", ")),
                };
                Err(Problem::not_found(format!("no kind `{kind}`"), remedy))
            }
        }
    }
}

/// As it stands in a path.
fn typed(o: &ObjectRef) -> String {
    let ns = o.namespace.as_ref().map(|n| format!("{n}/")).unwrap_or_default();
    format!("{}/{ns}{}", o.kind.to_lowercase(), o.name)
}
