//! Leases: renewed every few seconds by every node and every leader. Renewals alone are thinned out, and they are the
//! pulse by which dead watches are noticed.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;

/// A renewal is told this long after the one before; a leader's lease is stale after 15 s, a node's after 40.
const FEW: Duration = Duration::from_secs(5);
/// The same where there are many.
const MANY: Duration = Duration::from_secs(15);
/// More leases in one namespace than this are many.
const MANY_FROM: usize = 50;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Lease {
    spec: Spec,
}

#[derive(Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    holder_identity: Option<String>,
    lease_transitions: Option<i64>,
    lease_duration_seconds: Option<i64>,
}

/// Which renewals were told when.
#[derive(Default)]
pub(crate) struct Leases {
    told: Mutex<HashMap<String, (Instant, Spec)>>,
}

impl Leases {
    /// Whether this version of a lease says more than that it was renewed, or was not told for a while.
    pub(crate) fn is_worth_telling(&self, key: &str, json: &str, leases: usize) -> bool {
        let spec = serde_json::from_str::<Lease>(json).unwrap_or_default().spec;
        let pause = if leases > MANY_FROM { MANY } else { FEW };
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        match told.get(key) {
            Some((at, before)) if at.elapsed() < pause && *before == spec => false,
            _ => {
                // Leases come and go; forgetting when one was told costs no more than telling it once more.
                if told.len() > 20_000 {
                    told.clear();
                }
                told.insert(key.to_owned(), (Instant::now(), spec));
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renewals_are_thinned_out_and_a_new_holder_is_told() {
        let l = Leases::default();
        let of = |holder: &str, n: i64| {
            format!(r#"{{"spec":{{"holderIdentity":"{holder}","leaseTransitions":{n},"renewTime":"x"}}}}"#)
        };
        assert!(l.is_worth_telling("a", &of("one", 1), 1));
        assert!(!l.is_worth_telling("a", &of("one", 1), 1));
        assert!(l.is_worth_telling("a", &of("two", 2), 1));
        assert!(l.is_worth_telling("b", &of("one", 1), 1));
    }
}
