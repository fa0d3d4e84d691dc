//! What is logged of the models of one scope.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use crate::capture::costs::Costs;
use crate::capture::{Capture, Subject};
use crate::model::types::OnFull;
use crate::options::Selection;
use crate::options::overhead::Overhead;

/// What is logged of the models of one scope.
pub(super) struct Models {
    pub(super) scope: Arc<str>,
    pub(super) weights: Mutex<Channel>,
    pub(super) gradients: Mutex<Channel>,
    pub(super) learning_rate: Mutex<LearningRate>,
    /// [`Logger::new_baseline`](crate::Logger::new_baseline) was called since then.
    pub(super) rebase: AtomicBool,
}

/// As the user told it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct LearningRate {
    pub(super) value: Option<f64>,
    /// Since the last call of `log_weights`.
    pub(super) is_new: bool,
    /// The step at which `log_weights` has written it.
    pub(super) written_at: Option<i64>,
    /// The user logs the scalar, too: then it is left to the user.
    pub(super) is_logged_by_user: bool,
}

/// One subject of one scope on its way to the worker.
pub(super) struct Channel {
    pub(super) capture: Capture,
    /// The number the worker knows it by, from the first call on.
    pub(super) watch: Option<u32>,
}

impl Models {
    pub(super) fn new(
        scope: Arc<str>,
        selection: &Arc<Selection>,
        on_full: OnFull,
        (overhead, costs): (Overhead, &Arc<Costs>),
    ) -> Models {
        let channel = |subject| {
            let limit = (overhead, costs.clone());
            let capture = Capture::new(subject, scope.clone(), selection.clone(), on_full, limit);
            Mutex::new(Channel {
                capture,
                watch: None,
            })
        };
        Models {
            weights: channel(Subject::Weights),
            gradients: channel(Subject::Gradients),
            learning_rate: Mutex::default(),
            rebase: AtomicBool::new(false),
            scope,
        }
    }
}
