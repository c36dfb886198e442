//! What can be wrong. Checks of a state say what is wrong in one world; what is news is told by comparing both. Checks
//! of a change look at the way between them.

mod config;
mod placement;
mod policy;
mod quota;
mod references;
mod refused;
mod routes;
mod services;

use super::state::State;
use super::{Between, Problem};

/// Everything that is wrong in a world.
pub(super) fn of_state(b: &Between, state: &State) -> Vec<Problem> {
    let mut out = Vec::new();
    references::find(b, state, &mut out);
    services::find(state, &mut out);
    routes::find(state, &mut out);
    placement::find(b, state, &mut out);
    out
}

/// Everything that is wrong with the change itself.
pub(super) fn of_change(b: &Between) -> Vec<Problem> {
    let mut out = Vec::new();
    config::find(b, &mut out);
    services::lost(b, &mut out);
    policy::find(b, &mut out);
    quota::find(b, &mut out);
    refused::find(b, &mut out);
    out
}
