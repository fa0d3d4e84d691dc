//! The rule for `frozen`.

use crate::report::evidence_table::Outcome;
use crate::report::rules::{Rule, RuleKind, none, of_row};
use crate::report::verdict::Verdict;

pub(super) const RULE: Rule = Rule {
    verdict: Verdict::Frozen,
    name: "frozen",
    is_fault: false,
    kind: RuleKind::Health,
    decide: |case| of_row(case, Outcome::Frozen, Verdict::Frozen),
    reason: none,
    advice: "",
};
