//! A claimed run directory with its first event file, ready for the worker.

use std::path::Path;

use crate::error::Result;
use crate::proto::session_log::SessionStatus;
use crate::run::files::FileOptions;
use crate::run::run_history::RunHistory;
use crate::sink::{Claim, EventWriter, session_event};

/// See the module.
pub(crate) struct Opened {
    pub(super) claim: Box<dyn Claim>,
    pub(super) writer: EventWriter,
    pub(super) history: RunHistory,
    pub(super) options: FileOptions,
}

impl Opened {
    /// Creates the first file of a run, or a further one after those that `history` was read from.
    ///
    /// With a step the file records that the session continues there. TensorBoard's Python loader
    /// takes the first session start of a run for its beginning, so a run without one gets that
    /// one too.
    ///
    /// # Errors
    /// [`Error::Io`]; the claim is released.
    pub(crate) fn new(
        mut claim: Box<dyn Claim>,
        history: RunHistory,
        resumed_at: Option<i64>,
        options: FileOptions,
    ) -> Result<Opened> {
        let mut writer = match EventWriter::create(&mut *claim, None, options.sync) {
            Ok(writer) => writer,
            Err(error) => {
                claim.release();
                return Err(error);
            }
        };
        if let Some(step) = resumed_at.filter(|_| history.is_begun) {
            let starts = if history.has_start { 1 } else { 2 };
            for _ in 0..starts {
                // Never refused: they are short, and nothing else waits.
                let _ = writer.append_own(&session_event(SessionStatus::Start, step));
            }
            if let Err(error) = writer.begin(options.sync) {
                writer.discard();
                claim.release();
                return Err(error);
            }
        }
        Ok(Opened {
            claim,
            writer,
            history,
            options,
        })
    }

    /// Removes what was created, when nothing will be logged to it.
    pub(crate) fn discard(mut self) {
        self.writer.discard();
        self.claim.release();
    }

    pub(crate) fn directory(&self) -> &Path {
        self.claim.path()
    }
}
