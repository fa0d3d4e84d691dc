//! Asks the system to back large buffers by large pages.
//!
//! Measured alone, allocations with and without in turn, medians of 12 (x86-64, two cores, 4 KiB
//! and 2 MiB pages): the first touch of 47 MB takes 9.3 ms for 35 ms, of 200 MB 41 ms for 159 ms, a
//! quarter both times. Copies into such a buffer afterwards take 0.8 to 1.0 of the time, passes
//! over it the same. Below some 30 MB the allocator reuses what it has, and there is no difference.
//! A buffer is made a few times in a run, so this is about the first calls of a large model.

use std::mem::MaybeUninit;

/// The size of a large page on x86-64, and a multiple of a page's on other systems.
#[cfg(target_os = "linux")]
const HUGE_PAGE: usize = 2 << 20;

/// Memory that is about to be written for the first time comes in pages of 2 MB where Linux has
/// them (`madvise`, the default of most distributions), with 512 times fewer page faults. A hint:
/// whatever becomes of it, the memory is the same.
pub(crate) fn ask_for<T>(memory: &mut [MaybeUninit<T>]) {
    #[cfg(target_os = "linux")]
    {
        let range = memory.as_mut_ptr_range();
        let start = range.start.addr().next_multiple_of(HUGE_PAGE);
        let length = range.end.addr().saturating_sub(start) / HUGE_PAGE * HUGE_PAGE;
        if length > 0 {
            #[allow(unsafe_code)]
            // SAFETY: the pages lie wholly inside `memory`, which is borrowed exclusively; the
            // advice changes how they are backed and not what they hold.
            unsafe {
                libc::madvise(
                    range.start.with_addr(start).cast(),
                    length,
                    libc::MADV_HUGEPAGE,
                );
            }
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = memory;
}
