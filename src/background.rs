//! Keeps the writer thread from pushing the training thread aside.

/// Tells the system that the calling thread computes in the background.
///
/// A thread that has slept is woken with credit: where no core is free, Linux lets it take the core of the thread that has
/// woken it, in the middle of `log_weights`, for the milliseconds that an analysis takes. Threads of the policy
/// `SCHED_BATCH` have the same share of the processor but wait for their turn. A lower priority would be worse: training
/// waits for a writer that falls behind.
pub(crate) fn enter() {
    #[cfg(target_os = "linux")]
    #[allow(unsafe_code)]
    // SAFETY: plain numbers, of which zeros are the priority that this policy asks for; the call reads them, and concerns
    // the calling thread only. Where it is not allowed the thread stays as it was, which is only slower.
    unsafe {
        let parameters: libc::sched_param = std::mem::zeroed();
        libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const parameters);
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    /// The 41st field of `/proc/…/stat`, behind the name in parentheses: see proc(5).
    fn policy() -> Option<String> {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").ok()?;
        let behind_name = stat.rsplit(')').next()?;
        Some(behind_name.split_whitespace().nth(41 - 3)?.to_owned())
    }

    #[test]
    fn the_policy_is_that_of_batch_work_for_this_thread_only() {
        let before = policy();
        let inside = std::thread::spawn(|| {
            super::enter();
            policy()
        });
        assert_eq!(inside.join().unwrap().as_deref(), Some("3"));
        assert_eq!(policy(), before);
    }
}
