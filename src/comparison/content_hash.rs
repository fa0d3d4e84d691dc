//! A hash of what a tensor holds, to find it under another name.

use std::hash::{DefaultHasher, Hasher};

use crate::checkpoint::stored_tensor::StoredTensor;
use crate::comparison::pair_reader::each_piece;
use crate::error::Result;

/// A hash of the elements in row-major order, as `f64`. Elements that are equal in value have one
/// hash, whatever their type.
pub(super) fn of(tensor: &StoredTensor) -> Result<u64> {
    let mut hasher = DefaultHasher::new();
    each_piece(tensor, |piece| {
        // Zeros of both signs are one value.
        piece
            .iter()
            .for_each(|value| hasher.write_u64((value + 0.0).to_bits()));
        true
    })?;
    Ok(hasher.finish())
}
