//! The rule for `exploding`.

use crate::report::rules::{Case, Rule, RuleKind};
use crate::report::verdict::Verdict;

pub(super) const RULE: Rule = Rule {
    verdict: Verdict::Exploding,
    name: "exploding",
    is_fault: true,
    kind: RuleKind::Size,
    decide,
    reason,
    advice: "lower the learning rate or warm it up, clip gradients, normalise the input",
};

/// Steps of the first ten that were as large as the variable, where it has come out far larger than
/// any initialisation.
const EARLY_JUMPS: u32 = 2;

/// How much larger.
const OUTGROWN: f64 = 3.0;

fn decide(case: &Case<'_>) -> Option<Verdict> {
    if !case.is_matrix() || !case.is_open() {
        return None;
    }
    let jumps = (case.history.huge & 0b1_1111).count_ones() >= 3;
    let reference = case.facts.reference_norm();
    let first = case.history.first?.norm().max(reference);
    let growth = case.thresholds.exploding_growth;
    let grows = case.norm() > growth * first && case.history.growth()? > 1.5;
    (jumps || grows || is_outgrown(case)).then_some(Verdict::Exploding)
}

/// The first step of all, which is the largest, may lie before the first call.
pub(super) fn is_outgrown(case: &Case<'_>) -> bool {
    case.is_matrix()
        && case.history.early_jumps >= EARLY_JUMPS
        && case.thresholds.exploding_update_ratio.is_finite()
        && case.norm() > OUTGROWN * case.facts.reference_norm()
}

fn reason(case: &Case<'_>) -> String {
    let history = case.history;
    match history.jumps {
        0 => format!(
            "its norm is {:.1} times the first",
            std::iter::zip(history.newest, history.first)
                .map(|(now, first)| now.norm() / first.norm())
                .next()
                .unwrap_or(f64::NAN)
        ),
        1 => "one step was nearly as large as the variable itself".into(),
        jumps => format!("{jumps} steps were nearly as large as the variable itself"),
    }
}
