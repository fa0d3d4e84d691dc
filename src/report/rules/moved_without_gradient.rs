//! The rule for `moved_without_gradient`.

use crate::report::evidence_table::Outcome;
use crate::report::rules::exploding::runs_away;
use crate::report::rules::{Case, Rule, RuleKind, none, of_row};
use crate::report::verdict::Verdict;

pub(super) const RULE: Rule = Rule {
    verdict: Verdict::MovedWithoutGradient,
    name: "moved_without_gradient",
    is_fault: false,
    kind: RuleKind::Health,
    decide,
    reason: none,
    advice: "",
};

fn decide(case: &Case<'_>) -> Option<Verdict> {
    let verdict = Verdict::MovedWithoutGradient;
    of_row(case, Outcome::MovedWithoutGradient, verdict).filter(|_| !runs_away(case))
}
