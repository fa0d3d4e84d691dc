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
        && case.is_vanished()
        && !is_outgrown(case)
        // What begins at zero opens up the layers behind it.
        && case.history.gradient_growth()? < 2.0;
    holds.then_some(Verdict::Vanishing)
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
