//! The rule for `vanishing`.

use crate::report::evidence_table::Outcome;
use crate::report::rules::exploding::is_outgrown;
use crate::report::rules::{Case, Rule, RuleKind};
use crate::report::verdict::Verdict;

pub(super) const RULE: Rule = Rule {
    verdict: Verdict::Vanishing,
    name: "vanishing",
    is_fault: true,
    kind: RuleKind::Gradient,
    decide,
    reason,
    advice: "use ReLU-like activations, normalisation or residual connections between it and the \
             loss",
};

fn decide(case: &Case<'_>) -> Option<Verdict> {
    let holds = matches!(case.outcome, Outcome::Learning | Outcome::NotUpdated)
        && case.is_matrix()
        && !case.is_embedding()
        && case.is_warm()
        && (case.is_vanished() || is_starved(case))
        && !is_outgrown(case)
        // What begins at zero opens up the layers behind it.
        && case.history.gradient_growth()? < 2.0;
    holds.then_some(Verdict::Vanishing)
}

/// Layer by layer less arrives: next to nothing of what the layer with the most gets, and what is
/// left does not move it while the others go on.
fn is_starved(case: &Case<'_>) -> bool {
    /// Of the update ratio of the others.
    const SHARE: f64 = 0.01;
    let limit = case.thresholds.vanishing_gradient.ln();
    let gradient = case
        .relative_gradient()
        .zip(case.context.largest_relative_gradient);
    let ratio = case.history.sums.log_ratio().zip(case.context.ratio);
    gradient.is_some_and(|(own, largest)| own < largest + limit)
        && ratio.is_some_and(|(own, others)| {
            own < case.thresholds.hardly_moving.ln() && own < others + SHARE.ln()
        })
}

fn reason(case: &Case<'_>) -> String {
    let share = std::iter::zip(case.relative_gradient(), case.context.relative_gradient)
        .map(|(own, others)| (own - others).exp())
        .next();
    format!(
        "norm(gradient) / norm(weights) is {:.1e} of that of the other layers",
        share.unwrap_or(f64::NAN)
    )
}
