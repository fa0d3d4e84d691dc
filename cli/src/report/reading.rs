//! From the events of a run to its report.

use std::cmp::Ordering;

use tch_tensorboard::{LoggedReport, ReadError, ReportReader, Run, Thresholds, WeightOptions};

use crate::args::Report;
use crate::output::Failure;
use crate::progress::Progress;

/// Events between two updates of the progress bar.
const PER_UPDATE: u64 = 64;

/// A run and what is said of it.
pub(super) struct Judged {
    pub(super) run: String,
    pub(super) found: LoggedReport,
}

impl Judged {
    pub(super) fn of(run: &Run, found: LoggedReport) -> Judged {
        Judged {
            run: run.name().to_owned(),
            found,
        }
    }

    pub(super) fn has_weights(&self) -> bool {
        !self.found.report.parameters.is_empty()
    }

    /// The newest step.
    pub(super) fn step(&self) -> Option<i64> {
        let models = self.found.report.models.iter();
        models.filter_map(|model| model.step).max()
    }
}

/// The order of runs: as people count, and as TensorBoard shows them.
pub(super) fn natural(one: &str, other: &str) -> Ordering {
    alphanumeric_sort::compare_str(one, other).then(one.cmp(other))
}

/// Reads a run as was asked for.
pub(super) fn reader(run: &Run, args: &Report) -> Result<ReportReader, Failure> {
    let mut thresholds = Thresholds::default();
    thresholds.window = args.window;
    let options = WeightOptions::new()
        .select(args.variable.iter().map(String::as_str))
        .exclude(args.exclude.iter().map(String::as_str))
        .thresholds(thresholds);
    Ok(ReportReader::new(run)
        .recompute(args.recompute)
        .options(options)?
        .frozen(args.frozen.iter().map(String::as_str))?
        .resync(true))
}

/// Reads what is there now, unless it is to stop; returns the number of events. `complain` gets
/// every error, each of which is about one file.
pub(super) fn read_on(
    reader: &mut ReportReader,
    progress: &mut Progress,
    stops: impl Fn() -> bool,
    mut complain: impl FnMut(&Progress, ReadError),
) -> u64 {
    let mut events = 0_u64;
    while let Some(read) = reader.read_event() {
        events += 1;
        if let Err(error) = read {
            complain(progress, error);
        }
        if events.is_multiple_of(PER_UPDATE) {
            if stops() {
                break;
            }
            if let Some((file, offset)) = reader.events().position() {
                progress.at(file, offset);
            }
        }
    }
    events
}
