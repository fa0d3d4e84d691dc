//! The elements of a tensor, viewed in a buffer.

use half::{bf16, f16};

use crate::kernel::element::{Element, Wide};
use crate::model::types::DType;

/// The elements of a tensor in the model's own type.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Elements<'a> {
    /// One byte each, 0 or 1.
    Bool(&'a [u8]),
    U8(&'a [u8]),
    I8(&'a [i8]),
    I16(&'a [i16]),
    I32(&'a [i32]),
    I64(&'a [i64]),
    F16(&'a [f16]),
    BF16(&'a [bf16]),
    F32(&'a [f32]),
    F64(&'a [f64]),
}

/// Runs an expression with the slice inside an [`Elements`].
macro_rules! with_slice {
    ($elements:expr, $slice:ident => $body:expr) => {
        match $elements {
            Elements::Bool($slice) | Elements::U8($slice) => $body,
            Elements::I8($slice) => $body,
            Elements::I16($slice) => $body,
            Elements::I32($slice) => $body,
            Elements::I64($slice) => $body,
            Elements::F16($slice) => $body,
            Elements::BF16($slice) => $body,
            Elements::F32($slice) => $body,
            Elements::F64($slice) => $body,
        }
    };
}

impl<'a> Elements<'a> {
    /// Views bytes as elements; `None` when they are not aligned for the type or not a whole number
    /// of elements.
    pub(crate) fn from_bytes(dtype: DType, bytes: &'a [u8]) -> Option<Elements<'a>> {
        Some(match dtype {
            DType::Bool => Elements::Bool(bytes),
            DType::U8 => Elements::U8(bytes),
            DType::I8 => Elements::I8(bytemuck::try_cast_slice(bytes).ok()?),
            DType::I16 => Elements::I16(bytemuck::try_cast_slice(bytes).ok()?),
            DType::I32 => Elements::I32(bytemuck::try_cast_slice(bytes).ok()?),
            DType::I64 => Elements::I64(bytemuck::try_cast_slice(bytes).ok()?),
            DType::F16 => Elements::F16(bytemuck::try_cast_slice(bytes).ok()?),
            DType::BF16 => Elements::BF16(bytemuck::try_cast_slice(bytes).ok()?),
            DType::F32 => Elements::F32(bytemuck::try_cast_slice(bytes).ok()?),
            DType::F64 => Elements::F64(bytemuck::try_cast_slice(bytes).ok()?),
        })
    }

    pub(crate) fn len(&self) -> usize {
        with_slice!(self, slice => slice.len())
    }

    /// Every `step`-th element from `start` on as `f64`, in order.
    pub(crate) fn to_f64s(self, start: usize, step: usize) -> Vec<f64> {
        with_slice!(self, slice => {
            let chosen = slice.iter().skip(start).step_by(step.max(1));
            chosen.map(|element| element.widened().to_f64()).collect()
        })
    }

    /// Appends the elements of these numbers as `f64`; NaN behind the end.
    pub(crate) fn gather(&self, numbers: &[u32], values: &mut Vec<f64>) {
        with_slice!(self, slice => values.extend(numbers.iter().map(|&number| {
            slice.get(number as usize).map_or(f64::NAN, |element| element.widened().to_f64())
        })));
    }

    /// Replaces `values` by the elements as `f64`.
    #[cfg(feature = "checkpoint")]
    pub(crate) fn widen(&self, values: &mut Vec<f64>) {
        values.clear();
        with_slice!(self, slice => values.extend(slice.iter().map(|x| x.widened().to_f64())));
    }

    /// Of so many rows of equal length, those that are not equal to the next, counted up to `most`.
    pub(crate) fn differing_rows(&self, rows: usize, most: usize) -> usize {
        with_slice!(self, slice => {
            let bytes: &[u8] = bytemuck::cast_slice(slice);
            let length = (bytes.len() / rows.max(1)).max(1);
            let next = bytes.chunks_exact(length).skip(1);
            let pairs = std::iter::zip(bytes.chunks_exact(length), next);
            pairs.filter(|(row, next)| row != next).take(most).count()
        })
    }

    /// The element as `f64`; NaN behind the end.
    pub(crate) fn get(&self, index: usize) -> f64 {
        with_slice!(self, slice => slice
            .get(index)
            .map_or(f64::NAN, |element| element.widened().to_f64()))
    }
}
