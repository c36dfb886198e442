//! Alerts that fire.

use super::{Symptom, Trouble};
use crate::diagnosis::view::{View, shorten};

/// People or machines are told that something is bad; one symptom an object, however many alerts there are about it.
pub(super) fn of_alerts(view: &View, out: &mut Vec<Symptom>) {
    for list in view.alerts.chunk_by(|a, b| a.0 == b.0) {
        let Some((object, first)) = list.iter().min_by_key(|(_, f)| f.since) else { continue };
        let more = if list.len() > 1 { format!(" (and {} more)", list.len() - 1) } else { String::new() };
        out.push(Symptom {
            object: (*object).clone(),
            trouble: Trouble::Alert,
            container: None,
            says: format!("alert {}{more}: {}", first.name, shorten(&first.says, 200)),
            since: first.since,
            counts_from: first.since,
        });
    }
}
