//! The rule for `exploding`.

use crate::report::evidence_table::Outcome;
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

/// What large steps in the warm-up have made of a variable that they blow up.
const BLOWN_UP: f64 = 1.5;

fn decide(case: &Case<'_>) -> Option<Verdict> {
    let holds = match case.outcome {
        _ if !case.is_matrix() => false,
        Outcome::MovedWithoutGradient => runs_away(case),
        _ if !case.is_open() => false,
        _ => {
            let growth = case.thresholds.exploding_growth;
            jumps(case) || grows(case, growth, 1.5) || is_outgrown(case)
        }
    };
    holds.then_some(Verdict::Exploding)
}

/// Step after step is as large as the variable. The first ones may be where it begins far from
/// where it belongs; then it does not grow by them.
fn jumps(case: &Case<'_>) -> bool {
    let history = case.history;
    let is_over = history.steps > case.thresholds.warm_up.into();
    (history.huge & 0b1_1111).count_ones() >= 3
        && (is_over || growth(case).is_some_and(|growth| growth > BLOWN_UP))
}

/// The norm against the first one, or what He's spread gives where that is more.
fn growth(case: &Case<'_>) -> Option<f64> {
    let first = case.history.first?.norm().max(case.facts.reference_norm());
    Some(case.norm() / first)
}

/// It has grown so many times, and over the window by this factor.
fn grows(case: &Case<'_>, times: f64, lately: f64) -> bool {
    growth(case).is_some_and(|growth| growth > times)
        && case.history.growth().is_some_and(|growth| growth > lately)
}

/// A copy that follows stays near what it follows: one that has outgrown any initialisation and
/// goes on does not.
pub(super) fn runs_away(case: &Case<'_>) -> bool {
    const LATELY: f64 = 1.05;
    case.is_matrix()
        && case.outcome == Outcome::MovedWithoutGradient
        && grows(case, OUTGROWN, LATELY)
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
