//! Which remarks a case deserves.

use crate::report::evidence_table::{Moved, Outcome, Rest};
use crate::report::gradient_state::GradientState;
use crate::report::remark::Remark;
use crate::report::rules::{Case, drift, is_large, is_out_of_band};
use crate::report::verdict::Verdict;

/// Steps over which next to nothing must have moved.
pub(crate) const SLOW_STEPS: u64 = 100;

/// An update ratio that trains.
const USUAL_RATIO: f64 = 1e-4;

/// What is to be said beside the verdict, of what the case shows.
pub(crate) fn remarks(case: &Case<'_>, verdict: Verdict, still_units: Option<f64>) -> Vec<Remark> {
    let found = [
        not_moved_yet(case, verdict),
        converged(case, verdict),
        hardly_moving(case, verdict),
        gradient_not_seen(case, verdict),
        sizes(case, verdict),
        poor_init(case, verdict),
        scale_drift(case, verdict),
        dead_units(verdict, still_units),
    ];
    found.into_iter().flatten().collect()
}

fn not_moved_yet(case: &Case<'_>, verdict: Verdict) -> Option<Remark> {
    let calls = case.context.still;
    let waits = verdict == Verdict::Undecided
        && case.signs.rest != Rest::Moves
        && case.signs.moved == Moved::Unknown
        && !case.context.has_moved
        && calls >= case.window();
    waits.then_some(Remark::NotMovedYet { calls })
}

fn converged(case: &Case<'_>, verdict: Verdict) -> Option<Remark> {
    let holds = verdict == Verdict::Undecided
        && matches!(
            case.outcome,
            Outcome::NotUpdated | Outcome::DeadGradient | Outcome::ZeroGradient
        )
        && case.is_at_rest();
    let gradient_fall = case.history.trail.fall().filter(|_| holds)?;
    Some(Remark::Converged { gradient_fall })
}

fn hardly_moving(case: &Case<'_>, verdict: Verdict) -> Option<Remark> {
    let rests = matches!(case.outcome, Outcome::NotUpdated | Outcome::DeadGradient);
    if verdict == Verdict::Undecided && rests && case.is_redundant() {
        return Some(Remark::HardlyMoving {
            update_ratio: None,
            factor: None,
        });
    }
    let scheduled = case
        .context
        .collapse
        .is_some_and(|collapse| collapse < case.thresholds.stalled_others.ln());
    let holds = verdict == Verdict::Learning
        && case.history.slow >= SLOW_STEPS
        && !case.is_embedding()
        && !scheduled
        && !case.is_at_rest();
    let ratio = case.history.sums.log_ratio().filter(|_| holds)?.exp();
    Some(Remark::HardlyMoving {
        update_ratio: Some(ratio),
        factor: Some(USUAL_RATIO / ratio),
    })
}

fn gradient_not_seen(case: &Case<'_>, verdict: Verdict) -> Option<Remark> {
    let unseen = matches!(
        case.gradient,
        GradientState::Unseen | GradientState::Undefined
    );
    (verdict == Verdict::Learning && unseen).then_some(Remark::GradientNotSeen)
}

fn sizes(case: &Case<'_>, verdict: Verdict) -> Option<Remark> {
    let large = verdict == Verdict::Learning && is_large(case);
    let ratio = case.history.sums.log_ratio().filter(|_| large)?;
    Some(Remark::LargeUpdates {
        update_ratio: ratio.exp(),
    })
}

fn poor_init(case: &Case<'_>, verdict: Verdict) -> Option<Remark> {
    let scale = is_out_of_band(case).filter(|_| verdict == Verdict::Learning)?;
    Some(Remark::PoorInit { scale })
}

fn scale_drift(case: &Case<'_>, verdict: Verdict) -> Option<Remark> {
    let (from, to) = drift(case).filter(|_| verdict == Verdict::Learning)?;
    Some(Remark::ScaleDrift { from, to })
}

fn dead_units(verdict: Verdict, still_units: Option<f64>) -> Option<Remark> {
    let share = still_units.filter(|&share| share > 0.0 && verdict == Verdict::Learning)?;
    Some(Remark::DeadUnits { share })
}
