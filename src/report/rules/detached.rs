//! The rule for `detached`.

use crate::report::evidence_table::Outcome;
use crate::report::rules::{Case, Rule, RuleKind, of_row};
use crate::report::verdict::Verdict;

pub(super) const RULE: Rule = Rule {
    verdict: Verdict::Detached,
    name: "detached",
    is_fault: true,
    kind: RuleKind::Gradient,
    decide: |case| of_row(case, Outcome::Detached, Verdict::Detached),
    reason,
    advice: "use its output in the loss, look for detach(), no_grad and copies; or freeze it",
};

fn reason(case: &Case<'_>) -> String {
    format!(
        "no gradient and no change in {} steps, while others have gradients",
        case.history.still
    )
}
