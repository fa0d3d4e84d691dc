//! The only folder that looks into tch memory: libtorch's tensors as
//! [`ElementSource`](crate::source::element_source), and models as sources of named tensors.
//!
//! tch's accessors panic on tensors they cannot show (undefined, sparse, MKL-DNN). Here each tensor
//! is classified once (`layout`); only dense CPU tensors are read through their pointer, after
//! checks that make it sound, and everything else goes through libtorch's own `copy_` (`copying`),
//! which resolves negated views, other devices and any stride.
//!
//! Imports go downhill: `metadata` < `layout` < `copying` < `remote`, `scalar` < `elements` <
//! `stores`.

mod copying;
mod elements;
mod layout;
mod metadata;
mod remote;
mod scalar;
mod stores;

pub(crate) use copying::threads;
pub use stores::SubStore;
