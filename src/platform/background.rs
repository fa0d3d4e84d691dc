//! Keeps the writer thread from pushing the training thread aside, and from having to be woken by
//! it.

use std::thread;
use std::time::{Duration, Instant};

/// How long the writer sleeps between two looks.
const NAP: Duration = Duration::from_millis(2);

/// Snapshots that follow each other faster are looked for.
const RHYTHM: Duration = Duration::from_millis(20);

/// The rhythm in which snapshots come.
///
/// To wake a thread that sleeps on another core takes the caller 10 to 30 µs, in a virtual machine
/// above all: as much as copying a small model. While small snapshots come every few milliseconds,
/// the writer therefore sleeps by the clock and looks for the next ones by itself. There are
/// buffers enough for those that come meanwhile.
#[derive(Default)]
pub(crate) struct WakeRhythm {
    newest: Option<Instant>,
}

impl WakeRhythm {
    /// A snapshot came, small enough to be looked for (`are_plenty` of its buffers), or not.
    pub(crate) fn beat(&mut self, are_plenty: bool) {
        self.newest = are_plenty.then(Instant::now);
    }

    /// Sleeps for a moment, or until unparked, when the next snapshot is near; false when it is not
    /// or when something else is due sooner, without a wait.
    pub(crate) fn nap(&self, due_in: Duration) -> bool {
        let is_near = self.newest.is_some_and(|newest| newest.elapsed() < RHYTHM);
        if is_near && due_in >= NAP {
            thread::park_timeout(NAP);
            return true;
        }
        false
    }
}

/// Tells the system that the calling thread computes in the background.
///
/// A thread that has slept is woken with credit: where no core is free, Linux lets it take the core
/// of the thread that has woken it, in the middle of `log_weights`, for the milliseconds that an
/// analysis takes. Threads of the policy `SCHED_BATCH` have the same share of the processor but
/// wait for their turn. A lower priority would be worse: training waits for a writer that falls
/// behind.
pub(crate) fn enter() {
    #[cfg(target_os = "linux")]
    #[allow(unsafe_code)]
    // SAFETY: plain numbers, of which zeros are the priority that this policy asks for; the call
    // reads them, and concerns the calling thread only. Where it is not allowed the thread stays as
    // it was, which is only slower.
    unsafe {
        let parameters: libc::sched_param = std::mem::zeroed();
        libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const parameters);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn naps_are_taken_while_small_snapshots_come() {
        let mut rhythm = WakeRhythm::default();
        assert!(!rhythm.nap(RHYTHM));
        rhythm.beat(true);
        assert!(rhythm.newest.is_some());
        // A snapshot yet to come is near, however long this test is kept waiting.
        rhythm.newest = Instant::now().checked_add(Duration::from_secs(3600));
        assert!(rhythm.nap(RHYTHM) && !rhythm.nap(NAP / 2));
        rhythm.newest = Instant::now().checked_sub(RHYTHM);
        assert!(!rhythm.nap(RHYTHM));
        rhythm.beat(true);
        rhythm.beat(false);
        assert!(!rhythm.nap(RHYTHM));
    }
}

#[cfg(all(test, target_os = "linux"))]
mod policy_tests {
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
