//! How the logger itself is doing: counters, and errors that must not end training.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::error::Error;

/// What a logger has done so far; see [`Logger::stats`](crate::Logger::stats). Over all its clones, scopes and sub-runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Calls accepted: scalars, histograms and snapshots handed to the writer thread.
    pub queued: u64,
    /// Events that reached a file.
    pub written: u64,
    /// Calls and events given up: by [`OnFull::Drop`](crate::OnFull::Drop), or since a disk was not writable for longer
    /// than the buffer lasts.
    pub dropped: u64,
    /// Bytes that reached the files.
    pub bytes: u64,
    /// Failures of the file system, and tags that were used for two things.
    pub errors: u64,
    /// Time that log calls took on the calling threads, waiting included.
    pub held: Duration,
    /// The part of `held` spent waiting for the writer thread, under [`OnFull::Block`](crate::OnFull::Block).
    pub waited: Duration,
}

/// Called with each new failure.
pub(crate) type OnError = Box<dyn Fn(&Error) + Send + Sync>;

/// Counters and errors, shared by callers and worker.
pub(crate) struct Health {
    pub(crate) queued: AtomicU64,
    pub(crate) written: AtomicU64,
    pub(crate) dropped: AtomicU64,
    pub(crate) bytes: AtomicU64,
    errors: AtomicU64,
    held_nanos: AtomicU64,
    waited_nanos: AtomicU64,
    on_error: OnError,
    failures: Mutex<Failures>,
}

#[derive(Default)]
struct Failures {
    first: Option<Error>,
    /// Not yet returned by a flush.
    unseen: Option<Error>,
}

impl Health {
    pub(crate) fn new(on_error: OnError) -> Health {
        Health {
            queued: AtomicU64::new(0),
            written: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            held_nanos: AtomicU64::new(0),
            waited_nanos: AtomicU64::new(0),
            on_error,
            failures: Mutex::default(),
        }
    }

    pub(crate) fn count(counter: &AtomicU64, by: u64) {
        counter.fetch_add(by, Ordering::Relaxed);
    }

    pub(crate) fn held(&self, held: Duration, waited: Duration) {
        Health::count(
            &self.held_nanos,
            u64::try_from(held.as_nanos()).unwrap_or(u64::MAX),
        );
        if !waited.is_zero() {
            Health::count(
                &self.waited_nanos,
                u64::try_from(waited.as_nanos()).unwrap_or(u64::MAX),
            );
        }
    }

    /// Counts a failure, keeps it for `flush` and `close`, and tells the user.
    pub(crate) fn fail(&self, error: Error) {
        Health::count(&self.errors, 1);
        {
            let mut failures = self.failures();
            failures.first.get_or_insert_with(|| error.clone());
            failures.unseen.get_or_insert_with(|| error.clone());
        }
        // A callback that panics must not take the writer thread, and with it the run, down.
        let _ = catch_unwind(AssertUnwindSafe(|| (self.on_error)(&error)));
    }

    /// Counts a failure that was told already.
    pub(crate) fn fail_again(&self, error: Error) {
        Health::count(&self.errors, 1);
        self.failures().unseen.get_or_insert(error);
    }

    /// The first failure since the last time this was asked.
    pub(crate) fn take_unseen(&self) -> Option<Error> {
        self.failures().unseen.take()
    }

    /// The first failure of all.
    pub(crate) fn first(&self) -> Option<Error> {
        self.failures().first.clone()
    }

    pub(crate) fn stats(&self) -> Stats {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            queued: load(&self.queued),
            written: load(&self.written),
            dropped: load(&self.dropped),
            bytes: load(&self.bytes),
            errors: load(&self.errors),
            held: Duration::from_nanos(load(&self.held_nanos)),
            waited: Duration::from_nanos(load(&self.waited_nanos)),
        }
    }

    fn failures(&self) -> MutexGuard<'_, Failures> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    fn error(path: &str) -> Error {
        Error::Closed { path: path.into() }
    }

    #[test]
    fn the_first_failure_is_kept_and_each_is_seen_once() {
        let told = Arc::new(AtomicUsize::new(0));
        let counter = told.clone();
        let health = Health::new(Box::new(move |_| {
            counter.fetch_add(1, Ordering::Relaxed);
        }));
        health.fail(error("a"));
        health.fail_again(error("b"));
        assert_eq!(told.load(Ordering::Relaxed), 1);
        let path = |error: Option<Error>| error.and_then(|error| error.path().map(PathBuf::from));
        assert_eq!(path(health.take_unseen()), Some("a".into()));
        assert!(health.take_unseen().is_none());
        health.fail_again(error("b"));
        assert!(health.take_unseen().is_some());
        assert_eq!(path(health.first()), Some("a".into()));
        assert_eq!(health.stats().errors, 3);
    }

    #[test]
    fn a_panicking_callback_is_contained() {
        let health = Health::new(Box::new(|_| panic!("in the user's callback")));
        health.fail(error("a"));
        assert_eq!(health.stats().errors, 1);
    }
}
