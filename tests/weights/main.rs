//! What `log_weights` and `log_gradients` promise, read back from the event files: one module a behaviour. Plain slices
//! stand for a model wherever libtorch is not the point, so that most of it runs without the `tch` feature.

#[path = "../common/mod.rs"]
mod common;
mod reference;
mod run;

mod cadence;
mod deltas;
mod idle;

#[cfg(feature = "tch")]
mod model;
#[cfg(feature = "tch")]
mod what_is_written;
