//! The thinking.
pub mod diagnosis;
pub mod mechanisms;
pub mod world;
