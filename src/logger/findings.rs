//! Findings on the training thread: handed to a callback at the next call, or taken by the loop.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, TryLockError};

use crate::logger::Logger;
use crate::logger::core::{Core, lock};
use crate::report::Finding;

/// Called with each finding.
pub(super) type OnFinding = Box<dyn FnMut(&Finding) + Send>;

/// Findings that were announced and wait to be taken at most; the oldest go first.
const WAITING: usize = 10_000;

/// The user's callback, and what it got.
pub(super) struct Announcer {
    /// Locked while it runs: calls that it makes itself announce nothing.
    on_finding: Mutex<OnFinding>,
    /// For [`Logger::take_findings`], which returns the same.
    announced: Mutex<VecDeque<Finding>>,
}

impl Announcer {
    pub(super) fn new(on_finding: OnFinding) -> Announcer {
        Announcer {
            on_finding: Mutex::new(on_finding),
            announced: Mutex::default(),
        }
    }
}

impl Core {
    /// Hands new findings to the callback, if there is one and it may run here: not on the writer
    /// thread, not within itself, not beside itself, and not in a forked child, where the writer may
    /// have held the lock.
    pub(super) fn announce_findings(&self) {
        let Some(announcer) = &self.announcer else {
            return;
        };
        if self.shared.is_worker_thread() || self.process != std::process::id() {
            return;
        }
        let mut on_finding = match announcer.on_finding.try_lock() {
            Ok(on_finding) => on_finding,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        let found: Vec<Finding> = lock(&self.shared.findings).drain(..).collect();
        for finding in found {
            // Before the callback, which may take them.
            let mut announced = lock(&announcer.announced);
            announced.push_back(finding.clone());
            let surplus = announced.len().saturating_sub(WAITING);
            announced.drain(..surplus);
            drop(announced);
            // A callback that panics must not end training. The panic hook has printed it.
            let _ = catch_unwind(AssertUnwindSafe(|| on_finding(&finding)));
        }
    }
}

impl Logger {
    /// What was found since the last call, over all scopes and sub-runs, without waiting: for a
    /// loop that stops, or lowers the rate. A finding is returned once when it is confirmed, and
    /// once more, with [`over_since`](Finding::over_since) set, when the fault has ended: leave
    /// those out before you stop a run. It follows the step by the time that the writer thread
    /// needs. At most 10 000 wait. With
    /// [`on_finding`](crate::LoggerBuilder::on_finding) the callback gets them first.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let logger = tch_tensorboard::Logger::create(dir.path().join("run"))?;
    /// let begun = |finding: &tch_tensorboard::Finding| finding.over_since.is_none();
    /// for finding in logger.take_findings().into_iter().filter(begun) {
    ///     eprintln!("{finding}");
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn take_findings(&self) -> Vec<Finding> {
        let waiting = match &self.core.announcer {
            Some(announcer) => {
                self.core.announce_findings();
                &announcer.announced
            }
            None => &self.core.shared.findings,
        };
        lock(waiting).drain(..).collect()
    }
}
