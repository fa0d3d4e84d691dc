//! What `log_weights` does: `capture` copies on the caller's thread by a `plan`, `watch` turns snapshots into points on
//! the worker's with the `state` of each variable. `tags` names them, `tag_parts` tells what such a name stands for, and
//! `description` what stands beside its first value.

mod aggregate;
mod board;
pub(crate) mod capture;
mod checkup;
pub(crate) mod description;
mod origin;
mod pace;
pub(crate) mod plan;
pub(crate) mod points;
mod samples;
pub(crate) mod state;
pub(crate) mod tag_parts;
pub(crate) mod tags;
mod walk;
pub(crate) mod watch;
