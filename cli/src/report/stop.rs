//! When to end: Ctrl-C, or nobody reads any more.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM};

use crate::output::is_unread;

/// So long it may take to notice.
const SLICE: Duration = Duration::from_millis(100);

/// Set by a signal.
pub(super) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// From now on, Ctrl-C and a request to end only set a flag.
    pub(super) fn new() -> io::Result<Stop> {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            signal_hook::flag::register(signal, Arc::clone(&flag))?;
        }
        Ok(Stop(flag))
    }

    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Waits for so long; true, and earlier, when it is time to end.
    pub(super) fn comes_within(&self, time: Duration) -> bool {
        let begun = Instant::now();
        loop {
            if self.is_set() || is_unread(&io::stdout()) {
                return true;
            }
            let left = time.saturating_sub(begun.elapsed());
            if left.is_zero() {
                return false;
            }
            thread::sleep(left.min(SLICE));
        }
    }
}
