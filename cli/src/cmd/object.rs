//! The object that a command is about, or why it is not clear which.

use tapio_core::object::ObjectRef;
use tapio_engine::EventProcessor;
use tapio_engine::read::{Lookup, find};

use crate::args::Target;
use crate::error::{Failure, Outcome};

/// Finds what was typed.
pub(super) fn found(engine: &EventProcessor, target: &Target) -> Outcome<ObjectRef> {
    let (kind, name) = target.parts()?;
    let ns = target.namespace.as_deref();
    match find(engine.world(), kind, name, ns) {
        Lookup::One(object) => Ok(object),
        Lookup::Many(list) => {
            let spaces: Vec<&str> = list.iter().map(ObjectRef::ns).collect();
            Err(Failure::input(format!(
                "{kind}/{name} is in {} namespaces: {}; say which with -n",
                spaces.len(),
                spaces.join(", ")
            )))
        }
        Lookup::None { near } => {
            let place = ns.map(|n| format!(" in namespace {n}")).unwrap_or_default();
            let hint = match near.as_slice() {
                [] => "it is not in the input".to_owned(),
                list => format!("did you mean {}", list.iter().map(typed).collect::<Vec<_>>().join(", ")),
            };
            Err(Failure::NotFound(format!("no {kind}/{name}{place}; {hint}")))
        }
        Lookup::NoKind { near } => {
            let hint = match near.as_slice() {
                [] => "give a kind as kubectl takes it, e.g. pod, deploy, cm".to_owned(),
                list => format!("did you mean {}", list.join(", ")),
            };
            Err(Failure::NotFound(format!("no kind `{kind}`; {hint}")))
        }
    }
}

/// As one would type it.
fn typed(o: &ObjectRef) -> String {
    let ns = o.namespace.as_ref().map(|n| format!(" -n {n}")).unwrap_or_default();
    format!("{}/{}{ns}", o.kind.to_lowercase(), o.name)
}
