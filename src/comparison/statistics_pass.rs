//! The statistics of all pairs, by several threads.

use crate::comparison::pair::TensorPair;
use crate::comparison::pair_reader::{PairBuffers, PairReader};
use crate::comparison::workers;
use crate::error::Result;
use crate::kernel::histogram::FineHistogram;
use crate::kernel::{Analysis, Elements, Kernel};
use crate::model::stats::{Change, Moments};

/// Bytes of each side that are read at once: what stays in a core's own cache between the read and
/// the pass.
const PIECE: usize = 512 << 10;
/// With histograms, whose tables are collected once a piece.
const HISTOGRAM_PIECE: usize = 8 << 20;

/// Numbers that a thread takes at once.
const SHARE: u64 = 8 << 20;

/// What was found about a pair, or a part of one.
#[derive(Debug, Clone, Default)]
pub(super) struct PairStatistics {
    pub(super) a: Moments,
    pub(super) b: Moments,
    pub(super) change: Change,
    pub(super) histogram_a: Option<FineHistogram>,
    pub(super) histogram_b: Option<FineHistogram>,
    pub(super) histogram_change: Option<FineHistogram>,
}

impl PairStatistics {
    fn merge(&mut self, other: PairStatistics) {
        self.a.merge(&other.a);
        self.b.merge(&other.b);
        self.change.merge(&other.change);
        let join = |ours: &mut Option<FineHistogram>, theirs: Option<FineHistogram>| {
            if let Some(theirs) = theirs {
                ours.get_or_insert_with(FineHistogram::default)
                    .merge(&theirs);
            }
        };
        join(&mut self.histogram_a, other.histogram_a);
        join(&mut self.histogram_b, other.histogram_b);
        join(&mut self.histogram_change, other.histogram_change);
    }
}

/// How the pass is made.
pub(super) struct Passage<'a> {
    pub(super) threads: usize,
    pub(super) histograms: bool,
    /// Gets the bytes that were read since it was called last.
    pub(super) progress: &'a (dyn Fn(u64) + Sync),
}

/// A part of a pair.
struct Share {
    pair: usize,
    first: u64,
    count: u64,
}

/// The statistics of each pair, in their order.
///
/// # Errors
/// The first of what the files cannot give.
pub(super) fn of_pairs(pairs: &[TensorPair], passage: &Passage<'_>) -> Result<Vec<PairStatistics>> {
    let shares: Vec<Share> = pairs.iter().enumerate().flat_map(shares).collect();
    let piece = if passage.histograms {
        HISTOGRAM_PIECE
    } else {
        PIECE
    };
    let start = || Ok((Kernel::new(), PairBuffers::new(piece)?));
    let work = |(kernel, buffers): &mut (Kernel, PairBuffers), share: &Share| match pairs
        .get(share.pair)
    {
        Some(pair) => of_share(pair, share, passage, kernel, buffers),
        None => Ok(PairStatistics::default()),
    };
    // In the order of the elements, so that sums do not depend on which thread was faster.
    let found = workers::each(passage.threads, &shares, start, work)?;
    let mut all = vec![PairStatistics::default(); pairs.len()];
    for (share, statistics) in shares.iter().zip(found) {
        if let Some(place) = all.get_mut(share.pair) {
            place.merge(statistics);
        }
    }
    Ok(all)
}

fn shares((number, pair): (usize, &TensorPair)) -> Vec<Share> {
    let all = pair.numbers();
    let count = if pair.is_random() { SHARE } else { all.max(1) };
    let starts = (0..all.div_ceil(count)).map(|index| index * count);
    let share = |first: u64| Share {
        pair: number,
        first,
        count: count.min(all - first),
    };
    starts.map(share).collect()
}

fn of_share(
    pair: &TensorPair,
    share: &Share,
    passage: &Passage<'_>,
    kernel: &mut Kernel,
    buffers: &mut PairBuffers,
) -> Result<PairStatistics> {
    let mut all = PairStatistics::default();
    let ranks = if pair.is_one_type() {
        pair.a.kind.ranks()
    } else {
        None
    };
    let mut reader = PairReader::new(pair, buffers);
    let most = reader.most() as u64;
    let (mut first, end) = (share.first, share.first + share.count);
    let bytes_each = pair.bytes() as f64 / pair.numbers().max(1) as f64;
    while first < end {
        let count = (end - first).min(most);
        let (a, b) = reader.read(first, count as usize)?;
        let histograms = passage.histograms && !pair.is_alone;
        let mut statistics = of_piece(pair, a, b, histograms, kernel);
        if let Some(ranks) = &ranks {
            statistics.change.one_ulp = steps_of_one(ranks, a, b);
        }
        all.merge(statistics);
        (passage.progress)((count as f64 * bytes_each) as u64);
        first += count;
    }
    Ok(all)
}

fn of_piece(
    pair: &TensorPair,
    a: &[u8],
    b: &[u8],
    histograms: bool,
    kernel: &mut Kernel,
) -> PairStatistics {
    let dtype = pair.dtype();
    let (Some(before), Some(now)) = (
        Elements::from_bytes(dtype, a),
        Elements::from_bytes(dtype, b),
    ) else {
        debug_assert!(false, "buffers are aligned and hold whole elements");
        return PairStatistics::default();
    };
    let alone = |kernel: &mut Kernel, elements| kernel.analyse(elements, None, 1, histograms);
    if a == b {
        let Analysis {
            weights,
            weight_histogram,
            ..
        } = alone(kernel, now);
        return PairStatistics {
            a: weights,
            b: weights,
            change: unchanged(&weights),
            histogram_a: weight_histogram.clone(),
            histogram_b: weight_histogram,
            histogram_change: histograms.then(|| {
                let zeros = crate::kernel::histogram::Leaf::atom(0.0, weights.finite());
                let leaves = if weights.finite() > 0 {
                    vec![zeros]
                } else {
                    Vec::new()
                };
                FineHistogram::new(leaves, 0.0, 0.0, 52)
            }),
        };
    }
    let changed = kernel.analyse(now, Some(before), 1, histograms);
    let old = alone(kernel, before);
    PairStatistics {
        a: old.weights,
        b: changed.weights,
        change: changed.change.unwrap_or_default(),
        histogram_a: old.weight_histogram,
        histogram_b: changed.weight_histogram,
        histogram_change: changed.delta_histogram,
    }
}

/// The change of elements that are equal.
fn unchanged(weights: &Moments) -> Change {
    let finite = weights.finite();
    let mut deltas = Moments {
        count: weights.count,
        // Differences of equal infinities are NaN, too.
        nan: weights.nonfinite(),
        zeros: finite,
        ..Moments::default()
    };
    if finite > 0 {
        (deltas.min, deltas.max) = (0.0, 0.0);
    }
    Change {
        deltas,
        rows: 1,
        ..Change::default()
    }
}

/// Elements that moved to a neighbour of their own type, whose ranks are in the bits of a
/// wider one.
fn steps_of_one(ranks: &[i16], a: &[u8], b: &[u8]) -> u64 {
    let rank = |bits: &[u8; 2]| {
        let bits = usize::from(u16::from_ne_bytes(*bits));
        ranks.get(bits).copied().unwrap_or(i16::MIN)
    };
    let (a, b) = (a.as_chunks::<2>().0, b.as_chunks::<2>().0);
    let pairs = a.iter().zip(b).filter(|(a, b)| a != b);
    let apart = pairs.map(|(a, b)| rank(a).abs_diff(rank(b)));
    apart.filter(|apart| *apart == 1).count() as u64
}
