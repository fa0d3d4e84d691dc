//! What `log_weights` and `log_gradients` promise, read back from the event files: one module a
//! behaviour. Plain slices stand for a model wherever libtorch is not the point, so that most of it
//! runs without the `tch` feature.
#![allow(unreachable_pub, reason = "modules of one program")]

#[path = "../common/mod.rs"]
mod common;
mod reference;
mod run;

mod board;
mod cadence;
mod closing;
mod deltas;
mod estimates;
mod idle;
mod logged;
mod memory;
mod nonfinite;
mod overhead;
mod scopes;
mod selection;
mod sources;
mod tiers;
mod traps;
mod weight_map;

#[cfg(feature = "tch")]
mod gradients;
#[cfg(feature = "tch")]
mod graph;
#[cfg(feature = "tch")]
mod logged_faults;
#[cfg(feature = "tch")]
mod model;
#[cfg(feature = "tch")]
mod roles;
#[cfg(feature = "tch")]
mod stores;
#[cfg(feature = "tch")]
mod training;
#[cfg(feature = "tch")]
mod traps_of_tensors;
#[cfg(feature = "tch")]
mod verdicts;
#[cfg(feature = "tch")]
mod what_is_written;
#[cfg(feature = "tch")]
mod wild_cases;
