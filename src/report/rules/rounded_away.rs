//! The rule for `rounded_away`.

use crate::report::evidence_table::Outcome;
use crate::report::gradient_state::GradientState;
use crate::report::history::VIEW;
use crate::report::number::significant;
use crate::report::rules::{Case, Rule, RuleKind, percent};
use crate::report::verdict::Verdict;

pub(super) const RULE: Rule = Rule {
    verdict: Verdict::RoundedAway,
    name: "rounded_away",
    is_fault: true,
    kind: RuleKind::Rest,
    decide,
    reason,
    advice: "raise the learning rate, or keep weights in a longer type (f32 for bf16 and f16, \
             which are for computing)",
};

/// An update ratio of this share of what the type resolves leaves nearly all elements as they are.
const BELOW: f64 = 0.05;

fn decide(case: &Case<'_>) -> Option<Verdict> {
    let thresholds = case.thresholds;
    // The last steps of a schedule are tiny for all variables alike.
    let scheduled = case
        .context
        .collapse
        .is_some_and(|collapse| collapse < thresholds.stalled_others.ln());
    let open = case.outcome == Outcome::Learning
        && case.history.steps >= case.window()
        && !scheduled
        && !case.is_redundant()
        && !case.is_vanished()
        && !case.is_at_rest()
        && !is_view(case);
    let holds = open && (by_last_place(case) || by_size(case) || by_flicker(case));
    holds.then_some(Verdict::RoundedAway)
}

/// Now and then an element changes by the smallest step of its type, and its gradient is there all
/// the time.
fn by_flicker(case: &Case<'_>) -> bool {
    let thresholds = case.thresholds;
    case.history.has_flickered(thresholds.one_ulp_fraction)
        && case.history.sums.moves * 4 <= thresholds.window
        && case.gradient == GradientState::NonZero
        && case.history.has_gradient_at_rest()
}

/// Few elements change, and those by the smallest step of their type.
fn by_last_place(case: &Case<'_>) -> bool {
    let (sums, thresholds) = (&case.history.sums, case.thresholds);
    // What has been found is found until it is clearly over.
    let slack = if case.current == Verdict::RoundedAway {
        1.4
    } else {
        1.0
    };
    let limit = slack * thresholds.rounded_changed_fraction;
    let few = sums.changed().is_some_and(|changed| changed <= limit);
    let last_place = sums
        .one_ulp()
        .is_some_and(|share| share >= thresholds.one_ulp_fraction / slack);
    few && last_place
}

/// The change is far below what the type can hold: only elements next to zero show any.
fn by_size(case: &Case<'_>) -> bool {
    const FEW: f64 = 0.1;
    let sums = &case.history.sums;
    let few = sums.changed().is_some_and(|changed| changed < FEW);
    let limit = (BELOW * case.facts.half_ulp()).ln();
    few && !case.is_embedding() && sums.log_ratio().is_some_and(|ratio| ratio < limit)
}

/// Each element changes now and then: a short view of weights that are kept in a longer type.
fn is_view(case: &Case<'_>) -> bool {
    let own = case.history.spread().map(|spread| spread > VIEW);
    case.context.is_view || own.unwrap_or_default()
}

fn reason(case: &Case<'_>) -> String {
    let sums = &case.history.sums;
    if sums.moves == 0 {
        let factor = case
            .history
            .sums
            .log_gradient()
            .zip(case.context.learning_rate);
        let factor = factor
            .map(|(gradient, rate)| case.norm() * case.facts.half_ulp() / (rate * gradient.exp()));
        return format!(
            "{}, and the rate times it is below half a unit in the last place of the weights{}",
            case.gradient_text(),
            wanted(factor, case.context.learning_rate)
        );
    }
    // Half of the elements of a normal variable lie above 0.67 of its spread, and a share p next to
    // zero that 1.25 p of it holds changes now.
    let factor = sums.changed().filter(|&changed| changed > 0.0);
    let one_ulp = sums.one_ulp().map_or_else(String::new, |share| {
        format!(
            ", and {} of these by one unit in the last place",
            percent(Some(share))
        )
    });
    format!(
        "only {} of the elements change{one_ulp}{}",
        percent(sums.changed()),
        wanted(
            factor.map(|changed| (0.54 / changed).max(1.0)),
            case.context.learning_rate
        )
    )
}

/// The rate at which half of the elements would change.
fn wanted(factor: Option<f64>, rate: Option<f64>) -> String {
    match (factor, rate) {
        (None, _) => String::new(),
        (Some(factor), Some(rate)) if rate > 0.0 => format!(
            "; at a learning rate of {} half of them would",
            significant(rate * factor)
        ),
        (Some(factor), _) => format!(
            "; at {} times the learning rate half of them would",
            significant(factor)
        ),
    }
}
