//! From the count table to the leaves of a fine histogram, with further passes where a bucket holds
//! too much.

use std::ops::RangeInclusive;

use crate::kernel::blocks::{ALL_ATOMS, BlockSource, Blocks, Spread};
use crate::kernel::element::{Element, TURNS, Wide};
use crate::kernel::histogram::{FineHistogram, Leaf, TOLD_APART, key_of};
use crate::model::stats::Moments;

/// A leaf with more than this share of the values is split, one fiftieth: two thirds of a bin of
/// uniform data.
const HEAVY: u64 = 50;
/// A leaf with more than this share is split when it is also wider than a row of the display.
const WIDE: u64 = 200;
const WIDE_ROWS: f64 = 48.0;
/// Bits told apart by one further pass: more for large tensors, where passes cost, than for small
/// ones, where tables do.
const STEP: u32 = 6;
const LARGE_STEP: u32 = 9;
const LARGE: u64 = 1 << 16;

/// The count table of one side, and what refining it needs.
pub(super) struct Fine<F: Wide> {
    /// Made at first use; all zero between calls.
    table: Option<Box<F::Table>>,
    refinement: Refinement,
    /// Those of a small tensor's values.
    keys: Vec<u64>,
}

impl<F: Wide> Default for Fine<F> {
    fn default() -> Fine<F> {
        Fine {
            table: None,
            refinement: Refinement::default(),
            keys: Vec::new(),
        }
    }
}

/// A dyadic piece of the values: all that share the bits above the low `free` ones.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    /// Sign and leading bits; the low `free` ones are zero.
    bits: u64,
    free: u32,
    count: u64,
}

impl Bucket {
    fn to_leaf<F: Wide>(self, grid: u32) -> Leaf {
        let value = F::from_bits(self.bits).to_f64();
        let mantissa = f64::MANTISSA_DIGITS - 1 - F::SHORTER;
        let magnitude = F::from_bits(self.bits).magnitude();
        if self.free <= grid {
            Leaf::atom(value, self.count)
        } else if F::SHORTER > 0 && magnitude >> mantissa == 0 {
            // A subnormal becomes a normal number in f64: its leading one moves out of the
            // mantissa.
            let leading = magnitude.checked_ilog2().unwrap_or(0);
            Leaf::around(
                value,
                f64::MANTISSA_DIGITS - 1 - leading + self.free,
                self.count,
            )
        } else {
            Leaf::around(value, self.free + F::SHORTER, self.count)
        }
    }
}

/// What all leaves of a tensor have in common.
struct Frame {
    total: u64,
    range: f64,
    /// Low bits of the wide type that are zero in all values.
    grid: u32,
}

impl Frame {
    /// How many pieces side by side no picture tells apart, as a power of two, if they hold little;
    /// `width` is that of one.
    fn grouped(&self, width: f64, most: u32) -> u32 {
        let fitting = self.range / TOLD_APART / width;
        let can_be_little = self.total as f64 > TOLD_APART;
        // The exponent; one of a value that is not finite, or below 1, says nothing.
        match can_be_little && fitting.is_finite() && fitting >= 1.0 {
            true => most.min((fitting.to_bits() >> (f64::MANTISSA_DIGITS - 1)) as u32 - 1023),
            false => 0,
        }
    }

    /// True for so few values that where exactly they lie in a narrow place cannot be seen.
    fn is_little(&self, count: u64) -> bool {
        (count as f64) * TOLD_APART < self.total as f64
    }

    fn is_heavy(&self, leaf: &Leaf, piece: &Bucket) -> bool {
        let wide = || piece.count > self.total / WIDE && leaf.width() > self.range / WIDE_ROWS;
        piece.free > self.grid && piece.count > 1 && (piece.count > self.total / HEAVY || wide())
    }
}

impl<F: Wide> Fine<F> {
    #[inline(always)]
    pub(super) fn count(&mut self, block: &[F], ahead: &[u8]) {
        if self.table.is_none() {
            self.table = F::new_table();
        }
        if let Some(table) = &mut self.table {
            F::count(table, block, ahead);
        }
    }

    /// The leaves of what was counted; the table is empty again.
    pub(super) fn finish<E: Element<Wide = F>>(
        &mut self,
        moments: &Moments,
        spread: &Spread,
        blocks: &mut Blocks<F>,
        source: BlockSource<'_, E>,
    ) -> FineHistogram {
        let grid = spread.or.trailing_zeros();
        let frame = Frame {
            total: moments.finite(),
            range: moments.max - moments.min,
            grid,
        };
        let mut leaves = Vec::new();
        if moments.count <= ALL_ATOMS as u64 {
            self.each_value(&mut leaves, blocks, source);
        } else {
            self.collect(&mut leaves, &frame, moments, spread, blocks, source);
        }
        match frame.total {
            0 => FineHistogram::default(),
            total if moments.min == moments.max => FineHistogram::new(
                vec![Leaf::atom(moments.min, total)],
                moments.min,
                moments.max,
                u64::BITS,
            ),
            _ => FineHistogram::new(
                leaves,
                moments.min,
                moments.max,
                grid.saturating_add(F::SHORTER),
            ),
        }
    }

    /// A leaf for each value of a small tensor.
    fn each_value<E: Element<Wide = F>>(
        &mut self,
        leaves: &mut Vec<Leaf>,
        blocks: &mut Blocks<F>,
        source: BlockSource<'_, E>,
    ) {
        self.keys.clear();
        source.visit(blocks, |block| {
            let finite = block.iter().filter(|value| value.is_finite());
            self.keys.extend(finite.map(|value| key_of(value.to_f64())));
        });
        // As integers, which compare in one instruction.
        self.keys.sort_unstable();
        let values = self.keys.chunk_by(|one, other| one == other);
        leaves.extend(
            values.filter_map(|same| Some(Leaf::of_key(*same.first()?, same.len() as u64))),
        );
    }

    fn collect<E: Element<Wide = F>>(
        &mut self,
        leaves: &mut Vec<Leaf>,
        frame: &Frame,
        moments: &Moments,
        spread: &Spread,
        blocks: &mut Blocks<F>,
        source: BlockSource<'_, E>,
    ) {
        let Some(table) = &mut self.table else { return };
        let counts = F::counts(table);
        let least = spread.least_less_one.wrapping_add(1);
        // The sign is the uppermost bit.
        let (positive, negative) = counts.split_at_mut(F::BUCKETS.min(counts.len()));
        let mut heavy = Vec::new();
        for (half, extreme, sign) in [
            (negative, -moments.min, F::BUCKETS as u64),
            (positive, moments.max, 0),
        ] {
            let from = leaves.len();
            // The bucket of zero and of the smallest subnormals: the former are known, the latter
            // counted below.
            if let Some(turns) = half.first_mut() {
                *turns = [0; TURNS];
            }
            if extreme > 0.0 {
                let touched = (least >> F::FREE) as usize / OCTAVE
                    ..=(bits_of::<F>(extreme) >> F::FREE) as usize / OCTAVE;
                collect_half::<F>(
                    leaves,
                    &mut heavy,
                    frame,
                    half,
                    touched,
                    sign,
                    &mut self.refinement.below,
                );
            }
            if sign > 0 {
                // From the largest magnitude to the smallest, with zero next: the leaves are nearly
                // sorted.
                leaves.get_mut(from..).unwrap_or_default().reverse();
                if moments.zeros > 0 {
                    leaves.push(Leaf::atom(0.0, moments.zeros));
                }
            }
        }
        if least >> F::FREE == 0 && least > 0 {
            underflow(leaves, frame, blocks, source);
        }
        self.refinement.refine(leaves, heavy, frame, blocks, source);
    }
}

/// Buckets of an octave: five bits of mantissa.
const OCTAVE: usize = 32;

/// The leaves and heavy pieces of one sign, whose buckets are empty again. `touched` are the
/// octaves that may hold any.
fn collect_half<F: Wide>(
    leaves: &mut Vec<Leaf>,
    heavy: &mut Vec<Bucket>,
    frame: &Frame,
    half: &mut [[u32; TURNS]],
    touched: RangeInclusive<usize>,
    sign: u64,
    below: &mut Vec<u64>,
) {
    let (octaves, _) = half.as_chunks_mut::<OCTAVE>();
    let octaves = (*touched.start()..).zip(octaves.get_mut(touched).unwrap_or_default());
    for (octave, buckets) in octaves {
        if buckets
            .as_flattened()
            .iter()
            .fold(0, |any, &count| any | count)
            == 0
        {
            continue;
        }
        let first = sign + (octave * OCTAVE) as u64;
        let start = F::from_bits(first << F::FREE).to_f64().abs();
        // The lowest octave has the bucket of zero; and where buckets are single values, these are
        // shown.
        let grouped = match octave {
            1.. if frame.grid < F::FREE => frame.grouped(start / OCTAVE as f64, OCTAVE.ilog2()),
            _ => 0,
        };
        for_each_piece(frame, buckets, grouped, below, |index, more, count| {
            let piece = Bucket {
                bits: (first + index as u64) << F::FREE,
                free: F::FREE + more,
                count,
            };
            let leaf = piece.to_leaf::<F>(frame.grid);
            if frame.is_heavy(&leaf, &piece) {
                heavy.push(piece);
            } else {
                leaves.push(leaf);
            }
        });
        buckets.fill([0; TURNS]);
    }
}

/// Hands out what was counted: the number of the first bucket, for how many it stands as a power of
/// two, at most `1 << grouped`, and the count. These are as many buckets side by side as hold
/// little. `below` is memory for the sums of the buckets before each.
#[inline(always)]
fn for_each_piece(
    frame: &Frame,
    buckets: &[[u32; TURNS]],
    grouped: u32,
    below: &mut Vec<u64>,
    mut found: impl FnMut(usize, u32, u64),
) {
    let count = |turns: &[u32; TURNS]| turns.iter().map(|&count| u64::from(count)).sum::<u64>();
    if grouped == 0 {
        for (index, turns) in buckets.iter().enumerate() {
            let count = count(turns);
            if count > 0 {
                found(index, 0, count);
            }
        }
        return;
    }
    below.clear();
    below.push(0);
    let mut sum = 0;
    below.extend(buckets.iter().map(|turns| {
        sum += count(turns);
        sum
    }));
    let mut first = 0;
    while first < buckets.len() {
        let mut size = grouped.min(first.trailing_zeros());
        let (Some(&from), Some(mut to)) = (below.get(first), below.get(first + (1 << size))) else {
            break;
        };
        while size > 0 && *to > from && !frame.is_little(*to - from) {
            size -= 1;
            to = below.get(first + (1 << size)).unwrap_or(to);
        }
        if *to > from {
            found(first, size, *to - from);
        }
        first += 1 << size;
    }
}

/// The magnitude of an extreme in the bits of the wide type it came from.
fn bits_of<F: Wide>(extreme: f64) -> u64 {
    F::from_f64(extreme).magnitude()
}

/// Subnormals that share the lowest bucket with zero: an octave is a leaf.
#[cold]
fn underflow<E: Element>(
    leaves: &mut Vec<Leaf>,
    frame: &Frame,
    blocks: &mut Blocks<E::Wide>,
    source: BlockSource<'_, E>,
) {
    let (mut positive, mut negative) = ([0u64; u64::BITS as usize], [0u64; u64::BITS as usize]);
    source.visit(blocks, |block| {
        for value in block {
            let magnitude = value.magnitude();
            if magnitude >> E::Wide::FREE == 0 && magnitude > 0 {
                let octaves = if value.bits() == magnitude {
                    &mut positive
                } else {
                    &mut negative
                };
                if let Some(count) = octaves.get_mut(magnitude.ilog2() as usize) {
                    *count += 1;
                }
            }
        }
    });
    for (sign, octaves) in [
        (0, positive),
        ((E::Wide::BUCKETS as u64) << E::Wide::FREE, negative),
    ] {
        for (octave, count) in (0..).zip(octaves) {
            if count > 0 {
                leaves.push(
                    Bucket {
                        bits: sign | 1 << octave,
                        free: octave,
                        count,
                    }
                    .to_leaf::<E::Wide>(frame.grid),
                );
            }
        }
    }
}

/// Splits heavy pieces, all of them by the same number of bits in one further pass, until none is
/// heavy.
///
/// The way to a heavy piece is a chain of table look-ups: bucket to piece, piece and next bits to
/// piece, and so on. Bucket 0 stands for everything that is not heavy; it is counted too, because
/// that is cheaper than to branch.
#[derive(Default)]
struct Refinement {
    /// Fine bucket to heavy piece; all zero between calls.
    base: Vec<u8>,
    levels: Vec<Level>,
    /// Levels of earlier calls, kept for their memory.
    spare: Vec<Level>,
    counts: Vec<[u32; TURNS]>,
    /// See [`for_each_piece`].
    below: Vec<u64>,
    step: u32,
}

/// One earlier split: (piece, the bits at `shift`) to the heavy piece inside it.
#[derive(Default)]
struct Level {
    shift: u32,
    inner: Vec<u8>,
}

impl Refinement {
    fn refine<E: Element>(
        &mut self,
        leaves: &mut Vec<Leaf>,
        mut heavy: Vec<Bucket>,
        frame: &Frame,
        blocks: &mut Blocks<E::Wide>,
        source: BlockSource<'_, E>,
    ) {
        if heavy.is_empty() {
            return;
        }
        self.step = if frame.total < LARGE {
            STEP
        } else {
            LARGE_STEP
        };
        let mut free = E::Wide::FREE;
        let buckets: Vec<usize> = heavy
            .iter()
            .map(|piece| (piece.bits >> free) as usize)
            .collect();
        self.base.resize(2 * E::Wide::BUCKETS, 0);
        for (number, &bucket) in (1..=u8::MAX).zip(&buckets) {
            if let Some(base) = self.base.get_mut(bucket) {
                *base = number;
            }
        }
        while !heavy.is_empty() {
            free = free.saturating_sub(self.step);
            self.counts.clear();
            self.counts
                .resize((heavy.len() + 1) << self.step, [0; TURNS]);
            source.visit(blocks, |block| self.count(block, free));
            heavy = self.split::<E::Wide>(leaves, &heavy, frame, free);
        }
        for bucket in buckets {
            if let Some(base) = self.base.get_mut(bucket) {
                *base = 0;
            }
        }
        self.spare.append(&mut self.levels);
    }

    fn count<F: Wide>(&mut self, block: &[F], free: u32) {
        let Refinement {
            base,
            levels,
            counts,
            step,
            ..
        } = self;
        let way = |piece: u8, bits: u64| {
            usize::from(piece) << *step | (bits & !(u64::MAX << *step)) as usize
        };
        let inner = |level: &Level, piece, bits: u64| {
            level
                .inner
                .get(way(piece, bits >> level.shift))
                .map_or(0, |&inner| inner)
        };
        for (index, value) in block.iter().enumerate() {
            let bits = value.bits();
            let piece = base
                .get((bits >> F::FREE) as usize)
                .map_or(0, |&piece| piece);
            let piece = match levels.as_slice() {
                [] => piece,
                [one] => inner(one, piece, bits),
                more => more
                    .iter()
                    .fold(piece, |piece, level| inner(level, piece, bits)),
            };
            if let Some(turns) = counts.get_mut(way(piece, bits >> free)) {
                turns[index % TURNS] += 1;
            }
        }
    }

    /// The parts of the heavy pieces: those still heavy are returned, the others become leaves.
    fn split<F: Wide>(
        &mut self,
        leaves: &mut Vec<Leaf>,
        heavy: &[Bucket],
        frame: &Frame,
        free: u32,
    ) -> Vec<Bucket> {
        let ways = 1 << self.step;
        let mut still = Vec::new();
        let mut level = self.spare.pop().unwrap_or_default();
        level.shift = free;
        level.inner.clear();
        level.inner.resize(self.counts.len(), 0);
        // The first ones are of what is not heavy.
        let parts = self.counts.chunks(ways).skip(1);
        let inner = level.inner.chunks_mut(ways).skip(1);
        for ((piece, parts), inner) in heavy.iter().zip(parts).zip(inner) {
            let part = |index: usize, more: u32, count| Bucket {
                bits: piece.bits | (index as u64) << free,
                free: free + more,
                count,
            };
            let start = |index| F::from_bits(part(index, 0, 0).bits).to_f64();
            let grouped = frame.grouped((start(1) - start(0)).abs(), self.step);
            for_each_piece(
                frame,
                parts,
                grouped,
                &mut self.below,
                |index, more, count| {
                    let part = part(index, more, count);
                    let leaf = part.to_leaf::<F>(frame.grid);
                    match (u8::try_from(still.len() + 1), inner.get_mut(index)) {
                        (Ok(number), Some(inner)) if frame.is_heavy(&leaf, &part) => {
                            still.push(part);
                            *inner = number;
                        }
                        _ => leaves.push(leaf),
                    }
                },
            );
        }
        self.levels.push(level);
        still
    }
}
