//! The rule for `erratic`.

use crate::report::evidence_table::Outcome;
use crate::report::rules::{Case, Rule, RuleKind};
use crate::report::verdict::Verdict;

pub(super) const RULE: Rule = Rule {
    verdict: Verdict::Erratic,
    name: "erratic",
    is_fault: true,
    kind: RuleKind::Size,
    decide,
    reason,
    advice: "lower the learning rate, or raise the batch size",
};

fn decide(case: &Case<'_>) -> Option<Verdict> {
    let (sums, thresholds) = (&case.history.sums, case.thresholds);
    let (cosine, count) = sums.cosine()?;
    let holds = case.outcome == Outcome::Learning
        && case.is_matrix()
        && case.is_warm()
        && count * 4 >= thresholds.window * 3
        && cosine < thresholds.erratic_cosine
        && sums.log_ratio()? > thresholds.erratic_update_ratio.ln();
    holds.then_some(Verdict::Erratic)
}

fn reason(case: &Case<'_>) -> String {
    format!(
        "mean cosine of successive changes {:.2} at an update ratio of {}",
        case.history
            .sums
            .cosine()
            .map_or(f64::NAN, |(cosine, _)| cosine),
        case.ratio_text()
    )
}
