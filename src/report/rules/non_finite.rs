//! The rule for `non_finite`.

use crate::report::evidence_table::Outcome;
use crate::report::rules::{Case, Rule, RuleKind};
use crate::report::verdict::Verdict;

pub(super) const RULE: Rule = Rule {
    verdict: Verdict::NonFinite,
    name: "non_finite",
    is_fault: true,
    kind: RuleKind::Values,
    decide,
    reason,
    advice: "lower the learning rate, clip gradients, look for log(0), sqrt(0) and divisions; \
             start again from a checkpoint",
};

fn decide(case: &Case<'_>) -> Option<Verdict> {
    let newest = case.history.newest;
    let weights = newest.is_some_and(|newest| newest.nonfinite() > 0);
    (weights || case.outcome == Outcome::NonFinite).then_some(Verdict::NonFinite)
}

fn reason(case: &Case<'_>) -> String {
    let sums = &case.history.sums;
    match case.history.newest {
        Some(newest) if newest.nonfinite() > 0 => {
            format!(
                "{} of {} elements are NaN or infinite",
                newest.nonfinite(),
                newest.count
            )
        }
        _ => format!(
            "the gradient was not finite at {} of {} steps",
            sums.nonfinite, sums.steps
        ),
    }
}
