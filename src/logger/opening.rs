//! How directories are taken and files begun, a logger's own and those of its sub-runs.

use std::path::Path;

use crate::error::Result;
use crate::model::types::Existing;
use crate::run::run_history::RunHistory;
use crate::run::{FileOptions, Opened};
use crate::sink::LocalSink;
use crate::sink::claim::{claim_again, claim_run};

/// See the module.
#[derive(Clone, Copy)]
pub(super) struct Opening {
    pub(super) existing: Existing,
    pub(super) resume: Option<Resume>,
    pub(super) files: FileOptions,
}

/// Where a run is gone on with.
#[derive(Clone, Copy)]
pub(super) enum Resume {
    /// Behind what its files hold.
    AtTheirEnd,
    /// At this step, which is logged next.
    At(i64),
}

impl Opening {
    /// Takes a directory and makes its event file. A directory whose file cannot be made is given
    /// back.
    pub(super) fn open_run(&self, logdir: &Path) -> Result<(Opened, Option<i64>)> {
        let Some(resume) = self.resume else {
            let claim = claim_run(&LocalSink, logdir, self.existing)?;
            let opened = Opened::new(claim, RunHistory::default(), None, self.files)?;
            return Ok((opened, None));
        };
        let claim = claim_again(&LocalSink, logdir)?;
        let history = match RunHistory::read(&*claim) {
            Ok(history) => history,
            Err(error) => {
                claim.release();
                return Err(error);
            }
        };
        let step = match resume {
            Resume::AtTheirEnd => history.next_step(),
            Resume::At(step) => Some(step),
        };
        Ok((Opened::new(claim, history, step, self.files)?, step))
    }

    /// The same for sub-runs: they go on at the step at which the run does.
    pub(super) fn below(mut self, resumed_at: Option<i64>) -> Opening {
        if let (Some(resume), Some(step)) = (&mut self.resume, resumed_at) {
            *resume = Resume::At(step);
        }
        self
    }
}
