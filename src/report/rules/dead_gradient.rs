//! The rule for `dead_gradient`.

use crate::report::evidence_table::Outcome;
use crate::report::rules::{Case, Rule, RuleKind};
use crate::report::verdict::Verdict;

pub(super) const RULE: Rule = Rule {
    verdict: Verdict::DeadGradient,
    name: "dead_gradient",
    is_fault: true,
    kind: RuleKind::Gradient,
    decide,
    reason,
    advice: "look for ReLUs that never fire before or behind it (lower the rate, use a leaky \
             ReLU, check the input's scale), and for rounding, a state of zeros or a factor of 0 \
             on the way",
};

fn decide(case: &Case<'_>) -> Option<Verdict> {
    if case.outcome != Outcome::DeadGradient
        || case.history.steps < case.window()
        || case.is_at_rest()
        || case.is_redundant()
    {
        return None;
    }
    // Units that a step of their own size has pushed out of reach.
    let jumped = case.history.jumps > 0 && case.is_matrix();
    // What began badly explains both.
    let began_badly = case.current == Verdict::PoorInit;
    Some(match jumped {
        true if began_badly => Verdict::PoorInit,
        true => Verdict::Exploding,
        false => Verdict::DeadGradient,
    })
}

fn reason(case: &Case<'_>) -> String {
    let (history, sums) = (case.history, &case.history.sums);
    match sums.moves {
        0 => format!(
            "the gradient is exactly zero, and nothing has changed in {} steps",
            history.still
        ),
        moves => format!(
            "the gradient is exactly zero; momentum or weight decay still moved it at {moves} of \
             {} steps",
            sums.steps
        ),
    }
}
