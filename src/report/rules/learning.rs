//! The rule for `learning`.

use crate::report::evidence_table::Outcome;
use crate::report::rules::{Rule, RuleKind, none, of_row};
use crate::report::verdict::Verdict;

pub(super) const RULE: Rule = Rule {
    verdict: Verdict::Learning,
    name: "learning",
    is_fault: false,
    kind: RuleKind::Health,
    decide: |case| of_row(case, Outcome::Learning, Verdict::Learning),
    reason: none,
    advice: "",
};
