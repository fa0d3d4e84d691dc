//! What `log_weights` does: `capture` copies on the caller's thread by a `plan`, `watch` turns snapshots into points on
//! the worker's, `tags` names them.

mod aggregate;
pub(crate) mod capture;
mod origin;
mod pace;
pub(crate) mod plan;
mod samples;
pub(crate) mod tags;
mod walk;
pub(crate) mod watch;
