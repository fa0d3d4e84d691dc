//! The rule for `moved_without_gradient`.

use crate::report::evidence_table::Outcome;
use crate::report::rules::{Rule, RuleKind, none, of_row};
use crate::report::verdict::Verdict;

pub(super) const RULE: Rule = Rule {
    verdict: Verdict::MovedWithoutGradient,
    name: "moved_without_gradient",
    is_fault: false,
    kind: RuleKind::Health,
    decide: |case| {
        of_row(
            case,
            Outcome::MovedWithoutGradient,
            Verdict::MovedWithoutGradient,
        )
    },
    reason: none,
    advice: "",
};
