//! The rule for `identical_units`.

use crate::report::evidence_table::Outcome;
use crate::report::rules::{Case, Rule, RuleKind};
use crate::report::verdict::Verdict;

pub(super) const RULE: Rule = Rule {
    verdict: Verdict::IdenticalUnits,
    name: "identical_units",
    is_fault: true,
    kind: RuleKind::Values,
    decide,
    reason,
    advice: "initialise it at random (Xavier, He): units that begin alike get the same gradient \
             and stay alike",
};

fn decide(case: &Case<'_>) -> Option<Verdict> {
    let holds = case.outcome == Outcome::Learning && case.history.equal_rows >= case.window();
    holds.then_some(Verdict::IdenticalUnits)
}

fn reason(case: &Case<'_>) -> String {
    format!(
        "its {} units are the same, after {} steps that changed them all",
        case.facts.units(),
        case.history.equal_rows
    )
}
