//! CPU time as the system counts it.

use std::time::Duration;

/// What the calling thread has computed so far.
pub(crate) fn thread() -> Duration {
    imp::thread()
}

/// What all threads of the process have computed so far.
pub(crate) fn process() -> Duration {
    imp::process()
}

#[cfg(unix)]
mod imp {
    use std::time::Duration;

    use rustix::time::{ClockId, clock_gettime};

    pub(super) fn thread() -> Duration {
        read(ClockId::ThreadCPUTime)
    }

    pub(super) fn process() -> Duration {
        read(ClockId::ProcessCPUTime)
    }

    fn read(clock: ClockId) -> Duration {
        clock_gettime(clock).try_into().unwrap_or_default()
    }
}

/// Elsewhere the time that has passed is taken for both.
#[cfg(not(unix))]
mod imp {
    use std::sync::OnceLock;
    use std::time::{Duration, Instant};

    static START: OnceLock<Instant> = OnceLock::new();

    pub(super) fn thread() -> Duration {
        START.get_or_init(Instant::now).elapsed()
    }

    pub(super) fn process() -> Duration {
        thread()
    }
}

#[cfg(all(test, unix))]
mod tests {
    #[test]
    fn computing_takes_time_of_the_thread_and_of_the_process_and_waiting_takes_none() {
        let process = super::process();
        let thread = super::thread();
        let mut sum = 0_u64;
        while super::thread() - thread < std::time::Duration::from_millis(5) {
            sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(1));
        }
        assert!(
            super::process() - process >= std::time::Duration::from_millis(5),
            "{sum}"
        );
        let rested = super::thread();
        std::thread::sleep(std::time::Duration::from_millis(200));
        assert!(super::thread() - rested < std::time::Duration::from_millis(100));
    }
}
