//! A copy of values that waits for the worker.

use half::{bf16, f16};

use crate::error::{Error, Result};
use crate::model::types::DType;
use crate::platform::aligned::AlignedBytes;
use crate::source::element_source::{CopyMethod, ElementLayout, ElementSource, Peek, Stride};

/// All elements of some values, row-major.
pub(crate) struct CopiedValues {
    dtype: DType,
    bytes: usize,
    memory: AlignedBytes,
}

impl CopiedValues {
    /// Copies `source`, which has this layout. `tag` is what errors speak of.
    ///
    /// # Errors
    /// [`Error::UnsupportedTensor`] when there is no memory for them, or they have changed since
    /// they were inspected.
    pub(crate) fn of(
        tag: &str,
        source: &dyn ElementSource,
        layout: &ElementLayout,
    ) -> Result<CopiedValues> {
        let bytes = layout.bytes();
        let mut memory = room(tag, bytes)?;
        let target = memory.as_mut_slice().get_mut(..bytes).unwrap_or_default();
        if !source.copy(tag, layout, Stride::ALL, CopyMethod::Plain, target)? {
            let reason = "changed its shape or type while it was read; log it from the thread that \
                          changes it";
            return Err(failed(tag, reason));
        }
        Ok(CopiedValues {
            dtype: layout.dtype,
            bytes,
            memory,
        })
    }

    /// Copies the elements of these row-major numbers; all of them where there are as many numbers
    /// as elements. Where a source cannot pick them, all are copied first.
    ///
    /// # Errors
    /// As [`CopiedValues::of`].
    pub(crate) fn chosen(
        tag: &str,
        source: &dyn ElementSource,
        layout: &ElementLayout,
        numbers: &[usize],
    ) -> Result<CopiedValues> {
        if numbers.len() == layout.elements() {
            return CopiedValues::of(tag, source, layout);
        }
        let size = layout.dtype.size();
        let bytes = numbers.len() * size;
        let mut memory = room(tag, bytes)?;
        let target = memory.as_mut_slice().get_mut(..bytes).unwrap_or_default();
        if let Peek::Bytes(all) = source.peek(layout) {
            gather(all, size, numbers, target);
        } else if !source.pick(tag, layout, numbers, target)? {
            let whole = CopiedValues::of(tag, source, layout)?;
            gather(whole.as_bytes(), size, numbers, target);
        }
        Ok(CopiedValues {
            dtype: layout.dtype,
            bytes,
            memory,
        })
    }

    pub(crate) fn dtype(&self) -> DType {
        self.dtype
    }

    /// How many bytes they are.
    pub(crate) fn len(&self) -> usize {
        self.bytes
    }

    /// The elements, aligned for their type.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.memory.as_slice().get(..self.bytes).unwrap_or_default()
    }

    /// The elements as numbers; those of types that are not floating as 0 and 1, or as they are.
    pub(crate) fn to_f32(&self) -> Vec<f32> {
        fn each<T: bytemuck::AnyBitPattern>(bytes: &[u8], to_f32: impl Fn(T) -> f32) -> Vec<f32> {
            let elements: &[T] = bytemuck::try_cast_slice(bytes).unwrap_or_default();
            debug_assert_eq!(
                size_of_val(elements),
                bytes.len(),
                "the copy is aligned and whole"
            );
            elements.iter().map(|&element| to_f32(element)).collect()
        }
        let bytes = self.as_bytes();
        match self.dtype {
            DType::F16 => each(bytes, f16::to_f32),
            DType::BF16 => each(bytes, bf16::to_f32),
            DType::F32 => each(bytes, |number: f32| number),
            DType::F64 => each(bytes, |number: f64| number as f32),
            _ => bytes.iter().map(|&byte| f32::from(byte)).collect(),
        }
    }
}

/// Copies the elements of these numbers.
fn gather(all: &[u8], size: usize, numbers: &[usize], target: &mut [u8]) {
    for (place, number) in target.chunks_exact_mut(size).zip(numbers) {
        if let Some(element) = all.get(number * size..(number + 1) * size) {
            place.copy_from_slice(element);
        }
    }
}

fn room(tag: &str, bytes: usize) -> Result<AlignedBytes> {
    let reason = || format!("has {bytes} bytes, more than there is memory for");
    AlignedBytes::try_zeroed(bytes).ok_or_else(|| failed(tag, &reason()))
}

fn failed(tag: &str, reason: &str) -> Error {
    Error::UnsupportedTensor {
        name: tag.into(),
        reason: reason.into(),
    }
}
