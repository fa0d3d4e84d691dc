//! Measures what a program does to its variables with plain tensor arithmetic, apart from the
//! crate: whether they moved, whether gradients were there. `--check` holds the right answers
//! against it.

use std::cell::RefCell;
use std::collections::BTreeMap;

use anyhow::Result;
use tch::{Kind, Tensor, nn};
use tch_tensorboard::Logger;

use crate::judge::glob;
use crate::suite::Program;

thread_local! {
    /// `None`: nobody asked for the measurement.
    static RECORD: RefCell<Option<Record>> = const { RefCell::new(None) };
}

/// All that was measured in one run.
#[derive(Default)]
pub struct Record {
    pub variables: BTreeMap<String, Track>,
    pub losses: BTreeMap<String, Vec<f64>>,
}

/// One variable.
pub struct Track {
    first: Tensor,
    last: Tensor,
    requires_grad: bool,
    /// Each step: the largest change of an element; NaN where a value is not finite.
    changes: Vec<f64>,
    /// Each step: the norm of the gradient; -1 where it is undefined.
    gradients: Vec<f64>,
    /// A gradient that `gradient` saw since the last step.
    pending: Option<f64>,
}

/// Starts to measure on this thread.
pub fn start() {
    RECORD.with_borrow_mut(|record| *record = Some(Record::default()));
}

/// Ends the measurement.
pub fn take() -> Option<Record> {
    RECORD.with_borrow_mut(Option::take)
}

/// The end of an iteration, as a plain user logs it: the loss, then the weights. `scope` names the
/// logger's scope for the measurement.
pub fn log(
    logger: &Logger,
    scope: &str,
    vs: &nn::VarStore,
    loss: &Tensor,
    step: i64,
) -> Result<()> {
    logger.log_scalar("loss", loss, step)?;
    logger.log_weights(vs, step)?;
    see_loss(scope, loss);
    see(scope, vs);
    Ok(())
}

/// Measures a loss.
pub fn see_loss(scope: &str, loss: &Tensor) {
    RECORD.with_borrow_mut(|record| {
        let Some(record) = record else { return };
        let losses = record.losses.entry(scope.to_owned()).or_default();
        losses.push(loss.double_value(&[]));
    });
}

/// Measures the gradients alone, for programs that clear them before they log.
pub fn see_gradients(scope: &str, vs: &nn::VarStore) {
    RECORD.with_borrow_mut(|record| {
        let Some(record) = record else { return };
        for (name, tensor) in vs.variables() {
            if let Some(track) = record.variables.get_mut(&full_name(scope, &name)) {
                track.pending = Some(gradient(&tensor));
            }
        }
    });
}

/// Measures the variables of a store; call it where the weights are logged.
pub fn see(scope: &str, vs: &nn::VarStore) {
    for (name, tensor) in vs.variables() {
        see_tensor(&full_name(scope, &name), &tensor);
    }
}

/// Measures one tensor.
pub fn see_tensor(name: &str, tensor: &Tensor) {
    RECORD.with_borrow_mut(|record| {
        let Some(record) = record else { return };
        let now = tensor.detach().to_kind(Kind::Double).copy();
        match record.variables.get_mut(name) {
            Some(track) => track.follow(tensor, now),
            None => {
                let track = Track {
                    first: now.copy(),
                    last: now,
                    requires_grad: tensor.requires_grad(),
                    changes: Vec::new(),
                    gradients: vec![gradient(tensor)],
                    pending: None,
                };
                record.variables.insert(name.to_owned(), track);
            }
        }
    });
}

fn full_name(scope: &str, variable: &str) -> String {
    match scope {
        "" => variable.to_owned(),
        _ => format!("{scope}/{variable}"),
    }
}

fn largest(tensor: &Tensor) -> f64 {
    match tensor.numel() {
        0 => 0.0,
        _ => tensor.abs().max().double_value(&[]),
    }
}

fn gradient(tensor: &Tensor) -> f64 {
    let gradient = tensor.grad();
    match gradient.defined() {
        true => gradient.to_dense(None, false).norm().double_value(&[]),
        false => -1.0,
    }
}

impl Track {
    fn follow(&mut self, tensor: &Tensor, now: Tensor) {
        let change = match now.size() == self.last.size() {
            true => largest(&(&now - &self.last)),
            false => f64::INFINITY,
        };
        self.changes.push(change);
        let seen = self.pending.take();
        self.gradients
            .push(seen.unwrap_or_else(|| gradient(tensor)));
        self.requires_grad = tensor.requires_grad();
        self.last = now;
    }

    /// What happened in the second half of the run, in a line.
    fn line(&self) -> String {
        let changes = later(&self.changes);
        let gradients = later(&self.gradients);
        let moves = changes.iter().filter(|&&one| one != 0.0).count();
        let defined = gradients.iter().filter(|&&one| one >= 0.0).count();
        let nonzero = gradients.iter().filter(|&&one| one > 0.0).count();
        let moved = match self.first.size() == self.last.size() {
            true => largest(&(&self.last - &self.first)),
            false => f64::NAN,
        };
        format!(
            "moved {moved:.2e}, {moves}/{} steps (last {:.1e}), gradient {defined} defined \
             {nonzero} not zero (last {:.1e}), \
             norm {:.3} to {:.3}{}",
            changes.len(),
            changes.last().unwrap_or(&0.0),
            gradients.last().unwrap_or(&-1.0),
            self.first.norm().double_value(&[]),
            self.last.norm().double_value(&[]),
            if self.requires_grad {
                ""
            } else {
                ", no requires_grad"
            }
        )
    }

    /// How far rows are from the first one, in parts of the largest value.
    fn rows_spread(&self) -> f64 {
        match self.last.dim() {
            0 => f64::INFINITY,
            _ => largest(&(&self.last - self.last.narrow(0, 0, 1))) / largest(&self.last),
        }
    }

    /// Whether a verdict can be right at all: `Err` says what contradicts it.
    fn allows(&self, verdict: &str) -> Result<(), String> {
        let changes = later(&self.changes);
        let gradients = later(&self.gradients);
        let still = changes.iter().all(|&one| one == 0.0);
        let arrives = gradients.iter().any(|&one| one > 0.0);
        let undefined = gradients.iter().all(|&one| one < 0.0);
        let zero = gradients.contains(&0.0) && !arrives;
        let finite = self.last.isfinite().all().int64_value(&[]) == 1;
        let need = |holds: bool, what: &str| match holds {
            true => Ok(()),
            false => Err(what.to_owned()),
        };
        match verdict {
            "frozen" => need(
                still && !self.requires_grad,
                "it moves, or requires a gradient",
            ),
            "detached" | "no_gradient" => need(still && undefined, "it moves, or has a gradient"),
            "zero_gradient" | "dead_gradient" => need(zero, "the gradient is not zero"),
            "not_updated" => need(still, "it moves"),
            "decay_only" => need(!still && !arrives, "it rests, or has a gradient"),
            "moved_without_gradient" => need(!still && !arrives, "it rests, or has a gradient"),
            "moving_while_frozen" => need(!still && !self.requires_grad, "no such movement"),
            "all_zero" => need(
                still && largest(&self.last) == 0.0,
                "it moves, or is not zero",
            ),
            "non_finite" => need(!finite, "all its values are finite"),
            "learning" => need(!still && finite, "it rests, or is not finite"),
            "identical_units" => need(!still && self.rows_spread() < 1e-4, "its rows differ"),
            "undecided" | "stalled" => Ok(()),
            _ => need(!still, "it rests"),
        }
    }
}

/// The second half.
fn later(values: &[f64]) -> &[f64] {
    &values[values.len() / 2..]
}

impl Record {
    /// The measurement as lines.
    pub fn lines(&self) -> Vec<String> {
        let variable = |(name, track): (&String, &Track)| format!("{name}: {}", track.line());
        let mut lines: Vec<String> = self.variables.iter().map(variable).collect();
        for (scope, losses) in &self.losses {
            let at = |part: usize| losses[(losses.len() - 1) * part / 4];
            let quarters: Vec<String> = (0..=4).map(|part| format!("{:.4}", at(part))).collect();
            lines.push(format!("loss {scope}: {}", quarters.join(" ")));
        }
        lines
    }

    /// Right answers that the measurement contradicts: a mistake of the suite, not of the crate.
    pub fn contradictions(&self, program: &Program) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        for expect in program.expect {
            let glob = glob(expect.variables)?;
            let bare = |name: &str| name.rsplit('/').next().unwrap_or(name).to_owned();
            let matches = |name: &str| glob.is_match(name) || glob.is_match(bare(name));
            for (name, track) in self.variables.iter().filter(|(name, _)| matches(name)) {
                let each = expect.verdicts.iter().map(|verdict| track.allows(verdict));
                let (possible, wrong): (Vec<_>, Vec<_>) = each.partition(Result::is_ok);
                if possible.is_empty() {
                    let why = wrong.into_iter().find_map(Result::err).unwrap_or_default();
                    lines.push(format!("{name}: {} but {why}", expect.verdicts.join(" | ")));
                }
            }
        }
        Ok(lines)
    }
}
