//! The rule for `stalled`.

use crate::model::types::DType;
use crate::report::evidence_table::Outcome;
use crate::report::rules::not_updated::{is_constant, pinned_share};
use crate::report::rules::{Case, Rule, RuleKind};
use crate::report::verdict::Verdict;

pub(super) const RULE: Rule = Rule {
    verdict: Verdict::Stalled,
    name: "stalled",
    is_fault: true,
    kind: RuleKind::Rest,
    decide,
    reason,
    advice: "look at its group's learning rate and schedule; freeze it if that is meant",
};

/// Nearly all of its elements lie at the bounds of a clamp.
const NEARLY_PINNED: f64 = 0.9;

fn decide(case: &Case<'_>) -> Option<Verdict> {
    let (history, thresholds) = (case.history, case.thresholds);
    if !matches!(case.outcome, Outcome::Learning | Outcome::NotUpdated) {
        return None;
    }
    let peak = history.peak?;
    // A short type stops by rounding as well: that it moved before decides nothing.
    if history.sums.moves == 0 && matches!(case.facts.dtype, DType::F16 | DType::BF16) {
        return None;
    }
    let gradient = history.sums.log_gradient()? - peak.log_gradient?;
    // What has been found is found until it is clearly over.
    let slack = if case.current == Verdict::Stalled {
        3.0
    } else {
        1.0
    };
    let holds = case.is_warm()
        && !case.is_embedding()
        && !is_constant(case)
        && pinned_share(case) < NEARLY_PINNED
        && case.collapse()? < (slack * thresholds.stalled_collapse).ln()
        && case.context.collapse? > thresholds.stalled_others.ln()
        && gradient > thresholds.stalled_others.ln()
        // It waits for its turn.
        && (history.sums.moves > 0 || case.outcome == Outcome::NotUpdated);
    holds.then_some(Verdict::Stalled)
}

fn reason(case: &Case<'_>) -> String {
    let fall = case.collapse().map_or(0.0, f64::exp);
    format!(
        "its changes have shrunk to {fall:.1e} of their highest, the other variables' to {:.2}, \
         and its gradient has not ({})",
        case.context.collapse.map_or(1.0, f64::exp),
        case.gradient_text()
    )
}
