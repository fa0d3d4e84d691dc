//! Whether an injection does what its line says, and whether a healthy run is one: by the tensors
//! and the loss, without the logger.

use std::collections::{BTreeMap, BTreeSet};

use tch::{Kind, Tensor};

use crate::scenario::MIDDLE;

/// Steps at either end over which losses are averaged.
const END: usize = 20;

/// Steps that rules look back over: the default of `Thresholds`.
const WINDOW: usize = 20;

/// The loss of a model that knows nothing of ten digits: ln(10).
const GUESSING: f64 = 2.303;

/// What was seen of one variable.
#[derive(Default)]
struct Tally {
    first: Option<Tensor>,
    previous: Option<Tensor>,
    looks: usize,
    moved: usize,
    undefined: usize,
    zero: usize,
    /// Steps in a row with a gradient of exactly zero: up to now, and the most.
    dead: [usize; 2],
    /// Steps after which some element was not finite: before the middle, from it on.
    nonfinite: [usize; 2],
    /// norm(change) / norm(weights) of each step: before the middle, from it on.
    ratios: [Vec<f64>; 2],
    /// norm(gradient) / norm(weights).
    gradients: Vec<f64>,
    /// Of the elements with a gradient, the share that a step left as it was.
    kept: Vec<f64>,
}

/// Looks at all variables after each step.
pub(crate) struct Witness {
    variables: BTreeMap<String, Tensor>,
    tallies: BTreeMap<String, Tally>,
    losses: Vec<f64>,
}

impl Witness {
    /// Before the first step.
    pub(crate) fn new(variables: &BTreeMap<String, Tensor>) -> Witness {
        let own = |(name, tensor): (&String, &Tensor)| (name.clone(), tensor.shallow_clone());
        let tally = |tensor: &Tensor| Tally {
            first: Some(copy(tensor)),
            previous: Some(copy(tensor)),
            ..Tally::default()
        };
        Witness {
            variables: variables.iter().map(own).collect(),
            tallies: variables
                .iter()
                .map(|(name, tensor)| (name.clone(), tally(tensor)))
                .collect(),
            losses: Vec::new(),
        }
    }

    /// After a step, with the gradients still there.
    pub(crate) fn look(&mut self, step: i64, loss: f64) {
        let _no_grad = tch::no_grad_guard();
        self.losses.push(loss);
        for (name, tensor) in &self.variables {
            if let Some(tally) = self.tallies.get_mut(name) {
                tally.look(tensor, usize::from(step >= MIDDLE));
            }
        }
    }

    /// What was seen that the line of the fault does not say; `None` when all is as it says.
    /// `names` are the variables of the layer that the fault is in.
    pub(crate) fn objection(&self, fault: &str, names: &[String]) -> Option<String> {
        let part = |own: bool| {
            let all = self.tallies.iter();
            all.filter(move |(name, _)| names.contains(name) == own)
                .map(|(_, tally)| tally)
        };
        let (targets, others) = (|| part(true), || part(false));
        let is_matrix = |tally: &&Tally| tally.first.as_ref().is_some_and(|first| first.dim() >= 2);
        let still = targets().all(|tally| tally.moved == 0);
        let others_move = others()
            .filter(is_matrix)
            .all(|tally| tally.moved > tally.looks / 2);
        let has_gradient = |tally: &Tally| tally.undefined + tally.zero <= tally.looks / 10;
        let check = |holds: bool, what: &str| (!holds).then(|| what.to_owned());
        match fault {
            "lr-zero" => check(
                self.tallies.values().all(|tally| tally.moved == 0)
                    && self.tallies.values().any(has_gradient),
                "something moved, or nothing has a gradient",
            ),
            "frozen" => check(still && others_move, "it moved, or the others did not"),
            "detached" | "unused" => check(
                still && others_move && targets().all(|tally| tally.undefined == tally.looks),
                "it has a gradient, or it moved, or the others did not",
            ),
            "hidden" | "other-store" => check(
                still && others_move && targets().all(has_gradient),
                "it moved, or has no gradient, or the others did not move",
            ),
            "dead-relu" => check(
                targets().all(|tally| tally.zero == tally.looks),
                "its gradient is not exactly zero throughout",
            ),
            "bf16-rounding" => {
                let kept: Vec<f64> = self
                    .tallies
                    .values()
                    .filter(is_matrix)
                    .filter_map(|tally| median(&tally.kept))
                    .collect();
                let median = median(&kept)?;
                check(
                    median > 0.5,
                    &format!("a step keeps {median:.2} of the elements that have a gradient"),
                )
            }
            "lr-huge" => {
                let most = self
                    .tallies
                    .values()
                    .filter(is_matrix)
                    .flat_map(|tally| tally.ratios.iter().flatten());
                let most = most.copied().fold(0.0, f64::max);
                let lost = self.losses.iter().any(|loss| !loss.is_finite());
                check(
                    most > 0.3 || lost,
                    &format!("no step changed a matrix by more than {most:.2}"),
                )
            }
            "nan" | "nan-input" => check(
                targets().filter(is_matrix).all(|tally| {
                    tally.nonfinite[0] == 0 && tally.nonfinite[1] == tally.ratios[1].len()
                }),
                "not finite before the middle, or finite after it",
            ),
            "all-zero" => check(
                self.tallies.values().filter(is_matrix).all(|tally| {
                    tally.moved == 0
                        && tally
                            .first
                            .as_ref()
                            .is_some_and(|first| largest(first) == 0.0)
                }),
                "a matrix is not zero, or moves",
            ),
            "bad-init" => {
                let scales: Vec<f64> = targets()
                    .filter(is_matrix)
                    .filter_map(|tally| tally.first.as_ref().map(scale))
                    .collect();
                let good = scales.iter().find(|scale| (0.02..10.0).contains(*scale));
                check(
                    good.is_none(),
                    &format!("{good:?} / sqrt(fan-in) is no bad spread"),
                )
            }
            "vanishing" | "saturated" => {
                let own = targets()
                    .filter(is_matrix)
                    .filter_map(|tally| median(tally.early_gradients()))
                    .fold(0.0, f64::max);
                let others: Vec<f64> = others()
                    .filter(is_matrix)
                    .filter_map(|tally| median(tally.early_gradients()))
                    .collect();
                let others = median(&others)?;
                check(
                    own < 1e-4 * others,
                    &format!("its gradient is {own:.1e} of its weights, the others' {others:.1e}"),
                )
            }
            "stalled" => {
                let fall =
                    |tally: &Tally| Some(median(&tally.ratios[1])? / median(&tally.ratios[0])?);
                let own = targets().filter_map(fall).fold(0.0, f64::max);
                let others: Vec<f64> = others().filter(is_matrix).filter_map(fall).collect();
                let others = median(&others)?;
                check(
                    own < 1e-3 * others && others > 0.1,
                    &format!("its steps fell to {own:.1e}, the others' to {others:.1e}"),
                )
            }
            "fine-tuning" | "checkpoint" => self.learns(f64::NEG_INFINITY),
            _ => self.learns(0.8),
        }
    }

    /// Variables whose gradient was exactly zero for a whole window.
    pub(crate) fn dead(&self) -> BTreeSet<String> {
        let dead = (self.tallies.iter()).filter(|(_, tally)| tally.dead[1] >= WINDOW);
        dead.map(|(name, _)| name.clone()).collect()
    }

    /// Whether the loss ends below this share of what it began with, or is low as that of a model
    /// that has learned.
    fn learns(&self, share: f64) -> Option<String> {
        let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len().max(1) as f64;
        let count = self.losses.len();
        let first = mean(&self.losses[..count.min(END / 4)]);
        let last = mean(&self.losses[count.saturating_sub(END)..]);
        // Not a number is no progress either.
        let learns = last < share * first || last < GUESSING / 2.0;
        (!learns).then(|| format!("the loss went from {first:.3} to {last:.3}"))
    }
}

impl Tally {
    /// Before the middle: later, everything may have died of it.
    fn early_gradients(&self) -> &[f64] {
        &self.gradients[..self.gradients.len().min(MIDDLE as usize)]
    }

    fn look(&mut self, tensor: &Tensor, half: usize) {
        self.looks += 1;
        let gradient = tensor.grad();
        let now = copy(tensor);
        let Some(previous) = self.previous.replace(copy(tensor)) else {
            return;
        };
        let (norm, change) = (norm(&now), norm(&(&now - &previous)));
        // NaN is not equal to itself, and has not moved for that.
        self.moved += usize::from(!now.allclose(&previous, 0.0, 0.0, true));
        self.nonfinite[half] += usize::from(!norm.is_finite());
        self.ratios[half].push(change / norm);
        if !gradient.defined() {
            self.undefined += 1;
            return;
        }
        let gradient = copy(&gradient);
        let is_zero = largest(&gradient) == 0.0;
        self.zero += usize::from(is_zero);
        self.dead[0] = if is_zero { self.dead[0] + 1 } else { 0 };
        self.dead[1] = self.dead[1].max(self.dead[0]);
        self.gradients.push(self::norm(&gradient) / norm);
        let wanted = gradient.ne(0.0);
        let count = wanted.sum(Kind::Int64).int64_value(&[]);
        if count > 0 {
            let kept = wanted
                .logical_and(&now.eq_tensor(&previous))
                .sum(Kind::Int64)
                .int64_value(&[]);
            self.kept.push(kept as f64 / count as f64);
        }
    }
}

fn copy(tensor: &Tensor) -> Tensor {
    tensor.detach().to_kind(Kind::Double).copy()
}

fn norm(tensor: &Tensor) -> f64 {
    tensor.norm().double_value(&[])
}

fn largest(tensor: &Tensor) -> f64 {
    tensor.abs().max().double_value(&[])
}

/// Standard deviation in units of 1 / sqrt(fan-in).
fn scale(weights: &Tensor) -> f64 {
    let fan_in: i64 = weights.size()[1..].iter().product();
    weights.std(false).double_value(&[]) * (fan_in as f64).sqrt()
}

/// Of what is a number.
fn median(values: &[f64]) -> Option<f64> {
    let mut values: Vec<f64> = values
        .iter()
        .copied()
        .filter(|value| !value.is_nan())
        .collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}
