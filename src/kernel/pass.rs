//! The fused pass: block by block, lane by lane.

use super::element::{Element, Scan, Wide};
use super::fine::Fine;
use super::{Analysis, Simd};
use crate::kernel::histogram::FineHistogram;
use crate::kernel::stats::{Change, Moments};

/// Elements of a block: current, previous and delta of 4 bytes fill half of a first-level cache of 48 KiB.
pub(super) const BLOCK: usize = 2048;
/// Independent sums: see the module's introduction.
pub(super) const LANES: usize = 8;
/// Up to this many elements a histogram shows each value by itself.
pub(super) const ALL_ATOMS: usize = 64;

/// The buffers and tables of one wide type.
pub(super) struct Scratch<F: Wide> {
    blocks: Blocks<F>,
    weights: Side<F>,
    deltas: Side<F>,
}

impl<F: Wide> Default for Scratch<F> {
    fn default() -> Scratch<F> {
        Scratch {
            blocks: Blocks::default(),
            weights: Side::default(),
            deltas: Side::default(),
        }
    }
}

/// One block widened, and its deltas.
pub(super) struct Blocks<F> {
    wide: Vec<F>,
    deltas: Vec<F>,
}

impl<F> Default for Blocks<F> {
    fn default() -> Blocks<F> {
        Blocks {
            wide: Vec::new(),
            deltas: Vec::new(),
        }
    }
}

impl<F: Wide> Blocks<F> {
    /// The block in the wide type and, with a previous state, its deltas.
    #[inline(always)]
    fn load<'a, E: Element<Wide = F>>(
        &'a mut self,
        current: &'a [E],
        previous: Option<&[E]>,
    ) -> (&'a [F], &'a [F]) {
        let wide = E::widen_block(current, &mut self.wide);
        let Some(previous) = previous else {
            return (wide, &[]);
        };
        for ((delta, &now), &before) in self.deltas.iter_mut().zip(wide).zip(previous) {
            *delta = now - before.widened();
        }
        (wide, self.deltas.get(..wide.len()).unwrap_or_default())
    }
}

/// What the histogram is made of: the elements of a tensor, or their change.
#[derive(Clone, Copy)]
pub(super) struct Source<'a, E> {
    current: &'a [E],
    previous: Option<&'a [E]>,
}

impl<E: Element> Source<'_, E> {
    /// Hands out the values once more, block by block.
    pub(super) fn visit(&self, blocks: &mut Blocks<E::Wide>, mut see: impl FnMut(&[E::Wide])) {
        for (current, previous) in paired_blocks(self.current, self.previous) {
            let (wide, deltas) = blocks.load(current, previous);
            see(if previous.is_some() { deltas } else { wide });
        }
    }
}

/// The blocks of a tensor, each with its previous state.
#[inline(always)]
fn paired_blocks<'a, E>(
    current: &'a [E],
    previous: Option<&'a [E]>,
) -> impl Iterator<Item = (&'a [E], Option<&'a [E]>)> {
    let mut before = previous.unwrap_or_default().chunks(BLOCK);
    current
        .chunks(BLOCK)
        .map(move |block| (block, before.next()))
}

/// The running results for the weights, or for their deltas.
struct Side<F: Wide> {
    moments: Moments,
    spread: Spread,
    fine: Fine<F>,
    /// The finite elements of a block that has others too.
    finite: Vec<F>,
}

impl<F: Wide> Default for Side<F> {
    fn default() -> Side<F> {
        Side {
            moments: Moments::default(),
            spread: Spread::default(),
            fine: Fine::default(),
            finite: Vec::new(),
        }
    }
}

/// Which bits the finite values have.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spread {
    /// Smallest magnitude that is not zero, as an integer and less one; the largest integer when all are zero.
    pub(super) least_less_one: u64,
    /// Or of all magnitudes.
    pub(super) or: u64,
}

impl Default for Spread {
    fn default() -> Spread {
        Spread {
            least_less_one: u64::MAX,
            or: 0,
        }
    }
}

impl<F: Wide> Scratch<F> {
    pub(super) fn analyse<E: Element<Wide = F>>(
        &mut self,
        simd: Simd,
        current: &[E],
        previous: Option<&[E]>,
        want_histograms: bool,
    ) -> Analysis {
        self.blocks.wide.resize(BLOCK, F::ZERO);
        self.blocks.deltas.resize(BLOCK, F::ZERO);
        let count = want_histograms && current.len() > ALL_ATOMS;
        let change = match simd {
            Simd::Portable => self.pass_portable(current, previous, count),
            #[cfg(target_arch = "x86_64")]
            #[allow(unsafe_code)]
            // SAFETY: `Simd::Avx2` is made by `Simd::detect` only, after it found that this CPU has AVX2.
            Simd::Avx2 => unsafe { self.pass_avx2(current, previous, count) },
            #[cfg(target_arch = "x86_64")]
            #[allow(unsafe_code)]
            // SAFETY: `Simd::Avx512` is made by `Simd::detect` only, after it found that this CPU has these.
            Simd::Avx512 => unsafe { self.pass_avx512(current, previous, count) },
        };
        let change = change.map(|(changed, one_ulp)| Change {
            deltas: self.deltas.moments,
            changed,
            one_ulp,
            rows: 1,
            changed_rows: u64::from(changed > 0),
        });
        let weights = Source {
            current,
            previous: None,
        };
        let deltas = previous.map(|previous| Source {
            current,
            previous: Some(previous),
        });
        Analysis {
            weights: self.weights.moments,
            weight_histogram: want_histograms
                .then(|| self.weights.histogram(&mut self.blocks, weights)),
            delta_histogram: deltas
                .filter(|_| want_histograms)
                .map(|deltas| self.deltas.histogram(&mut self.blocks, deltas)),
            change,
            rows_changed: None,
        }
    }

    fn pass_portable<E: Element<Wide = F>>(
        &mut self,
        current: &[E],
        previous: Option<&[E]>,
        count: bool,
    ) -> Option<(u64, u64)> {
        self.pass(current, previous, count)
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn pass_avx2<E: Element<Wide = F>>(
        &mut self,
        current: &[E],
        previous: Option<&[E]>,
        count: bool,
    ) -> Option<(u64, u64)> {
        self.pass(current, previous, count)
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,avx512f,avx512bw,avx512dq,avx512vl")]
    fn pass_avx512<E: Element<Wide = F>>(
        &mut self,
        current: &[E],
        previous: Option<&[E]>,
        count: bool,
    ) -> Option<(u64, u64)> {
        self.pass(current, previous, count)
    }

    /// The pass; returns how many elements changed, and by one ulp. Inlined, so that it is compiled for its caller's CPU.
    #[inline(always)]
    fn pass<E: Element<Wide = F>>(
        &mut self,
        current: &[E],
        previous: Option<&[E]>,
        count: bool,
    ) -> Option<(u64, u64)> {
        self.weights.start();
        self.deltas.start();
        let (mut changed, mut one_ulp) = (0, 0);
        let mut ahead = paired_blocks(current, previous).skip(1);
        for (block, before) in paired_blocks(current, previous) {
            let (wide, deltas) = self.blocks.load(block, before);
            let (next, next_before) = ahead.next().unwrap_or_default();
            let is_plain = self.weights.add(wide, count, bytemuck::cast_slice(next));
            if let Some(before) = before {
                let next = bytemuck::cast_slice(next_before.unwrap_or_default());
                self.deltas.add(deltas, count, next);
                let (moved, by_one) = compare(block, before, is_plain);
                changed += u64::from(moved);
                one_ulp += u64::from(by_one);
            }
        }
        previous.map(|_| (changed, one_ulp))
    }
}

/// Elements of a block whose bits changed, and those that moved to a neighbour. `is_plain` when all are finite and none is
/// zero: then half the work will do.
#[inline(always)]
fn compare<E: Element>(current: &[E], previous: &[E], is_plain: bool) -> (u32, u32) {
    let (mut changed, mut one_ulp) = (0, 0);
    if is_plain {
        for (&now, &before) in current.iter().zip(previous) {
            changed += u32::from(now.differs(before));
            one_ulp += u32::from(now.is_next_to_plain(before));
        }
        return (changed, one_ulp);
    }
    for (now, before) in current.iter().zip(previous) {
        let (now, before) = (now.image(), before.image());
        changed += u32::from(now != before);
        one_ulp += u32::from(E::is_next_to(now, before));
    }
    (changed, one_ulp)
}

impl<F: Wide> Side<F> {
    #[inline(always)]
    fn start(&mut self) {
        self.moments = Moments::default();
        self.spread = Spread::default();
    }

    /// Adds a block; true when all its values are finite and none is zero.
    #[inline(always)]
    fn add(&mut self, block: &[F], count: bool, ahead: &[u8]) -> bool {
        let scan = F::scan(block);
        let all_finite = scan.min.is_finite() && scan.max.is_finite();
        if all_finite {
            self.add_finite(block, &scan, count, ahead);
        } else {
            self.add_some_finite(block, count);
        }
        all_finite && scan.zeros == 0
    }

    #[inline(always)]
    fn add_finite(&mut self, block: &[F], scan: &Scan<F>, count: bool, ahead: &[u8]) {
        self.spread.least_less_one = self.spread.least_less_one.min(scan.least_less_one);
        self.spread.or |= scan.or;
        let expected = self.moments.mean;
        self.moments.merge(&moments(block, scan, expected));
        if count {
            self.fine.count(block, ahead);
        }
    }

    /// A block with NaN or infinities: they are counted, the others move together without a branch.
    #[cold]
    fn add_some_finite(&mut self, block: &[F], count: bool) {
        self.moments.merge(&count_nonfinite(block));
        let mut finite = std::mem::take(&mut self.finite);
        finite.resize(BLOCK, F::ZERO);
        let mut kept = 0;
        for &value in block {
            if let Some(slot) = finite.get_mut(kept) {
                *slot = value;
            }
            kept += usize::from(value.is_finite());
        }
        if let Some(values) = finite.get(..kept).filter(|values| !values.is_empty()) {
            self.add_finite(values, &F::scan(values), count, &[]);
        }
        self.finite = finite;
    }

    fn histogram<E: Element<Wide = F>>(
        &mut self,
        blocks: &mut Blocks<F>,
        source: Source<'_, E>,
    ) -> FineHistogram {
        self.fine
            .finish(&self.moments, &self.spread, blocks, source)
    }
}

/// The moments of finite values, at least one. `expected` is where their mean is thought to lie.
#[inline(always)]
fn moments<F: Wide>(block: &[F], scan: &Scan<F>, expected: f64) -> Moments {
    let Some(&first) = block.first() else {
        return Moments::default();
    };
    let count = block.len() as f64;
    let (min, max) = (scan.min.to_f64(), scan.max.to_f64());
    let near = F::from_f64(expected);
    let quick = if block.len() >= QUICK_LEN && max - min >= QUICK_RANGE {
        F::quick_sums(block, near).filter(|sums| is_near(sums, count))
    } else {
        None
    };
    let (pivot, [sum, squares]) = match quick {
        Some(sums) => (near, sums),
        None => (first, exact_sums(block, first)),
    };
    let (mean, m2) = if squares.is_finite() {
        (
            pivot.to_f64() + sum / count,
            // In this order: the square of the sum may overflow where its share of the squares does not.
            (squares - sum / count * sum).max(0.0),
        )
    } else {
        // Only f64 beyond 1e150 comes here: the spread is not representable, the mean is.
        (
            block.iter().map(|value| value.to_f64() / count).sum(),
            f64::INFINITY,
        )
    };
    Moments {
        count: block.len() as u64,
        zeros: scan.zeros,
        min,
        max,
        mean,
        m2,
        ..Moments::default()
    }
}

/// In a shorter block, adding up the sums of four would cost more than they save.
const QUICK_LEN: usize = BLOCK / 2;
/// A block of a smaller range has squares that an `f32` holds badly or not at all.
const QUICK_RANGE: f64 = 1e-15;

/// True when the pivot of quick sums lies within 0.58 standard deviations of the mean: then what rounding can do to the sum
/// of squares about the mean, 3e-7 in each square and 2e-7 in the sums at the very worst, stays below 1e-6. False when they
/// overflowed.
#[inline(always)]
fn is_near([sum, squares]: &[f64; 2], count: f64) -> bool {
    squares.is_finite() && sum * sum / count <= squares / 4.0
}

/// Sum and sum of squares of the distances from the pivot in `f64`, lane by lane.
#[inline(always)]
fn exact_sums<F: Wide>(block: &[F], pivot: F) -> [f64; 2] {
    let (mut sum, mut squares) = ([0.0; LANES], [0.0; LANES]);
    let (rows, rest) = block.as_chunks::<LANES>();
    for row in rows {
        add_row(row, pivot, &mut sum, &mut squares);
    }
    // Filled up with the pivot, which moves no sum.
    let mut row = [pivot; LANES];
    for (lane, &value) in row.iter_mut().zip(rest) {
        *lane = value;
    }
    add_row(&row, pivot, &mut sum, &mut squares);
    [sum.iter().sum(), squares.iter().sum()]
}

// A function, not a closure: closures do not take on the instruction set of the function they stand in.
#[inline(always)]
fn add_row<F: Wide>(
    row: &[F; LANES],
    pivot: F,
    sum: &mut [f64; LANES],
    squares: &mut [f64; LANES],
) {
    let mut distances = [0.0; LANES];
    for lane in 0..LANES {
        distances[lane] = row[lane].to_f64() - pivot.to_f64();
    }
    for lane in 0..LANES {
        sum[lane] += distances[lane];
    }
    for lane in 0..LANES {
        squares[lane] += distances[lane] * distances[lane];
    }
}

/// Sum and sum of squares of the distances from the pivot: those of four elements are added in `f32`, the rest in `f64`.
///
/// Written as loops over slices without a carried value, for the loop vectoriser: it uses the widest registers, where sums
/// kept in a small array end up in those of two `f64`.
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

/// The elements of a block that are NaN or infinite.
fn count_nonfinite<F: Wide>(block: &[F]) -> Moments {
    let mut moments = Moments::default();
    for value in block.iter().map(|value| value.to_f64()) {
        moments.nan += u64::from(value.is_nan());
        moments.pos_inf += u64::from(value == f64::INFINITY);
        moments.neg_inf += u64::from(value == f64::NEG_INFINITY);
    }
    moments.count = moments.nonfinite();
    moments
}
