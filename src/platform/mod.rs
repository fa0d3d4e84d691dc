//! What depends on the platform: locks that a scheduler can replace, file locks and signals,
//! streaming copies, large pages, thread policy.

pub(crate) mod aligned;
pub(crate) mod background;
pub(crate) mod file_lock;
pub(crate) mod file_size_signal;
pub(crate) mod gate;
pub(crate) mod huge_pages;
pub(crate) mod streaming;
pub(crate) mod sync;
