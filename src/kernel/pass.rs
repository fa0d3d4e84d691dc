//! The fused pass: block by block, lane by lane.

use super::element::{Bits, Element, Wide};
use super::fine::Fine;
use super::{Analysis, Simd};
use crate::histogram::FineHistogram;
use crate::stats::{Change, Moments};

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
            *delta = now - before.widen();
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
    spread: Spread<F>,
    fine: Fine<F>,
}

impl<F: Wide> Default for Side<F> {
    fn default() -> Side<F> {
        Side {
            moments: Moments::default(),
            spread: Spread::default(),
            fine: Fine::default(),
        }
    }
}

/// Which bits the finite values have.
pub(super) struct Spread<F: Wide> {
    /// Smallest magnitude that is not zero, less one; the largest integer when all are zero.
    pub(super) least_less_one: F::Bits,
    /// Or of all magnitudes.
    pub(super) or: F::Bits,
}

impl<F: Wide> Default for Spread<F> {
    fn default() -> Spread<F> {
        Spread {
            least_less_one: F::Bits::MAX,
            or: F::Bits::ZERO,
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
        for (block, before) in paired_blocks(current, previous) {
            let (wide, deltas) = self.blocks.load(block, before);
            self.weights.add(wide, count);
            if let Some(before) = before {
                self.deltas.add(deltas, count);
                let (moved, by_one) = compare(block, before);
                changed += u64::from(moved);
                one_ulp += u64::from(by_one);
            }
        }
        previous.map(|_| (changed, one_ulp))
    }
}

/// Elements of a block whose bits changed, and those that moved to a neighbour.
#[inline(always)]
fn compare<E: Element>(current: &[E], previous: &[E]) -> (u32, u32) {
    let (mut changed, mut one_ulp) = (0, 0);
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

    #[inline(always)]
    fn add(&mut self, block: &[F], count: bool) {
        if let Some(&pivot) = block.iter().find(|value| value.is_finite()) {
            let lanes = Lanes::sum(block, pivot);
            self.moments.merge(&lanes.moments(block, pivot));
            self.spread.least_less_one = self.spread.least_less_one.min(lanes.least_less_one());
            self.spread.or = self.spread.or | lanes.or();
        } else {
            self.moments.merge(&count_nonfinite(block));
        }
        if count {
            self.fine.count(block);
        }
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

/// The sums of a block, lane by lane.
struct Lanes<F: Wide> {
    sum: [f64; LANES],
    squares: [f64; LANES],
    min: [F; LANES],
    max: [F; LANES],
    zeros: [F::Bits; LANES],
    nonfinite: [F::Bits; LANES],
    least_less_one: [F::Bits; LANES],
    or: [F::Bits; LANES],
    /// Pivots added to fill the last row of lanes, when the pivot is zero.
    zeros_added: u64,
}

impl<F: Wide> Lanes<F> {
    #[inline(always)]
    fn sum(block: &[F], pivot: F) -> Lanes<F> {
        let mut lanes = Lanes {
            sum: [0.0; LANES],
            squares: [0.0; LANES],
            min: [pivot; LANES],
            max: [pivot; LANES],
            zeros: [F::Bits::ZERO; LANES],
            nonfinite: [F::Bits::ZERO; LANES],
            least_less_one: [F::Bits::MAX; LANES],
            or: [F::Bits::ZERO; LANES],
            zeros_added: 0,
        };
        let (rows, rest) = block.as_chunks::<LANES>();
        for row in rows {
            lanes.add(row, pivot);
        }
        if !rest.is_empty() {
            // Filled up with the pivot, which moves no sum.
            let mut row = [pivot; LANES];
            for (lane, &value) in row.iter_mut().zip(rest) {
                *lane = value;
            }
            lanes.add(&row, pivot);
            if pivot == F::ZERO {
                lanes.zeros_added = (LANES - rest.len()) as u64;
            }
        }
        lanes
    }

    #[inline(always)]
    fn add(&mut self, row: &[F; LANES], pivot: F) {
        let pivot_f64 = pivot.to_f64();
        for lane in 0..LANES {
            let value = row[lane];
            let finite = value.is_finite();
            self.nonfinite[lane] = self.nonfinite[lane].plus(F::Bits::flag(!finite));
            self.zeros[lane] = self.zeros[lane].plus(F::Bits::flag(value == F::ZERO));
            let value = if finite { value } else { pivot };
            self.min[lane] = if value < self.min[lane] {
                value
            } else {
                self.min[lane]
            };
            self.max[lane] = if value > self.max[lane] {
                value
            } else {
                self.max[lane]
            };
            // Zero wraps around to the largest integer.
            self.least_less_one[lane] =
                self.least_less_one[lane].min(value.magnitude().minus_one());
            self.or[lane] = self.or[lane] | value.magnitude();
            let distance = value.to_f64() - pivot_f64;
            self.sum[lane] += distance;
            self.squares[lane] += distance * distance;
        }
    }

    #[inline(always)]
    fn moments(&self, block: &[F], pivot: F) -> Moments {
        let nonfinite: u64 = self.nonfinite.iter().map(|lane| lane.to_u64()).sum();
        let mut moments = match nonfinite {
            0 => Moments {
                count: block.len() as u64,
                ..Moments::default()
            },
            _ => count_nonfinite(block),
        };
        moments.zeros = self.zeros.iter().map(|lane| lane.to_u64()).sum::<u64>() - self.zeros_added;
        moments.min = self
            .min
            .iter()
            .fold(f64::INFINITY, |min, lane| min.min(lane.to_f64()));
        moments.max = self
            .max
            .iter()
            .fold(f64::NEG_INFINITY, |max, lane| max.max(lane.to_f64()));
        let (sum, squares): (f64, f64) = (self.sum.iter().sum(), self.squares.iter().sum());
        let finite = moments.finite() as f64;
        if squares.is_finite() {
            moments.mean = pivot.to_f64() + sum / finite;
            moments.m2 = (squares - sum * sum / finite).max(0.0);
        } else {
            // Only f64 beyond 1e150 comes here: the spread is not representable, the mean is.
            moments.mean = block
                .iter()
                .filter(|value| value.is_finite())
                .map(|value| value.to_f64() / finite)
                .sum();
            moments.m2 = f64::INFINITY;
        }
        moments
    }

    #[inline(always)]
    fn least_less_one(&self) -> F::Bits {
        self.least_less_one
            .iter()
            .fold(F::Bits::MAX, |least, &lane| least.min(lane))
    }

    #[inline(always)]
    fn or(&self) -> F::Bits {
        self.or.iter().fold(F::Bits::ZERO, |or, &lane| or | lane)
    }
}

/// The elements of a block, and which of them are NaN or infinite.
#[cold]
fn count_nonfinite<F: Wide>(block: &[F]) -> Moments {
    let mut moments = Moments {
        count: block.len() as u64,
        ..Moments::default()
    };
    for value in block.iter().map(|value| value.to_f64()) {
        moments.nan += u64::from(value.is_nan());
        moments.pos_inf += u64::from(value == f64::INFINITY);
        moments.neg_inf += u64::from(value == f64::NEG_INFINITY);
    }
    moments
}
