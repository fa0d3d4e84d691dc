//! The caller's side of `log_weights`: `caller` decides when to copy; `planner`, `comparer`,
//! `fingerprint` and `copier` are its passes over a source, each a `walk` along a plan; a
//! `snapshot` in a pooled `buffer` goes to the worker.

pub(crate) mod budget;
pub(crate) mod buffer;
mod caller;
mod comparer;
mod copier;
mod copy_tuner;
pub(crate) mod costs;
mod fingerprint;
mod meter;
pub(crate) mod plan;
mod planned;
mod planner;
mod rest;
pub(crate) mod samples;
mod sampling;
mod shape_changes;
pub(crate) mod snapshot;
mod throttle;
mod walk;

pub(crate) use crate::model::subject::Subject;
pub(crate) use caller::Capture;
pub(crate) use rest::IDLE_CALLS;
pub(crate) use snapshot::{Captured, Snapshot};
