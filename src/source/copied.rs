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

    /// Copies the elements of these row-major numbers, `count` of them. Of what lies on another
    /// device, or not in this order, all are copied first.
    ///
    /// # Errors
    /// As [`CopiedValues::of`].
    pub(crate) fn chosen(
        tag: &str,
        source: &dyn ElementSource,
        layout: &ElementLayout,
        count: usize,
        numbers: impl Iterator<Item = usize>,
    ) -> Result<CopiedValues> {
        if count == layout.elements() {
            return CopiedValues::of(tag, source, layout);
        }
        let whole;
        let all = match source.peek(layout) {
            Peek::Bytes(bytes) => bytes,
            Peek::Changed | Peek::Hidden => {
                whole = CopiedValues::of(tag, source, layout)?;
                whole.as_bytes()
            }
        };
        let size = layout.dtype.size();
        let mut memory = room(tag, count * size)?;
        let places = memory.as_mut_slice().chunks_exact_mut(size);
        for (place, number) in places.zip(numbers.take(count)) {
            if let Some(element) = all.get(number * size..(number + 1) * size) {
                place.copy_from_slice(element);
            }
        }
        Ok(CopiedValues {
            dtype: layout.dtype,
            bytes: count * size,
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
