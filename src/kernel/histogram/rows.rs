//! The rows of a fine histogram that TensorBoard is given.

use crate::kernel::histogram::curve::Curve;
use crate::kernel::histogram::fine_histogram::{FineHistogram, ZERO, mask, value_of};

/// Rows for TensorBoard: `[left, right, count]`, finite, sorted, not overlapping, the first
/// beginning at the smallest element and the last ending at the largest.
///
/// Counts are exact. A row counts the elements `left <= x < right`; a row of zero width counts
/// those equal to `left`; the last row includes its right edge. The row after a row of zero width
/// begins at the next larger `f64`, so no element belongs to two rows. Rows without elements stand
/// where the data has a gap worth showing, never first or last.
///
/// One exception for the sake of the picture: a point mass at the very maximum gets a last row that
/// begins a little below it (in the gap under it, so the count stays exact). TensorBoard computes
/// the right edge of its last bin with rounding, and in about every fifth case loses a row of zero
/// width there.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Histogram {
    rows: Vec<[f64; 3]>,
}

impl Histogram {
    /// The rows `[left edge, right edge, count]`; none when no element is finite.
    pub(crate) fn rows(&self) -> &[[f64; 3]] {
        &self.rows
    }

    /// Elements counted: the finite ones.
    #[cfg(test)]
    pub(crate) fn total(&self) -> u64 {
        self.rows.iter().map(|row| row[2] as u64).sum()
    }
}

/// The last sixteenth of the rows pays least: it is used where each value has its row, and saved
/// where rows are cut.
const SAVED_SHARE: usize = 16;

impl FineHistogram {
    /// The at most `max_rows` rows whose picture in TensorBoard is closest to the data.
    pub(crate) fn to_histogram(&self, max_rows: usize) -> Histogram {
        self.to_histogram_by(max_rows, &mut Curve::default())
    }

    /// The same for one of many: `curve` is memory, whatever it holds.
    pub(crate) fn to_histogram_by(&self, max_rows: usize, curve: &mut Curve) -> Histogram {
        let max_rows = max_rows.max(1);
        let are_atoms = self.leaves.iter().all(|leaf| leaf.free == 0);
        let mut rows = if are_atoms && self.leaves.len() <= max_rows {
            self.row_of_each_value()
        } else {
            curve.rows_of(self, max_rows - max_rows / SAVED_SHARE)
        };
        if rows.len() > max_rows {
            // Each value has its row; there is no room for the gaps between them.
            rows.retain(|row| row[2] > 0.0);
        }
        self.open_last(&mut rows);
        Histogram { rows }
    }

    /// A row for each atom, and one for each gap between two: TensorBoard interpolates a percentile
    /// from the right edge of the row before, not from the left edge of the row it falls into.
    fn row_of_each_value(&self) -> Vec<[f64; 3]> {
        let mut rows: Vec<[f64; 3]> = Vec::with_capacity(2 * self.leaves.len());
        for leaf in &self.leaves {
            let value = value_of(leaf.key);
            let gap = rows.last().map(|before| before[1].next_up());
            if let Some(left) = gap.filter(|&left| left < value) {
                rows.push([left, value, 0.0]);
            }
            rows.push([value, value, leaf.count as f64]);
        }
        rows
    }

    /// Gives a row of zero width at the maximum a little width to the left, in the gap below it:
    /// see [`Histogram`].
    fn open_last(&self, rows: &mut [[f64; 3]]) {
        let [.., before, last] = rows else { return };
        if last[0] < last[1] {
            return;
        }
        let [.., leaf, _] = self.leaves.as_slice() else {
            return;
        };
        // No other value is larger than the last one of this leaf that stands on the grid.
        let below = match leaf.end() - 1 {
            key if key < ZERO => value_of(key),
            key => value_of(key & mask(self.grid)),
        };
        // This share of the range moves no percentile visibly, and outweighs rounding at 1e-16.
        let left = (self.max - (self.max - self.min) * 1e-8).max(below + (self.max - below) / 2.0);
        if left > below && left > before[0] && left < self.max {
            last[0] = left;
            if before[0] < before[1] {
                before[1] = left;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::histogram::fine_histogram::{Leaf, key_of};

    #[test]
    fn keys_stand_in_the_order_of_the_values_and_lead_back() {
        let values = [
            f64::MIN,
            -1.5,
            -1.0,
            -f64::MIN_POSITIVE,
            -5e-324,
            0.0,
            5e-324,
            1.0,
            1.5,
            f64::MAX,
        ];
        for pair in values.windows(2) {
            assert!(key_of(pair[0]) < key_of(pair[1]), "{pair:?}");
        }
        for value in values {
            assert_eq!(value_of(key_of(value)), value);
        }
        assert_eq!(key_of(-0.0), key_of(0.0));
    }

    #[test]
    fn a_leaf_covers_the_values_that_share_its_leading_bits() {
        // 47 free bits leave five of mantissa: from 1 to 33/32.
        let leaf = Leaf::around(1.01, 47, 1);
        assert_eq!(
            (value_of(leaf.key), value_of(leaf.end())),
            (1.0, 1.0 + 1.0 / 32.0)
        );
        // Below zero the interval is open on the left, so its half-open form begins one ulp later.
        let leaf = Leaf::around(-1.01, 47, 1);
        assert_eq!(
            (value_of(leaf.key), value_of(leaf.end())),
            ((-1.0f64 - 1.0 / 32.0).next_up(), (-1.0f64).next_up())
        );
    }

    #[test]
    fn the_row_after_a_point_mass_does_not_count_it_again() {
        let leaves = vec![Leaf::atom(1.0, 90), Leaf::around(1.1, 47, 10)];
        let rows = FineHistogram::new(leaves, 1.0, 1.1, 29)
            .to_histogram(64)
            .rows;
        assert_eq!(rows[0], [1.0, 1.0, 90.0]);
        assert_eq!((rows[1][0], rows[1][2]), (1.0f64.next_up(), 0.0));
        assert_eq!(rows.last().map(|row| (row[1], row[2])), Some((1.1, 10.0)));
    }

    #[test]
    fn values_have_rows_and_gaps_have_rows_while_there_is_room() {
        let leaves = vec![Leaf::atom(-1.0, 2), Leaf::atom(0.0, 3), Leaf::atom(4.0, 5)];
        let fine = FineHistogram::new(leaves, -1.0, 4.0, 52);
        let counts = |max_rows| {
            fine.to_histogram(max_rows)
                .rows
                .iter()
                .map(|row| row[2])
                .collect::<Vec<_>>()
        };
        assert_eq!(counts(5), [2.0, 0.0, 3.0, 0.0, 5.0]);
        assert_eq!(counts(3), [2.0, 3.0, 5.0]);
        assert_eq!(counts(1), [10.0]);
        let last = fine.to_histogram(3).rows[2];
        assert!(
            last[0] < 4.0 && last[0] > 3.999 && last[1] == 4.0,
            "a point mass at the maximum has a width: {last:?}"
        );
    }

    #[test]
    fn a_constant_is_one_row_without_width() {
        let fine = FineHistogram::new(vec![Leaf::atom(-0.0, 7)], -0.0, -0.0, 64);
        assert_eq!(fine.to_histogram(64).rows(), [[0.0, 0.0, 7.0]]);
        assert!(fine.to_histogram(64).rows()[0][0].is_sign_positive());
        assert_eq!((fine.total(), fine.to_histogram(0).total()), (7, 7));
        assert!(FineHistogram::default().to_histogram(64).rows().is_empty());
    }

    #[test]
    fn merging_takes_finer_leaves_into_coarser_ones_and_keeps_the_rest() {
        let mut fine =
            FineHistogram::new(vec![Leaf::atom(1.0, 4), Leaf::atom(3.0, 1)], 1.0, 3.0, 51);
        let coarse = FineHistogram::new(
            vec![Leaf::around(1.01, 47, 2), Leaf::around(-2.0, 47, 1)],
            -2.0,
            1.02,
            29,
        );
        fine.merge(&coarse);
        let expected = [
            Leaf::around(-2.0, 47, 1),
            Leaf::around(1.0, 47, 6),
            Leaf::atom(3.0, 1),
        ];
        assert_eq!(
            (fine.leaves.as_slice(), fine.min, fine.max, fine.grid),
            (&expected[..], -2.0, 3.0, 29)
        );
        let mut empty = FineHistogram::default();
        empty.merge(&fine);
        fine.merge(&FineHistogram::default());
        assert_eq!(empty, fine);
    }

    #[test]
    fn the_ends_of_f64_stay_finite() {
        let leaves = vec![
            Leaf::around(f64::MIN, 47, 50),
            Leaf::around(1.0, 47, 1),
            Leaf::around(f64::MAX, 47, 49),
        ];
        let rows = FineHistogram::new(leaves, f64::MIN, f64::MAX, 0)
            .to_histogram(64)
            .rows;
        assert!(
            rows.iter().flatten().all(|edge| edge.is_finite()),
            "{rows:?}"
        );
        assert_eq!((rows[0][0], rows[rows.len() - 1][1]), (f64::MIN, f64::MAX));
    }
}
