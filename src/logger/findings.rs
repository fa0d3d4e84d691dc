//! Findings that the training loop asks for.

use crate::logger::Logger;
use crate::logger::core::lock;
use crate::report::Finding;

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
                announcer.announced()
            }
            None => &self.core.shared.findings,
        };
        lock(waiting).drain(..).collect()
    }
}
