//! Why a variable with a gradient is not updated.

use std::fmt;

/// Why a variable with a gradient is not updated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// No optimizer that is built from its store has it: the store does not list it as trainable,
    /// or it is in no store.
    NotInOptimizer,
    /// Its learning rate, or that of its parameter group, is zero.
    LearningRateZero,
    /// `step` is never called.
    StepNotCalled,
    /// Perhaps the loss does not reach it: nobody could see its gradient.
    NoGradient,
    /// Its gradient is cleared between the backward pass and `step`.
    GradientCleared,
    /// Something writes the old values back after each step.
    Overwritten,
    /// Its elements lie at the bounds that a clamp holds them to.
    PinnedAtBound,
    /// The updates are smaller than half a unit in the last place of the weights.
    Rounding,
    /// One of these: what was seen does not decide which.
    OneOf(&'static [Cause]),
}

impl Cause {
    /// Those that are one cause, in the order in which lists name them.
    pub(crate) const PLAIN: [Cause; 8] = [
        Cause::NotInOptimizer,
        Cause::LearningRateZero,
        Cause::StepNotCalled,
        Cause::NoGradient,
        Cause::GradientCleared,
        Cause::Overwritten,
        Cause::PinnedAtBound,
        Cause::Rounding,
    ];

    /// The causes that are possible: itself, or those of [`Cause::OneOf`].
    pub fn candidates(&self) -> &[Cause] {
        match self {
            Cause::OneOf(causes) => causes,
            one => std::slice::from_ref(one),
        }
    }

    /// The name in snake case; `one_of` for several.
    pub fn name(self) -> &'static str {
        match self {
            Cause::NotInOptimizer => "not_in_optimizer",
            Cause::LearningRateZero => "learning_rate_zero",
            Cause::StepNotCalled => "step_not_called",
            Cause::NoGradient => "no_gradient",
            Cause::GradientCleared => "gradient_cleared",
            Cause::Overwritten => "overwritten",
            Cause::PinnedAtBound => "pinned_at_bound",
            Cause::Rounding => "rounding",
            Cause::OneOf(_) => "one_of",
        }
    }

    pub(crate) fn advice(self) -> &'static str {
        match self {
            Cause::NotInOptimizer => {
                "create it through the store that the optimizer is built from, with requires_grad \
                 set there, or give it an optimizer of its own"
            }
            Cause::LearningRateZero => "raise the learning rate (set_lr, set_lr_group)",
            Cause::StepNotCalled => "call the optimizer's step after backward",
            Cause::NoGradient => "use its output in the loss",
            Cause::GradientCleared => {
                "call zero_grad before backward, not between backward and step"
            }
            Cause::Overwritten => "look for copy_, load and set_data that run after each step",
            Cause::PinnedAtBound => "widen the clamp, or initialise it within the bounds",
            Cause::Rounding => "raise the learning rate, or keep weights in a longer type",
            Cause::OneOf(&[Cause::PinnedAtBound, Cause::Overwritten]) => {
                "look for a fill_, copy_ or clamp_ that runs after each step"
            }
            Cause::OneOf(causes) if causes.contains(&Cause::NoGradient) => {
                "check that the optimizer is built from the store that holds it, that step is \
                 called, and its group's learning rate; to call log_weights before gradients are \
                 cleared narrows it down"
            }
            Cause::OneOf(causes) if causes.contains(&Cause::LearningRateZero) => {
                "check that the optimizer is built from the store that holds it, that step is \
                 called, and its group's learning rate; set_learning_rate() rules out that the \
                 rate of all is 0"
            }
            Cause::OneOf(_) => {
                "check that the optimizer is built from the store that holds it, that step is \
                 called, and that nothing writes old values back"
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
            Cause::GradientCleared => "gradient cleared before step",
            Cause::Overwritten => "overwritten after each step",
            Cause::PinnedAtBound => "pinned at a bound",
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
