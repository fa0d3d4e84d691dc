//! Points over many variables: the whole model, a group, a role.

use std::sync::Arc;

use crate::analysis::aggregate_tags::Aggregate;
use crate::analysis::points::{HistogramPoint, PointBatch, ScalarPoint};
use crate::analysis::state::State;
use crate::analysis::tags::PointTag;
use crate::capture::plan::Due;
use crate::kernel::histogram::{Curve, FineHistogram};
use crate::model::measured::Measured;
use crate::model::statistic::{StatisticRow, TABLE};
use crate::model::subject::Subject;

/// Adds an aggregate's points of one call.
pub(crate) fn aggregate_points(
    aggregate: &mut Aggregate,
    subject: Subject,
    states: &[State],
    due: Due,
    rows: usize,
    curve: &mut Curve,
    points: &mut PointBatch,
) {
    let Aggregate {
        members,
        tags,
        is_model,
        histogram,
        delta_histogram,
        is_group: _,
        name: _,
    } = aggregate;
    let members = || members.iter().filter_map(|&member| states.get(member));
    if due.scalars {
        let is_of_subject =
            |row: &&StatisticRow| row.quantity.is_of_gradient() == (subject == Subject::Gradients);
        let rows = || TABLE.iter().filter(is_of_subject);
        let measured = || members().filter_map(State::measured);
        let whole = Measured::of_all(measured());
        for row in rows() {
            let Some(of) = &row.aggregate else { continue };
            let value = (row.value)(&whole);
            points.scalars.extend(value.map(|value| ScalarPoint {
                tag: tags.tag(of.tag, of.text),
                value,
            }));
        }
        for row in rows().filter(|_| *is_model) {
            let Some(spread) = &row.spread else { continue };
            let mut values: Vec<f64> = measured().filter_map(row.value).collect();
            values.sort_by(f64::total_cmp);
            for &(statistic, share) in spread.quantiles {
                let value = quantile(&values, share);
                points.scalars.extend(value.map(|value| ScalarPoint {
                    tag: tags.tag(statistic, spread.text),
                    value,
                }));
            }
        }
    }
    if due.histograms && histogram.is_some() {
        let tags = (&*histogram, &*delta_histogram);
        histograms(tags, members(), rows, curve, &mut points.histograms);
    }
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
    (tag, delta_tag): (&Option<Arc<PointTag>>, &Option<Arc<PointTag>>),
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
