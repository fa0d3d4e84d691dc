//! The rule for `moving_while_frozen`.

use crate::report::evidence_table::Outcome;
use crate::report::rules::{Case, Rule, RuleKind, of_row};
use crate::report::verdict::Verdict;

pub(super) const RULE: Rule = Rule {
    verdict: Verdict::MovingWhileFrozen,
    name: "moving_while_frozen",
    is_fault: true,
    kind: RuleKind::Values,
    decide: |case| of_row(case, Outcome::MovingWhileFrozen, Verdict::MovingWhileFrozen),
    reason,
    advice: "call zero_grad after freezing; or leave it out with exclude() if something else \
             writes it on purpose",
};

fn reason(case: &Case<'_>) -> String {
    let sums = &case.history.sums;
    format!(
        "it changed at {} of {} steps and requires no gradient, nor does it follow another \
         variable",
        sums.moves, sums.steps
    )
}
