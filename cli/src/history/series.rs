//! The checkpoints so far: each is logged, and compared with the one before and with the first.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use tch_tensorboard::{ChangeVerdict, Checkpoint, CheckpointDiff, Comparison, Logger};

use crate::args::History;
use crate::change_map;
use crate::checkpoints::{self, ChosenTensors};
use crate::output::{Failure, complain, count, shown};
use crate::progress::Progress;

/// Tag of the distance from the first checkpoint, or from `--base`.
const DRIFT: &str = "checkpoint_drift";

pub(super) struct Series<'a> {
    logger: &'a Logger,
    args: &'a History,
    chosen: ChosenTensors,
    base: DriftBase,
    before: Option<(Checkpoint, i64)>,
    /// By tensor.
    tracks: BTreeMap<String, Track>,
    checkpoints: u64,
}

/// What drift is measured from.
enum DriftBase {
    /// The first checkpoint, once it comes.
    First,
    Checkpoint(Checkpoint),
    /// Somebody wrote to it.
    Gone,
}

/// What became of one tensor over all intervals.
#[derive(Default)]
struct Track {
    intervals: BTreeMap<ChangeVerdict, u64>,
    /// The step of the first checkpoint in which it is not finite.
    nonfinite_since: Option<i64>,
}

impl<'a> Series<'a> {
    pub(super) fn new(logger: &'a Logger, args: &'a History) -> Result<Series<'a>, Failure> {
        let base = args.base.as_deref();
        let base = base.map(|base| checkpoints::open_whole(base, &args.select));
        let base = base.transpose()?;
        if let Some(base) = &base {
            logger.baseline(base)?;
        }
        Ok(Series {
            logger,
            args,
            chosen: ChosenTensors::new(&args.select)?,
            base: base.map_or(DriftBase::First, DriftBase::Checkpoint),
            before: None,
            tracks: BTreeMap::new(),
            checkpoints: 0,
        })
    }

    /// The step of the newest one.
    pub(super) fn newest_step(&self) -> Option<i64> {
        self.before.as_ref().map(|(_, step)| *step)
    }

    /// Logs a checkpoint at its step.
    pub(super) fn add(&mut self, path: &Path, step: i64) -> Result<(), Failure> {
        let checkpoint = checkpoints::open(path, &self.args.select)?;
        self.add_open(checkpoint, step)
    }

    /// Logs a checkpoint, and prints a line once all of it is on disk. Earlier ones may be gone
    /// from their folder, since their files are open; one that was written to is compared with
    /// nothing.
    pub(super) fn add_open(&mut self, checkpoint: Checkpoint, step: i64) -> Result<(), Failure> {
        self.logger.log_checkpoint(&checkpoint, step)?;
        let mut comparison = None;
        let mut line = count(checkpoint.tensors().len() as u64, "tensor");
        if let Some((before, from)) = &self.before {
            let from = *from;
            comparison = self.compare(before, &checkpoint, true)?;
            line = match &comparison {
                Some(comparison) => self.log_interval(comparison, (from, step))?,
                None => format!("not compared, since step {from} was written to"),
            };
        }
        self.log_drift(&checkpoint, step, comparison)?;
        self.logger.flush()?;
        self.checkpoints += 1;
        if matches!(self.base, DriftBase::First) {
            self.base = DriftBase::Checkpoint(checkpoint.clone());
        }
        self.before = Some((checkpoint, step));
        writeln!(io::stdout(), "step {step}: {line}")?;
        Ok(())
    }

    /// Logs what became of each tensor from one step to the next; returns how many of each verdict.
    fn log_interval(
        &mut self,
        comparison: &Comparison,
        (from, step): (i64, i64),
    ) -> Result<String, Failure> {
        self.logger.log_comparison(comparison, from, step)?;
        change_map::log(self.logger, comparison, step, self.checkpoints == 1)?;
        self.note(comparison, (from, step));
        let counts = comparison.counts();
        let counts = counts.iter();
        let counts = counts.map(|(verdict, rows)| format!("{rows} {verdict}"));
        Ok(counts.collect::<Vec<_>>().join(", "))
    }

    /// `None` when somebody wrote to the older one.
    fn compare(
        &self,
        older: &Checkpoint,
        newer: &Checkpoint,
        histograms: bool,
    ) -> Result<Option<Comparison>, Failure> {
        let keep = |names: &[&str]| self.chosen.has(names);
        let diff = CheckpointDiff::new(older, newer)
            .only(&keep)
            .threads(checkpoints::threads(self.args.threads))
            .histograms(histograms);
        let progress = Progress::new(diff.bytes());
        match diff.on_progress(&|bytes| progress.advance(bytes)).run() {
            Ok(comparison) => Ok(Some(comparison)),
            Err(error) => match older.check_unchanged() {
                Ok(()) => Err(error.into()),
                Err(_) => Ok(None),
            },
        }
    }

    /// Logs the distance from the base; `since_before` is the comparison with the checkpoint before
    /// this one, which is that with the base where this one is the second.
    fn log_drift(
        &mut self,
        checkpoint: &Checkpoint,
        step: i64,
        since_before: Option<Comparison>,
    ) -> Result<(), Failure> {
        let DriftBase::Checkpoint(base) = &self.base else {
            return Ok(());
        };
        let is_before = self.checkpoints == 1 && self.args.base.is_none();
        let comparison = match since_before.filter(|_| is_before) {
            Some(comparison) => Some(comparison),
            None => self.compare(base, checkpoint, false)?,
        };
        let Some(comparison) = comparison else {
            complain(format!(
                "{} was written to: from step {step} on there is no {DRIFT}",
                base.path().display()
            ));
            self.base = DriftBase::Gone;
            return Ok(());
        };
        for row in &comparison.rows {
            let relative = row
                .statistics
                .and_then(|statistics| statistics.relative_change);
            if let Some(relative) = relative {
                let tag = format!("{DRIFT}/{}", row.other_name.as_ref().unwrap_or(&row.name));
                self.logger.log_scalar(&tag, relative, step)?;
            }
        }
        Ok(())
    }

    fn note(&mut self, comparison: &Comparison, (from, step): (i64, i64)) {
        for row in &comparison.rows {
            let track = self.tracks.entry(row.name.clone()).or_default();
            *track.intervals.entry(row.verdict).or_default() += 1;
            let before = row.statistics.is_some_and(|found| found.nonfinite_a > 0);
            let since = match before {
                true => Some(from),
                false => (row.nonfinite_b() > 0).then_some(step),
            };
            track.nonfinite_since = track.nonfinite_since.or(since);
        }
    }

    /// Looks for NaN in the only checkpoint, which was compared with nothing.
    fn note_only(&mut self) -> Result<(), Failure> {
        let Some((only, step)) = self.before.as_ref().filter(|_| self.checkpoints == 1) else {
            return Ok(());
        };
        let step = *step;
        let comparison = self.compare(only, only, false)?;
        for row in comparison.iter().flat_map(|comparison| &comparison.rows) {
            let track = self.tracks.entry(row.name.clone()).or_default();
            track.nonfinite_since = (row.nonfinite_b() > 0).then_some(step);
        }
        Ok(())
    }

    /// Prints and logs what holds for each tensor over all checkpoints; true when one has become
    /// NaN or infinite.
    pub(super) fn finish(&mut self) -> Result<bool, Failure> {
        let Some((_, step)) = self.before else {
            return Ok(false);
        };
        self.note_only()?;
        let mut rows = Vec::new();
        for (name, track) in &self.tracks {
            rows.push((shown(name), track.verdict()));
        }
        let mut table = format!(
            "{} of {}. No verdict depends on how many steps lie between.\n\n\
             | tensor | over all checkpoints |\n| --- | --- |\n",
            count(self.checkpoints, "checkpoint"),
            count(rows.len() as u64, "tensor"),
        );
        writeln!(io::stdout())?;
        let width = rows
            .iter()
            .map(|(name, _)| name.chars().count())
            .max()
            .unwrap_or(0);
        for (name, verdict) in &rows {
            let padding = " ".repeat(width - name.chars().count());
            writeln!(io::stdout(), "{name}{padding}  {verdict}")?;
            let name = name.replace('`', "'").replace('|', "\\|");
            table.push_str(&format!("| `{name}` | {verdict} |\n"));
        }
        self.logger.log_text("checkpoint_history", &table, step)?;
        Ok(self
            .tracks
            .values()
            .any(|track| track.nonfinite_since.is_some()))
    }
}

impl Track {
    /// What holds whatever the number of steps between checkpoints.
    fn verdict(&self) -> String {
        if let Some(step) = self.nonfinite_since {
            return format!("NaN or infinite since step {step}");
        }
        let all: u64 = self.intervals.values().sum();
        match self.intervals.iter().collect::<Vec<_>>().as_slice() {
            [] => "of one checkpoint".to_owned(),
            [(ChangeVerdict::Identical, _)] => {
                format!("frozen: identical in all {all} intervals")
            }
            [(verdict, _)] => format!("{verdict} in all {all} intervals"),
            several => {
                let parts: Vec<String> = several
                    .iter()
                    .map(|(verdict, number)| format!("{number} {verdict}"))
                    .collect();
                format!("{} of {all} intervals", parts.join(", "))
            }
        }
    }
}
