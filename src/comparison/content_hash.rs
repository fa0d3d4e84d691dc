//! A hash of what a tensor holds, to find it under another name.

use std::hash::{DefaultHasher, Hasher};

use crate::checkpoint::stored_tensor::StoredTensor;
use crate::comparison::pair_reader::each_piece;
use crate::error::Result;

/// A hash of the elements in row-major order, as `f64`. Elements that are equal in value have one
/// hash, whatever their type. `None` where all elements are equal: many layers of a fresh model
/// hold the same ones and zeros, which say nothing about their names.
pub(super) fn of(tensor: &StoredTensor) -> Result<Option<u64>> {
    let mut hasher = DefaultHasher::new();
    let (mut first, mut is_constant) = (None, true);
    each_piece(tensor, |piece| {
        for value in piece {
            // Zeros of both signs are one value.
            let bits = (value + 0.0).to_bits();
            is_constant &= *first.get_or_insert(bits) == bits;
            hasher.write_u64(bits);
        }
        true
    })?;
    Ok((!is_constant).then(|| hasher.finish()))
}
