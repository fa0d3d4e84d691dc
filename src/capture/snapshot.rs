//! What one call of `log_weights` hands to the worker.

use std::sync::Arc;

use crate::capture::buffer::{Buffer, Pool};
use crate::capture::plan::{Due, Plan};
use crate::model::types::WallTime;

/// One call's copy of the selected tensors.
pub(crate) struct Snapshot {
    pub(crate) step: i64,
    pub(crate) wall_time: WallTime,
    pub(crate) plan: Arc<Plan>,
    pub(crate) buffer: Arc<Buffer>,
    /// Where the buffer goes back to.
    pub(crate) pool: Arc<Pool>,
    /// True when the snapshot sent before is that of the step before: deltas are per step or are
    /// not made.
    pub(crate) follows: bool,
    /// For each class of the plan.
    pub(crate) due: Vec<Due>,
    pub(crate) thinning: Thinning,
    /// The weights were replaced on purpose: their distance counts from here.
    pub(crate) rebase: bool,
    /// Calls left out just before because nothing moved.
    pub(crate) idle_calls: u32,
    /// The step of the first call in a row at which nothing moved.
    pub(crate) idle_since: Option<i64>,
    /// As the user told it last.
    pub(crate) learning_rate: Option<f64>,
    /// It comes from another store than the one before.
    pub(crate) is_other_store: bool,
}

/// How few of a model's steps are observed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Thinning {
    /// Of so many steps one is.
    pub(crate) stride: u64,
    /// Steps up to here that were not.
    pub(crate) unobserved: u64,
}

impl Default for Thinning {
    /// All of them are.
    fn default() -> Thinning {
        Thinning {
            stride: 1,
            unobserved: 0,
        }
    }
}

/// What a call came to.
pub(crate) enum Captured {
    /// To be sent to the worker.
    Snapshot(Box<Snapshot>),
    /// Nothing is due, or nothing moved since the call before.
    Skipped,
    /// The worker is behind, and [`OnFull::Drop`] was asked for.
    Dropped,
}
