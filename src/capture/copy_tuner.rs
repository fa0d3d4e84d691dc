//! Which method of copying is the faster one just now. It depends on what else the machine does, so
//! it is measured: libtorch's threads copy 11.7 million floats in 2.4 ms where one thread takes 3.5
//! ms while cores are free, and in 6.4 ms while one other thread is busy. Each model keeps the time
//! of both and tries the slower one now and then.

use std::time::Duration;

use crate::platform::streaming::WORTH_STREAMING;
use crate::source::element_source::CopyMethod;

/// Calls until the slower way is tried again; doubled each time it is still slower.
const FIRST_RETRY: u32 = 4;
const LAST_RETRY: u32 = 4096;

/// Below this many bytes in all, both ways take microseconds.
const WORTH_CHOOSING: usize = 4 << 20;

/// The times that the caller's thread alone and libtorch's threads took lately.
#[derive(Debug)]
pub(crate) struct CopyTuner {
    alone: Option<Duration>,
    threads: Option<Duration>,
    calls: u32,
    retry_at: u32,
    retry_after: u32,
}

impl Default for CopyTuner {
    fn default() -> CopyTuner {
        CopyTuner {
            alone: None,
            threads: None,
            calls: 0,
            retry_at: FIRST_RETRY,
            retry_after: FIRST_RETRY,
        }
    }
}

impl CopyTuner {
    /// The way for the next call, which copies so many bytes: the faster one, and the other one now
    /// and then. `threads` are those that libtorch has.
    pub(crate) fn choose(&self, bytes: usize, threads: usize) -> CopyMethod {
        if bytes >= WORTH_CHOOSING && threads > 1 && self.is_for_threads() {
            CopyMethod::Threads
        } else if bytes >= WORTH_STREAMING {
            CopyMethod::Streaming
        } else {
            CopyMethod::Plain
        }
    }

    fn is_for_threads(&self) -> bool {
        match (self.alone, self.threads) {
            (None, _) => false,
            (_, None) => true,
            _ => self.threads_are_faster() != (self.calls >= self.retry_at),
        }
    }

    /// Takes the time of a call.
    pub(crate) fn record(&mut self, method: CopyMethod, time: Duration) {
        let by_threads = method == CopyMethod::Threads;
        let were_faster = self.threads_are_faster();
        let known = if by_threads {
            &mut self.threads
        } else {
            &mut self.alone
        };
        // A retry says how things are now; the way in use is judged by more than its last call.
        *known = Some(match *known {
            Some(before) if by_threads == were_faster => (3 * before + time) / 4,
            _ => time,
        });
        self.calls = self.calls.saturating_add(1);
        if by_threads != were_faster {
            let still_slower = self.threads_are_faster() == were_faster;
            self.retry_after = if still_slower {
                self.retry_after.saturating_mul(2).min(LAST_RETRY)
            } else {
                FIRST_RETRY
            };
            self.calls = 0;
            self.retry_at = self.retry_after;
        }
    }

    fn threads_are_faster(&self) -> bool {
        matches!((self.alone, self.threads), (Some(alone), Some(threads)) if threads < alone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often each way is taken in many calls that take these times.
    fn taken(tuner: &mut CopyTuner, calls: usize, alone: u64, threads: u64) -> (usize, usize) {
        let mut counts = (0, 0);
        for _ in 0..calls {
            let method = tuner.choose(WORTH_CHOOSING, 2);
            let micros = if method == CopyMethod::Threads {
                counts.1 += 1;
                threads
            } else {
                counts.0 += 1;
                alone
            };
            tuner.record(method, Duration::from_micros(micros));
        }
        counts
    }

    #[test]
    fn the_faster_way_is_taken_nearly_always() {
        let (alone, threads) = taken(&mut CopyTuner::default(), 10_000, 3500, 2300);
        assert!(threads > 9980 && alone > 0, "{alone} {threads}");
        let (alone, threads) = taken(&mut CopyTuner::default(), 10_000, 3500, 6400);
        assert!(alone > 9980 && threads > 1, "{alone} {threads}");
    }

    #[test]
    fn small_copies_and_single_threads_have_no_choice_and_all_but_the_least_stream() {
        let mut tuner = CopyTuner::default();
        taken(&mut tuner, 3, 3500, 2300);
        assert_eq!(tuner.choose(WORTH_CHOOSING, 2), CopyMethod::Threads);
        assert_eq!(tuner.choose(WORTH_CHOOSING - 1, 2), CopyMethod::Streaming);
        assert_eq!(tuner.choose(WORTH_CHOOSING, 1), CopyMethod::Streaming);
        assert_eq!(tuner.choose(WORTH_STREAMING, 1), CopyMethod::Streaming);
        assert_eq!(tuner.choose(WORTH_STREAMING - 1, 2), CopyMethod::Plain);
    }

    #[test]
    fn a_change_is_noticed_at_once_when_the_way_in_use_slows_down() {
        let mut tuner = CopyTuner::default();
        taken(&mut tuner, 100, 3500, 2300);
        let (_, threads) = taken(&mut tuner, 100, 3500, 100_000);
        assert!(threads <= 4, "{threads}");
    }

    #[test]
    fn a_change_is_noticed_in_time_when_the_other_way_gets_faster() {
        let mut tuner = CopyTuner::default();
        taken(&mut tuner, 1000, 3500, 6400);
        let (_, threads) = taken(&mut tuner, 3000, 3500, 2300);
        assert!(threads > 1000, "{threads}");
    }
}
