//! The PR Curves dashboard: precision and recall at evenly spaced thresholds.

use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::sync::{Arc, OnceLock};

use prost::Message;

use crate::error::{Error, Result};
use crate::kernel::{Elements, Kernels};
use crate::model::plugin::Plugin;
use crate::proto::summary::value;
use crate::proto::{DataType, PrCurvePluginData};
use crate::source::copied::CopiedValues;
use crate::source::element_source::ElementLayout;
use crate::source::values::{ValueSource, Values};
use crate::summary::Payload;

/// What errors call it.
const KIND: &str = "PR curve";

/// Thresholds of a curve: at least both ends of the range.
const THRESHOLDS: RangeInclusive<usize> = 2..=1000;

/// As many as TensorBoard's own writer takes.
const DEFAULT_THRESHOLDS: usize = 201;

/// Classes of one call at most: each has a tag of its own.
const CLASSES: usize = 1000;

/// How far a score may lie beyond 0 to 1 by rounding; it counts as the nearest one within.
const ROUNDING: f64 = 1e-3;

/// What precision and recall are divided by at least, as in TensorBoard's own writer.
const LEAST_COUNT: f64 = 1e-7;

/// How well scores separate two classes: what [`Logger::log_pr_curve`](crate::Logger::log_pr_curve)
/// takes, and, with the scores of several classes,
/// [`Logger::log_pr_curves`](crate::Logger::log_pr_curves).
///
/// ```
/// use tch_tensorboard::PrCurve;
///
/// let (labels, scores) = ([true, false, true], [0.9_f32, 0.4, 0.3]);
/// let curve = PrCurve::new(&labels, &scores).thresholds(101);
/// # let _ = curve;
/// ```
pub struct PrCurve<'a> {
    input: PrInput<'a>,
    thresholds: usize,
}

enum PrInput<'a> {
    Scores {
        labels: ValueSource<'a>,
        scores: ValueSource<'a>,
        weights: Option<ValueSource<'a>>,
    },
    Counts([&'a [u64]; 4]),
}

impl<'a> PrCurve<'a> {
    /// A curve of scores from 0 to 1, such as a sigmoid gives, and of the true labels: 1 or `true`
    /// where the class is there, 0 or `false` where it is not; one between is a share of both. Both
    /// are tensors or slices of as many elements. A score of NaN is left out.
    pub fn new<L: Values + ?Sized, S: Values + ?Sized>(
        labels: &'a L,
        scores: &'a S,
    ) -> PrCurve<'a> {
        let input = PrInput::Scores {
            labels: labels.source(),
            scores: scores.source(),
            weights: None,
        };
        PrCurve {
            input,
            thresholds: DEFAULT_THRESHOLDS,
        }
    }

    /// A curve of counts that are known: true positives, false positives, true negatives and false
    /// negatives, one for each threshold from 0 to 1. Counts are exact up to 2^53.
    pub fn from_counts(
        true_positives: &'a [u64],
        false_positives: &'a [u64],
        true_negatives: &'a [u64],
        false_negatives: &'a [u64],
    ) -> PrCurve<'a> {
        PrCurve {
            input: PrInput::Counts([
                true_positives,
                false_positives,
                true_negatives,
                false_negatives,
            ]),
            thresholds: true_positives.len(),
        }
    }

    /// How many thresholds from 0 to 1, both included, 2 to 1000. Default: 201. A score counts as
    /// positive at a threshold that it reaches. All curves of a tag have as many.
    #[must_use]
    pub fn thresholds(mut self, thresholds: usize) -> PrCurve<'a> {
        if let PrInput::Scores { .. } = self.input {
            self.thresholds = thresholds;
        }
        self
    }

    /// How much each element counts. Default: 1.
    #[must_use]
    pub fn weights<W: Values + ?Sized>(mut self, each: &'a W) -> PrCurve<'a> {
        if let PrInput::Scores { weights, .. } = &mut self.input {
            *weights = Some(each.source());
        }
        self
    }

    /// Looks at lengths and types, without copying anything. `classes` is how many scores belong to
    /// each label; `None` for one of two classes.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] for what is no curve, [`Error::UnsupportedTensor`] for what cannot
    /// be read.
    pub(crate) fn inspect(self, tag: &str, classes: Option<usize>) -> Result<InspectedCurve<'a>> {
        let invalid = |reason: String| Error::value(KIND, tag, reason);
        if !THRESHOLDS.contains(&self.thresholds) {
            let (least, most) = THRESHOLDS.into_inner();
            let reason = format!("has {} thresholds; take {least} to {most}", self.thresholds);
            return Err(invalid(reason));
        }
        let (labels, scores, weights) = match self.input {
            PrInput::Counts(counts) => {
                let lengths = counts.map(<[u64]>::len);
                if lengths != [self.thresholds; 4] {
                    return Err(invalid(format!(
                        "has {lengths:?} counts of TP, FP, TN and FN; give one of each kind for \
                         each threshold"
                    )));
                }
                if classes.is_some() {
                    let reason = "has counts, which are those of one class; log each by \
                                  log_pr_curve";
                    return Err(invalid(reason.into()));
                }
                return Ok(InspectedCurve::Counts(counts));
            }
            PrInput::Scores {
                labels,
                scores,
                weights,
            } => (labels, scores, weights),
        };
        let names = ["labels", "scores", "weights"];
        let parts = [Some(labels), Some(scores), weights];
        let parts = parts.into_iter().flatten().map(|source| {
            let layout = source.elements().inspect(tag)?;
            Ok((source, layout))
        });
        let parts: Vec<(ValueSource<'a>, ElementLayout)> = parts.collect::<Result<_>>()?;
        let lengths: Vec<usize> = parts.iter().map(|(_, layout)| layout.elements()).collect();
        let labels = lengths.first().copied().unwrap_or_default();
        let scores = labels.checked_mul(classes.unwrap_or(1));
        let is_fitting = lengths.get(1).copied() == scores
            && lengths.get(2).is_none_or(|weights| *weights == labels);
        if labels == 0 {
            return Err(invalid("has no labels; log it when there are some".into()));
        }
        if !is_fitting {
            let found: Vec<String> = std::iter::zip(&lengths, names)
                .map(|(length, name)| format!("{length} {name}"))
                .collect();
            let wanted = match classes {
                None => "give one score for each label".to_owned(),
                Some(classes) => format!("give {classes} scores for each label, one for a class"),
            };
            return Err(invalid(format!("has {}; {wanted}", found.join(" and "))));
        }
        Ok(InspectedCurve::Scores {
            parts,
            thresholds: self.thresholds,
        })
    }
}

impl std::fmt::Debug for PrCurve<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = formatter.debug_struct("PrCurve");
        shown.field("thresholds", &self.thresholds);
        shown.finish_non_exhaustive()
    }
}

/// Names of several classes: at least one, not too many, none empty, none twice.
///
/// # Errors
/// [`Error::InvalidValue`].
pub(crate) fn check_classes(tag: &str, names: &[&str]) -> Result<()> {
    let reason = match names {
        [] => "has no names of classes; give one for each column of the scores".to_owned(),
        _ if names.len() > CLASSES => format!(
            "has {} classes, each a tag; log the {CLASSES} that matter at most",
            names.len()
        ),
        _ if names.contains(&"") => "has a class without a name, which its tag ends in".to_owned(),
        _ => {
            let mut known = HashSet::new();
            match names.iter().find(|name| !known.insert(**name)) {
                Some(name) => format!("has two classes {name:?}; give each a name of its own"),
                None => return Ok(()),
            }
        }
    };
    Err(Error::value(KIND, tag, reason))
}

/// A curve that can be logged.
pub(crate) enum InspectedCurve<'a> {
    Counts([&'a [u64]; 4]),
    Scores {
        /// Labels, scores, and perhaps weights.
        parts: Vec<(ValueSource<'a>, ElementLayout)>,
        thresholds: usize,
    },
}

impl InspectedCurve<'_> {
    /// Bytes that a copy takes.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            InspectedCurve::Counts(counts) => size_of_val(counts[0]).saturating_mul(4),
            InspectedCurve::Scores { parts, .. } => {
                parts.iter().map(|(_, layout)| layout.bytes()).sum()
            }
        }
    }

    /// The curve of one class, or one of each of `classes`. The first answers for the memory.
    ///
    /// # Errors
    /// See [`CopiedValues::of`].
    pub(crate) fn copy(self, tag: &str, classes: Option<usize>) -> Result<Vec<PrPayload>> {
        let bytes = self.bytes();
        let (parts, thresholds) = match self {
            InspectedCurve::Counts(counts) => {
                let number = |count: &u64| *count as f64;
                return Ok(vec![PrPayload {
                    thresholds: counts[0].len(),
                    input: PrCopy::Counts(counts.map(|each| each.iter().map(number).collect())),
                    bytes,
                }]);
            }
            InspectedCurve::Scores { parts, thresholds } => (parts, thresholds),
        };
        let copied = parts
            .iter()
            .map(|(source, layout)| CopiedValues::of(tag, source.elements(), layout));
        let scores = Arc::new(CopiedScores {
            parts: copied.collect::<Result<_>>()?,
            classes,
            samples: OnceLock::new(),
        });
        let curve = |class: Option<usize>| PrPayload {
            thresholds,
            input: PrCopy::Scores {
                scores: scores.clone(),
                class,
            },
            bytes: if class.unwrap_or(0) == 0 { bytes } else { 0 },
        };
        Ok(match classes {
            None => vec![curve(None)],
            Some(classes) => (0..classes).map(|class| curve(Some(class))).collect(),
        })
    }
}

/// Copies that wait for the worker.
enum PrCopy {
    Counts([Vec<f64>; 4]),
    Scores {
        scores: Arc<CopiedScores>,
        /// The column; `None` for scores of two classes.
        class: Option<usize>,
    },
}

/// What the curves of one call are of.
struct CopiedScores {
    /// Labels, scores, and perhaps weights.
    parts: Vec<CopiedValues>,
    /// How many columns the scores have: labels are numbers of classes then.
    classes: Option<usize>,
    /// Made by the curve that comes first.
    samples: OnceLock<Result<PrSamples>>,
}

/// Labels that are right, and how much each counts.
struct PrSamples {
    labels: Vec<f64>,
    /// `None` for all alike.
    weights: Option<Vec<f64>>,
}

impl CopiedScores {
    /// Every `step`-th number of a part from `start` on.
    fn numbers(&self, part: usize, start: usize, step: usize) -> Option<Vec<f64>> {
        let part = self.parts.get(part)?;
        let elements = Elements::from_bytes(part.dtype(), part.as_bytes())?;
        Some(elements.to_f64s(start, step))
    }

    /// # Errors
    /// [`Error::InvalidValue`] for labels and weights that mean nothing.
    fn samples(&self, tag: &str) -> Result<&PrSamples> {
        let samples = self.samples.get_or_init(|| self.checked_samples(tag));
        samples.as_ref().map_err(Clone::clone)
    }

    fn checked_samples(&self, tag: &str) -> Result<PrSamples> {
        let labels = self.numbers(0, 0, 1).unwrap_or_default();
        let is_label = |label: &f64| match self.classes {
            Some(classes) => (0.0..classes as f64).contains(label) && label.fract() == 0.0,
            None => (0.0..=1.0).contains(label),
        };
        if let Some(label) = labels.iter().find(|label| !is_label(label)) {
            let wanted = match self.classes {
                Some(classes) => format!("classes count from 0 to {}", classes - 1),
                None => "take 1 and 0, or log_pr_curves for numbers of classes".to_owned(),
            };
            let reason = format!("has a label of {label}; {wanted}");
            return Err(Error::value(KIND, tag, reason));
        }
        let weights = self.numbers(2, 0, 1);
        let is_weight = |weight: &f64| weight.is_finite() && *weight >= 0.0;
        let mut wrong = weights.iter().flatten().filter(|weight| !is_weight(weight));
        if let Some(weight) = wrong.next() {
            let reason = format!("has a weight of {weight}; take finite ones from 0 on");
            return Err(Error::value(KIND, tag, reason));
        }
        Ok(PrSamples { labels, weights })
    }
}

/// See the module.
pub(crate) struct PrPayload {
    thresholds: usize,
    input: PrCopy,
    bytes: usize,
}

impl Payload for PrPayload {
    fn plugin(&self) -> Plugin {
        Plugin::PrCurves
    }

    fn bytes(&self) -> usize {
        self.bytes
    }

    fn content(&self) -> Vec<u8> {
        let content = PrCurvePluginData {
            num_thresholds: u32::try_from(self.thresholds).unwrap_or_default(),
            ..Default::default()
        };
        content.encode_to_vec()
    }

    fn into_value(self: Box<Self>, tag: &str, _: &mut Kernels) -> Result<Option<value::Value>> {
        let [tp, fp, tn, fns] = match self.input {
            PrCopy::Counts(counts) => counts,
            PrCopy::Scores { scores, class } => counts(tag, &scores, class, self.thresholds)?,
        };
        let share = |others: &[f64]| -> Vec<f64> {
            let both = std::iter::zip(&tp, others);
            both.map(|(tp, other)| tp / (tp + other).max(LEAST_COUNT))
                .collect()
        };
        let rows = [share(&fp), share(&fns)];
        let rows = [&tp, &fp, &tn, &fns, &rows[0], &rows[1]];
        // Counts beyond 2^24 are exact in this type only; both loaders take it.
        let content = rows.into_iter().flatten();
        let content = content.flat_map(|number| number.to_le_bytes()).collect();
        let shape = [6, self.thresholds];
        Ok(Some(super::tensor(DataType::DtDouble, &shape, content)))
    }
}

/// True and false positives, true and false negatives at each threshold.
fn counts(
    tag: &str,
    copied: &CopiedScores,
    class: Option<usize>,
    thresholds: usize,
) -> Result<[Vec<f64>; 4]> {
    let PrSamples { labels, weights } = copied.samples(tag)?;
    let columns = copied.classes.unwrap_or(1);
    let scores = copied.numbers(1, class.unwrap_or(0), columns);
    let mut weights = weights.iter().flatten();
    let steps = (thresholds - 1) as f64;
    let mut buckets = [vec![0.0; thresholds], vec![0.0; thresholds]];
    for (&label, score) in labels.iter().zip(scores.unwrap_or_default()) {
        let weight = weights.next().copied().unwrap_or(1.0);
        let label = match class {
            // The class of each is known by its number.
            Some(class) => f64::from(u8::from(label == class as f64)),
            None => label,
        };
        if score.is_nan() {
            continue;
        }
        if !(-ROUNDING..=1.0 + ROUNDING).contains(&score) {
            let reason = format!(
                "has a score of {score}; scores are from 0 to 1: apply a sigmoid or softmax first"
            );
            return Err(Error::value(KIND, tag, reason));
        }
        // Exact for f32: a product of 24 and 10 bits.
        let bucket = (score.clamp(0.0, 1.0) * steps) as usize;
        for (buckets, share) in buckets.iter_mut().zip([label, 1.0 - label]) {
            if let Some(bucket) = buckets.get_mut(bucket) {
                *bucket += share * weight;
            }
        }
    }
    let [tp, fp] = buckets.map(reverse_sums);
    let rest = |counts: &[f64]| -> Vec<f64> {
        let all = counts.first().copied().unwrap_or_default();
        counts.iter().map(|count| all - count).collect()
    };
    let (tn, fns) = (rest(&fp), rest(&tp));
    Ok([tp, fp, tn, fns])
}

/// At each place the sum from there to the end.
fn reverse_sums(mut counts: Vec<f64>) -> Vec<f64> {
    let mut sum = 0.0;
    for count in counts.iter_mut().rev() {
        sum += *count;
        *count = sum;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(curve: PrCurve<'_>, classes: Option<usize>) -> String {
        match curve.inspect("pr", classes) {
            Err(error) => error.to_string(),
            Ok(_) => "is fine".into(),
        }
    }

    /// The rows of the tensor.
    fn rows(curve: PrCurve<'_>, classes: Option<usize>) -> Vec<Result<Vec<Vec<f64>>>> {
        let curves = curve.inspect("pr", classes).unwrap().copy("pr", classes);
        let payloads = curves.unwrap().into_iter().map(|payload| {
            let n = payload.thresholds;
            let value = Box::new(payload).into_value("pr", &mut Kernels::new(1))?;
            let Some(value::Value::Tensor(tensor)) = value else {
                panic!("a tensor");
            };
            let (numbers, _) = tensor.tensor_content.as_chunks::<8>();
            let numbers: Vec<f64> = numbers.iter().map(|b| f64::from_le_bytes(*b)).collect();
            Ok(numbers.chunks(n).map(<[f64]>::to_vec).collect())
        });
        payloads.collect()
    }

    #[test]
    fn counts_are_those_of_scores_that_reach_each_threshold() {
        let labels = [1_i64, 0, 1, 1, 0];
        let scores = [1.0_f32, 0.75, 0.5, 0.0, 0.25];
        let rows = rows(PrCurve::new(&labels, &scores).thresholds(5), None);
        let rows = rows[0].as_ref().unwrap();
        assert_eq!(rows[0], [3.0, 2.0, 2.0, 1.0, 1.0], "true positives");
        assert_eq!(rows[1], [2.0, 2.0, 1.0, 1.0, 0.0], "false positives");
        assert_eq!(rows[2], [0.0, 0.0, 1.0, 1.0, 2.0], "true negatives");
        assert_eq!(rows[3], [0.0, 1.0, 1.0, 2.0, 2.0], "false negatives");
        assert_eq!(rows[4], [0.6, 0.5, 2.0 / 3.0, 0.5, 1.0], "precision");
        assert_eq!(rows[5][4], 1.0 / 3.0, "recall");
    }

    #[test]
    fn a_threshold_is_reached_exactly_with_any_number_of_them() {
        for thresholds in THRESHOLDS {
            let steps = (thresholds - 1) as f32;
            // Half of them lie a rounding below their thresholds, and half on them or above.
            let scores: Vec<f32> = (0..thresholds).map(|n| n as f32 / steps).collect();
            let rows = rows(
                PrCurve::new(&vec![1_u8; thresholds], &scores).thresholds(thresholds),
                None,
            );
            let reached = |place: usize| {
                let at = |score: &&f32| f64::from(**score) * f64::from(steps) >= place as f64;
                scores.iter().filter(at).count() as f64
            };
            let wanted: Vec<f64> = (0..thresholds).step_by(37).map(reached).collect();
            let found: Vec<f64> = rows[0].as_ref().unwrap()[0]
                .iter()
                .copied()
                .step_by(37)
                .collect();
            assert_eq!(found, wanted, "{thresholds}");
        }
    }

    #[test]
    fn weights_shares_and_missing_scores_count_as_they_should() {
        let (labels, scores) = ([0.25_f64, 1.0, 0.0], [0.9_f64, f64::NAN, -1e-7]);
        let curve = PrCurve::new(&labels, &scores).thresholds(2);
        let rows = rows(curve.weights(&[4_i32, 100, 1]), None);
        let rows = rows[0].as_ref().unwrap();
        assert_eq!(rows[..2], [[1.0, 0.0], [4.0, 0.0]]);
    }

    #[test]
    fn each_class_has_its_column() {
        let scores = [0.9_f32, 0.1, 0.0, 0.2, 0.8, 0.0];
        let curves = rows(PrCurve::new(&[0_i64, 2], &scores).thresholds(2), Some(3));
        let first = |class: usize| {
            curves[class]
                .as_ref()
                .unwrap()
                .iter()
                .map(|row| row[0])
                .collect()
        };
        let all: [Vec<f64>; 3] = [first(0), first(1), first(2)];
        assert_eq!(all[0][..2], [1.0, 1.0]);
        assert_eq!(all[1][..2], [0.0, 2.0]);
        assert_eq!(all[2][..2], [1.0, 1.0]);
    }

    #[test]
    fn what_is_no_curve_is_an_error_that_names_the_tag() {
        let (none, two, three) = ([0.0_f32; 0], [0.5_f32; 2], [1_u8; 3]);
        let curve = || PrCurve::new(&three, &two);
        for (curve, classes, wanted) in [
            (curve(), None, "has 3 labels and 2 scores; give one score"),
            (curve(), Some(2), "give 2 scores for each label"),
            (
                curve().thresholds(0),
                None,
                "has 0 thresholds; take 2 to 1000",
            ),
            (curve().thresholds(1001), None, "has 1001 thresholds"),
            (PrCurve::new(&none, &none), None, "has no labels"),
            (
                PrCurve::new(&two, &two).weights(&three),
                None,
                "and 3 weights",
            ),
            (
                PrCurve::from_counts(&[1, 1], &[1], &[], &[]),
                None,
                "has [2, 1, 0, 0] counts",
            ),
        ] {
            let reason = reason(curve, classes);
            assert!(reason.starts_with("PR curve \"pr\": "), "{reason}");
            assert!(reason.contains(wanted), "{reason}");
        }
        let logits = rows(PrCurve::new(&[1_u8], &[4.0_f32]), None).remove(0);
        assert!(logits.unwrap_err().to_string().contains("apply a sigmoid"));
        let numbers = rows(PrCurve::new(&[7_u8], &[0.5_f32]), None).remove(0);
        assert!(numbers.unwrap_err().to_string().contains("log_pr_curves"));
        assert!(check_classes("pr", &[]).is_err());
        assert!(check_classes("pr", &["a", ""]).is_err());
        assert!(check_classes("pr", &["a"; 1001]).is_err());
        assert!(check_classes("pr", &["a", "b", "a"]).is_err());
        assert!(check_classes("pr", &["a", "b", "c"]).is_ok());
    }

    #[test]
    fn labels_that_are_no_class_and_weights_that_count_nothing_are_errors() {
        let scores = [0.9_f32, 0.1, 0.2, 0.8];
        for label in [-1.0_f64, 2.0, 0.5, f64::NAN] {
            let labels = [0.0, label];
            for curve in rows(PrCurve::new(&labels, &scores), Some(2)) {
                let error = curve.unwrap_err().to_string();
                let wanted = format!("has a label of {label}; classes count from 0 to 1");
                assert!(error.contains(&wanted), "{error}");
            }
        }
        for weight in [-1.0_f32, f32::NAN, f32::INFINITY] {
            let weights = [0.5, weight];
            let curve = PrCurve::new(&[0_i64, 1], &scores).weights(&weights);
            let error = rows(curve, Some(2)).remove(0).unwrap_err().to_string();
            assert!(
                error.contains(&format!("has a weight of {weight}")),
                "{error}"
            );
        }
    }
}
