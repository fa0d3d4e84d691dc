//! The fine histogram that the kernel counts, before rows are cut.

const SIGN: u64 = 1 << 63;
/// Key of exact zero, of either sign.
pub(super) const ZERO: u64 = SIGN;

/// The integer in whose order the floats are sorted; zeros of both signs have one.
pub(crate) fn key_of(value: f64) -> u64 {
    let bits = value.to_bits();
    match bits {
        SIGN => ZERO,
        _ if bits & SIGN == 0 => bits | SIGN,
        _ => !bits,
    }
}

pub(super) fn value_of(key: u64) -> f64 {
    match key & SIGN {
        0 => -f64::from_bits(!key & !SIGN),
        _ => f64::from_bits(key & !SIGN),
    }
}

/// The elements whose keys share all but their low `free` bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Leaf {
    /// Smallest key of the leaf.
    pub(super) key: u64,
    /// Low bits of the key that vary; 0 for an atom: one single value.
    pub(super) free: u32,
    pub(super) count: u64,
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

    /// `count` elements of which `member` is one and which share all its bits but the low `free`
    /// ones.
    pub(crate) fn around(member: f64, free: u32, count: u64) -> Leaf {
        Leaf {
            key: key_of(member) & mask(free),
            free,
            count,
        }
    }

    /// The first key behind the leaf.
    pub(super) fn end(&self) -> u64 {
        self.key.saturating_add(1 << self.free)
    }

    /// The first value behind the leaf, less its first value; infinite at the end of the floats.
    pub(crate) fn width(&self) -> f64 {
        value_of(self.end()) - value_of(self.key)
    }
}

pub(super) fn mask(free: u32) -> u64 {
    u64::MAX.checked_shl(free).unwrap_or(0)
}

/// What lies within this part of the range and holds less than this part of the elements is not
/// told apart: a fifth of a bin.
pub(crate) const TOLD_APART: f64 = 150.0;
/// A sorted, sparse histogram of finite values over dyadic pieces of the float line (sign,
/// exponent, leading bits of mantissa), finer where much of the mass is. Edges and counts are
/// exact.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct FineHistogram {
    /// Sorted by key, disjoint, no count of zero.
    pub(super) leaves: Vec<Leaf>,
    /// Smallest and largest value; of no meaning without leaves.
    pub(super) min: f64,
    pub(super) max: f64,
    /// Low bits that are zero in the `f64` of every value: the grid on which the values stand (29
    /// for `f32`).
    pub(super) grid: u32,
}

impl FineHistogram {
    /// Takes disjoint leaves in any order; `min` and `max` are the extremes of the values behind
    /// them.
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

    /// Adds the values behind `other`. Where a leaf of one holds finer leaves of the other, the
    /// coarse one takes them in.
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
        // Of leaves that begin at the same key the largest comes first and takes in the ones behind
        // it.
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

    /// Makes the counts of a sample those of a whole that is `factor` times as large. They stay
    /// whole numbers, rounded so that sums over neighbours are off by less than one.
    pub(crate) fn scale(&mut self, factor: f64) {
        let (mut sampled, mut told) = (0.0, 0.0);
        for leaf in &mut self.leaves {
            sampled += leaf.count as f64;
            let whole = (sampled * factor).round();
            leaf.count = (whole - told) as u64;
            told = whole;
        }
    }
}
