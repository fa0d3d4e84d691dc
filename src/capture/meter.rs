//! How the costs of a call on its own thread are measured.

use std::time::Duration;

use crate::platform::cpu_clock;

/// One in so many calls that copy nothing is measured and represents the others: to read a thread's
/// clock twice takes as long as such a call. Odd, so that all phases of a stride come round.
pub(crate) const EVERY: u32 = 7;

/// See the module.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Meter {
    /// By the clock of the thread, for so many calls.
    Cpu { began: Duration, calls: u32 },
    /// By another call.
    Represented,
    /// By the time that has passed: nothing is decided by it.
    Elapsed,
}

impl Meter {
    /// Begins to measure a call that represents so many.
    pub(crate) fn cpu(calls: u32) -> Meter {
        Meter::Cpu {
            began: cpu_clock::thread(),
            calls,
        }
    }

    /// What the call has cost that took so long without its waiting.
    pub(crate) fn spent(self, elapsed: Duration) -> Duration {
        match self {
            Meter::Cpu { began, calls } => cpu_clock::thread().saturating_sub(began) * calls,
            Meter::Represented => Duration::ZERO,
            Meter::Elapsed => elapsed,
        }
    }
}
