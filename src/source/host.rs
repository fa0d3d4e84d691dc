//! Elements in host memory: slices of numbers.

use std::borrow::Cow;

use crate::error::Result;
use crate::model::types::DType;
use crate::platform::optimised::IS_UNOPTIMISED;
use crate::platform::streaming;
use crate::source::element_source::{
    Access, CopyMethod, ElementLayout, ElementSource, Peek, Stride,
};

/// Elements in native byte order, one-dimensional.
pub struct HostElements<'a> {
    pub(crate) dtype: DType,
    /// Owned where the numbers had to be widened.
    pub(crate) bytes: Cow<'a, [u8]>,
}

impl ElementSource for HostElements<'_> {
    fn inspect(&self, _name: &str) -> Result<ElementLayout> {
        let elements = self.bytes.len() / self.dtype.size();
        Ok(ElementLayout {
            dtype: self.dtype,
            shape: vec![i64::try_from(elements).unwrap_or(i64::MAX)],
            access: Access::Memory,
        })
    }

    fn copy(
        &self,
        _name: &str,
        layout: &ElementLayout,
        stride: Stride,
        method: CopyMethod,
        target: &mut [u8],
    ) -> Result<bool> {
        let size = layout.dtype.size();
        // The length, too: a slice that grew a little can hold as many sampled elements as before.
        let is_as_planned = self.dtype == layout.dtype
            && self.bytes.len() == layout.bytes()
            && stride.count(self.bytes.len() / size) == target.len() / size;
        if is_as_planned {
            if stride == Stride::ALL {
                copy_alone(&self.bytes, method, target);
            } else {
                gather(&self.bytes, size, stride, target);
            }
        }
        Ok(is_as_planned)
    }

    fn peek(&self, layout: &ElementLayout) -> Peek<'_> {
        if self.dtype == layout.dtype && self.bytes.len() == layout.bytes() {
            Peek::Bytes(&self.bytes)
        } else {
            Peek::Changed
        }
    }

    fn with_stored(&self, see: &mut dyn FnMut(&dyn ElementSource)) {
        see(self);
    }
}

/// Copies by the calling thread; both are as long.
pub(crate) fn copy_alone(bytes: &[u8], method: CopyMethod, target: &mut [u8]) {
    match method {
        // Its loop is slow code in an unoptimised build, and `memcpy` is not.
        CopyMethod::Streaming if !IS_UNOPTIMISED => streaming::copy(bytes, target),
        _ => target.copy_from_slice(bytes),
    }
}

/// Copies elements of `size` bytes to `target`, which holds exactly as many.
pub(crate) fn gather(bytes: &[u8], size: usize, stride: Stride, target: &mut [u8]) {
    std::iter::zip(strided(bytes, size, stride), target.chunks_exact_mut(size))
        .for_each(|(element, place)| place.copy_from_slice(element));
}

/// Whether the elements equal the copy of them, bit by bit; `None` where making another copy and
/// comparing the two is faster: for samples in an unoptimised build.
pub(crate) fn equals(bytes: &[u8], size: usize, stride: Stride, copy: &[u8]) -> Option<bool> {
    match stride {
        Stride::ALL => Some(bytes == copy),
        _ if IS_UNOPTIMISED => None,
        _ => Some(strided(bytes, size, stride).eq(copy.chunks_exact(size))),
    }
}

fn strided(bytes: &[u8], size: usize, stride: Stride) -> impl Iterator<Item = &[u8]> {
    let elements = bytes.chunks_exact(size);
    elements.skip(stride.start).step_by(stride.step)
}
