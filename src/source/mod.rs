//! What log calls read: named tensors, values and scalars, all seen through
//! [`element_source::ElementSource`].
//!
//! Imports go downhill: `element_source` < `host`, `gradient_sampler` < `values` < `named_tensors`.
//! libtorch's tensors implement these traits in `tensor/`, which imports this folder and not the
//! other way round.

pub(crate) mod copied;
pub(crate) mod element_source;
pub(crate) mod first_values;
pub(crate) mod gradient_sampler;
pub(crate) mod host;
pub(crate) mod image;
pub(crate) mod named_tensors;
pub(crate) mod pictured;
pub(crate) mod tiles;
pub(crate) mod values;
