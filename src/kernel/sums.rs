//! Sums of a block about a pivot.

/// Elements of a block: current, previous and delta of 4 bytes fill half of a first-level cache of
/// 48 KiB.
pub(super) const BLOCK: usize = 2048;
/// Independent sums: see the introduction of the kernel.
pub(super) const LANES: usize = 8;

/// Sum and sum of squares of the distances from the pivot: those of four elements are added in
/// `f32`, the rest in `f64`.
///
/// Written as loops over slices without a carried value, for the loop vectoriser: it uses the
/// widest registers, where sums kept in a small array end up in those of two `f64`.
#[inline(always)]
pub(super) fn sums_by_four(block: &[f32], pivot: f32) -> [f64; 2] {
    const QUARTER: usize = BLOCK / 4;
    let (mut fours, mut four_squares) = ([0.0_f32; QUARTER], [0.0_f32; QUARTER]);
    let quarter = (block.len() / 4).min(QUARTER);
    let (first, rest) = block.split_at(quarter);
    let (second, rest) = rest.split_at(quarter);
    let (third, rest) = rest.split_at(quarter);
    let (fourth, rest) = rest.split_at(quarter);
    let values = first.iter().zip(second).zip(third.iter().zip(fourth));
    let results = fours.iter_mut().zip(&mut four_squares);
    for (((a, b), (c, d)), (four, squares)) in values.zip(results) {
        let (a, b, c, d) = (a - pivot, b - pivot, c - pivot, d - pivot);
        *four = (a + b) + (c + d);
        *squares = (a * a + b * b) + (c * c + d * d);
    }
    let [mut sum, mut squares] = [widened_sum(&fours), widened_sum(&four_squares)];
    for value in rest {
        let distance = f64::from(*value) - f64::from(pivot);
        sum += distance;
        squares += distance * distance;
    }
    [sum, squares]
}

#[inline(always)]
fn widened_sum(values: &[f32; BLOCK / 4]) -> f64 {
    let mut lanes = [0.0_f64; 32];
    for row in values.as_chunks::<32>().0 {
        for (lane, &value) in lanes.iter_mut().zip(row) {
            *lane += f64::from(value);
        }
    }
    lanes.iter().sum()
}
