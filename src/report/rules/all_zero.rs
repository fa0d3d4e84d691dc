//! The rule for `all_zero`.

use crate::report::evidence_table::{Moved, OtherGradients, Outcome};
use crate::report::gradient_state::GradientState;
use crate::report::rules::{Case, Rule, RuleKind};
use crate::report::verdict::Verdict;

pub(super) const RULE: Rule = Rule {
    verdict: Verdict::AllZero,
    name: "all_zero",
    is_fault: true,
    kind: RuleKind::Gradient,
    decide,
    reason,
    advice: "initialise it with Xavier or He",
};

fn decide(case: &Case<'_>) -> Option<Verdict> {
    let newest = case.history.newest?;
    let is_zero = newest.count > 0 && newest.zeros == newest.count;
    let no_gradient = match case.outcome {
        Outcome::ZeroGradient | Outcome::DeadGradient => true,
        // Without a gradient to look at, standing still at zero says enough.
        Outcome::NotUpdated => case.gradient == GradientState::Unseen,
        _ => false,
    };
    // Where no gradient of the model is other than zero, zeros are the reason only if there is
    // nothing else.
    let is_reason = case.signs.others != OtherGradients::None || case.context.is_all_zero;
    let holds =
        case.is_matrix() && is_zero && no_gradient && is_reason && case.signs.moved == Moved::Never;
    holds.then_some(Verdict::AllZero)
}

fn reason(case: &Case<'_>) -> String {
    format!(
        "all elements are zero and none has changed in {} steps",
        case.history.still
    )
}
