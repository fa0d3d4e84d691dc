//! The rule for `zero_gradient`.

use crate::report::evidence_table::{Moved, Outcome};
use crate::report::rules::{Case, Rule, RuleKind};
use crate::report::verdict::Verdict;

pub(super) const RULE: Rule = Rule {
    verdict: Verdict::ZeroGradient,
    name: "zero_gradient",
    is_fault: true,
    kind: RuleKind::Gradient,
    decide,
    reason,
    advice: "look at the loss: it does not depend on the model (one class, a factor of 0, a \
             clamp, a mask), or gradients are set to zero before step",
};

fn decide(case: &Case<'_>) -> Option<Verdict> {
    let holds = case.outcome == Outcome::ZeroGradient && !case.is_at_rest();
    holds.then_some(Verdict::ZeroGradient)
}

fn reason(case: &Case<'_>) -> String {
    match case.signs.moved {
        Moved::Never => format!(
            "the gradient of each variable is exactly zero, and nothing has changed in {} calls",
            case.still_calls()
        ),
        _ => {
            "the gradient of each variable is exactly zero; momentum or weight decay still moves it"
                .into()
        }
    }
}
