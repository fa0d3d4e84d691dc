//! The pass over a tensor and its previous state: moments, changes and fine histograms of both,
//! reading memory once.
//!
//! # The pass
//!
//! ```text
//! for each block of 2048 elements             (it, its previous state and d stay in L1)
//!     w = widened(current)                     f16, bf16 -> f32; f32, f64 as is; others -> f64
//!     d = w - widened(previous)                             in that type
//!     changed, one ulp = compare(current, previous)         as integers of the element's own width
//!     for x in (w, d):
//!         min, max, zeros, least magnitude, or of all bits  as integers
//!         if min or max is not finite: count NaN and infinities, x = the finite elements
//!         pivot = mean so far
//!         for each four elements far apart:                 in f32, except in f64 tensors
//!             s1 += x - pivot;  s2 += (x - pivot)^2         sums of four in f32, of fours in f64
//!         if the pivot was too far off: again about x[0], all in f64
//!         moments of the block, merged into those of the tensor (Chan)
//!         for each element: table[top bits of x][turn] += 1
//! leaves = non-empty buckets of the table
//! while a leaf holds too much: one more pass splits these leaves by their next 6 bits (9 in large
//! tensors)
//! ```
//!
//! # Why
//!
//! - *Blocks*: each step is a short loop over data in the first cache, which the compiler turns
//!   into vector code. One loop doing everything would run out of registers, and separate passes
//!   would read memory again for each number.
//! - *Sums of four*: squares of four `f32` are added before they are widened, which needs a third
//!   of the instructions. Loops carry no value from one turn to the next, so the vectoriser takes
//!   the widest registers there are; the order of additions is fixed by the source and nothing is
//!   contracted into fused multiply-adds. So the portable build, the AVX2 and AVX-512 builds and
//!   NEON give the same bits.
//! - *Pivot*: sums of squares lose all digits when the mean is large against the spread; distances
//!   from a value near the mean do not. The mean so far is such a value for nearly every block.
//!   Where it is not, or a block is short or extremely narrow, its sums are made in `f64` about one
//!   of its own elements, which costs a few times as much: one wild element cannot spoil the
//!   others.
//! - *Prefetch*: each step works from the first cache, so memory would stand idle and the first
//!   step of the next block wait. Counting, the longest step, asks for a line of the next block
//!   every 16 elements (all at once they wait for each other).
//! - *Integers first*: a float's bits, the sign folded in, order like an integer, and the compiler
//!   may vectorise integer minima and counts as it likes. NaN and infinities lie at the ends of
//!   that order, so the same loop finds out whether a block has any. Nearly all have none and pay
//!   nothing more; in the others the finite elements move together without a branch and the rest is
//!   counted by kind.
//! - *Buckets by bits*: sign, exponent and five bits of mantissa are a shift away; no logarithm, no
//!   search, 3 % wide from the smallest normal number to the largest. An increment must wait for
//!   the store before it when both hit one bucket, so two counts of a bucket take turns, side by
//!   side. Four would push the blocks out of a first cache of 32 KiB and gain only where nearly all
//!   elements are equal.
//! - *Touched buckets only*: the least and largest magnitude bound what has to be collected and
//!   cleared.
//! - *Refinement*: relative buckets are too wide where the data is narrow around a value that is
//!   not zero (norm layers near 1, deltas of a sign-like optimizer) or sits on few values. Such
//!   leaves hold much of the mass, so they are few, and only they are counted again. The or of all
//!   bits tells how many low bits are zero throughout: a leaf with no other bits left is an atom,
//!   one exact value (bf16 after one further pass, small integers after two).
//!
//! The generic body is compiled three times on x86-64 and chosen when the kernel is made. On
//! aarch64 the portable form has NEON.
//!
//! # Files
//!
//! Imports go downhill: `sums`, `simd`, `histogram` < `element` < `elements`, `blocks` < `fine` <
//! `analysis` < `pass` < `tensor` < `parallel`. `naive` is the same thing written plainly, and
//! `display` the picture in TensorBoard, for tests.

mod analysis;
mod blocks;
#[cfg(test)]
mod display;
mod element;
mod elements;
mod fine;
pub(crate) mod histogram;
#[cfg(test)]
mod naive;
mod parallel;
mod pass;
mod simd;
mod sums;
mod tensor;
#[cfg(test)]
mod tests;

/// The path that other folders still use.
pub(crate) use crate::model::stats;
pub(crate) use analysis::Analysis;
pub(crate) use elements::Elements;
pub(crate) use parallel::{Kernels, Task};
#[cfg(any(test, fuzzing, feature = "checkpoint"))]
pub(crate) use tensor::Kernel;
