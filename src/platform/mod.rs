//! What depends on the platform: CPU clocks, free memory, locks that a scheduler can replace, file
//! locks and signals, streaming copies, large pages, thread policy; and on the compiler: whether it
//! has optimised.

pub(crate) mod aligned;
pub(crate) mod background;
pub(crate) mod cpu_clock;
pub(crate) mod file_lock;
pub(crate) mod file_size_signal;
pub(crate) mod gate;
pub(crate) mod huge_pages;
pub(crate) mod memory;
pub(crate) mod optimised;
pub(crate) mod streaming;
pub(crate) mod sync;
