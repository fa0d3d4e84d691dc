//! The basic types: steps, wall times, element types, the builder's choices. Imports nothing of this crate but its error.

pub(crate) mod plugin;
pub(crate) mod types;
