//! What is known of one variable beside its newest elements.

use std::ops::Range;

use crate::analysis::origin::Origin;
use crate::analysis::points::{HistogramPoint, ScalarPoint};
use crate::analysis::tags::{GradientStatistic, VariableTags};
use crate::capture::buffer::Buffer;
use crate::capture::plan::Variable;
use crate::kernel::histogram::Curve;
use crate::kernel::{Analysis, Elements};
use crate::options::Statistic;
use crate::report::facts::reference_norm;
use crate::report::history::{ChangedSince, Observation, Seen};

/// The floor of the logarithmic update ratio, below which nothing is worth telling apart.
pub(crate) const RATIO_FLOOR: f64 = -8.0;

/// What is known of a variable beside its newest elements.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) tags: Option<VariableTags>,
    /// Where it lies in the newest buffer.
    pub(crate) place: Option<Range<usize>>,
    /// Where it lay in the buffer before.
    pub(crate) place_before: Option<Range<usize>>,
    pub(crate) origin: Option<Origin>,
    /// Some bit of a watched variable changed; `None` without a snapshot before.
    pub(crate) watched_moved: Option<bool>,
    /// See [`Observation::follows`].
    pub(crate) follows: Option<bool>,
    /// See [`Observation::has_equal_rows`].
    pub(crate) has_equal_rows: Option<bool>,
    /// Of the newest snapshot.
    pub(crate) analysis: Option<Analysis>,
    pub(crate) measured: Measured,
}

/// The numbers that scalars, aggregates and the report share.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Measured {
    pub(crate) norm: f64,
    /// Of the snapshot before, when it can be compared.
    pub(crate) norm_before: Option<f64>,
    /// `None` as well when no element's change is finite.
    pub(crate) delta_norm: Option<f64>,
    pub(crate) changed_fraction: Option<f64>,
    /// Squared norms of w - w(0) and of w(0), scaled from the sample to all elements.
    pub(crate) drift: Option<(f64, f64)>,
    /// The norm that a fresh initialisation would have.
    reference: f64,
    /// Between this change and the one before, from a sample.
    cosine: Option<f64>,
    /// From a sample.
    changed_since: Option<ChangedSince>,
}

impl Measured {
    /// norm(delta) / norm(before); not defined for a variable that was all zero.
    pub(crate) fn update_ratio(&self) -> Option<f64> {
        ratio(self.delta_norm?, self.norm_before?)
    }

    pub(crate) fn update_ratio_log10(&self) -> Option<f64> {
        self.update_ratio().map(floored_log10)
    }

    pub(crate) fn drift(&self) -> Option<f64> {
        // What begins next to zero is far from it at once: then by what an initialisation would have given.
        const NEXT_TO_ZERO: f64 = 0.01;
        let (moved, origin) = self.drift?;
        let origin = origin.sqrt();
        let is_small = origin > 0.0 && origin < NEXT_TO_ZERO * self.reference;
        ratio(moved.sqrt(), if is_small { self.reference } else { origin })
    }
}

pub(crate) fn ratio(part: f64, whole: f64) -> Option<f64> {
    (whole > 0.0 && whole.is_finite()).then(|| part / whole)
}

pub(crate) fn floored_log10(ratio: f64) -> f64 {
    ratio.log10().max(RATIO_FLOOR)
}

/// Whether all rows are equal but for a few: where the gates of a cell lie behind each other, as many as there are of these. `None`
/// where there is one row.
fn has_equal_rows(elements: Elements<'_>, rows: usize) -> Option<bool> {
    const MANY: usize = 16;
    const BREAKS: usize = 3;
    if rows < 2 {
        return None;
    }
    let allowed = if rows >= MANY { BREAKS } else { 0 };
    Some(elements.differing_rows(rows, allowed + 1) <= allowed)
}

impl State {
    /// What the diagnosis is told, but for the gradient.
    pub(crate) fn observation(&self, variable: &Variable) -> Observation {
        let logged = self.analysis.as_ref().filter(|_| variable.is_logged());
        let change = logged.and_then(|analysis| analysis.change);
        Observation {
            seen: logged.map(|analysis| Seen {
                moments: analysis.weights,
                change,
                update_ratio: self.measured.update_ratio(),
                cosine: self.measured.cosine,
                changed_since: self.measured.changed_since,
            }),
            follows: self.follows,
            has_equal_rows: self.has_equal_rows,
            moved: change
                .map(|change| change.changed > 0)
                .or(self.watched_moved),
            ..Observation::default()
        }
    }

    /// What the newest snapshot says of this variable.
    pub(crate) fn analysis(&self) -> Option<&Analysis> {
        self.analysis.as_ref()
    }

    /// The points are made: what nobody asks for any more.
    pub(crate) fn drop_histograms(&mut self) {
        if let Some(analysis) = &mut self.analysis {
            (analysis.weight_histogram, analysis.delta_histogram) = (None, None);
        }
    }

    /// Whether a watched variable's bits changed; `None` when they cannot be compared.
    pub(crate) fn moved(&self, current: &Buffer, before: &Buffer) -> Option<bool> {
        let now = self
            .place
            .clone()
            .and_then(|place| current.bytes().get(place));
        let then = self
            .place_before
            .clone()
            .and_then(|place| before.bytes().get(place));
        now.zip(then)
            .filter(|(now, then)| now.len() == then.len())
            .map(|(now, then)| now != then)
    }

    /// Takes what the kernel found. `sample` is memory for a sample of the elements, whatever it holds.
    pub(crate) fn take(
        &mut self,
        analysis: Analysis,
        elements: Elements<'_>,
        seed: u64,
        variable: &Variable,
        sample: &mut Vec<f64>,
    ) {
        let analysis = analysis.scaled(variable.scale());
        let change = analysis.change.as_ref();
        let norm_before = change.map(|_| self.measured.norm);
        if let Some(origin) = &mut self.origin {
            origin.widen(variable);
        }
        if self
            .origin
            .as_ref()
            .is_none_or(|origin| !origin.fits(variable))
        {
            self.origin = Some(Origin::of(elements, seed, variable));
        }
        let trace = self
            .origin
            .as_mut()
            .map(|origin| origin.follow(elements, variable.all, change.is_some(), sample))
            .unwrap_or_default();
        self.measured = Measured {
            norm: analysis.weights.norm(),
            norm_before,
            delta_norm: change.and_then(|change| change.deltas.std().map(|_| change.deltas.norm())),
            changed_fraction: change.and_then(|change| change.changed_fraction()),
            drift: trace.drift,
            reference: reference_norm(&variable.shape),
            cosine: trace.cosine,
            changed_since: trace.changed_since,
        };
        self.has_equal_rows = has_equal_rows(elements, variable.rows());
        self.analysis = Some(analysis);
    }

    pub(crate) fn scalars(&self, points: &mut Vec<ScalarPoint>) {
        let (Some(tags), Some(analysis)) = (&self.tags, &self.analysis) else {
            return;
        };
        let weights = &analysis.weights;
        for (statistic, tag) in &tags.statistics {
            points.extend(
                self.statistic(*statistic)
                    .map(|value| ScalarPoint::new(tag, value)),
            );
        }
        for (statistic, tag) in &tags.gradients {
            let value = match statistic {
                GradientStatistic::Norm => weights.std().map(|_| weights.norm()),
                GradientStatistic::Std => weights.std(),
                GradientStatistic::MaxAbs => weights.max_abs(),
            };
            points.extend(value.map(|value| ScalarPoint::new(tag, value)));
        }
        if let (Some((low, high)), Some(std)) = (&tags.band, weights.std()) {
            points.push(ScalarPoint::new(low, weights.mean - std));
            points.push(ScalarPoint::new(high, weights.mean + std));
        }
        if let Some(tag) = tags.nonfinite.as_ref().filter(|_| weights.nonfinite() > 0) {
            points.push(ScalarPoint::new(tag, weights.nonfinite() as f64));
        }
    }

    /// `None` where it is not defined: no finite element, nothing to compare with, or a division by zero.
    fn statistic(&self, statistic: Statistic) -> Option<f64> {
        let analysis = self.analysis.as_ref()?;
        let (weights, change) = (&analysis.weights, analysis.change.as_ref());
        match statistic {
            Statistic::WeightMean => weights.std().map(|_| weights.mean),
            Statistic::WeightStd => weights.std(),
            Statistic::WeightNorm => weights.std().map(|_| weights.norm()),
            Statistic::WeightDeltaMean => {
                change.and_then(|change| change.deltas.std().map(|_| change.deltas.mean))
            }
            Statistic::WeightDeltaStd => change.and_then(|change| change.deltas.std()),
            Statistic::WeightDeltaMaxAbs => change.and_then(|change| change.deltas.max_abs()),
            Statistic::WeightUpdateRatioLog10 => self.measured.update_ratio_log10(),
            Statistic::WeightUpdateRatio => self.measured.update_ratio(),
            Statistic::WeightChangedFraction => self.measured.changed_fraction,
            Statistic::WeightDrift => self.measured.drift(),
        }
    }

    pub(crate) fn sample_lines(
        &self,
        variable: &Variable,
        current: &Buffer,
        before: Option<&Buffer>,
        points: &mut Vec<ScalarPoint>,
    ) {
        let Some(tags) = self.tags.as_ref().filter(|tags| !tags.samples.is_empty()) else {
            return;
        };
        let Some(elements) = elements(variable, current, Some(variable.bytes())) else {
            return;
        };
        let compared = self
            .analysis
            .as_ref()
            .is_some_and(|analysis| analysis.change.is_some());
        let before = before
            .filter(|_| compared)
            .and_then(|before| self::elements(variable, before, self.place_before.clone()));
        for sample in &tags.samples {
            let value = elements.get(sample.element);
            points.push(ScalarPoint::new(&sample.weight, value));
            if let Some(before) = before {
                points.push(ScalarPoint::new(
                    &sample.delta,
                    value - before.get(sample.element),
                ));
            }
        }
    }

    pub(crate) fn histograms(
        &self,
        rows: usize,
        curve: &mut Curve,
        points: &mut Vec<HistogramPoint>,
    ) {
        let (Some(tags), Some(analysis)) = (&self.tags, &self.analysis) else {
            return;
        };
        let sides = [
            (&tags.histogram, &analysis.weight_histogram),
            (&tags.delta_histogram, &analysis.delta_histogram),
        ];
        for side in sides {
            if let (Some(tag), Some(fine)) = side {
                let histogram = fine.to_histogram_by(rows, curve);
                points.push(HistogramPoint::new(tag, histogram));
            }
        }
    }
}

pub(crate) fn elements<'a>(
    variable: &Variable,
    buffer: &'a Buffer,
    place: Option<Range<usize>>,
) -> Option<Elements<'a>> {
    Elements::from_bytes(variable.dtype, buffer.bytes().get(place?)?)
}
