//! What a variable is, beside its numbers.

use crate::model::types::DType;

/// What a tensor is to training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Role {
    /// It is meant to change: logged in full.
    Trainable,
    /// A parameter whose gradient is switched off: watched, and logged once it moves.
    Frozen,
    /// Not a parameter (running means of batch norm): logged by
    /// [`non_trainable`](crate::WeightOptions::non_trainable).
    Buffer,
}

/// Type, shape and part in training of a variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VariableInfo {
    /// The type of its elements in a buffer.
    pub(crate) dtype: DType,
    /// The sizes of its dimensions.
    pub(crate) shape: Vec<i64>,
    pub(crate) role: Role,
    /// Whether its store gives it to optimizers; `None` where there is no store.
    pub(crate) is_member: Option<bool>,
}

impl VariableInfo {
    /// The number of elements: the product of the shape; a negative size counts as 0.
    pub(crate) fn elements(&self) -> usize {
        elements(&self.shape)
    }
}

/// The norm of a fresh matrix of this shape with He's spread, sqrt(2 / fan-in) an element; 0 below two dimensions, where no
/// fan-in is known. Of three dimensions a leading 1 is that of a batch, as in tables of positions (`[1, N, D]`): counted as
/// an output unit, it would give the same norm whatever the size of the table.
///
/// He et al. 2015, "Delving Deep into Rectifiers".
pub(crate) fn initial_norm(shape: &[i64]) -> f64 {
    let shape = match shape {
        [1, table @ ..] if table.len() == 2 => table,
        shape => shape,
    };
    let product = |sizes: &[i64]| sizes.iter().map(|&size| size as f64).product::<f64>();
    let fan_in = match shape {
        [_, inner @ ..] if !inner.is_empty() => product(inner),
        _ => return 0.0,
    };
    if fan_in > 0.0 {
        (product(shape) * 2.0 / fan_in).sqrt()
    } else {
        0.0
    }
}

/// The number of elements of a shape; a negative size counts as 0. Saturates, since a view can claim any number.
pub(crate) fn elements(shape: &[i64]) -> usize {
    shape
        .iter()
        .map(|&size| usize::try_from(size).unwrap_or(0))
        .fold(1, usize::saturating_mul)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_norm_of_a_fresh_matrix_grows_with_its_output_units() {
        assert_eq!(initial_norm(&[8, 100]), 4.0);
        assert_eq!(initial_norm(&[8, 3, 5, 5]), 4.0);
        assert_eq!(initial_norm(&[1, 8, 64]), 4.0);
        assert_eq!(initial_norm(&[2, 8, 64]), 2.0);
        for shape in [&[][..], &[5], &[0, 3], &[3, 0]] {
            assert_eq!(initial_norm(shape), 0.0, "{shape:?}");
        }
    }
}
