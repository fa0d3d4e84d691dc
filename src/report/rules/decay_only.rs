//! The rule for `decay_only`.

use crate::report::evidence_table::Outcome;
use crate::report::gradient_state::GradientState;
use crate::report::rules::{Case, Rule, RuleKind, of_row};
use crate::report::verdict::Verdict;

pub(super) const RULE: Rule = Rule {
    verdict: Verdict::DecayOnly,
    name: "decay_only",
    is_fault: true,
    kind: RuleKind::Gradient,
    decide: |case| of_row(case, Outcome::DecayOnly, Verdict::DecayOnly),
    reason,
    advice: "look at the loss: a factor of 0, a mask, a clamp or rounding on the way from it; \
             weight decay alone moves it",
};

fn reason(case: &Case<'_>) -> String {
    let looks = case.history.trail.looks();
    let gradient = match case.gradient {
        GradientState::Undefined => "it had no gradient",
        _ => "its gradient was exactly zero",
    };
    format!("{gradient} at {looks} calls, and each step only makes it smaller")
}
