//! The checkpoints so far: each is logged, and compared with the one before and with the first.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use tch_tensorboard::{ChangeVerdict, Checkpoint, CheckpointDiff, Comparison, Logger};

use crate::args::History;
use crate::change_map;
use crate::checkpoints;
use crate::output::{Failure, count, shown};
use crate::progress::Progress;

/// Tag of the distance from the first checkpoint, or from `--base`.
const DRIFT: &str = "checkpoint_drift";

pub(super) struct Series<'a> {
    logger: &'a Logger,
    args: &'a History,
    base: Option<Checkpoint>,
    before: Option<(Checkpoint, i64)>,
    /// By tensor.
    tracks: BTreeMap<String, Track>,
    checkpoints: u64,
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
        Ok(Series {
            logger,
            args,
            base: base
                .map(|base| checkpoints::open(base, &args.select))
                .transpose()?,
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

    pub(super) fn add_open(&mut self, checkpoint: Checkpoint, step: i64) -> Result<(), Failure> {
        // What lies between two checkpoints is no step: no delta is written under the usual tags.
        self.logger.new_baseline();
        self.logger.log_weights(&checkpoint, step)?;
        if let Some((before, from)) = &self.before {
            let comparison = self.compare(before, &checkpoint, true)?;
            self.logger.log_comparison(&comparison, *from, step)?;
            change_map::log(self.logger, &comparison, step, self.checkpoints == 1)?;
            self.note(&comparison, step);
            writeln!(io::stdout(), "step {step}: {}", summary(&comparison))?;
        } else {
            println!(
                "step {step}: {}",
                count(checkpoint.tensors().len() as u64, "tensor")
            );
        }
        self.log_drift(&checkpoint, step)?;
        self.logger.flush()?;
        self.checkpoints += 1;
        if self.base.is_none() {
            self.base = Some(checkpoint.clone());
        }
        self.before = Some((checkpoint, step));
        Ok(())
    }

    fn compare(
        &self,
        a: &Checkpoint,
        b: &Checkpoint,
        histograms: bool,
    ) -> Result<Comparison, Failure> {
        let diff = CheckpointDiff::new(a, b)
            .threads(checkpoints::threads(self.args.threads))
            .histograms(histograms);
        let progress = Progress::new(diff.bytes());
        Ok(diff.on_progress(&|bytes| progress.advance(bytes)).run()?)
    }

    fn log_drift(&self, checkpoint: &Checkpoint, step: i64) -> Result<(), Failure> {
        let Some(base) = &self.base else {
            return Ok(());
        };
        let comparison = self.compare(base, checkpoint, false)?;
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

    fn note(&mut self, comparison: &Comparison, step: i64) {
        for row in &comparison.rows {
            let track = self.tracks.entry(row.name.clone()).or_default();
            *track.intervals.entry(row.verdict).or_default() += 1;
            let nonfinite = row
                .statistics
                .map_or(0, |statistics| statistics.nonfinite_b);
            if nonfinite > 0 && track.nonfinite_since.is_none() {
                track.nonfinite_since = Some(step);
            }
        }
    }

    /// Prints and logs what holds for each tensor over all checkpoints; true when one has become
    /// NaN or infinite.
    pub(super) fn finish(&mut self) -> Result<bool, Failure> {
        let Some((_, step)) = self.before else {
            return Ok(false);
        };
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
            println!(
                "{name}{}  {verdict}",
                " ".repeat(width - name.chars().count())
            );
            table.push_str(&format!("| `{}` | {verdict} |\n", name.replace('`', "'")));
        }
        self.logger.log_text("checkpoint_history", &table, step)?;
        Ok(self
            .tracks
            .values()
            .any(|track| track.nonfinite_since.is_some()))
    }
}

/// How many tensors of each verdict.
fn summary(comparison: &Comparison) -> String {
    let rows = &comparison.rows;
    let counts = ChangeVerdict::ALL.iter().filter_map(|&verdict| {
        let number = rows.iter().filter(|row| row.verdict == verdict).count();
        (number > 0).then(|| format!("{number} {verdict}"))
    });
    counts.collect::<Vec<_>>().join(", ")
}

impl Track {
    /// What holds whatever the number of steps between checkpoints.
    fn verdict(&self) -> String {
        if let Some(step) = self.nonfinite_since {
            return format!("NaN or infinite since step {step}");
        }
        let all: u64 = self.intervals.values().sum();
        match self.intervals.iter().collect::<Vec<_>>().as_slice() {
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
