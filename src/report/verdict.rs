//! What the rules say of a variable: the verdict, the evidence for it, and what to do.

use std::fmt;
use std::path::PathBuf;

use crate::report::printable::printable;

/// Whether a variable learns, and if not, why. Rules are tried in this order; the first that holds decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// The weights, or the gradient again and again, hold NaN or infinities.
    NonFinite,
    /// It requires no gradient and does not move, as asked for. No fault.
    Frozen,
    /// It requires no gradient and moves all the same.
    MovingWhileFrozen,
    /// No gradient ever reaches it, while others have one: it is no part of the loss.
    Detached,
    /// A matrix that is still nothing but zeros and gets no gradient: nothing will ever move it.
    AllZero,
    /// Its gradient is there and exactly zero: it stands behind units that never fire.
    DeadGradient,
    /// It moved, and its updates have collapsed against its own past, while its gradient has not and other variables go on.
    Stalled,
    /// Its gradient is orders of magnitude smaller than that of the other layers.
    Vanishing,
    /// It has a gradient, and no bit of it changes.
    NotUpdated {
        /// As far as it can be known.
        cause: Cause,
    },
    /// Updates are lost to rounding: few elements change, and those by the smallest step that their type has.
    RoundedAway,
    /// Its first spread was far from what its fan-in asks for (Xavier, He).
    PoorInit,
    /// Steps as large as the weights themselves, or a norm that grows without bound.
    Exploding,
    /// The update ratio has been far too high for the whole window.
    LargeUpdates,
    /// Each step undoes the one before, at a high update ratio.
    Erratic,
    /// Its spread has left the band of a healthy layer during training.
    ScaleDrift,
    /// None of the above.
    Learning,
    /// Too few steps have been seen to say more. No fault.
    Undecided,
}

/// Why a variable with a gradient is not updated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// No optimizer that is built from its store has it: the store does not list it as trainable, or it is in no store.
    NotInOptimizer,
    /// Its learning rate, or that of its parameter group, is zero.
    LearningRateZero,
    /// `step` is never called.
    StepNotCalled,
    /// Perhaps the loss does not reach it: gradients were cleared before the call, so that nobody could see.
    NoGradient,
    /// The updates are smaller than half a unit in the last place of the weights.
    Rounding,
    /// One of these: what was seen does not tell them apart.
    OneOf(&'static [Cause]),
}

/// The causes that evidence may fail to tell apart.
pub(crate) const CAUSES: [&[Cause]; 5] = [
    &[
        Cause::LearningRateZero,
        Cause::StepNotCalled,
        Cause::NotInOptimizer,
        Cause::Rounding,
    ],
    &[Cause::StepNotCalled, Cause::NotInOptimizer],
    &[
        Cause::NotInOptimizer,
        Cause::LearningRateZero,
        Cause::Rounding,
    ],
    &[Cause::NotInOptimizer, Cause::LearningRateZero],
    &[
        Cause::NotInOptimizer,
        Cause::LearningRateZero,
        Cause::NoGradient,
    ],
];

/// What the last backward passes left, over the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum GradientState {
    /// It was not looked at: no tensor, a frozen variable, or gradients that were cleared before the call.
    #[default]
    Unseen,
    /// There was none.
    Undefined,
    /// It was there and exactly zero.
    Zero,
    /// It was there and not zero, at least once.
    NonZero,
    /// It held NaN or infinities at the newest look.
    NonFinite,
}

/// The numbers behind a verdict. "Over the window" means the newest steps, [`Thresholds::window`](crate::Thresholds) of them.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Evidence {
    /// Steps that could be compared with the one before, from the first call on.
    pub steps: u64,
    /// Steps over the window at which some bit of the variable changed.
    pub moves: u32,
    /// Share of elements whose bits changed, mean over the window.
    pub changed_fraction: Option<f64>,
    /// Of the elements that changed, the share that moved by exactly one unit in the last place, over the window.
    pub one_ulp_fraction: Option<f64>,
    /// Geometric mean of the update ratio over the window.
    pub update_ratio: Option<f64>,
    /// The highest that mean has been.
    pub update_ratio_peak: Option<f64>,
    /// Mean cosine between each step's change and the one before it, over the window, from at most 1024 elements.
    pub cosine: Option<f64>,
    /// What was seen of the gradient over the window.
    pub gradient: GradientState,
    /// L2 norm of the gradient, geometric mean over the window, estimated from at most 128 elements a look.
    pub gradient_norm: Option<f64>,
    /// Sum of the norms of all changes: how long the way was that led as far as `drift`.
    pub path: f64,
    /// Standard deviation of the first weights times the square root of the fan-in: 1 is Xavier, 1.4 He, 0.6 PyTorch's
    /// default. `None` below two dimensions.
    pub initial_scale: Option<f64>,
    /// The same of the newest weights.
    pub scale: Option<f64>,
    /// Share of elements that are exactly zero.
    pub zero_fraction: Option<f64>,
    /// Share of output units (slices along the first dimension) of which nothing changed over the window.
    pub still_units: Option<f64>,
}

/// Something that is wrong, told once when its verdict is reached.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Finding {
    /// The directory of the run or sub-run.
    pub run: PathBuf,
    /// The logger's scope, empty without one.
    pub scope: String,
    /// As the model spells it; `None` when it is true of the model as a whole.
    pub variable: Option<String>,
    /// What was found.
    pub verdict: Verdict,
    /// The first step at which it was so.
    pub first_step: i64,
    /// The step at which it was sure.
    pub step: i64,
    /// The evidence in a line.
    pub reason: String,
}

/// Where training as a whole is going.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trend {
    /// Steps are getting smaller.
    Converging,
    /// Steps keep their size.
    Steady,
    /// Steps are getting larger, or some variable explodes, swings or is not finite.
    Unstable,
    /// Most variables do not move, or hardly.
    Stagnant,
}

impl Verdict {
    /// True for what a user should look at; false for `Learning`, `Frozen` and `Undecided`.
    pub fn is_fault(self) -> bool {
        !matches!(
            self,
            Verdict::Learning | Verdict::Frozen | Verdict::Undecided
        )
    }

    /// From its `Display`.
    pub(crate) fn from_text(text: &str) -> Option<Verdict> {
        use Verdict::{
            AllZero, DeadGradient, Detached, Erratic, Exploding, Frozen, LargeUpdates, Learning,
            MovingWhileFrozen, NonFinite, PoorInit, RoundedAway, ScaleDrift, Stalled, Undecided,
            Vanishing,
        };
        const PLAIN: [Verdict; 16] = [
            NonFinite,
            Frozen,
            MovingWhileFrozen,
            Detached,
            AllZero,
            DeadGradient,
            Stalled,
            RoundedAway,
            Exploding,
            LargeUpdates,
            Erratic,
            Vanishing,
            PoorInit,
            ScaleDrift,
            Learning,
            Undecided,
        ];
        if let Some(causes) = text.strip_prefix("not updated: ") {
            return Cause::from_text(causes).map(|cause| Verdict::NotUpdated { cause });
        }
        PLAIN
            .into_iter()
            .find(|verdict| verdict.to_string() == text)
    }

    /// One line on what to do; empty where nothing is to be done.
    pub fn advice(self) -> &'static str {
        match self {
            Verdict::NonFinite => {
                "lower the learning rate, clip gradients, look for log(0), sqrt(0) and divisions; start again from a checkpoint"
            }
            Verdict::MovingWhileFrozen => {
                "call zero_grad after freezing, or leave it out with exclude() if it is an average or a target network"
            }
            Verdict::Detached => {
                "use its output in the loss, look for detach(), no_grad and copies; or freeze it"
            }
            Verdict::AllZero => "initialise it with Xavier or He",
            Verdict::DeadGradient => {
                "look for ReLUs that never fire before or behind it: lower the rate, use a leaky ReLU, check the input's scale"
            }
            Verdict::Stalled => {
                "look at its group's learning rate and schedule; freeze it if that is meant"
            }
            Verdict::Vanishing => {
                "use ReLU-like activations, normalisation or residual connections between it and the loss"
            }
            Verdict::NotUpdated { cause } => cause.advice(),
            Verdict::RoundedAway => {
                "keep weights in f32 (bf16 for computing only), or raise the learning rate"
            }
            Verdict::PoorInit => "initialise it with Xavier or He for its fan-in",
            Verdict::Exploding => {
                "lower the learning rate or warm it up, clip gradients, normalise the input"
            }
            Verdict::LargeUpdates => "lower the learning rate",
            Verdict::Erratic => "lower the learning rate, or raise the batch size",
            Verdict::ScaleDrift => {
                "look at weight decay and the learning rate; normalise its output"
            }
            Verdict::Frozen | Verdict::Learning | Verdict::Undecided => "",
        }
    }

    /// The name in snake case, as `tch-tensorboard report --json` and `--fail-on` spell it.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::NonFinite => "non_finite",
            Verdict::Frozen => "frozen",
            Verdict::MovingWhileFrozen => "moving_while_frozen",
            Verdict::Detached => "detached",
            Verdict::AllZero => "all_zero",
            Verdict::DeadGradient => "dead_gradient",
            Verdict::Stalled => "stalled",
            Verdict::NotUpdated { .. } => "not_updated",
            Verdict::RoundedAway => "rounded_away",
            Verdict::Exploding => "exploding",
            Verdict::LargeUpdates => "large_updates",
            Verdict::Erratic => "erratic",
            Verdict::Vanishing => "vanishing",
            Verdict::PoorInit => "poor_init",
            Verdict::ScaleDrift => "scale_drift",
            Verdict::Learning => "learning",
            Verdict::Undecided => "undecided",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::NotUpdated { cause } => write!(formatter, "not updated: {cause}"),
            other => formatter.write_str(&other.name().replace('_', " ")),
        }
    }
}

impl Cause {
    /// The causes that are possible: itself, or those of [`Cause::OneOf`].
    pub fn candidates(&self) -> &[Cause] {
        match self {
            Cause::OneOf(causes) => causes,
            one => std::slice::from_ref(one),
        }
    }

    fn from_text(text: &str) -> Option<Cause> {
        let plain = [
            Cause::NotInOptimizer,
            Cause::LearningRateZero,
            Cause::StepNotCalled,
            Cause::NoGradient,
            Cause::Rounding,
        ];
        let several = CAUSES.into_iter().map(Cause::OneOf);
        plain
            .into_iter()
            .chain(several)
            .find(|cause| cause.to_string() == text)
    }

    fn advice(self) -> &'static str {
        match self {
            Cause::NotInOptimizer => {
                "create it through the store that the optimizer is built from, with requires_grad set there, or give it an \
                 optimizer of its own"
            }
            Cause::LearningRateZero => "raise the learning rate (set_lr, set_lr_group)",
            Cause::StepNotCalled => "call the optimizer's step after backward",
            Cause::NoGradient => "use its output in the loss",
            Cause::Rounding => "keep weights in f32, or raise the learning rate",
            Cause::OneOf(_) => {
                "check that the optimizer is built from the store that holds it, that step is called, and its group's \
                 learning rate; set_learning_rate() and calling log_weights before gradients are cleared tell more"
            }
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Cause::NotInOptimizer => "not in the optimizer",
            Cause::LearningRateZero => "learning rate 0",
            Cause::StepNotCalled => "step is not called",
            Cause::NoGradient => "not part of the loss",
            Cause::Rounding => "updates below half a unit in the last place",
            Cause::OneOf(causes) => {
                for (index, cause) in causes.iter().enumerate() {
                    let joint = match index {
                        0 => "",
                        _ if index + 1 == causes.len() => " or ",
                        _ => ", ",
                    };
                    write!(formatter, "{joint}{cause}")?;
                }
                return Ok(());
            }
        };
        formatter.write_str(text)
    }
}

impl fmt::Display for Trend {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Trend::Converging => "converging",
            Trend::Steady => "steady",
            Trend::Unstable => "unstable",
            Trend::Stagnant => "stagnant",
        })
    }
}

/// `conv2.weight: not updated: not in the optimizer since step 0: <the evidence>; <what to do>`
impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let separator = if self.scope.is_empty() { "" } else { "/" };
        let variable = printable(self.variable.as_deref().unwrap_or("all variables"));
        write!(
            formatter,
            "{}{separator}{variable}: {} since step {}: {}; {}",
            printable(&self.scope),
            self.verdict,
            self.first_step,
            printable(&self.reason),
            self.verdict.advice()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_are_read_back_from_their_texts() {
        let plain = [
            Verdict::NonFinite,
            Verdict::Frozen,
            Verdict::MovingWhileFrozen,
            Verdict::Detached,
            Verdict::AllZero,
            Verdict::DeadGradient,
            Verdict::Stalled,
            Verdict::RoundedAway,
            Verdict::Exploding,
            Verdict::LargeUpdates,
            Verdict::Erratic,
            Verdict::Vanishing,
            Verdict::PoorInit,
            Verdict::ScaleDrift,
            Verdict::Learning,
            Verdict::Undecided,
        ];
        let causes = CAUSES.into_iter().map(Cause::OneOf);
        let causes = causes.chain([Cause::NotInOptimizer, Cause::LearningRateZero]);
        let missing = causes.map(|cause| Verdict::NotUpdated { cause });
        for verdict in plain.into_iter().chain(missing) {
            assert_eq!(Verdict::from_text(&verdict.to_string()), Some(verdict));
        }
        assert_eq!(Verdict::from_text("not updated: why"), None);
        assert_eq!(Verdict::from_text(""), None);
    }
}
