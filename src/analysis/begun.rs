//! What was begun of a scope: a series goes on when the model grows beyond a tier, since a line
//! that ends in the middle of a run looks like a fault.

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::tier::Tier;

/// The series of one scope so far.
#[derive(Debug, Default)]
pub(crate) struct Begun {
    variables: HashMap<Arc<str>, BegunVariable>,
    largest: Option<Tier>,
}

/// What was begun of one variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BegunVariable {
    /// The smallest tier that it was in: a smaller one writes more of each variable.
    pub(crate) tier: Tier,
    /// Single weights that are lines by default.
    pub(crate) samples: usize,
    /// The band around its mean was written.
    pub(crate) has_band: bool,
}

impl Begun {
    /// The tier that decides about roles, which are written from the medium tier on: the largest so
    /// far.
    pub(crate) fn largest(&mut self, now: Tier) -> Tier {
        *self
            .largest
            .insert(self.largest.map_or(now, |largest| largest.max(now)))
    }

    pub(crate) fn variable(&self, name: &str) -> Option<BegunVariable> {
        self.variables.get(name).copied()
    }

    pub(crate) fn begin(&mut self, name: &Arc<str>, variable: BegunVariable) {
        self.variables.insert(name.clone(), variable);
    }
}
