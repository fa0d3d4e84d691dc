//! Both sides of a pair, piece by piece in one type.

use crate::checkpoint::stored_tensor::StoredTensor;
use crate::checkpoint::tensor_cursor::TensorCursor;
use crate::comparison::pair::TensorPair;
use crate::error::{Error, Result};
use crate::kernel::Elements;
use crate::model::types::DType;
use crate::platform::aligned::AlignedBytes;

/// Buffers of one thread, kept from pair to pair.
pub(super) struct PairBuffers {
    a: AlignedBytes,
    b: AlignedBytes,
    own: AlignedBytes,
    wide: Vec<f64>,
}

impl PairBuffers {
    /// For pieces of so many bytes of each side.
    pub(super) fn new(piece: usize) -> Result<PairBuffers> {
        let room = || AlignedBytes::try_zeroed(piece).ok_or_else(|| no_memory(piece));
        Ok(PairBuffers {
            a: room()?,
            b: room()?,
            own: room()?,
            wide: Vec::new(),
        })
    }
}

pub(super) fn no_memory(bytes: usize) -> Error {
    Error::NoMemory {
        name: "(all)".into(),
        bytes,
        existing: 0,
    }
}

/// Reads pieces of a pair.
pub(super) struct PairReader<'a> {
    a: TensorCursor<'a>,
    b: TensorCursor<'a>,
    dtype: DType,
    is_alone: bool,
    buffers: &'a mut PairBuffers,
}

impl<'a> PairReader<'a> {
    pub(super) fn new(pair: &'a TensorPair, buffers: &'a mut PairBuffers) -> PairReader<'a> {
        PairReader {
            a: TensorCursor::new(&pair.a),
            b: TensorCursor::new(&pair.b),
            dtype: pair.dtype(),
            is_alone: pair.is_alone,
            buffers,
        }
    }

    /// Numbers that fit into a piece: a multiple of 8.
    pub(super) fn most(&self) -> usize {
        self.buffers.a.as_slice().len() / size_of::<f64>() / 8 * 8
    }

    /// The bytes of so many numbers of both sides, from one on.
    pub(super) fn read(&mut self, first: u64, count: usize) -> Result<(&[u8], &[u8])> {
        let PairBuffers { a, b, own, wide } = &mut *self.buffers;
        let bytes = count * self.dtype.size();
        let mut into = |cursor: &mut TensorCursor<'_>, target: &mut AlignedBytes| {
            let target = target.as_mut_slice().get_mut(..bytes).unwrap_or_default();
            let dtype = cursor.dtype();
            if dtype == self.dtype {
                return cursor.read(first, target);
            }
            let own = own.as_mut_slice();
            let own = own.get_mut(..count * dtype.size()).unwrap_or_default();
            cursor.read(first, own)?;
            if let Some(elements) = Elements::from_bytes(dtype, own) {
                elements.widen(wide);
                target.copy_from_slice(bytemuck::cast_slice(wide));
            }
            Ok(())
        };
        into(&mut self.a, a)?;
        if !self.is_alone {
            into(&mut self.b, b)?;
        }
        let a = a.as_slice();
        let b = if self.is_alone { a } else { b.as_slice() };
        let parts = a.get(..bytes).zip(b.get(..bytes));
        Ok(parts.unwrap_or_default())
    }
}

/// Hands the elements of one tensor to `see` as `f64`, piece by piece, until it returns false.
pub(super) fn each_piece(tensor: &StoredTensor, mut see: impl FnMut(&[f64]) -> bool) -> Result<()> {
    const PIECE: usize = 1 << 19;
    let mut buffer = AlignedBytes::try_zeroed(PIECE).ok_or_else(|| no_memory(PIECE))?;
    let mut cursor = TensorCursor::new(tensor);
    let (dtype, mut wide, mut first) = (cursor.dtype(), Vec::new(), 0);
    while first < tensor.numbers() {
        let most = (PIECE / dtype.size()) as u64;
        let count = (tensor.numbers() - first).min(most);
        let bytes = buffer.as_mut_slice();
        let bytes = bytes
            .get_mut(..count as usize * dtype.size())
            .unwrap_or_default();
        cursor.read(first, bytes)?;
        if let Some(elements) = Elements::from_bytes(dtype, bytes) {
            elements.widen(&mut wide);
            if !see(&wide) {
                break;
            }
        }
        first += count;
    }
    Ok(())
}
