//! A tensor block by block, widened, with the change of each block.

use crate::kernel::element::{Element, Wide};
use crate::kernel::sums::BLOCK;

/// Up to this many elements a histogram shows each value by itself.
pub(super) const ALL_ATOMS: usize = 64;

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
    /// Makes room for a block.
    pub(super) fn reserve(&mut self) {
        self.wide.resize(BLOCK, F::ZERO);
        self.deltas.resize(BLOCK, F::ZERO);
    }

    /// The block in the wide type and, with a previous state, its deltas.
    #[inline(always)]
    pub(super) fn load<'a, E: Element<Wide = F>>(
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
pub(super) struct BlockSource<'a, E> {
    pub(super) current: &'a [E],
    pub(super) previous: Option<&'a [E]>,
}

impl<E: Element> BlockSource<'_, E> {
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
pub(super) fn paired_blocks<'a, E>(
    current: &'a [E],
    previous: Option<&'a [E]>,
) -> impl Iterator<Item = (&'a [E], Option<&'a [E]>)> {
    let mut before = previous.unwrap_or_default().chunks(BLOCK);
    current
        .chunks(BLOCK)
        .map(move |block| (block, before.next()))
}

/// Which bits the finite values have.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spread {
    /// Smallest magnitude that is not zero, as an integer and less one; the largest integer when
    /// all are zero.
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
