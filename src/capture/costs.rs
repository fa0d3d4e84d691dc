//! What the models of a logger cost, all together: counted by callers and writer, read by the
//! throttle.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// See the module. In nanoseconds of CPU time.
#[derive(Debug, Default)]
pub(crate) struct Costs {
    callers: AtomicU64,
    writer: AtomicU64,
    unobserved: AtomicU64,
}

impl Costs {
    /// Adds what a call of `log_weights` or `log_gradients` took on its thread.
    pub(crate) fn add_caller(&self, spent: Duration) {
        self.callers.fetch_add(nanos(spent), Ordering::Relaxed);
    }

    /// Adds what the writer has computed for models since it said so last.
    pub(crate) fn add_writer(&self, spent: Duration) {
        self.writer.fetch_add(nanos(spent), Ordering::Relaxed);
    }

    /// Counts a step that was not observed.
    pub(crate) fn count_unobserved(&self) {
        self.unobserved.fetch_add(1, Ordering::Relaxed);
    }

    /// All of it so far.
    pub(crate) fn spent(&self) -> Duration {
        let load = |counter: &AtomicU64| Duration::from_nanos(counter.load(Ordering::Relaxed));
        load(&self.callers) + load(&self.writer)
    }

    /// Steps that were not observed.
    pub(crate) fn unobserved(&self) -> u64 {
        self.unobserved.load(Ordering::Relaxed)
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
