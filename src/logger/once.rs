//! What a run has once.

use std::sync::atomic::{AtomicBool, Ordering};

/// Something that a run has once, taken by a call. It is free again unless the call was accepted:
/// what was dropped or failed can be logged once more.
pub(super) struct TakenOnce<'a> {
    is_taken: &'a AtomicBool,
    is_kept: bool,
}

impl<'a> TakenOnce<'a> {
    /// `None` when another call has it.
    pub(super) fn take(is_taken: &'a AtomicBool) -> Option<TakenOnce<'a>> {
        let was_taken = is_taken.swap(true, Ordering::AcqRel);
        (!was_taken).then_some(TakenOnce {
            is_taken,
            is_kept: false,
        })
    }

    /// Keeps it where the call was accepted.
    pub(super) fn keep_if(mut self, is_accepted: bool) {
        self.is_kept = is_accepted;
    }
}

impl Drop for TakenOnce<'_> {
    fn drop(&mut self) {
        if !self.is_kept {
            self.is_taken.store(false, Ordering::Release);
        }
    }
}
