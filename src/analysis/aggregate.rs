//! Points over many variables: the whole model, a group, a role.

use std::sync::Arc;

use crate::analysis::points::{HistogramPoint, Points, ScalarPoint};
use crate::analysis::state::{State, floored_log10, ratio};
use crate::analysis::tag_parts::{self, aggregate as name};
use crate::analysis::tags::{Aggregate, Tag};
use crate::capture::Subject;
use crate::capture::plan::Due;
use crate::kernel::histogram::{Curve, FineHistogram};
use crate::kernel::stats::{Change, Moments};

/// Adds an aggregate's points of one call.
pub(crate) fn aggregate_points(
    aggregate: &mut Aggregate,
    subject: Subject,
    states: &[State],
    due: Due,
    rows: usize,
    curve: &mut Curve,
    points: &mut Points,
) {
    let Aggregate {
        members,
        tags,
        is_model,
        histogram,
        delta_histogram,
    } = aggregate;
    let members = || members.iter().filter_map(|&member| states.get(member));
    if due.scalars {
        let mut scalar = |statistic: &str, description: &'static str, value: Option<f64>| {
            points.scalars.extend(value.map(|value| ScalarPoint {
                tag: tags.tag(statistic, description),
                value,
            }));
        };
        let whole = Whole::of(members());
        match subject {
            Subject::Weights => {
                weight_scalars(&whole, &mut scalar);
                if *is_model {
                    spread_scalars(members(), &mut scalar);
                }
            }
            Subject::Gradients => {
                let norm = whole.moments.std().map(|_| whole.moments.norm());
                scalar(name::GRADIENT_NORM, GRADIENT_NORM, norm);
                let nonfinite = whole.moments.nonfinite();
                scalar(
                    name::GRADIENT_NONFINITE,
                    NONFINITE,
                    (nonfinite > 0).then_some(nonfinite as f64),
                );
            }
        }
    }
    if due.histograms && histogram.is_some() {
        let tags = (&*histogram, &*delta_histogram);
        histograms(tags, members(), rows, curve, &mut points.histograms);
    }
}

/// All members as if they were one tensor.
#[derive(Default)]
struct Whole {
    moments: Moments,
    change: Change,
    /// Sum of the squared norms before, of those whose change has a norm.
    before: Option<f64>,
    drift: Option<(f64, f64)>,
}

impl Whole {
    fn of<'a>(members: impl Iterator<Item = &'a State>) -> Whole {
        let mut whole = Whole::default();
        for state in members {
            let Some(analysis) = state.analysis() else {
                continue;
            };
            whole.moments.merge(&analysis.weights);
            if let Some(change) = &analysis.change {
                whole.change.merge(change);
            }
            let measured = &state.measured;
            if let (Some(_), Some(norm)) = (measured.delta_norm, measured.norm_before) {
                *whole.before.get_or_insert(0.0) += norm * norm;
            }
            if let Some((moved, origin)) = state.measured.drift {
                let (all_moved, all_origin) = whole.drift.get_or_insert((0.0, 0.0));
                *all_moved += moved;
                *all_origin += origin;
            }
        }
        whole
    }
}

fn weight_scalars(whole: &Whole, scalar: &mut impl FnMut(&str, &'static str, Option<f64>)) {
    let deltas = &whole.change.deltas;
    let before = whole.before.map(f64::sqrt);
    let update = before.and_then(|before| ratio(deltas.norm(), before));
    scalar(
        name::UPDATE_RATIO_LOG10,
        UPDATE_RATIO,
        update.map(floored_log10),
    );
    scalar(
        name::CHANGED_FRACTION,
        CHANGED,
        whole.change.changed_fraction(),
    );
    scalar(name::DELTA_MAX_ABS, MAX_CHANGE, deltas.max_abs());
    scalar(
        name::WEIGHT_NORM,
        NORM,
        whole.moments.std().map(|_| whole.moments.norm()),
    );
    scalar(name::WEIGHT_STD, STD, whole.moments.std());
    scalar(
        name::DRIFT,
        DRIFT,
        whole
            .drift
            .and_then(|(moved, origin)| ratio(moved.sqrt(), origin.sqrt())),
    );
    let nonfinite = whole.moments.nonfinite();
    scalar(
        name::NONFINITE,
        NONFINITE,
        (nonfinite > 0).then_some(nonfinite as f64),
    );
}

/// How the variables of a model spread: one that stands still is lost in a sum.
fn spread_scalars<'a>(
    members: impl Iterator<Item = &'a State> + Clone,
    scalar: &mut impl FnMut(&str, &'static str, Option<f64>),
) {
    let mut ratios: Vec<f64> = members
        .clone()
        .filter_map(|state| state.measured.update_ratio_log10())
        .collect();
    ratios.sort_by(f64::total_cmp);
    for (statistic, share) in tag_parts::SPREAD {
        scalar(statistic, SPREAD, quantile(&ratios, share));
    }
    let lowest = members
        .filter_map(|state| state.measured.changed_fraction)
        .min_by(f64::total_cmp);
    scalar(tag_parts::CHANGED_FRACTION_MIN, CHANGED_MIN, lowest);
}

/// Linear interpolation between the two nearest of sorted values, as numpy does by default.
fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let position = sorted.len().checked_sub(1)? as f64 * share;
    let below = sorted.get(position.floor() as usize)?;
    let above = sorted.get(position.ceil() as usize)?;
    Some(below + (above - below) * position.fract())
}

/// Histograms over all members, for the tags that there are.
fn histograms<'a>(
    (tag, delta_tag): (&Option<Arc<Tag>>, &Option<Arc<Tag>>),
    members: impl Iterator<Item = &'a State> + Clone,
    rows: usize,
    curve: &mut Curve,
    points: &mut Vec<HistogramPoint>,
) {
    let analyses = || members.clone().filter_map(State::analysis);
    let weights = analyses().filter_map(|analysis| analysis.weight_histogram.as_ref());
    let deltas = analyses().filter_map(|analysis| analysis.delta_histogram.as_ref());
    if let (Some(tag), Some(fine)) = (tag, merged(weights)) {
        let histogram = fine.to_histogram_by(rows, curve);
        points.push(HistogramPoint::new(tag, histogram));
    }
    if let (Some(tag), Some(fine)) = (delta_tag, merged(deltas)) {
        let histogram = fine.to_histogram_by(rows, curve);
        points.push(HistogramPoint::new(tag, histogram));
    }
}

fn merged<'a>(mut fine: impl Iterator<Item = &'a FineHistogram>) -> Option<FineHistogram> {
    let mut all = fine.next()?.clone();
    fine.for_each(|one| all.merge(one));
    Some(all)
}

const UPDATE_RATIO: &str = "log10 of norm(w(t) - w(t-1)) / norm(w(t-1)) over all variables together, at least -8. About -3 \
    is healthy.";
const SPREAD: &str = "How weight_update_ratio_log10 spreads over the variables. A minimum of -8: some variable does not \
    move at all.";
const CHANGED: &str = "Share of all elements whose bits changed.";
const CHANGED_MIN: &str =
    "The lowest weight_changed_fraction of any variable. 0: some variable is not updated.";
const MAX_CHANGE: &str = "Largest absolute change of any element in one step.";
const NORM: &str = "L2 norm of all weights together.";
const STD: &str = "Population standard deviation of all weights together.";
const DRIFT: &str =
    "norm(w(t) - w(0)) / norm(w(0)) over all variables: how far training has moved the model.";
const GRADIENT_NORM: &str = "L2 norm of all gradients together, what gradient clipping looks at.";
const NONFINITE: &str = "Number of NaN and infinite elements.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_interpolate() {
        let values = [1.0, 2.0, 4.0];
        assert_eq!(quantile(&values, 0.0), Some(1.0));
        assert_eq!(quantile(&values, 0.5), Some(2.0));
        assert_eq!(quantile(&values, 0.75), Some(3.0));
        assert_eq!(quantile(&values, 1.0), Some(4.0));
        assert_eq!(quantile(&[], 0.5), None);
    }
}
