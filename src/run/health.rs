//! How the logger itself is doing: counters, and errors that must not end training.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::error::Error;

/// What a logger has done so far; see [`Logger::stats`](crate::Logger::stats). Over all its clones,
/// scopes and sub-runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Calls accepted: scalars, histograms and snapshots handed to the writer thread.
    pub queued: u64,
    /// Events that reached a file.
    pub written: u64,
    /// Calls and events given up: by [`OnFull::Drop`](crate::OnFull::Drop), or since a disk was
    /// not writable for longer than the buffer lasts.
    pub dropped: u64,
    /// Scalars and histograms of the user's own whose step was lower than one before under the
    /// same tag. They are written, and TensorBoard then drops the points from that step on.
    pub steps_back: u64,
    /// Bytes that reached the files.
    pub bytes: u64,
    /// Failures of the file system, whether they cost anything or not, and tags that were used for
    /// two kinds of values.
    pub errors: u64,
    /// Time that log calls took on the calling threads, waiting included.
    pub held: Duration,
    /// The part of `held` spent waiting: for the writer thread, under
    /// [`OnFull::Block`](crate::OnFull::Block), or for a variable store that another thread held.
    pub waited: Duration,
    /// CPU time of the calls of `log_weights` and `log_gradients` on their threads, and of the
    /// writer, without what it takes to encode the values of other calls (scalars, pictures,
    /// curves): what [`LoggerBuilder::overhead`](crate::LoggerBuilder::overhead) limits.
    pub spent: Duration,
    /// Steps that were not observed so that this keeps to its limit.
    pub unobserved: u64,
}

/// Called with each new failure.
pub(crate) type OnError = Box<dyn Fn(&Error) + Send + Sync>;

/// Counters and errors, shared by callers and worker.
pub(crate) struct Health {
    pub(crate) queued: AtomicU64,
    pub(crate) written: AtomicU64,
    pub(crate) dropped: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) steps_back: AtomicU64,
    errors: AtomicU64,
    held_nanos: AtomicU64,
    waited_nanos: AtomicU64,
    on_error: OnError,
    losses: Mutex<Losses>,
}

/// What was logged and will never be in a file. Callers that asked for it by
/// [`OnFull::Drop`](crate::OnFull::Drop) do not count.
#[derive(Default)]
struct Losses {
    first: Option<Error>,
    newest: Option<Error>,
    count: u64,
}

impl Health {
    pub(crate) fn new(on_error: OnError) -> Health {
        Health {
            queued: AtomicU64::new(0),
            written: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            steps_back: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            held_nanos: AtomicU64::new(0),
            waited_nanos: AtomicU64::new(0),
            on_error,
            losses: Mutex::default(),
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

    /// Counts and reports a failure by which something was lost. `flush` and `close` return it.
    pub(crate) fn fail(&self, error: Error) {
        self.fail_again(error.clone());
        self.notify(&error);
    }

    /// The same for a loss of a kind that was reported already.
    pub(crate) fn fail_again(&self, error: Error) {
        Health::count(&self.errors, 1);
        self.record_loss(error);
    }

    /// Records a loss for `flush` and `close` whose failure was counted.
    pub(crate) fn record_loss(&self, error: Error) {
        let mut losses = self.losses();
        losses.count += 1;
        losses.first.get_or_insert_with(|| error.clone());
        losses.newest = Some(error);
    }

    /// Counts and reports a failure by which nothing is lost: what was logged waits, or is
    /// elsewhere.
    pub(crate) fn warn(&self, error: &Error) {
        self.warn_again();
        self.notify(error);
    }

    /// Counts one that was reported already.
    pub(crate) fn warn_again(&self) {
        Health::count(&self.errors, 1);
    }

    /// Hands an error to the user's callback, and does not count it.
    pub(crate) fn notify(&self, error: &Error) {
        // A callback that panics must not take the writer thread, and with it the run, down.
        let _ = catch_unwind(AssertUnwindSafe(|| (self.on_error)(error)));
    }

    /// The number of losses so far, and one of them if there are more than `acknowledged`.
    pub(crate) fn losses_beyond(&self, acknowledged: u64) -> (u64, Option<Error>) {
        let losses = self.losses();
        let newer = match acknowledged {
            0 => losses.first.clone(),
            _ => losses.newest.clone(),
        };
        (losses.count, newer.filter(|_| losses.count > acknowledged))
    }

    /// The first loss of all.
    pub(crate) fn first_loss(&self) -> Option<Error> {
        self.losses().first.clone()
    }

    pub(crate) fn stats(&self) -> Stats {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            queued: load(&self.queued),
            written: load(&self.written),
            dropped: load(&self.dropped),
            bytes: load(&self.bytes),
            steps_back: load(&self.steps_back),
            errors: load(&self.errors),
            held: Duration::from_nanos(load(&self.held_nanos)),
            waited: Duration::from_nanos(load(&self.waited_nanos)),
            ..Stats::default()
        }
    }

    fn losses(&self) -> MutexGuard<'_, Losses> {
        self.losses.lock().unwrap_or_else(PoisonError::into_inner)
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
    fn a_loss_is_returned_until_it_is_acknowledged_and_a_warning_never() {
        let told = Arc::new(AtomicUsize::new(0));
        let counter = told.clone();
        let health = Health::new(Box::new(move |_| {
            counter.fetch_add(1, Ordering::Relaxed);
        }));
        let path = |error: Option<Error>| error.and_then(|error| error.path().map(PathBuf::from));
        health.warn(&error("full"));
        assert!(matches!(health.losses_beyond(0), (0, None)) && health.first_loss().is_none());
        health.fail(error("a"));
        health.fail_again(error("b"));
        health.fail_again(error("c"));
        assert_eq!(told.load(Ordering::Relaxed), 2);
        let (all, first) = health.losses_beyond(0);
        assert_eq!((all, path(first)), (3, Some("a".into())));
        assert_eq!(path(health.losses_beyond(2).1), Some("c".into()));
        assert!(health.losses_beyond(all).1.is_none());
        assert_eq!(path(health.first_loss()), Some("a".into()));
        assert_eq!(health.stats().errors, 4);
    }

    #[test]
    fn a_panicking_callback_is_contained() {
        let health = Health::new(Box::new(|_| panic!("in the user's callback")));
        health.fail(error("a"));
        assert_eq!(health.stats().errors, 1);
    }
}
