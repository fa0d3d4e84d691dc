//! Moments of a tensor and of its change: plain values that merge.

/// Count, extremes, mean and spread of a set of elements.
///
/// `count`, `nan`, `pos_inf` and `neg_inf` cover all elements; everything else covers the finite
/// ones only, so that a single NaN does not hide the state of the rest. Merging is exact for the
/// counts and extremes; mean and `m2` merge by the pairwise update of Chan, Golub and LeVeque
/// (1979), which keeps the spread right where the mean is far larger.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Moments {
    /// All elements, the non-finite ones included.
    pub(crate) count: u64,
    /// Elements that are NaN.
    pub(crate) nan: u64,
    /// Elements that are +infinity.
    pub(crate) pos_inf: u64,
    /// Elements that are -infinity.
    pub(crate) neg_inf: u64,
    /// Elements that are exactly zero, of either sign.
    pub(crate) zeros: u64,
    /// Smallest finite element; +infinity when there is none.
    pub(crate) min: f64,
    /// Largest finite element; -infinity when there is none.
    pub(crate) max: f64,
    /// Arithmetic mean of the finite elements; 0 when there is none.
    pub(crate) mean: f64,
    /// Sum of squared distances of the finite elements from their mean.
    pub(crate) m2: f64,
}

impl Default for Moments {
    /// The moments of no element at all: the neutral value of [`merge`](Moments::merge).
    fn default() -> Moments {
        Moments {
            count: 0,
            nan: 0,
            pos_inf: 0,
            neg_inf: 0,
            zeros: 0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
            mean: 0.0,
            m2: 0.0,
        }
    }
}

impl Moments {
    /// Elements that are neither NaN nor infinite.
    pub(crate) fn finite(&self) -> u64 {
        self.count.saturating_sub(self.nonfinite())
    }

    /// Elements that are NaN or infinite.
    pub(crate) fn nonfinite(&self) -> u64 {
        self.nan + self.pos_inf + self.neg_inf
    }

    /// Population variance (`torch.var(correction=0)`), `None` when no element is finite.
    pub(crate) fn variance(&self) -> Option<f64> {
        match self.finite() {
            0 => None,
            finite => Some(self.m2 / finite as f64),
        }
    }

    /// Population standard deviation (`torch.std(correction=0)`), `None` when no element is finite.
    pub(crate) fn std(&self) -> Option<f64> {
        self.variance().map(f64::sqrt)
    }

    /// Euclidean norm of the finite elements: `sqrt(sum of squares) = sqrt(m2 + n * mean^2)`; 0
    /// when there is none.
    pub(crate) fn norm(&self) -> f64 {
        (self.m2 + self.finite() as f64 * self.mean * self.mean).sqrt()
    }

    /// Largest magnitude of a finite element, `None` when there is none.
    pub(crate) fn max_abs(&self) -> Option<f64> {
        (self.finite() > 0).then(|| self.max.max(-self.min))
    }

    /// Makes these elements stand for `factor` times as many.
    pub(crate) fn scale(&mut self, factor: f64) {
        for count in [
            &mut self.nan,
            &mut self.pos_inf,
            &mut self.neg_inf,
            &mut self.zeros,
        ] {
            *count = scaled(*count, factor);
        }
        self.count = scaled(self.count, factor).max(self.nonfinite());
        self.m2 *= factor;
    }

    /// Adds one element.
    pub(crate) fn add(&mut self, value: f64) {
        let mut one = Moments {
            count: 1,
            ..Moments::default()
        };
        if value.is_finite() {
            one.zeros = u64::from(value == 0.0);
            (one.min, one.max, one.mean) = (value, value, value);
        } else {
            one.nan = u64::from(value.is_nan());
            one.pos_inf = u64::from(value == f64::INFINITY);
            one.neg_inf = u64::from(value == f64::NEG_INFINITY);
        }
        self.merge(&one);
    }

    /// Adds the elements behind `other` to these.
    pub(crate) fn merge(&mut self, other: &Moments) {
        let (ours, theirs) = (self.finite() as f64, other.finite() as f64);
        if ours == 0.0 {
            // The distance of nothing from a large mean would overflow below.
            (self.mean, self.m2) = (other.mean, other.m2);
        } else if theirs > 0.0 {
            let (ours, theirs) = (ours / (ours + theirs), theirs / (ours + theirs));
            let apart = other.mean - self.mean;
            // Spread between the two means: apart^2 * n_a * n_b / (n_a + n_b).
            self.m2 += other.m2 + apart * apart * ours * other.finite() as f64;
            self.mean = if apart.is_finite() {
                self.mean + apart * theirs
            } else {
                // Means near the two ends of f64: their difference overflows, their weighted sum
                // does not.
                self.mean * ours + other.mean * theirs
            };
            if self.m2.is_nan() {
                self.m2 = f64::INFINITY;
            }
        }
        self.count += other.count;
        self.nan += other.nan;
        self.pos_inf += other.pos_inf;
        self.neg_inf += other.neg_inf;
        self.zeros += other.zeros;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }
}

fn scaled(count: u64, factor: f64) -> u64 {
    (count as f64 * factor).round() as u64
}

/// How a tensor differs from itself one snapshot earlier.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Change {
    /// Moments of `w - previous`, subtracted in the type the elements widen to (f32 for f16, bf16
    /// and f32, else f64).
    pub(crate) deltas: Moments,
    /// Elements whose value changed; bits, where it is NaN. Both zeros are one value.
    pub(crate) changed: u64,
    /// Of those, the ones that moved by exactly one unit in the last place of their own type
    /// (integers: by one): moves that rounding allowed barely or not at all.
    pub(crate) one_ulp: u64,
    /// Rows, the slices along the first dimension: 1 for scalars and vectors. 0 where neither rows
    /// nor `one_ulp` are known, as in a log.
    pub(crate) rows: u64,
    /// Rows with at least one changed element.
    pub(crate) changed_rows: u64,
}

impl Change {
    /// Share of the elements that changed, 0 to 1; `None` for a tensor without elements.
    pub(crate) fn changed_fraction(&self) -> Option<f64> {
        (self.deltas.count > 0).then(|| self.changed as f64 / self.deltas.count as f64)
    }

    /// Share of the rows with a changed element. Where rows are not known, that of the elements
    /// stands for it: a table of which a step takes a few rows changes as few of its elements.
    pub(crate) fn changed_share_of_rows(&self) -> Option<f64> {
        match self.rows {
            0 => self.changed_fraction(),
            rows => Some(self.changed_rows as f64 / rows as f64),
        }
    }

    /// Makes these elements stand for `factor` times as many.
    pub(crate) fn scale(&mut self, factor: f64) {
        self.deltas.scale(factor);
        self.changed = scaled(self.changed, factor).min(self.deltas.count);
        self.one_ulp = scaled(self.one_ulp, factor).min(self.changed);
    }

    /// Adds the change of other elements, and of their rows, to this one.
    pub(crate) fn merge(&mut self, other: &Change) {
        self.deltas.merge(&other.deltas);
        self.changed += other.changed;
        self.one_ulp += other.one_ulp;
        self.rows += other.rows;
        self.changed_rows += other.changed_rows;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[f64]) -> Moments {
        let mut moments = Moments::default();
        for &value in values {
            moments.add(value);
        }
        moments
    }

    #[test]
    fn one_by_one_equals_torch() {
        // torch.tensor([1., 2., 4., 0., -3.]).double(): mean() 0.8, var(correction=0) 5.36, norm()
        // sqrt(30).
        let moments = of(&[1.0, 2.0, 4.0, 0.0, -3.0]);
        assert_eq!((moments.count, moments.finite(), moments.zeros), (5, 5, 1));
        assert_eq!(
            (moments.min, moments.max, moments.max_abs()),
            (-3.0, 4.0, Some(4.0))
        );
        assert!((moments.mean - 0.8).abs() < 1e-15);
        assert!((moments.variance().unwrap() - 5.36).abs() < 1e-14);
        assert!((moments.norm() - 30f64.sqrt()).abs() < 1e-14);
    }

    #[test]
    fn merging_in_any_grouping_agrees() {
        let values: Vec<f64> = (0..100).map(|i| 1e6 + f64::from(i * i % 37)).collect();
        let whole = of(&values);
        for cut in [0, 1, 37, 99, 100] {
            let mut parts = of(&values[..cut]);
            parts.merge(&of(&values[cut..]));
            assert_eq!(
                (parts.count, parts.min, parts.max),
                (whole.count, whole.min, whole.max)
            );
            assert!((parts.mean - whole.mean).abs() / whole.mean < 1e-14);
            assert!(
                (parts.m2 - whole.m2).abs() / whole.m2 < 1e-9,
                "{} {}",
                parts.m2,
                whole.m2
            );
        }
    }

    #[test]
    fn no_finite_element_has_no_moments() {
        let mut moments = Moments::default();
        moments.merge(&Moments {
            count: 3,
            nan: 1,
            pos_inf: 1,
            neg_inf: 1,
            ..Moments::default()
        });
        assert_eq!(
            (moments.count, moments.finite(), moments.nonfinite()),
            (3, 0, 3)
        );
        assert_eq!(
            (moments.variance(), moments.std(), moments.max_abs()),
            (None, None, None)
        );
        assert_eq!(moments.norm(), 0.0);
        moments.merge(&of(&[7.0]));
        assert_eq!(
            (moments.mean, moments.min, moments.max, moments.variance()),
            (7.0, 7.0, 7.0, Some(0.0))
        );
    }

    #[test]
    fn one_large_value_has_no_spread() {
        for value in [2.7e154, f64::MAX, f64::MIN] {
            let moments = of(&[value]);
            assert_eq!((moments.mean, moments.m2), (value, 0.0));
        }
    }

    #[test]
    fn extremes_of_f64_give_infinity_but_never_nan() {
        let moments = of(&[f64::MAX, f64::MIN, f64::MAX, f64::MIN]);
        assert!(moments.mean.abs() < f64::MAX && !moments.mean.is_nan());
        assert_eq!((moments.m2, moments.norm()), (f64::INFINITY, f64::INFINITY));
    }

    #[test]
    fn changes_add_up() {
        let deltas = of(&[0.0, 1.0, 2.0, 3.0]);
        let mut change = Change {
            deltas,
            changed: 3,
            one_ulp: 1,
            rows: 2,
            changed_rows: 2,
        };
        assert_eq!(change.changed_fraction(), Some(0.75));
        change.merge(&Change {
            deltas: of(&[0.0; 4]),
            changed: 0,
            one_ulp: 0,
            rows: 1,
            changed_rows: 0,
        });
        assert_eq!(
            (
                change.changed,
                change.one_ulp,
                change.rows,
                change.changed_rows
            ),
            (3, 1, 3, 2)
        );
        assert_eq!(change.changed_fraction(), Some(0.375));
        assert_eq!(Change::default().changed_fraction(), None);
    }
}
