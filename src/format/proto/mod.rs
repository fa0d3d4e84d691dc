//! The messages of an event file, as [`EventReader`](crate::EventReader) gives them.
//!
//! Generated with [prost] from the `.proto` files in `proto/`, which are trimmed copies of
//! TensorBoard 2.21's: fields that no dashboard shows are left out and skipped when read. The types
//! encode and decode with [`prost::Message`].

#[allow(clippy::all, reason = "generated")]
#[rustfmt::skip]
mod tensorboard;

/// The layout of the Custom Scalars dashboard.
#[allow(clippy::all, reason = "generated")]
#[rustfmt::skip]
pub mod custom_scalar;

/// Hyperparameters, as the dashboard HParams reads them.
#[allow(clippy::all, reason = "generated")]
#[rustfmt::skip]
pub mod hparams;

/// What tensors hold.
pub(crate) mod tensor_elements;

/// The private record of a run.
#[allow(clippy::all, unreachable_pub, reason = "generated")]
#[rustfmt::skip]
pub(crate) mod tch_tensorboard;

pub use tensorboard::*;
