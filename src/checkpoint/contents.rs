//! What one file of a checkpoint holds.

use crate::checkpoint::checkpoint_tensor::CheckpointTensor;

#[derive(Debug, Default)]
pub(super) struct Contents {
    pub(super) tensors: Vec<CheckpointTensor>,
    /// What the file itself says.
    pub(super) step: Option<i64>,
    pub(super) notes: Vec<String>,
}
