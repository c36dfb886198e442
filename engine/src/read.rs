//! Read models: questions about one object, answered from what the engine knows. The same for command line and HTTP.
//!
//! [`find`](self) tells which object is meant, [`why`] is the answer restricted to it, [`impact`] says what a change of
//! it hits, [`timeline`] what happened to it, [`whatif`] what manifests would do that nobody has applied yet,
//! [`search`] which objects there are, [`MechanismPage`] and [`PatternPage`] what can be detected. All of them only read.

mod find;
mod impact;
mod manual;
mod objects;
mod scope;
mod since;
mod timeline;
pub mod whatif;
mod why;

pub use find::{Lookup, canonical, find, named_kind, near};
pub use impact::{Effect, Impact, Reader, impact};
pub use manual::{MechanismPage, PatternPage};
pub use objects::{FoundObject, Search, search};
pub use scope::Scope;
pub use since::Since;
pub use timeline::{Item, Span, Timeline, timeline};
pub use why::{Claimed, claims, why, within};
