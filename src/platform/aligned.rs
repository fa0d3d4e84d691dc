//! Bytes that are aligned for every element type and for wide loads.

use bytemuck::{Pod, Zeroable};

use crate::platform::huge_pages;

/// One cache line.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// See the module.
#[derive(Default)]
pub(crate) struct AlignedBytes {
    lines: Vec<Line>,
}

impl AlignedBytes {
    /// Alignment of the first byte.
    pub(crate) const ALIGNMENT: usize = 64;

    /// At least `bytes` zeros; `None` when the system has no room for them. The pages exist
    /// afterwards, so that all copies into them take the same time.
    pub(crate) fn try_zeroed(bytes: usize) -> Option<AlignedBytes> {
        let mut lines = AlignedBytes::reserve(bytes)?;
        huge_pages::ask_for(lines.spare_capacity_mut());
        lines.resize(AlignedBytes::lines(bytes), Line::zeroed());
        Some(AlignedBytes { lines })
    }

    /// True when the system has room for this many. No page is touched.
    pub(crate) fn has_room(bytes: usize) -> bool {
        AlignedBytes::reserve(bytes).is_some()
    }

    fn reserve(bytes: usize) -> Option<Vec<Line>> {
        let mut lines = Vec::new();
        lines.try_reserve_exact(AlignedBytes::lines(bytes)).ok()?;
        Some(lines)
    }

    fn lines(bytes: usize) -> usize {
        bytes.div_ceil(AlignedBytes::ALIGNMENT)
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        bytemuck::cast_slice(&self.lines)
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [u8] {
        bytemuck::cast_slice_mut(&mut self.lines)
    }

    /// True when [`try_zeroed`](AlignedBytes::try_zeroed) would make as many.
    pub(crate) fn fits(&self, bytes: usize) -> bool {
        self.lines.len() == AlignedBytes::lines(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_aligned_and_large_enough() {
        for bytes in [0, 1, 63, 64, 65, 1000] {
            let memory = AlignedBytes::try_zeroed(bytes).expect("room");
            assert!(memory.as_slice().len() >= bytes);
            let address = memory.as_slice().as_ptr() as usize;
            assert_eq!(address % AlignedBytes::ALIGNMENT, 0);
            assert!(memory.fits(bytes) && !memory.fits(bytes + AlignedBytes::ALIGNMENT));
        }
    }
}
