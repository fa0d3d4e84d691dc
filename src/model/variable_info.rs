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

/// The number of elements of a shape; a negative size counts as 0. Saturates, since a view can
/// claim any number.
pub(crate) fn elements(shape: &[i64]) -> usize {
    shape
        .iter()
        .map(|&size| usize::try_from(size).unwrap_or(0))
        .fold(1, usize::saturating_mul)
}
