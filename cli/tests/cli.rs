//! The commands as their users run them: what they print, and how they end.

#![allow(clippy::unwrap_used, reason = "a test may")]

#[path = "cli/alerts.rs"]
mod alerts;
#[path = "cli/bad_input.rs"]
mod bad_input;
#[path = "cli/graph.rs"]
mod graph;
#[path = "cli/manual.rs"]
mod manual;
#[path = "cli/own_rules.rs"]
mod own_rules;
#[path = "cli/questions.rs"]
mod questions;
#[path = "cli/running.rs"]
mod running;
#[path = "cli/whatif.rs"]
mod whatif;
