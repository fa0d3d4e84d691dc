//! Two checkpoints tensor by tensor: what changed, how, and what did not.
//!
//! Imports go downhill: `change_verdict`, `workers`, `pair` < `pair_reader` < `statistics_pass`,
//! `second_look`, `content_hash` < `tensor_change`, `pairing` < `adapters` < `checkpoint_diff`.

mod adapters;
mod change_verdict;
mod checkpoint_diff;
mod content_hash;
mod pair;
mod pair_reader;
mod pairing;
mod second_look;
mod statistics_pass;
mod tensor_change;
mod workers;

pub use adapters::AdapterChange;
pub use change_verdict::ChangeVerdict;
pub use checkpoint_diff::{CheckpointDiff, Comparison};
pub(crate) use tensor_change::ChangeHistograms;
pub use tensor_change::{ChangeStatistics, TensorChange};
