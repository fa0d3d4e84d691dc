//! Two models that are logged in turn in one scope: their variables have the same names and other
//! shapes.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use crate::capture::plan::Plan;

/// The shapes of the plans before.
#[derive(Default)]
pub(crate) struct ShapeChanges {
    /// Of the newest plan, and of the one before it.
    newest: Option<u64>,
    before: Option<u64>,
    is_in_turn: bool,
}

impl ShapeChanges {
    /// Takes a new plan. One that returns to the shapes before the last ones gets a note: nothing
    /// of such a scope can be compared from call to call.
    pub(crate) fn follow(&mut self, plan: &mut Arc<Plan>) {
        let shapes = fingerprint(plan);
        if self.newest != Some(shapes) {
            self.is_in_turn |= self.before == Some(shapes);
            self.before = self.newest.replace(shapes);
        }
        // A plan that was just made is nobody else's.
        if let Some(plan) = Arc::get_mut(plan).filter(|_| self.is_in_turn) {
            plan.notes.push(
                "variables or their shapes change back and forth from call to call, so nothing can \
                    be compared: log each model through a scope of its own, \
                    logger.scoped(\"name\")"
                    .into(),
            );
        }
    }
}

fn fingerprint(plan: &Plan) -> u64 {
    let mut hasher = DefaultHasher::new();
    for variable in &plan.variables {
        (&variable.name, &variable.info.shape).hash(&mut hasher);
    }
    hasher.finish()
}
