//! What the kernel finds out about a tensor.

use crate::kernel::histogram::FineHistogram;
use crate::model::stats::{Change, Moments};

/// What one call of the kernel found.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Analysis {
    pub(crate) weights: Moments,
    pub(crate) weight_histogram: Option<FineHistogram>,
    /// Against the previous state; `None` without one.
    pub(crate) change: Option<Change>,
    pub(crate) delta_histogram: Option<FineHistogram>,
    /// A bit for each row, the first the lowest: it has a changed element. Only where some rows
    /// have and some have not.
    pub(crate) rows_changed: Option<Box<[u64]>>,
}

impl Analysis {
    /// Adds the analysis of further elements of the same tensor.
    pub(crate) fn merge(&mut self, other: &Analysis) {
        fn join<T>(ours: &mut Option<T>, theirs: &Option<T>, merge: impl Fn(&mut T, &T)) {
            if let (Some(ours), Some(theirs)) = (ours, theirs) {
                merge(ours, theirs);
            }
        }
        self.weights.merge(&other.weights);
        join(
            &mut self.weight_histogram,
            &other.weight_histogram,
            FineHistogram::merge,
        );
        join(&mut self.change, &other.change, Change::merge);
        join(
            &mut self.delta_histogram,
            &other.delta_histogram,
            FineHistogram::merge,
        );
    }

    /// The analysis of a whole of which the elements seen are an even sample: counts and sums grow
    /// by `factor`, means and extremes stay.
    pub(crate) fn scaled(mut self, factor: f64) -> Analysis {
        if factor != 1.0 {
            self.weights.scale(factor);
            if let Some(change) = &mut self.change {
                change.scale(factor);
            }
            let histograms = [&mut self.weight_histogram, &mut self.delta_histogram];
            for histogram in histograms.into_iter().flatten() {
                histogram.scale(factor);
            }
        }
        self
    }
}
