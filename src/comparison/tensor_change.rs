//! One row of a comparison.

use crate::checkpoint::{CheckpointTensor, StoredType};
use crate::comparison::change_verdict::ChangeVerdict;
use crate::comparison::second_look::{FoundCast, SecondLook};
use crate::comparison::statistics_pass::PairStatistics;
use crate::kernel::histogram::FineHistogram;
use crate::model::variable_info::Role;

/// What became of one tensor. Statistics cover the finite elements; counts cover all. The numbers
/// of a complex element count as two.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TensorChange {
    /// The name in A, or in B where A has none.
    pub name: String,
    /// The name in B where it is another one.
    pub other_name: Option<String>,
    /// What became of it.
    pub verdict: ChangeVerdict,
    /// Why that is the verdict, where numbers do not say it.
    pub reason: Option<String>,
    /// The shape in A.
    pub shape_a: Option<Vec<u64>>,
    /// The shape in B.
    pub shape_b: Option<Vec<u64>>,
    /// The element type in A; `None` where it is not in A or cannot be read.
    pub type_a: Option<StoredType>,
    /// The element type in B.
    pub type_b: Option<StoredType>,
    /// What it is to training, as far as name and type show.
    pub role: Role,
    /// Elements, of the larger side.
    pub elements: u64,
    /// What was computed; `None` where there is only one side, or the sides have different numbers
    /// of elements.
    pub statistics: Option<ChangeStatistics>,
    /// NaN or infinite elements of B, where B has a tensor that can be read and there are no
    /// [`statistics`](Self::statistics).
    pub nonfinite_alone: Option<u64>,
    pub(crate) histograms: Option<Box<ChangeHistograms>>,
}

/// The numbers of a row.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct ChangeStatistics {
    /// Euclidean norm of the finite elements of A.
    pub norm_a: f64,
    /// Euclidean norm of the finite elements of B.
    pub norm_b: f64,
    /// Euclidean norm of `B - A`, over elements that are finite in both. Differences are taken in
    /// `float32` for types that fit into it, else in `float64`.
    pub norm_change: f64,
    /// The norm of the change over that of A; `None` where A is all zero.
    pub relative_change: Option<f64>,
    /// Elements with another value; both zeros are one, and a NaN is the same as one with its bits.
    pub changed: u64,
    /// Of those, the ones that moved to a neighbour in their type; `None` where the types differ.
    pub one_ulp: Option<u64>,
    /// The largest magnitude of an element's change; `None` where none is finite.
    pub largest_change: Option<f64>,
    /// The cosine of the angle between A and B; `None` where one is all zero or has elements that
    /// are not finite.
    pub cosine: Option<f64>,
    /// The factor of [`ChangeVerdict::Scaled`].
    pub factor: Option<f64>,
    /// Numbers that were compared.
    pub numbers: u64,
    /// Elements of A that are NaN or infinite.
    pub nonfinite_a: u64,
    /// Elements of B that are NaN or infinite.
    pub nonfinite_b: u64,
    /// Elements of A that are zero.
    pub zeros_a: u64,
    /// Elements of B that are zero.
    pub zeros_b: u64,
}

/// Where elements of a row lie.
#[derive(Debug, Clone)]
pub(crate) struct ChangeHistograms {
    pub(crate) a: FineHistogram,
    pub(crate) b: FineHistogram,
    pub(crate) change: FineHistogram,
}

impl ChangeStatistics {
    pub(super) fn of(found: &PairStatistics, is_one_type: bool) -> ChangeStatistics {
        let (norm_a, norm_b) = (found.a.norm(), found.b.norm());
        let norm_change = found.change.deltas.norm();
        let is_finite = found.a.nonfinite() + found.b.nonfinite() == 0;
        // |A-B|^2 = |A|^2 + |B|^2 - 2 A.B
        let product = (norm_a * norm_a + norm_b * norm_b - norm_change * norm_change) / 2.0;
        let cosine = (product / norm_a / norm_b).clamp(-1.0, 1.0);
        ChangeStatistics {
            norm_a,
            norm_b,
            norm_change,
            relative_change: (norm_a > 0.0).then_some(norm_change / norm_a),
            changed: found.change.changed,
            one_ulp: is_one_type.then_some(found.change.one_ulp),
            largest_change: found.change.deltas.max_abs(),
            cosine: (is_finite && norm_a > 0.0 && norm_b > 0.0).then_some(cosine),
            factor: None,
            numbers: found.b.count,
            nonfinite_a: found.a.nonfinite(),
            nonfinite_b: found.b.nonfinite(),
            zeros_a: found.a.zeros,
            zeros_b: found.b.zeros,
        }
    }

    /// Share of the elements that changed, 0 to 1; 0 for a tensor without elements.
    pub fn changed_fraction(&self) -> f64 {
        share(self.changed, self.numbers)
    }

    /// Share of the elements that moved to a neighbour in their type.
    pub fn one_ulp_fraction(&self) -> Option<f64> {
        self.one_ulp.map(|one_ulp| share(one_ulp, self.numbers))
    }

    /// Whether all elements of B are zero.
    pub fn is_zero(&self) -> bool {
        self.numbers > 0 && self.zeros_b == self.numbers
    }
}

fn share(count: u64, all: u64) -> f64 {
    match all {
        0 => 0.0,
        all => count as f64 / all as f64,
    }
}

/// What the contents say, whatever names and shapes do.
pub(super) fn judge(
    statistics: &mut ChangeStatistics,
    look: SecondLook,
    types: (StoredType, StoredType),
) -> (ChangeVerdict, Option<String>) {
    let is_one_type = types.0 == types.1;
    if statistics.changed == 0 {
        return match is_one_type {
            true if statistics.is_zero() && types.1.is_float() => {
                (ChangeVerdict::Identical, Some("both all zero".to_owned()))
            }
            true => (ChangeVerdict::Identical, None),
            false => {
                let reason = format!("{} to {}, the same values", types.0, types.1);
                (ChangeVerdict::Retyped, Some(reason))
            }
        };
    }
    if statistics.nonfinite_b > 0 {
        let reason = format!(
            "{} of {} elements",
            statistics.nonfinite_b, statistics.numbers
        );
        return (ChangeVerdict::NonFinite, Some(reason));
    }
    if statistics.is_zero() {
        return (ChangeVerdict::Zero, None);
    }
    if let Some(FoundCast { to, is_forward }) = look.cast {
        let reason = match is_forward {
            true => format!("as a cast to {to} leaves it"),
            false => format!("A is B as a cast to {to} leaves it"),
        };
        return (ChangeVerdict::Rounding, Some(reason));
    }
    let is_next = types.0.is_float() && statistics.one_ulp == Some(statistics.changed);
    if is_next && is_fine(types.0) {
        let reason = "each changed element moved to the next number".to_owned();
        return (ChangeVerdict::Rounding, Some(reason));
    }
    if let Some(factor) = look.factor {
        statistics.factor = Some(factor);
        return (ChangeVerdict::Scaled, Some(format!("A times {factor:.7}")));
    }
    let reason = is_next.then(|| "each changed element by one ulp".to_owned());
    (ChangeVerdict::Changed, reason)
}

/// Whether neighbours of a type are so close that a step between them is rounding. Training in 16
/// bits moves weights by a step or none, and one of `float4` is a factor of two.
fn is_fine(kind: StoredType) -> bool {
    let bits = kind.bits() / kind.parts();
    kind.is_float() && bits >= 32
}

impl TensorChange {
    /// A row without statistics.
    pub(super) fn of(
        a: Option<&CheckpointTensor>,
        b: Option<&CheckpointTensor>,
        verdict: ChangeVerdict,
        reason: Option<String>,
    ) -> Option<TensorChange> {
        let first = a.or(b)?;
        let elements = [a, b].into_iter().flatten().map(CheckpointTensor::elements);
        let name = |tensor: &CheckpointTensor| tensor.name().to_owned();
        Some(TensorChange {
            name: name(first),
            other_name: b.map(name).filter(|other| other != first.name()),
            verdict,
            reason,
            shape_a: a.map(|a| a.shape().to_vec()),
            shape_b: b.map(|b| b.shape().to_vec()),
            type_a: a.and_then(CheckpointTensor::stored_type),
            type_b: b.and_then(CheckpointTensor::stored_type),
            role: first.role(),
            elements: elements.max().unwrap_or(0),
            statistics: None,
            nonfinite_alone: None,
            histograms: None,
        })
    }

    /// NaN or infinite elements of B; 0 where B has none that can be read.
    pub fn nonfinite_b(&self) -> u64 {
        let compared = self.statistics.map(|statistics| statistics.nonfinite_b);
        compared.or(self.nonfinite_alone).unwrap_or(0)
    }

    /// The norm of the change over that of A, where there is one; infinite where A is all zero and
    /// B is not. What rows are sorted by.
    pub fn size_of_change(&self) -> Option<f64> {
        let statistics = self.statistics?;
        match statistics.relative_change {
            Some(relative) => Some(relative),
            None if statistics.changed > 0 => Some(f64::INFINITY),
            None => Some(0.0),
        }
    }
}
