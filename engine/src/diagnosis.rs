//! From the live graph at one moment to its causes: [`symptom`]s, hypotheses of the [`mechanisms`](crate::mechanisms),
//! and the [`explain`]ation that needs the fewest roots.

pub mod endpoints;
pub mod explain;
pub mod hypothesis;
pub mod logs;
pub(crate) mod releases;
pub mod symptom;
pub mod view;
