//! The numbers of one call from which every statistic is computed: of one variable, or of many as
//! if they were one tensor.

use crate::model::stats::{Change, Moments};

/// The floor of the logarithmic update ratio: smaller ratios are not distinguished.
pub(crate) const RATIO_FLOOR: f64 = -8.0;

/// How far values lie from the first ones.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Drift {
    /// The squared norm of w(t) - w(0).
    pub(crate) moved: f64,
    /// The squared norm of w(0).
    pub(crate) origin: f64,
}

/// The share of a variable's elements, from a sample, that are not what they were some steps
/// before.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ChangedSince {
    pub(crate) share: f64,
    pub(crate) steps: u32,
}

/// What the kernel and the samples of one call give, of weights or of gradients.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Measured {
    /// Of the elements.
    pub(crate) values: Moments,
    /// Against the snapshot before; `None` without one.
    pub(crate) change: Option<Change>,
    /// The norm in the snapshot before; `None` without one.
    pub(crate) norm_before: Option<f64>,
    /// Scaled from the sample to all elements.
    pub(crate) drift: Option<Drift>,
    /// The norm that a fresh initialisation would have; 0 where that is not known.
    pub(crate) reference: f64,
    /// Cosine between this change and the one before, from a sample.
    pub(crate) cosine: Option<f64>,
    /// Every so many steps.
    pub(crate) changed_since: Option<ChangedSince>,
}

impl Measured {
    /// All of these as if they were one tensor. What only single ones have, such as the cosine, is
    /// left out.
    pub(crate) fn of_all<'a>(all: impl Iterator<Item = &'a Measured>) -> Measured {
        let mut whole = Measured::default();
        let mut squared_before: Option<f64> = None;
        for one in all {
            whole.values.merge(&one.values);
            if let Some(change) = &one.change {
                whole.change.get_or_insert_default().merge(change);
            }
            // Only of those whose change has a norm: the ratio compares the same elements.
            if let (Some(_), Some(norm)) = (one.delta_norm(), one.norm_before) {
                *squared_before.get_or_insert(0.0) += norm * norm;
            }
            whole.reference = whole.reference.hypot(one.reference);
            if let Some(drift) = one.drift {
                let sum = whole.drift.get_or_insert(Drift {
                    moved: 0.0,
                    origin: 0.0,
                });
                sum.moved += drift.moved;
                sum.origin += drift.origin;
            }
        }
        whole.norm_before = squared_before.map(f64::sqrt);
        whole
    }

    /// Mean of the finite elements; `None` when there is none.
    pub(crate) fn mean(&self) -> Option<f64> {
        self.values.std().map(|_| self.values.mean)
    }

    /// L2 norm of the finite elements; `None` when there is none.
    pub(crate) fn norm(&self) -> Option<f64> {
        self.values.std().map(|_| self.values.norm())
    }

    /// Elements that are NaN or infinite; `None` when there is none, so that nothing is written.
    pub(crate) fn nonfinite(&self) -> Option<f64> {
        let nonfinite = self.values.nonfinite();
        (nonfinite > 0).then_some(nonfinite as f64)
    }

    /// Moments of the change; `None` without one.
    pub(crate) fn deltas(&self) -> Option<&Moments> {
        self.change.as_ref().map(|change| &change.deltas)
    }

    /// L2 norm of the change; `None` as well when no element's change is finite.
    pub(crate) fn delta_norm(&self) -> Option<f64> {
        let deltas = self.deltas()?;
        deltas.std().map(|_| deltas.norm())
    }

    /// Share of the elements whose bits changed.
    pub(crate) fn changed_fraction(&self) -> Option<f64> {
        self.change.as_ref().and_then(Change::changed_fraction)
    }

    /// norm(delta) / norm(before); not defined for a variable that was all zero.
    pub(crate) fn update_ratio(&self) -> Option<f64> {
        ratio(self.delta_norm()?, self.norm_before?)
    }

    /// The same as a logarithm, at least [`RATIO_FLOOR`].
    pub(crate) fn update_ratio_log10(&self) -> Option<f64> {
        Some(self.update_ratio()?.log10().max(RATIO_FLOOR))
    }

    /// norm(w(t) - w(0)) / norm(w(0)); not defined for a variable that began all zero. One that
    /// began next to zero is measured with what a fresh initialisation would have given: a step
    /// away, it would be hundreds of times its beginning.
    pub(crate) fn drift(&self) -> Option<f64> {
        const NEXT_TO_ZERO: f64 = 0.01;
        let drift = self.drift?;
        let origin = drift.origin.sqrt();
        let is_small = origin > 0.0 && origin < NEXT_TO_ZERO * self.reference;
        let whole = if is_small { self.reference } else { origin };
        ratio(drift.moved.sqrt(), whole)
    }
}

fn ratio(part: f64, whole: f64) -> Option<f64> {
    (whole > 0.0 && whole.is_finite()).then(|| part / whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(value: f64, before: f64) -> Measured {
        let moments = |value: f64| Moments {
            count: 1,
            min: value,
            max: value,
            mean: value,
            ..Moments::default()
        };
        Measured {
            values: moments(value),
            change: Some(Change {
                deltas: moments(value - before),
                changed: u64::from(value != before),
                ..Change::default()
            }),
            norm_before: Some(before.abs()),
            drift: Some(Drift {
                moved: (value - before).powi(2),
                origin: before * before,
            }),
            cosine: None,
            reference: 0.0,
            changed_since: None,
        }
    }

    #[test]
    fn many_are_measured_as_one_tensor() {
        let (one, other) = (of(3.5, 3.0), of(4.0, 4.0));
        let whole = Measured::of_all([one, other, Measured::default()].iter());
        assert_eq!(whole.mean(), Some(3.75));
        assert_eq!(whole.changed_fraction(), Some(0.5));
        assert_eq!(whole.update_ratio(), Some(0.1));
        assert_eq!(whole.drift(), Some(0.1));
        assert_eq!(Measured::of_all([].iter()), Measured::default());
    }

    #[test]
    fn nothing_is_made_up_where_nothing_was_measured() {
        let none = Measured::default();
        let numbers = [
            none.mean(),
            none.norm(),
            none.nonfinite(),
            none.delta_norm(),
            none.changed_fraction(),
            none.update_ratio_log10(),
            none.drift(),
        ];
        assert_eq!(numbers, [None; 7]);
        assert_eq!(of(1.0, 0.0).update_ratio(), None);
    }
}
