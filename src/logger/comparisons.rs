//! Comparisons of checkpoints in a run.

use std::borrow::Cow;
use std::sync::Arc;

use crate::checkpoint::Checkpoint;
use crate::comparison::{Comparison, TensorChange};
use crate::error::{Error, Result};
use crate::kernel::histogram::FineHistogram;
use crate::logger::Logger;
use crate::logger::core::lock;
use crate::model::types::Step;
use crate::summary::histograms::CountedHistogram;
use crate::summary::scalars::PlainScalar;
use crate::summary::{Payload, TaggedPayload};

/// First parts of tags. They are not those of `log_weights`, whose changes are those of one step.
const CHANGE: &str = "checkpoint_change";
const RATIO: &str = "checkpoint_change_ratio";
const FRACTION: &str = "checkpoint_changed_fraction";
/// The usual tag of the histogram of a variable.
const WEIGHTS: &str = "weights";

impl Logger {
    /// Measures drift from the weights of a checkpoint, such as the pre-trained ones, instead of
    /// from the first call of `log_weights`, which comes after this one. A tensor represents the
    /// variable of its name, if it has as many elements; variables without one are named by the
    /// error that [`on_error`](crate::LoggerBuilder::on_error) gets, and their drift is that from
    /// the first call. [`new_baseline`](Logger::new_baseline) ends it.
    ///
    /// The file is read at the first call of `log_weights`, on the worker's thread: a few thousand
    /// elements of each tensor.
    ///
    /// ```no_run
    /// use tch_tensorboard::{Checkpoint, Logger};
    ///
    /// let logger = Logger::create("runs/finetune")?;
    /// logger.baseline(&Checkpoint::open("pretrained.safetensors")?)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidOption`] where weights of this scope were logged before, and
    /// [`Error::Closed`] for a closed logger.
    pub fn baseline(&self, checkpoint: &Checkpoint) -> Result<()> {
        self.core.check_open(&self.run)?;
        if lock(&self.models.weights).watch.is_some() {
            return Err(Error::InvalidOption {
                option: "baseline",
                reason: "weights of this scope were logged before; call it before log_weights"
                    .into(),
            });
        }
        *lock(&self.models.first_values) = Some(Arc::new(checkpoint.clone()));
        Ok(())
    }

    /// Logs the weights of one of a series of checkpoints: as [`log_weights`](Logger::log_weights),
    /// but what lies between two of them is no step. No delta is written, and drift counts from the
    /// first one, or from [`baseline`](Logger::baseline).
    ///
    /// # Errors
    /// As [`log_weights`](Logger::log_weights), and what the files cannot give.
    pub fn log_checkpoint(&self, checkpoint: &Checkpoint, step: impl Step) -> Result<()> {
        lock(&self.models.weights).capture.stand_apart();
        self.log_weights(checkpoint, step)
    }

    /// Logs what changed from one checkpoint to the next, at the step of the later one: for each
    /// tensor that both have, a histogram of the change (`checkpoint_change/<name>`, if the
    /// comparison was made with [`histograms`](crate::CheckpointDiff::histograms)), its norm over
    /// that of the earlier checkpoint (`checkpoint_change_ratio/<name>`) and the share of the
    /// elements that changed (`checkpoint_changed_fraction/<name>`). Descriptions of the tags give
    /// the number of steps in between: a change of 1000 steps is not one of a single step.
    ///
    /// # Errors
    /// A step beyond `i64` or before the one at which the run was resumed, a closed logger.
    pub fn log_comparison(
        &self,
        comparison: &Comparison,
        from: impl Step,
        to: impl Step,
    ) -> Result<()> {
        self.core.check_open(&self.run)?;
        let from = self.run.check_step(CHANGE, from)?;
        let to = self.run.check_step(CHANGE, to)?;
        let since = format!(
            "since the checkpoint {} steps earlier",
            i128::from(to) - i128::from(from)
        );
        let rows = self.core.selection.options.histogram_rows;
        for row in &comparison.rows {
            let Some(statistics) = &row.statistics else {
                continue;
            };
            if let Some(histograms) = &row.histograms {
                let text = format!("Change of the elements {since}.");
                let change = CountedHistogram(histograms.change.to_histogram(rows));
                self.send_about(CHANGE, row, to, text, change)?;
            }
            if let Some(ratio) = statistics.relative_change {
                let text = format!("Norm of the change {since}, over the norm at that one.");
                self.send_about(RATIO, row, to, text, PlainScalar(ratio))?;
            }
            let text = format!("Share of the elements that changed {since}.");
            let fraction = PlainScalar(statistics.changed_fraction());
            self.send_about(FRACTION, row, to, text, fraction)?;
        }
        Ok(())
    }

    /// Logs the histograms of both sides of a comparison as `weights/<name>`, each at the step of
    /// its checkpoint: what [`log_weights`](Logger::log_weights) would write, without the memory
    /// for whole models. Not for a run in which `log_weights` logs the same names.
    ///
    /// # Errors
    /// As [`log_comparison`](Logger::log_comparison).
    pub fn log_compared_weights(
        &self,
        comparison: &Comparison,
        from: impl Step,
        to: impl Step,
    ) -> Result<()> {
        self.core.check_open(&self.run)?;
        let from = self.run.check_step(WEIGHTS, from)?;
        let to = self.run.check_step(WEIGHTS, to)?;
        let rows = self.core.selection.options.histogram_rows;
        // All of one step, then all of the other: a step that goes back would hide others.
        type Side = fn(&crate::comparison::ChangeHistograms) -> &FineHistogram;
        let sides: [(i64, Side); 2] = [(from, |both| &both.a), (to, |both| &both.b)];
        for (step, side) in sides {
            for row in &comparison.rows {
                if let Some(histograms) = &row.histograms {
                    let weights = CountedHistogram(side(histograms).to_histogram(rows));
                    self.send_about(WEIGHTS, row, step, "The weights.", weights)?;
                }
            }
        }
        Ok(())
    }

    fn send_about<P: Payload + 'static>(
        &self,
        first: &str,
        row: &TensorChange,
        step: i64,
        description: impl Into<Cow<'static, str>>,
        payload: P,
    ) -> Result<()> {
        let name = row.other_name.as_deref().unwrap_or(&row.name);
        let tag = match &*self.models.scope {
            "" => format!("{first}/{name}"),
            scope => format!("{first}/{scope}/{name}"),
        };
        let call = self.begin(&tag, step)?;
        let tagged = TaggedPayload {
            description: description.into(),
            ..call.place().whole_tag(&tag, payload)
        };
        call.send_whole(tagged.into()).map(drop)
    }
}
