//! What `log_weights` does: `capture` copies on the caller's thread by a `plan`, `watch` turns snapshots into points on
//! the worker's with the `state` of each variable, `tags` names them.

mod aggregate;
mod board;
pub(crate) mod capture;
mod checkup;
mod origin;
mod pace;
pub(crate) mod plan;
pub(crate) mod points;
mod samples;
mod state;
pub(crate) mod tags;
mod walk;
pub(crate) mod watch;
