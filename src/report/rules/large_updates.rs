//! The rule for `large_updates`.

use crate::report::rules::{Case, Rule, RuleKind};
use crate::report::verdict::Verdict;

pub(super) const RULE: Rule = Rule {
    verdict: Verdict::LargeUpdates,
    name: "large_updates",
    is_fault: true,
    kind: RuleKind::Size,
    decide,
    reason,
    advice: "lower the learning rate",
};

/// Steps that go back and forth.
const TURNING: f64 = -0.3;

/// Large updates are a number. They are a fault where the weights swing or outgrow their beginning,
/// or the model is hurt.
fn decide(case: &Case<'_>) -> Option<Verdict> {
    (is_large(case) && harm(case).is_some()).then_some(Verdict::LargeUpdates)
}

fn harm(case: &Case<'_>) -> Option<&'static str> {
    const OUTGROWN: f64 = 3.0;
    let sums = &case.history.sums;
    let turns = sums.cosine().is_some_and(|(cosine, _)| cosine < TURNING);
    let first = case.history.first?.norm().max(case.facts.reference_norm());
    if turns {
        Some("successive steps undo each other")
    } else if case.norm() > OUTGROWN * first {
        Some("and its norm has grown to several times the first")
    } else if case.context.is_hurt {
        Some("and steps as large as the weights, or dead gradients, were seen")
    } else {
        None
    }
}

/// Each step of the window was large.
pub(crate) fn is_large(case: &Case<'_>) -> bool {
    let sums = &case.history.sums;
    let always = sums.large == sums.steps && sums.steps >= case.thresholds.window;
    always && case.is_matrix() && !case.is_embedding() && case.is_warm() && case.is_open()
}

fn reason(case: &Case<'_>) -> String {
    format!(
        "update ratio {} over {} steps, {}",
        case.ratio_text(),
        case.history.sums.steps,
        harm(case).unwrap_or_default()
    )
}
