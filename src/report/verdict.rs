//! What the rules say of a variable: the verdict, the evidence for it, and what to do.

use std::fmt;
use std::path::PathBuf;

use crate::report::cause::Cause;
use crate::report::gradient_state::GradientState;
use crate::report::printable::printable;
use crate::report::remark::Remark;

/// Whether a variable learns, and if not, why. Rules are tried in this order; the first that holds
/// decides.
///
/// *Learning* is shown, never assumed: something changed, and its cause was seen, or could not be
/// seen for a reason that a [`Remark`](crate::Remark) states. What follows from what was seen is
/// this table, in which an empty cell means any value. Rules about sizes come after it: they
/// look at what is *learning* there, or not decided yet.
///
#[doc = include_str!("evidence_table.md")]
///
/// "Never" moved means: not for longer than the rhythm of the run explains. How many calls lie
/// between two moves of a model is learnt from the run itself (gradients that are accumulated,
/// models that take turns), and so is how many moves of its model a variable is left out of (heads
/// in turn, layers of a task that comes now and then). Before the first move of all
/// [`Thresholds::patience`](crate::Thresholds::patience) decides, or
/// [`Thresholds::window`](crate::Thresholds::window) where a reason is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// The weights, or the gradient again and again, hold NaN or infinities.
    NonFinite,
    /// It requires no gradient and does not move, as asked for. No fault.
    Frozen,
    /// It moves and no gradient moves it, as a copy does that follows by hand: an average of
    /// weights, a target network, a momentum encoder. So does a whole model without gradients, or a
    /// part of one that follows a trained part of the same shape; also a buffer. No fault.
    MovedWithoutGradient,
    /// It requires no gradient and moves all the same, among layers that are trained, and follows
    /// none of them.
    MovingWhileFrozen,
    /// No gradient reaches any variable of this model, and none moves. One finding for the model.
    NoGradient,
    /// No gradient reaches it, while others have one: it is no part of the loss.
    Detached,
    /// A matrix that is still nothing but zeros and gets no gradient: nothing will ever move it.
    AllZero,
    /// Its gradient is exactly zero: weight decay alone moves it.
    DecayOnly,
    /// The gradient of each variable of this model is exactly zero. One finding for the model.
    ZeroGradient,
    /// Its gradient is there and exactly zero, while those of others are not: it is behind
    /// units that never fire.
    DeadGradient,
    /// All its units are the same, and each step keeps them so: it began as a constant.
    IdenticalUnits,
    /// It moved, and its updates have collapsed against its own past, while its gradient has not
    /// and other variables go on.
    Stalled,
    /// Its gradient is orders of magnitude smaller than that of the other layers.
    Vanishing,
    /// It may have a gradient, and no bit of it changes.
    NotUpdated {
        /// As far as it can be known.
        cause: Cause,
    },
    /// Updates are lost to rounding: few elements change, and those by the smallest step that their
    /// type has.
    RoundedAway,
    /// Its first spread was far from what its fan-in asks for (Xavier, He), and harm has come of
    /// it.
    PoorInit,
    /// Steps as large as the weights themselves, or a norm that grows without bound.
    Exploding,
    /// The update ratio has been far too high for the whole window, and harm has come of it.
    LargeUpdates,
    /// Each step undoes the one before, at a high update ratio.
    Erratic,
    /// Its spread has left the band of a healthy layer during training, and harm has come of it.
    ScaleDrift,
    /// It moves, by its gradient as far as that was seen.
    Learning,
    /// What was seen does not say. No fault.
    Undecided,
}

/// The numbers behind a verdict. "Over the window" means the newest steps,
/// [`Thresholds::window`](crate::Thresholds) of them.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Evidence {
    /// Steps that could be compared with the one before, from the first call on.
    pub steps: u64,
    /// Steps over the window at which some bit of the variable changed.
    pub moves: u32,
    /// Share of elements whose bits changed, mean over the window.
    pub changed_fraction: Option<f64>,
    /// Of the elements that changed, the share that moved by exactly one unit in the last place,
    /// over the window.
    pub one_ulp_fraction: Option<f64>,
    /// Geometric mean of the update ratio over the window.
    pub update_ratio: Option<f64>,
    /// The highest that mean has been.
    pub update_ratio_peak: Option<f64>,
    /// Mean cosine between each step's change and the one before it, over the window, from at most
    /// 1024 elements.
    pub cosine: Option<f64>,
    /// What was seen of the gradient over the window.
    pub gradient: GradientState,
    /// L2 norm of the gradient, geometric mean over the window, estimated from at most 128 elements
    /// a look.
    pub gradient_norm: Option<f64>,
    /// Sum of the norms of all changes: how long the way was that led as far as `drift`.
    pub path: f64,
    /// Standard deviation of the first weights times the square root of the fan-in: 1 is Xavier,
    /// 1.4 He, 0.6 PyTorch's default. `None` below two dimensions.
    pub initial_scale: Option<f64>,
    /// The same of the newest weights.
    pub scale: Option<f64>,
    /// Share of elements that are exactly zero.
    pub zero_fraction: Option<f64>,
    /// Share of output units (slices along the first dimension) of which nothing changed over the
    /// window.
    pub still_units: Option<f64>,
    /// The row of the table in [`Verdict`] that what was seen fits now. The verdict may be an
    /// earlier one, until this is sure.
    pub row: &'static str,
    /// What is worth a word beside the verdict and is no fault.
    pub remarks: Vec<Remark>,
}

/// Something that is wrong: reported once when its verdict is reached, and once more when it is
/// over.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Finding {
    /// The directory of the run or sub-run.
    #[cfg_attr(
        feature = "serde",
        serde(serialize_with = "crate::report::lossy_path::serialize")
    )]
    pub run: PathBuf,
    /// The logger's scope, empty without one.
    pub scope: String,
    /// As the model spells it; `None` when it is true of the model as a whole.
    pub variable: Option<String>,
    /// What was found.
    #[cfg_attr(feature = "serde", serde(flatten))]
    pub verdict: Verdict,
    /// The first step at which it was so.
    pub first_step: i64,
    /// The step at which it was sure.
    pub step: i64,
    /// The evidence in a line.
    pub reason: String,
    /// The step at which it was seen to be over; `None` while it is in force, as all of
    /// [`WeightReport::findings`](crate::WeightReport::findings) are.
    pub over_since: Option<i64>,
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

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::NotUpdated { cause } => write!(formatter, "not updated: {cause}"),
            other => formatter.write_str(&other.name().replace('_', " ")),
        }
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
        write!(formatter, "{}: ", self.full_name())?;
        self.write_without_name(formatter)
    }
}

impl Finding {
    /// The variable with its scope, or what stands for all of a model.
    pub(crate) fn full_name(&self) -> String {
        let separator = if self.scope.is_empty() { "" } else { "/" };
        let variable = printable(self.variable.as_deref().unwrap_or("all variables"));
        format!("{}{separator}{variable}", printable(&self.scope))
    }

    pub(crate) fn write_without_name(&self, formatter: &mut dyn fmt::Write) -> fmt::Result {
        write!(formatter, "{} since step {}", self.verdict, self.first_step)?;
        let reason = printable(&self.reason);
        match self.over_since {
            Some(over) => write!(formatter, ", over since step {over}: {reason}"),
            None => write!(formatter, ": {reason}; {}", self.verdict.advice()),
        }
    }
}
