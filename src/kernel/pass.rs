//! The fused pass: block by block, lane by lane.

use crate::kernel::analysis::Analysis;
use crate::kernel::blocks::{ALL_ATOMS, BlockSource, Blocks, Spread, paired_blocks};
use crate::kernel::element::{Element, Scan, Wide};
use crate::kernel::fine::Fine;
use crate::kernel::histogram::FineHistogram;
use crate::kernel::simd::Simd;
use crate::kernel::sums::{BLOCK, LANES};
use crate::model::stats::{Change, Moments};

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

impl<F: Wide> Scratch<F> {
    pub(super) fn analyse<E: Element<Wide = F>>(
        &mut self,
        simd: Simd,
        current: &[E],
        previous: Option<&[E]>,
        want_histograms: bool,
    ) -> Analysis {
        self.blocks.reserve();
        let count = want_histograms && current.len() > ALL_ATOMS;
        let change = match simd {
            Simd::Portable => self.pass_portable(current, previous, count),
            #[cfg(target_arch = "x86_64")]
            #[allow(unsafe_code)]
            // SAFETY: the token proves that this CPU has AVX2.
            Simd::Avx2(_) => unsafe { self.pass_avx2(current, previous, count) },
            #[cfg(target_arch = "x86_64")]
            #[allow(unsafe_code)]
            // SAFETY: the token proves that this CPU has these.
            Simd::Avx512(_) => unsafe { self.pass_avx512(current, previous, count) },
        };
        let change = change.map(|(changed, one_ulp)| Change {
            deltas: self.deltas.moments,
            changed,
            one_ulp,
            rows: 1,
            changed_rows: u64::from(changed > 0),
        });
        let weights = BlockSource {
            current,
            previous: None,
        };
        let deltas = previous.map(|previous| BlockSource {
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

    /// The pass; returns how many elements changed, and by one ulp. Inlined, so that it is compiled
    /// for its caller's CPU.
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
            let least_less_one = self.weights.add(wide, count, bytemuck::cast_slice(next));
            if let Some(before) = before {
                let next = bytemuck::cast_slice(next_before.unwrap_or_default());
                self.deltas.add(deltas, count, next);
                let is_plain = least_less_one.is_some_and(|least| least >= E::smallest());
                let (moved, by_one) = compare(block, before, is_plain);
                changed += u64::from(moved);
                one_ulp += u64::from(by_one);
            }
        }
        previous.map(|_| (changed, one_ulp))
    }
}

/// Elements of a block whose bits changed, and those that moved to a neighbour. `is_plain` when all
/// are finite and none is next to a zero or one: then half the work will do.
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

    /// Adds a block; returns its least magnitude less one when all its values are finite and none
    /// is zero.
    #[inline(always)]
    fn add(&mut self, block: &[F], count: bool, ahead: &[u8]) -> Option<u64> {
        let scan = F::scan(block);
        let all_finite = scan.min.is_finite() && scan.max.is_finite();
        if all_finite {
            self.add_finite(block, &scan, count, ahead);
        } else {
            self.add_some_finite(block, count);
        }
        (all_finite && scan.zeros == 0).then_some(scan.least_less_one)
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
        source: BlockSource<'_, E>,
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
            // In this order: the square of the sum may overflow where its share of the squares does
            // not.
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

/// True when the pivot of quick sums lies within 0.58 standard deviations of the mean: then what
/// rounding can do to the sum of squares about the mean, 3e-7 in each square and 2e-7 in the sums
/// at the very worst, stays below 1e-6. False when they overflowed.
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

// A function, not a closure: closures do not take on the instruction set of the function they stand
// in.
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
