//! The rule for `scale_drift`.

use crate::report::evidence_table::Outcome;
use crate::report::number::significant;
use crate::report::rules::{Case, Rule, RuleKind};
use crate::report::verdict::Verdict;

pub(super) const RULE: Rule = Rule {
    verdict: Verdict::ScaleDrift,
    name: "scale_drift",
    is_fault: true,
    kind: RuleKind::Size,
    decide,
    reason,
    advice: "look at weight decay and the learning rate; normalise its output",
};

/// In units of 1 / sqrt(fan-in): what passes a hundredth on of what it gets.
const LOW: f64 = 0.02;
/// What begins near zero and grows into this band is on its way.
const HIGH: f64 = 5.0;

/// A spread that has changed much is a number. It is a fault where next to nothing passes the layer
/// any more, or where it grows while the model is hurt.
fn decide(case: &Case<'_>) -> Option<Verdict> {
    let (_, now) = drift(case)?;
    let harmed = now < LOW || case.context.is_hurt;
    (harmed && case.outcome == Outcome::Learning).then_some(Verdict::ScaleDrift)
}

/// The first scale and the newest, where they differ much.
pub(crate) fn drift(case: &Case<'_>) -> Option<(f64, f64)> {
    let first = case.facts.scale(&case.history.first?)?;
    let now = case.facts.scale(&case.history.newest?)?;
    let drift = case.thresholds.scale_drift;
    let grown = now > first * drift && now > HIGH;
    let shrunk = now < first / drift && now < LOW;
    let differs = first > 0.0 && (grown || shrunk);
    (differs && case.is_warm() && !case.is_embedding()).then_some((first, now))
}

fn reason(case: &Case<'_>) -> String {
    let scale = |moments| case.facts.scale(&moments).unwrap_or(f64::NAN);
    format!(
        "its standard deviation went from {} to {} / sqrt(fan-in)",
        significant(case.history.first.map_or(f64::NAN, scale)),
        significant(case.history.newest.map_or(f64::NAN, scale))
    )
}
