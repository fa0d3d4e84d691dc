//! The rule for `not_updated`.

use crate::report::cause::Cause;
use crate::report::evidence_table::{Outcome, Rest};
use crate::report::gradient_state::GradientState;
use crate::report::rules::{Case, Rule, RuleKind};
use crate::report::verdict::Verdict;

pub(super) const RULE: Rule = Rule {
    verdict: Verdict::NotUpdated {
        cause: Cause::OneOf(&[]),
    },
    name: "not_updated",
    is_fault: true,
    kind: RuleKind::Rest,
    decide,
    reason,
    // That of its cause.
    advice: "",
};

fn decide(case: &Case<'_>) -> Option<Verdict> {
    if case.outcome != Outcome::NotUpdated
        || case.is_redundant()
        || case.is_vanished()
        || case.is_at_rest()
    {
        return None;
    }
    let lost = case.is_step_lost();
    let cause = match (case.facts.is_member, case.context.learning_rate) {
        (Some(false), _) => Cause::NotInOptimizer,
        (_, Some(0.0)) => Cause::LearningRateZero,
        _ if lost == Some(true) => return Some(Verdict::RoundedAway),
        // What moves of the model is lost to rounding, and so is this.
        _ if lost.is_none()
            && case.context.is_rounded
            && case.gradient == GradientState::NonZero =>
        {
            return Some(Verdict::RoundedAway);
        }
        _ if is_constant(case) => Cause::OneOf(CONSTANT),
        _ if is_pinned(case) => Cause::PinnedAtBound,
        _ => Cause::OneOf(candidates(case, lost)),
    };
    Some(Verdict::NotUpdated { cause })
}

/// All elements came to be one value: that of a clamp beyond which all of them lay, or of what
/// fills them after each step.
pub(super) fn is_constant(case: &Case<'_>) -> bool {
    case.gradient == GradientState::NonZero
        && case.history.moves.events() > 0
        && case
            .history
            .newest
            .is_some_and(|newest| newest.count > 1 && newest.min == newest.max && newest.max != 0.0)
}

/// Each element is the smallest or the largest of all: a clamp holds them, or they are made of two
/// values.
fn is_pinned(case: &Case<'_>) -> bool {
    const FEWEST: u64 = 8;
    let Some(newest) = case
        .history
        .newest
        .filter(|_| case.gradient == GradientState::NonZero)
    else {
        return false;
    };
    if newest.nonfinite() > 0 || newest.count < FEWEST || !(newest.max - newest.min).is_finite() {
        return false;
    }
    (pinned_share(case) - 1.0).abs() < 1e-5
}

/// The variance against the largest that its mean and its bounds allow: 1 where there are two
/// values, a third where all between them are alike.
pub(super) fn pinned_share(case: &Case<'_>) -> f64 {
    let Some(newest) = case.history.newest else {
        return 0.0;
    };
    let most = (newest.mean - newest.min) * (newest.max - newest.mean);
    let variance = newest.variance().unwrap_or_default();
    if most > 0.0 && most.is_finite() {
        variance / most
    } else {
        0.0
    }
}

fn reason(case: &Case<'_>) -> String {
    format!(
        "{}, and no element has changed in {} steps",
        case.gradient_text(),
        case.still_calls()
    )
}

/// What remains possible. The rate that was told is one for all: a group's own may still be zero.
fn candidates(case: &Case<'_>, lost: Option<bool>) -> &'static [Cause] {
    let knows_rate = case.signs.rest != Rest::Moves && case.context.learning_rate.is_some();
    let is_unseen = case.gradient != GradientState::NonZero;
    let place = usize::from(!knows_rate)
        + 2 * usize::from(is_unseen)
        + 4 * usize::from(lost != Some(false));
    LISTS.get(place).copied().unwrap_or_default()
}

use Cause::{
    GradientCleared, LearningRateZero, NoGradient, NotInOptimizer, Overwritten, Rounding,
    StepNotCalled,
};

/// What is left for a variable of one value.
const CONSTANT: &[Cause] = &[Cause::PinnedAtBound, Cause::Overwritten];

/// The lists that evidence may leave. The first eight with a bit each of the place for: a rate that
/// may be zero, a gradient that was not seen, updates that may be lost to rounding.
pub(crate) const LISTS: [&[Cause]; 9] = [
    &[NotInOptimizer, StepNotCalled, Overwritten],
    &[NotInOptimizer, LearningRateZero, StepNotCalled, Overwritten],
    &[
        NotInOptimizer,
        StepNotCalled,
        NoGradient,
        GradientCleared,
        Overwritten,
    ],
    &[
        NotInOptimizer,
        LearningRateZero,
        StepNotCalled,
        NoGradient,
        GradientCleared,
        Overwritten,
    ],
    &[NotInOptimizer, StepNotCalled, Overwritten, Rounding],
    &[
        NotInOptimizer,
        LearningRateZero,
        StepNotCalled,
        Overwritten,
        Rounding,
    ],
    &[
        NotInOptimizer,
        StepNotCalled,
        NoGradient,
        GradientCleared,
        Overwritten,
        Rounding,
    ],
    &[
        NotInOptimizer,
        LearningRateZero,
        StepNotCalled,
        NoGradient,
        GradientCleared,
        Overwritten,
        Rounding,
    ],
    CONSTANT,
];
