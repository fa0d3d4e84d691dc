//! The rule for `undecided`.

use crate::report::rules::{Rule, RuleKind, none};
use crate::report::verdict::Verdict;

pub(super) const RULE: Rule = Rule {
    verdict: Verdict::Undecided,
    name: "undecided",
    is_fault: false,
    kind: RuleKind::Health,
    decide: |_| Some(Verdict::Undecided),
    reason: none,
    advice: "",
};
