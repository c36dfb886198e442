//! What was looked at, for answers that say that nothing was found.

use serde::{Deserialize, Serialize};
use tapio_core::answer::Symptom;
use tapio_core::object::ObjectRef;

use crate::processor::EventProcessor;

/// What was looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// Objects that are there.
    pub objects: usize,
    /// Of them, pods.
    pub pods: usize,
    /// Of them, nodes.
    pub nodes: usize,
    /// Events that are remembered.
    pub events: usize,
    /// Runs of containers whose logs were read.
    pub logs: usize,
    /// Symptoms that nothing explains, whether or not they have lasted long enough for an incident.
    pub unexplained: Vec<Symptom>,
}

impl Scope {
    /// Counts what the engine knows; in a namespace only what lies in it.
    pub fn of(engine: &EventProcessor, namespace: Option<&str>) -> Self {
        let world = engine.world();
        let mut s = Scope::default();
        for kind in world.kinds() {
            for e in world.entries(kind).filter(|e| namespace.is_none_or(|n| e.key.ns() == n)) {
                let live = usize::from(e.is_live());
                s.objects += live;
                s.pods += if kind == "Pod" { live } else { 0 };
                s.nodes += if kind == "Node" { live } else { 0 };
                s.events += e.history.notes.len() + e.history.events.len();
                s.logs += e.history.logs.len();
            }
        }
        let ours = |o: &ObjectRef| namespace.is_none_or(|n| o.ns() == n);
        let left = engine.explanation().unexplained.iter().filter(|x| ours(&x.object));
        s.unexplained = left.map(|x| Symptom { object: x.object.clone(), says: x.says.clone(), at: x.since }).collect();
        s
    }
}
