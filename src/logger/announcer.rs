//! Findings handed to a callback of the user's, on the thread of a call.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use crate::report::Finding;
use crate::worker::shared::Shared;

/// Called with each finding.
pub(super) type OnFinding = Box<dyn FnMut(&Finding) + Send>;

/// Findings that were announced and wait to be taken at most; the oldest go first.
const WAITING: usize = 10_000;

/// The user's callback, and what it got.
pub(super) struct Announcer {
    /// Locked while it runs: calls that it makes itself announce nothing.
    on_finding: Mutex<OnFinding>,
    announced: Mutex<VecDeque<Finding>>,
}

impl Announcer {
    pub(super) fn new(on_finding: OnFinding) -> Announcer {
        Announcer {
            on_finding: Mutex::new(on_finding),
            announced: Mutex::default(),
        }
    }

    /// For `take_findings`, which returns the same.
    pub(super) fn announced(&self) -> &Mutex<VecDeque<Finding>> {
        &self.announced
    }

    /// Hands new findings to the callback, unless it is running: within itself or beside itself.
    pub(super) fn announce(&self, shared: &Shared) {
        let mut on_finding = match self.on_finding.try_lock() {
            Ok(on_finding) => on_finding,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        let found: Vec<Finding> = lock(&shared.findings).drain(..).collect();
        for finding in found {
            // Before the callback, which may take them.
            self.keep(finding.clone());
            // A callback that panics must not end training. The panic hook has printed it.
            let _ = catch_unwind(AssertUnwindSafe(|| on_finding(&finding)));
        }
    }

    fn keep(&self, finding: Finding) {
        let mut announced = lock(&self.announced);
        announced.push_back(finding);
        let surplus = announced.len().saturating_sub(WAITING);
        announced.drain(..surplus);
    }
}

fn lock(findings: &Mutex<VecDeque<Finding>>) -> MutexGuard<'_, VecDeque<Finding>> {
    findings.lock().unwrap_or_else(PoisonError::into_inner)
}
