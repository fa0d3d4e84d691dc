//! A whole tensor: its type, its segments, and what only the whole shows.

use crate::kernel::analysis::Analysis;
use crate::kernel::element::Element;
use crate::kernel::elements::Elements;
use crate::kernel::pass::Scratch;
use crate::kernel::simd::Simd;

/// Counts have 32 bits.
const MAX_SEGMENT: usize = u32::MAX as usize;

/// Computes the statistics of tensors, one after the other.
///
/// Blocks, count tables and refinement tables are kept between calls; what is allocated anew are
/// the leaves handed out and the short lists of leaves being refined.
pub(crate) struct Kernel {
    simd: Simd,
    single: Scratch<f32>,
    double: Scratch<f64>,
}

impl Kernel {
    pub(crate) fn new() -> Kernel {
        Kernel::with(Simd::detect())
    }

    pub(super) fn with(simd: Simd) -> Kernel {
        Kernel {
            simd,
            single: Scratch::default(),
            double: Scratch::default(),
        }
    }

    /// Analyses a tensor and, where its previous state is given in the same type and length, its
    /// change.
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
                {
                    let previous = match previous { $($kind => Some($previous),)+ _ => None };
                    whole($scratch, simd, $current, previous, rows, want_histograms)
                }
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
pub(super) fn segments<E: Element>(
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

/// A bit for each row with a changed element. Most rows that changed did so in one of their first
/// elements, where the comparison ends.
fn changed_rows<E: Element>(current: &[E], previous: &[E], rows: usize) -> Box<[u64]> {
    let row = match rows {
        1.. if current.len().is_multiple_of(rows) => (current.len() / rows).max(1),
        _ => current.len().max(1),
    };
    let mut bits = vec![0; rows.div_ceil(64).max(1)];
    let pairs = current.chunks(row).zip(previous.chunks(row));
    for (index, (now, before)) in pairs.enumerate() {
        // Other bits are no change where one zero became the other.
        let changed = bytemuck::cast_slice::<E, u8>(now) != bytemuck::cast_slice::<E, u8>(before)
            && std::iter::zip(now, before).any(|(now, before)| now.image() != before.image());
        if let Some(word) = bits.get_mut(index / 64) {
            *word |= u64::from(changed) << (index % 64);
        }
    }
    bits.into_boxed_slice()
}
