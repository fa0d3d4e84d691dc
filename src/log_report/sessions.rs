//! Which steps a later session of a run has taken back: those it went on from, as TensorBoard
//! purges them.

use std::path::{Path, PathBuf};

use crate::format::event_file::EventReader;
use crate::proto::session_log::SessionStatus;
use crate::proto::{Event, event::What};

/// Records at the start of a file among which a session's start is looked for: writers put it
/// behind the version.
const RECORDS: usize = 4;

/// The files whose later steps were taken back, in their order, each with the first such step.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    limits: Vec<(PathBuf, i64)>,
}

impl Sessions {
    /// Looks into the start of each of a run's files.
    pub(crate) fn of(files: &[PathBuf]) -> Sessions {
        let mut limits = Vec::new();
        let mut lowest: Option<i64> = None;
        for file in files.iter().rev() {
            if let Some(step) = lowest {
                limits.push((file.clone(), step));
            }
            let start = first_start(file);
            lowest = match (lowest, start) {
                (Some(lowest), Some(start)) => Some(lowest.min(start)),
                (lowest, start) => lowest.or(start),
            };
        }
        limits.reverse();
        Sessions { limits }
    }

    /// True for a step that a file has and that a later file has taken back.
    pub(crate) fn took_back(&self, file: &Path, step: i64) -> bool {
        let limit = self.limits.iter().find(|(known, _)| known == file);
        limit.is_some_and(|(_, limit)| step >= *limit)
    }

    /// No session went on behind another.
    pub(crate) fn is_empty(&self) -> bool {
        self.limits.is_empty()
    }
}

/// The newest start that the beginning of a file tells of. What cannot be read is told when the
/// file is read.
fn first_start(file: &Path) -> Option<i64> {
    let events = EventReader::open(file).ok()?;
    let start = |event: Event| match event.what {
        Some(What::SessionLog(session)) if session.status() == SessionStatus::Start => {
            Some(event.step)
        }
        _ => None,
    };
    events.take(RECORDS).flatten().filter_map(start).last()
}
