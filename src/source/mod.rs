//! What the calls read: sources of named tensors, values, scalars.

pub(crate) mod copied;
pub(crate) mod image;
pub(crate) mod named_tensors;
pub(crate) mod values;
