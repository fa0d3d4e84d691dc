//! Histograms: the fine one that the kernel counts, and the few rows that TensorBoard is given.
//!
//! TensorBoard never draws the rows it is given. It redraws them with 30 equal bins over the range of all steps of a card,
//! spreading the count of each row evenly over the row, and it interpolates nine percentiles inside the rows. Both read
//! the same curve: the cumulative count, taken to be straight inside each row. [`FineHistogram::to_histogram`] therefore
//! looks for the polyline of few segments that stays closest to the true cumulative count.

mod curve;

pub(crate) use curve::Curve;

/// Rows for TensorBoard: `[left, right, count]`, finite, sorted, not overlapping, the first beginning at the smallest
/// element and the last ending at the largest.
///
/// Counts are exact. A row counts the elements `left <= x < right`; a row of zero width counts those equal to `left`; the
/// last row includes its right edge. The row after a row of zero width begins at the next larger `f64`, so no element
/// belongs to two rows. Rows without elements stand where the data has a gap worth showing, never first or last.
///
/// One exception for the sake of the picture: a point mass at the very maximum gets a last row that begins a little below
/// it (in the gap under it, so the count stays exact). TensorBoard computes the right edge of its last bin with rounding,
/// and in about every fifth case loses a row of zero width there.
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

const SIGN: u64 = 1 << 63;
/// Key of exact zero, of either sign.
const ZERO: u64 = SIGN;

/// The integer in whose order the floats are sorted; zeros of both signs have one.
pub(crate) fn key_of(value: f64) -> u64 {
    let bits = value.to_bits();
    match bits {
        SIGN => ZERO,
        _ if bits & SIGN == 0 => bits | SIGN,
        _ => !bits,
    }
}

fn value_of(key: u64) -> f64 {
    match key & SIGN {
        0 => -f64::from_bits(!key & !SIGN),
        _ => f64::from_bits(key & !SIGN),
    }
}

/// The elements whose keys share all but their low `free` bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Leaf {
    /// Smallest key of the leaf.
    key: u64,
    /// Low bits of the key that vary; 0 for an atom: one single value.
    free: u32,
    count: u64,
}

impl Leaf {
    /// `count` elements equal to `value`.
    pub(crate) fn atom(value: f64, count: u64) -> Leaf {
        Leaf::of_key(key_of(value), count)
    }

    /// `count` elements with this key.
    pub(crate) fn of_key(key: u64, count: u64) -> Leaf {
        Leaf {
            key,
            free: 0,
            count,
        }
    }

    /// `count` elements of which `member` is one and which share all its bits but the low `free` ones.
    pub(crate) fn around(member: f64, free: u32, count: u64) -> Leaf {
        Leaf {
            key: key_of(member) & mask(free),
            free,
            count,
        }
    }

    /// The first key behind the leaf.
    fn end(&self) -> u64 {
        self.key.saturating_add(1 << self.free)
    }

    /// The first value behind the leaf, less its first value; infinite at the end of the floats.
    pub(crate) fn width(&self) -> f64 {
        value_of(self.end()) - value_of(self.key)
    }
}

fn mask(free: u32) -> u64 {
    u64::MAX.checked_shl(free).unwrap_or(0)
}

/// What lies within this part of the range and holds less than this part of the elements is not told apart: a fifth of a bin.
pub(crate) const TOLD_APART: f64 = 150.0;
/// The last sixteenth of the rows pays least: it is used where each value has its row, and saved where rows are cut.
const SAVED_SHARE: usize = 16;

/// A sorted, sparse histogram of finite values over dyadic pieces of the float line (sign, exponent, leading bits of
/// mantissa), finer where much of the mass is. Edges and counts are exact.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct FineHistogram {
    /// Sorted by key, disjoint, no count of zero.
    leaves: Vec<Leaf>,
    /// Smallest and largest value; of no meaning without leaves.
    min: f64,
    max: f64,
    /// Low bits that are zero in the `f64` of every value: the grid on which the values stand (29 for `f32`).
    grid: u32,
}

impl FineHistogram {
    /// Takes disjoint leaves in any order; `min` and `max` are the extremes of the values behind them.
    pub(crate) fn new(mut leaves: Vec<Leaf>, min: f64, max: f64, grid: u32) -> FineHistogram {
        // They come in runs, which the stable sort merges.
        leaves.sort_by_key(|leaf| leaf.key);
        // Adding zero makes -0 a plain zero.
        FineHistogram {
            leaves,
            min: min + 0.0,
            max: max + 0.0,
            grid: grid.min(52),
        }
    }

    /// Values counted.
    #[cfg(test)]
    pub(crate) fn total(&self) -> u64 {
        self.leaves.iter().map(|leaf| leaf.count).sum()
    }

    /// Leaves: what later work is in proportion to.
    #[cfg(test)]
    pub(crate) fn leaves(&self) -> usize {
        self.leaves.len()
    }

    /// Adds the values behind `other`. Where a leaf of one holds finer leaves of the other, the coarse one takes them in.
    pub(crate) fn merge(&mut self, other: &FineHistogram) {
        if other.leaves.is_empty() {
            return;
        }
        if self.leaves.is_empty() {
            self.clone_from(other);
            return;
        }
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.grid = self.grid.min(other.grid);
        self.leaves.extend_from_slice(&other.leaves);
        // Of leaves that begin at the same key the largest comes first and takes in the ones behind it.
        self.leaves
            .sort_by_key(|leaf| (leaf.key, std::cmp::Reverse(leaf.free)));
        self.leaves.dedup_by(|leaf, kept| {
            let inside = leaf.key < kept.end();
            if inside {
                kept.count += leaf.count;
            }
            inside
        });
    }

    /// Makes the counts of a sample those of a whole that is `factor` times as large. They stay whole numbers, rounded so
    /// that sums over neighbours are off by less than one.
    pub(crate) fn scale(&mut self, factor: f64) {
        let (mut sampled, mut told) = (0.0, 0.0);
        for leaf in &mut self.leaves {
            sampled += leaf.count as f64;
            let whole = (sampled * factor).round();
            leaf.count = (whole - told) as u64;
            told = whole;
        }
    }

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

    /// A row for each atom, and one for each gap between two: TensorBoard interpolates a percentile from the right edge of the
    /// row before, not from the left edge of the row it falls into.
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

    /// Gives a row of zero width at the maximum a little width to the left, in the gap below it: see [`Histogram`].
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
