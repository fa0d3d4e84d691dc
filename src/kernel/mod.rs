//! The pass over a tensor and its previous state: moments, changes and fine histograms of both, reading memory once.
//!
//! # The pass
//!
//! ```text
//! for each block of 2048 elements                          (the block, its previous state and d stay in the first cache)
//!     w = widened(current)                                  f16, bf16 -> f32; f32 and f64 as they are; others -> f64
//!     d = w - widened(previous)                             in that type
//!     changed, one ulp = compare(current, previous)         as integers of the element's own width
//!     for x in (w, d):
//!         min, max, zeros, least magnitude, or of all bits  as integers
//!         if min or max is not finite: count NaN and infinities, x = the finite elements moved together
//!         pivot = mean so far
//!         for each four elements far apart:                 in f32, except in f64 tensors
//!             s1 += x - pivot;  s2 += (x - pivot)^2         sums of four in f32, of fours in f64
//!         if the pivot was too far off: again about x[0], all in f64
//!         moments of the block, merged into those of the tensor (Chan)
//!         for each element: table[top bits of x][turn] += 1
//! leaves = non-empty buckets of the table
//! while a leaf holds too much: one more pass splits these leaves by their next 6 bits (9 in large tensors)
//! ```
//!
//! # Why
//!
//! - *Blocks*: each step is a short loop over data in the first cache, which the compiler turns into vector code. One loop
//!   doing everything would run out of registers, and separate passes would read memory again for each number.
//! - *Sums of four*: squares of four `f32` are added before they are widened, which needs a third of the instructions. Loops
//!   carry no value from one turn to the next, so the vectoriser takes the widest registers there are; the order of
//!   additions is fixed by the source and nothing is contracted into fused multiply-adds. So the portable build, the AVX2
//!   and AVX-512 builds and NEON give the same bits.
//! - *Pivot*: sums of squares lose all digits when the mean is large against the spread; distances from a value near the
//!   mean do not. The mean so far is such a value for nearly every block. Where it is not, or a block is short or
//!   extremely narrow, its sums are made in `f64` about one of its own elements, which costs a few times as much: one wild
//!   element cannot spoil the others.
//! - *Prefetch*: each step works from the first cache, so memory would stand idle and the first step of the next block wait.
//!   Counting, the longest step, asks for a line of the next block every 16 elements (all at once they wait for each other).
//! - *Integers first*: a float's bits, the sign folded in, order like an integer, and the compiler may vectorise integer
//!   minima and counts as it likes. NaN and infinities lie at the ends of that order, so the same loop finds out whether a
//!   block has any. Nearly all have none and pay nothing more; in the others the finite elements move together without a
//!   branch and the rest is counted by kind.
//! - *Buckets by bits*: sign, exponent and five bits of mantissa are a shift away; no logarithm, no search, 3 % wide from
//!   the smallest normal number to the largest. An increment must wait for the store before it when both hit one bucket,
//!   so two counts of a bucket take turns, side by side. Four would push the blocks out of a first cache of 32 KiB and gain
//!   only where nearly all elements are equal.
//! - *Touched buckets only*: the least and largest magnitude bound what has to be collected and cleared.
//! - *Refinement*: relative buckets are too wide where the data is narrow around a value that is not zero (norm layers
//!   near 1, deltas of a sign-like optimizer) or sits on few values. Such leaves hold much of the mass, so they are few, and only
//!   they are counted again. The or of all bits tells how many low bits are zero throughout: a leaf with no other bits left
//!   is an atom, one exact value (bf16 after one further pass, small integers after two).
//!
//! The generic body is compiled three times on x86-64 and chosen when the kernel is made. On aarch64 the portable form has NEON.

#[cfg(test)]
mod display;
mod element;
mod fine;
pub(crate) mod histogram;
#[cfg(test)]
mod naive;
mod parallel;
mod pass;
#[cfg(test)]
mod tests;

use crate::kernel::histogram::FineHistogram;
use crate::kernel::stats::{Change, Moments};
pub(crate) use crate::model::stats;
use crate::model::types::DType;
use element::{Element, Wide};
use half::{bf16, f16};
pub(crate) use parallel::{Kernels, Task};
use pass::Scratch;

/// The elements of a tensor in the model's own type.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Elements<'a> {
    /// One byte each, 0 or 1.
    Bool(&'a [u8]),
    U8(&'a [u8]),
    I8(&'a [i8]),
    I16(&'a [i16]),
    I32(&'a [i32]),
    I64(&'a [i64]),
    F16(&'a [f16]),
    BF16(&'a [bf16]),
    F32(&'a [f32]),
    F64(&'a [f64]),
}

/// Runs an expression with the slice inside an [`Elements`].
macro_rules! with_slice {
    ($elements:expr, $slice:ident => $body:expr) => {
        match $elements {
            Elements::Bool($slice) | Elements::U8($slice) => $body,
            Elements::I8($slice) => $body,
            Elements::I16($slice) => $body,
            Elements::I32($slice) => $body,
            Elements::I64($slice) => $body,
            Elements::F16($slice) => $body,
            Elements::BF16($slice) => $body,
            Elements::F32($slice) => $body,
            Elements::F64($slice) => $body,
        }
    };
}

impl<'a> Elements<'a> {
    /// Views bytes as elements; `None` when they are not aligned for the type or not a whole number of elements.
    pub(crate) fn from_bytes(dtype: DType, bytes: &'a [u8]) -> Option<Elements<'a>> {
        Some(match dtype {
            DType::Bool => Elements::Bool(bytes),
            DType::U8 => Elements::U8(bytes),
            DType::I8 => Elements::I8(bytemuck::try_cast_slice(bytes).ok()?),
            DType::I16 => Elements::I16(bytemuck::try_cast_slice(bytes).ok()?),
            DType::I32 => Elements::I32(bytemuck::try_cast_slice(bytes).ok()?),
            DType::I64 => Elements::I64(bytemuck::try_cast_slice(bytes).ok()?),
            DType::F16 => Elements::F16(bytemuck::try_cast_slice(bytes).ok()?),
            DType::BF16 => Elements::BF16(bytemuck::try_cast_slice(bytes).ok()?),
            DType::F32 => Elements::F32(bytemuck::try_cast_slice(bytes).ok()?),
            DType::F64 => Elements::F64(bytemuck::try_cast_slice(bytes).ok()?),
        })
    }

    pub(crate) fn len(&self) -> usize {
        with_slice!(self, slice => slice.len())
    }

    /// Appends the elements of these numbers as `f64`; NaN behind the end.
    pub(crate) fn gather(&self, numbers: &[u32], values: &mut Vec<f64>) {
        with_slice!(self, slice => values.extend(numbers.iter().map(|&number| {
            slice.get(number as usize).map_or(f64::NAN, |element| element.widened().to_f64())
        })));
    }

    /// Of so many rows of equal length, those that are not equal to the next, counted up to `most`.
    pub(crate) fn differing_rows(&self, rows: usize, most: usize) -> usize {
        with_slice!(self, slice => {
            let bytes: &[u8] = bytemuck::cast_slice(slice);
            let length = (bytes.len() / rows.max(1)).max(1);
            let next = bytes.chunks_exact(length).skip(1);
            let pairs = std::iter::zip(bytes.chunks_exact(length), next);
            pairs.filter(|(row, next)| row != next).take(most).count()
        })
    }

    /// The element as `f64`; NaN behind the end.
    pub(crate) fn get(&self, index: usize) -> f64 {
        with_slice!(self, slice => slice.get(index).map_or(f64::NAN, |element| element.widened().to_f64()))
    }
}

/// What one call of the kernel found.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Analysis {
    pub(crate) weights: Moments,
    pub(crate) weight_histogram: Option<FineHistogram>,
    /// Against the previous state; `None` without one.
    pub(crate) change: Option<Change>,
    pub(crate) delta_histogram: Option<FineHistogram>,
    /// A bit for each row, the first the lowest: it has a changed element. Only where some rows have and some have not.
    pub(crate) rows_changed: Option<Box<[u64]>>,
}

impl Analysis {
    /// Adds the analysis of further elements of the same tensor.
    fn merge(&mut self, other: &Analysis) {
        fn join<T>(ours: &mut Option<T>, theirs: &Option<T>, merge: impl Fn(&mut T, &T)) {
            if let (Some(ours), Some(theirs)) = (ours, theirs) {
                merge(ours, theirs);
            }
        }
        self.weights.merge(&other.weights);
        join(
            &mut self.weight_histogram,
            &other.weight_histogram,
            FineHistogram::merge,
        );
        join(&mut self.change, &other.change, Change::merge);
        join(
            &mut self.delta_histogram,
            &other.delta_histogram,
            FineHistogram::merge,
        );
    }
}

impl Analysis {
    /// The analysis of a whole of which the elements seen are an even sample: counts and sums grow by `factor`, means and
    /// extremes stay.
    pub(crate) fn scaled(mut self, factor: f64) -> Analysis {
        if factor != 1.0 {
            self.weights.scale(factor);
            if let Some(change) = &mut self.change {
                change.scale(factor);
            }
            let histograms = [&mut self.weight_histogram, &mut self.delta_histogram];
            for histogram in histograms.into_iter().flatten() {
                histogram.scale(factor);
            }
        }
        self
    }
}

/// The instruction set to run the pass with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Simd {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Simd {
    /// The widest that this CPU has.
    fn detect() -> Simd {
        Simd::available().last().unwrap_or(Simd::Portable)
    }

    /// All that this CPU has, the widest last.
    fn available() -> impl Iterator<Item = Simd> {
        let all = [
            (Simd::Portable, true),
            #[cfg(target_arch = "x86_64")]
            (Simd::Avx2, is_x86_feature_detected!("avx2")),
            #[cfg(target_arch = "x86_64")]
            (Simd::Avx512, has_avx512()),
        ];
        all.into_iter()
            .filter_map(|(simd, is_there)| is_there.then_some(simd))
    }
}

/// The last one is asked for because the first generation with AVX-512, which lacks it, lowers its clock for wide registers.
#[cfg(target_arch = "x86_64")]
fn has_avx512() -> bool {
    is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512vbmi2")
}

/// Counts have 32 bits.
const MAX_SEGMENT: usize = u32::MAX as usize;

/// Computes the statistics of tensors, one after the other.
///
/// Blocks, count tables and refinement tables are kept between calls; what is allocated anew are the leaves handed out and
/// the short lists of leaves being refined.
pub(crate) struct Kernel {
    simd: Simd,
    single: Scratch<f32>,
    double: Scratch<f64>,
}

impl Kernel {
    pub(crate) fn new() -> Kernel {
        Kernel {
            simd: Simd::detect(),
            single: Scratch::default(),
            double: Scratch::default(),
        }
    }

    /// Analyses a tensor and, where its previous state is given in the same type and length, its change.
    ///
    /// `rows` is the size of the first dimension, 1 for scalars and vectors.
    pub(crate) fn analyse(
        &mut self,
        current: Elements<'_>,
        previous: Option<Elements<'_>>,
        rows: usize,
        want_histograms: bool,
    ) -> Analysis {
        use Elements as E;
        let simd = self.simd;
        let (single, double) = (&mut self.single, &mut self.double);
        macro_rules! run {
            ($scratch:expr, $current:expr, $($kind:pat => $previous:expr),+) => {
                whole($scratch, simd, $current, match previous { $($kind => Some($previous),)+ _ => None }, rows, want_histograms)
            };
        }
        match current {
            E::Bool(now) => run!(double, now, Some(E::Bool(before)) => before),
            E::U8(now) => run!(double, now, Some(E::U8(before)) => before),
            E::I8(now) => run!(double, now, Some(E::I8(before)) => before),
            E::I16(now) => run!(double, now, Some(E::I16(before)) => before),
            E::I32(now) => run!(double, now, Some(E::I32(before)) => before),
            E::I64(now) => run!(double, now, Some(E::I64(before)) => before),
            E::F16(now) => run!(single, now, Some(E::F16(before)) => before),
            E::BF16(now) => run!(single, now, Some(E::BF16(before)) => before),
            E::F32(now) => run!(single, now, Some(E::F32(before)) => before),
            E::F64(now) => run!(double, now, Some(E::F64(before)) => before),
        }
    }
}

/// A tensor of one element type: its segments, then what only the whole can tell.
fn whole<E: Element>(
    scratch: &mut Scratch<E::Wide>,
    simd: Simd,
    current: &[E],
    previous: Option<&[E]>,
    rows: usize,
    want_histograms: bool,
) -> Analysis {
    let previous = previous.filter(|previous| previous.len() == current.len());
    let mut analysis = segments(
        scratch,
        simd,
        current,
        previous,
        want_histograms,
        MAX_SEGMENT,
    );
    if let (Some(change), Some(previous)) = (&mut analysis.change, previous) {
        change.rows = rows as u64;
        change.changed_rows = match change.changed {
            0 => 0,
            changed if changed == current.len() as u64 => rows as u64,
            _ => {
                let bits = changed_rows(current, previous, rows);
                let count = bits.iter().map(|word| u64::from(word.count_ones())).sum();
                analysis.rows_changed = (count < rows as u64).then_some(bits);
                count
            }
        };
    }
    analysis
}

/// The segments of at most `max_segment` elements, each analysed by itself and merged.
fn segments<E: Element>(
    scratch: &mut Scratch<E::Wide>,
    simd: Simd,
    current: &[E],
    previous: Option<&[E]>,
    want_histograms: bool,
    max_segment: usize,
) -> Analysis {
    let Some((now, rest)) = current.split_at_checked(max_segment) else {
        return scratch.analyse(simd, current, previous, want_histograms);
    };
    let split = previous.and_then(|previous| previous.split_at_checked(max_segment));
    let (before, rest_before) = split.unzip();
    let mut analysis = scratch.analyse(simd, now, before, want_histograms);
    if !rest.is_empty() {
        analysis.merge(&segments(
            scratch,
            simd,
            rest,
            rest_before,
            want_histograms,
            max_segment,
        ));
    }
    analysis
}

/// A bit for each row with a changed element. Most rows that changed did so in one of their first elements, where the
/// comparison ends.
fn changed_rows<E: Element>(current: &[E], previous: &[E], rows: usize) -> Box<[u64]> {
    let row = match rows {
        1.. if current.len().is_multiple_of(rows) => (current.len() / rows).max(1),
        _ => current.len().max(1),
    };
    let mut bits = vec![0; rows.div_ceil(64).max(1)];
    let pairs = current.chunks(row).zip(previous.chunks(row));
    for (index, (now, before)) in pairs.enumerate() {
        let changed = bytemuck::cast_slice::<E, u8>(now) != bytemuck::cast_slice::<E, u8>(before);
        if let Some(word) = bits.get_mut(index / 64) {
            *word |= u64::from(changed) << (index % 64);
        }
    }
    bits.into_boxed_slice()
}
