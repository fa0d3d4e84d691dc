//! What depends on the platform: locks that a scheduler can replace, streaming copies, large pages, thread policy.

pub(crate) mod aligned;
pub(crate) mod background;
pub(crate) mod gate;
pub(crate) mod huge_pages;
pub(crate) mod streaming;
pub(crate) mod sync;
