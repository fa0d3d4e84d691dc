//! What is known of one variable beside its newest elements.

use std::ops::Range;

use crate::analysis::origin::Origin;
use crate::analysis::points::{HistogramPoint, ScalarPoint};
use crate::analysis::tags::VariableTags;
use crate::analysis::weight_map::Motion;
use crate::capture::buffer::Buffer;
use crate::capture::plan::Variable;
use crate::kernel::histogram::Curve;
use crate::kernel::{Analysis, Elements};
use crate::model::measured::Measured;
pub(crate) use crate::model::measured::RATIO_FLOOR;
use crate::model::stats::Moments;
use crate::model::variable_info::Role;
use crate::report::facts::reference_norm;
use crate::report::history::{Observation, Seen};
use crate::source::first_values::FirstValues;

/// What is known of a variable beside its newest elements.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) tags: Option<VariableTags>,
    /// Where it lies in the newest buffer.
    pub(crate) place: Option<Range<usize>>,
    /// Where it lay in the buffer before.
    pub(crate) place_before: Option<Range<usize>>,
    pub(crate) origin: Option<Origin>,
    /// The step of the first snapshot that had it.
    pub(crate) first_step: Option<i64>,
    /// Some bit of a watched variable changed; `None` without a snapshot before.
    pub(crate) watched_moved: Option<bool>,
    /// See [`Observation::follows`].
    pub(crate) follows: Option<bool>,
    /// See [`Observation::is_copy`].
    pub(crate) is_copy: Option<bool>,
    /// See [`Observation::has_equal_rows`].
    pub(crate) has_equal_rows: Option<bool>,
    /// Of the newest snapshot.
    pub(crate) analysis: Option<Analysis>,
    pub(crate) measured: Measured,
}

/// Whether all rows are equal but for a few: where the gates of a cell lie behind each other, as
/// many as there are of these. `None` where there is one row.
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
            is_copy: self.is_copy,
            has_equal_rows: self.has_equal_rows,
            moved: change
                .map(|change| change.changed > 0)
                .or(self.watched_moved),
            ..Observation::default()
        }
    }

    /// What the newest step did, for the map of weights.
    pub(crate) fn motion(&self, variable: &Variable) -> Motion {
        let logged = self.analysis.as_ref().filter(|_| variable.is_logged());
        if logged.is_some_and(|analysis| analysis.weights.nonfinite() > 0) {
            return Motion::NonFinite;
        }
        let change = logged.and_then(|analysis| analysis.change.as_ref());
        match change
            .map(|change| change.changed > 0)
            .or(self.watched_moved)
        {
            None => Motion::Unseen,
            Some(true) => Motion::Moved(self.measured.update_ratio_log10()),
            Some(false) if variable.info.role == Role::Frozen => Motion::Frozen,
            Some(false) => Motion::Still,
        }
    }

    /// What the newest snapshot says of this variable.
    pub(crate) fn analysis(&self) -> Option<&Analysis> {
        self.analysis.as_ref()
    }

    /// The numbers of the newest snapshot; `None` where it was not analysed.
    pub(crate) fn measured(&self) -> Option<&Measured> {
        self.analysis.as_ref().map(|_| &self.measured)
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

    /// Takes what the kernel found. `sample` is memory for a sample of the elements, whatever it
    /// holds.
    pub(crate) fn take(
        &mut self,
        mut analysis: Analysis,
        elements: Elements<'_>,
        seed: u64,
        variable: &Variable,
        sample: &mut Vec<f64>,
        first_values: Option<&dyn FirstValues>,
    ) {
        if analysis.weights.max_abs() > Some(f32::MAX.into()) {
            analysis.weights = in_f32_range(elements);
        }
        let analysis = analysis.scaled(variable.scale());
        let change = analysis.change.as_ref();
        let norm_before = change.map(|_| self.measured.values.norm());
        if let Some(origin) = &mut self.origin {
            origin.widen(variable);
        }
        if self
            .origin
            .as_ref()
            .is_none_or(|origin| !origin.fits(variable))
        {
            let origin = Origin::of(elements, seed, variable);
            self.origin = Some(origin.beginning_at(first_values, variable));
        }
        let trace = self
            .origin
            .as_mut()
            .map(|origin| origin.follow(elements, variable.all, change.is_some(), sample))
            .unwrap_or_default();
        self.measured = Measured {
            values: analysis.weights,
            change: analysis.change,
            norm_before,
            drift: trace.drift,
            reference: reference_norm(&variable.info.shape),
            cosine: trace.cosine,
            changed_since: trace.changed_since,
        };
        self.has_equal_rows = has_equal_rows(elements, variable.rows());
        self.analysis = Some(analysis);
    }

    pub(crate) fn scalars(&self, points: &mut Vec<ScalarPoint>) {
        let (Some(tags), Some(_)) = (&self.tags, &self.analysis) else {
            return;
        };
        let measured = &self.measured;
        for (row, tag) in &tags.scalars {
            points.extend((row.value)(measured).map(|value| ScalarPoint::new(tag, value)));
        }
        if let (Some((low, high)), Some(std)) = (&tags.band, measured.values.std()) {
            points.push(ScalarPoint::new(low, measured.values.mean - std));
            points.push(ScalarPoint::new(high, measured.values.mean + std));
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

/// Moments where what is beyond `f32` counts as infinite: TensorBoard keeps scalars as `f32`, and
/// the squares of such elements soon overflow, so that they would have no norm.
fn in_f32_range(elements: Elements<'_>) -> Moments {
    let mut moments = Moments::default();
    for value in (0..elements.len()).map(|index| elements.get(index)) {
        let stored = f64::from(value as f32);
        moments.add(if stored.is_finite() { value } else { stored });
    }
    moments
}

pub(crate) fn elements<'a>(
    variable: &Variable,
    buffer: &'a Buffer,
    place: Option<Range<usize>>,
) -> Option<Elements<'a>> {
    Elements::from_bytes(variable.info.dtype, buffer.bytes().get(place?)?)
}
