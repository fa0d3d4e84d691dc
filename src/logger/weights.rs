//! The calls that log the weights and gradients of a model.

use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::analysis::tag_parts::LEARNING_RATE;
use crate::capture::plan::{Plan, Variable};
use crate::capture::{Captured, Subject};
use crate::error::{Error, Result};
use crate::logger::Logger;
use crate::logger::core::lock;
use crate::logger::models::Channel;
use crate::model::types::Step;
use crate::run::health::Health;
use crate::source::first_values::FirstValues;
use crate::source::named_tensors::NamedTensors;
use crate::worker::Command;

impl Logger {
    /// Logs the weights of a model, and what changed since the call before: call it after each
    /// optimizer step.
    ///
    /// Copies the selected tensors once; everything else happens on the writer thread. A delta is
    /// that of one step, however far apart the points lie: the first call has none, nor does one
    /// after a gap that [`OnFull::Drop`](crate::OnFull::Drop) left, nor the one after
    /// [`new_baseline`](Logger::new_baseline). Calls between which no weight moved (gradient
    /// accumulation, the other model's turn) are no steps and write nothing, up to the twentieth in
    /// a row: standing still is worth seeing. A variable whose shape or type changes starts anew.
    ///
    /// No other thread may write to the weights during the call, as for any read by libtorch.
    ///
    /// A model of `n` bytes takes memory for up to three copies beside itself: the snapshot before,
    /// the one that is analysed, the one that is made. Where the system has no room for all of them
    /// the calls wait for those that exist, which is reported once; with a single one the changes
    /// between calls cannot be written. [`close`](Logger::close) gives all of it back. For less,
    /// choose variables with [`select`](crate::WeightOptions::select) or copy a sample with
    /// [`sample_limit`](crate::WeightOptions::sample_limit).
    ///
    /// # Errors
    /// A step that does not increase within this scope, the same name twice, nothing but complex or
    /// undefined tensors (one among others is left out, and the report has a note on it), a closed
    /// logger. A store that another thread keeps locked is no error: see
    /// [`WeightOptions::store_timeout`](crate::WeightOptions::store_timeout).
    #[doc(alias("watch", "add_histogram", "named_parameters"))]
    pub fn log_weights<S: NamedTensors + ?Sized>(&self, source: &S, step: impl Step) -> Result<()> {
        let step = self.run.check_step("log_weights", step)?;
        self.log_subject(Subject::Weights, source, step)?;
        let rate = {
            let mut rate = lock(&self.models.learning_rate);
            let is_new = std::mem::take(&mut rate.is_new) && !rate.is_logged_by_user;
            rate.written_at = if is_new { Some(step) } else { rate.written_at };
            rate.value.filter(|_| is_new)
        };
        if let Some(rate) = rate {
            let scope = &*self.models.scope;
            self.push(step, self.now(), [(scope, LEARNING_RATE, rate)])?;
        }
        Ok(())
    }

    /// True for a scalar of the user's that says the rate once more that `log_weights` has written
    /// at this step: the two are one series.
    pub(super) fn repeats_learning_rate(&self, tag: &str, value: f64, step: i64) -> bool {
        if tag != LEARNING_RATE {
            return false;
        }
        let mut rate = lock(&self.models.learning_rate);
        rate.is_logged_by_user = true;
        let is_same = |written: f64| written as f32 == value as f32;
        rate.written_at == Some(step) && rate.value.is_some_and(is_same)
    }

    /// Logs the gradients that the last backward pass left: norms and histograms. Call it after
    /// `backward` and before they are cleared; `Optimizer::backward_step` leaves them in place.
    /// Variables without a gradient write nothing.
    ///
    /// # Errors
    /// As [`log_weights`](Logger::log_weights).
    #[doc(alias("watch", "add_histogram"))]
    pub fn log_gradients<S: NamedTensors + ?Sized>(
        &self,
        source: &S,
        step: impl Step,
    ) -> Result<()> {
        let step = self.run.check_step("log_gradients", step)?;
        self.log_subject(Subject::Gradients, source, step)
    }

    fn log_subject<S: NamedTensors + ?Sized>(
        &self,
        subject: Subject,
        source: &S,
        step: i64,
    ) -> Result<()> {
        let since = Instant::now();
        let wall_time = self.now();
        let (call, channel) = match subject {
            Subject::Weights => ("log_weights", &self.models.weights),
            Subject::Gradients => ("log_gradients", &self.models.gradients),
        };
        self.core.check_may_wait(call, &self.run)?;
        self.core.announce_findings();
        let mut channel = lock(channel);
        let meter = channel.capture.meter();
        if subject == Subject::Weights && self.models.rebase.swap(false, Ordering::AcqRel) {
            channel.capture.rebase();
        }
        if let Some(rate) = lock(&self.models.learning_rate).value {
            channel.capture.set_learning_rate(rate);
        }
        let (captured, waited) = channel.capture.take(source, step, wall_time)?;
        for warning in channel.capture.take_warnings() {
            self.core.shared.health.warn(&warning);
        }
        match captured {
            Captured::Snapshot(snapshot) => {
                let watch = self.watch(&mut channel, subject, &snapshot.plan);
                if !self.core.send(Command::Snapshot { watch, snapshot }) {
                    channel.capture.lost();
                }
            }
            Captured::Skipped => {}
            Captured::Dropped => Health::count(&self.core.shared.health.dropped, 1),
        }
        let shared = &self.core.shared;
        let elapsed = since.elapsed();
        shared.health.held(elapsed, waited);
        let spent = meter.spent(elapsed.saturating_sub(waited));
        shared.costs.add_caller(spent);
        Ok(())
    }

    /// The worker's number for a channel, announced before its first snapshot.
    fn watch(&self, channel: &mut Channel, subject: Subject, plan: &Plan) -> u32 {
        *channel.watch.get_or_insert_with(|| {
            let watch = {
                let mut registry = self.core.registry();
                registry.watches += 1;
                registry.watches
            };
            let (scope, selection) = (self.models.scope.clone(), self.core.selection.clone());
            let pool = channel.capture.pool().clone();
            let first_values = match subject {
                Subject::Weights => lock(&self.models.first_values).take(),
                Subject::Gradients => None,
            };
            if let Some(first_values) = &first_values {
                self.warn_of_unmatched(&**first_values, plan);
            }
            let _ = self.core.commands.send(Command::Watch {
                watch,
                run: self.run.number,
                subject,
                scope,
                selection,
                pool,
                first_values,
            });
            watch
        })
    }

    /// Sets the learning rate that the diagnosis of this scope uses, since tch does not expose it:
    /// with it a rate of 0 and updates lost to rounding are distinguished from an optimizer that
    /// does not have the variable. The next call of `log_weights` writes it as the scalar
    /// `learning_rate`. With several parameter groups, set that of the first.
    pub fn set_learning_rate(&self, rate: f64) {
        let mut known = lock(&self.models.learning_rate);
        (known.value, known.is_new) = (Some(rate), true);
    }

    /// The weights were replaced on purpose (a checkpoint was loaded): the next call of
    /// `log_weights` writes no delta, and drift counts from there.
    pub fn new_baseline(&self) {
        self.models.rebase.store(true, Ordering::Release);
    }

    /// Reports the variables whose drift is that from the first call all the same.
    fn warn_of_unmatched(&self, first_values: &dyn FirstValues, plan: &Plan) {
        const NAMED: usize = 10;
        let is_unmatched = |variable: &&Variable| {
            variable.is_logged() && !first_values.has(&variable.name, variable.all)
        };
        let unmatched: Vec<&Variable> = plan.variables.iter().filter(is_unmatched).collect();
        if unmatched.is_empty() {
            return;
        }
        let names = unmatched.iter().take(NAMED).map(|variable| &*variable.name);
        let more = match unmatched.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(", and {more} more"),
        };
        self.core.shared.health.warn(&Error::InvalidOption {
            option: "baseline",
            reason: format!(
                "it has no tensors of these names and sizes, whose drift is that from the first \
                    call: {}{more}",
                names.collect::<Vec<_>>().join(", ")
            )
            .into(),
        });
    }
}
