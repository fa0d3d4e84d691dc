//! Checkpoints of any framework, read without executing anything.
//!
//! Imports go downhill: `watched_file`, `stored_type` < `section` < `stored_tensor`, `archive`,
//! `pickle` < `checkpoint_tensor`, `slabs` < `contents`, `tensor_cursor` < `safetensors_file`,
//! `npz` < `rebuild` < `state_dict` < `torch_archive`, `torch_stream` < `reading`.

mod archive;
mod checkpoint_tensor;
mod contents;
mod folder;
mod npz;
mod pickle;
mod reading;
mod rebuild;
mod safetensors_file;
mod section;
mod slabs;
mod source;
mod state_dict;
pub(crate) mod stored_tensor;
mod stored_type;
pub(crate) mod tensor_cursor;
mod torch_archive;
mod torch_stream;
mod watched_file;

pub use checkpoint_tensor::CheckpointTensor;
pub(crate) use checkpoint_tensor::ElementPlace;
pub use reading::{Checkpoint, CheckpointFormat};
pub use stored_type::StoredType;
