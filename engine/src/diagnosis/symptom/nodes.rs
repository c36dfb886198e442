//! Nodes that are not ready or under pressure, and their services.

use tapio_core::time::SECOND;

use super::{Symptom, Trouble, hold};
use crate::diagnosis::view::{View, shorten};

pub(super) fn of_nodes(view: &View, out: &mut Vec<Symptom>) {
    for entry in view.world.entries("Node") {
        let Some(o) = entry.live() else { continue };
        let Some(n) = o.as_node() else { continue };
        if let Some(c) = n.condition("Ready").filter(|c| c.status != "True") {
            let since = c.last_transition_time.unwrap_or(entry.updated);
            // A new node is not ready before its network plugin runs.
            let new = o.meta.creation_timestamp.is_some_and(|t| since.since(t) <= 10 * SECOND);
            out.push(Symptom {
                object: o.key.clone(),
                trouble: Trouble::NodeNotReady,
                container: None,
                says: format!("{} is not ready: {} {}", o.key, c.reason, shorten(&c.message, 200)),
                since,
                counts_from: if new { since.plus(hold::JOIN * SECOND) } else { since },
            });
        }
        if let Some(c) = n.condition("NetworkUnavailable").filter(|c| c.status == "True" && n.is_ready()) {
            let since = c.last_transition_time.unwrap_or(entry.updated);
            let new = o.meta.creation_timestamp.is_some_and(|t| since.since(t) <= 10 * SECOND);
            // An agent that is restarted for a newer version takes it back within a minute.
            let wait = if new { hold::JOIN } else { hold::MAINTENANCE };
            out.push(Symptom {
                object: o.key.clone(),
                trouble: Trouble::NodeNotReady,
                container: None,
                says: format!("{} has no pod network: {} {}", o.key, c.reason, shorten(&c.message, 200)),
                since,
                counts_from: since.plus(wait * SECOND),
            });
        }
        for (service, s) in entry.history.services.iter().filter(|(_, s)| !s.running) {
            out.push(Symptom {
                object: o.key.clone(),
                trouble: Trouble::NodeService,
                container: None,
                says: format!("{service} does not run on {}: {}", o.key, shorten(&s.says, 160)),
                since: s.at,
                counts_from: s.at,
            });
        }
    }
}

pub(super) fn of_pressure(view: &View, out: &mut Vec<Symptom>) {
    for entry in view.world.entries("Node") {
        let Some((o, n)) = entry.live().and_then(|o| o.as_node().map(|n| (o, n))) else { continue };
        for kind in ["DiskPressure", "MemoryPressure"] {
            let Some(c) = n.condition(kind).filter(|c| c.status == "True") else { continue };
            let since = c.last_transition_time.unwrap_or(entry.updated);
            // A node that is short for weeks and sends nobody away harms nobody.
            let harm = out.iter().any(|s| {
                s.trouble == Trouble::Evicted
                    && view.pods.get(&s.object).is_some_and(|p| p.pod.spec.node_name == o.key.name)
            });
            if view.age(since) >= 3_600 && !harm {
                continue;
            }
            out.push(Symptom {
                object: o.key.clone(),
                trouble: Trouble::NodePressure,
                container: None,
                says: format!("{} has {kind}: {}", o.key, shorten(&c.message, 200)),
                since,
                counts_from: since.plus(hold::PRESSURE * SECOND),
            });
        }
    }
}
