//! A plan beside what the caller's thread needs to follow it through a source.

use std::collections::HashMap;
use std::sync::Arc;

use crate::capture::plan::{Plan, Variable};
use crate::model::variable_info::Role;
use crate::source::element_source::ElementLayout;
use crate::source::named_tensors::StoreIdentity;

/// What becomes of a variable that a source shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SourceSlot {
    /// Not selected, or a buffer.
    Left(Role),
    /// It had no gradient.
    NoGradient,
    /// It cannot be logged as it is: complex or undefined.
    Unsupported,
    /// The index in the plan.
    Copied(usize),
}

/// A plan, and how a source's variables map to it.
pub(crate) struct Planned {
    pub(crate) plan: Arc<Plan>,
    /// Beside the plan's variables: how each is read.
    pub(super) layouts: Vec<ElementLayout>,
    pub(super) order: Order,
    /// Places in `order`.
    pub(super) index: HashMap<Arc<str>, usize>,
    pub(super) stores: Vec<StoreIdentity>,
    /// Beside the plan's variables: whether it is trained and frozen in turn, so that a role says
    /// nothing.
    pub(super) in_turn: Vec<bool>,
}

/// The variables in the order of the source, which seldom changes.
///
/// The names lie one behind the other in memory that is the caller's alone. Those of the plan lie
/// beside counters that the worker writes to whenever it hands a name on, so that comparing them
/// would wait for its core once a variable.
pub(super) struct Order {
    names: String,
    /// Where each name ends, and what becomes of its variable.
    slots: Vec<(usize, SourceSlot)>,
}

impl Order {
    pub(super) fn new(variables: &[(Arc<str>, SourceSlot)]) -> Order {
        let mut names = String::new();
        let slots = variables.iter().map(|(name, slot)| {
            names.push_str(name);
            (names.len(), *slot)
        });
        Order {
            slots: slots.collect(),
            names,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn slot(&self, place: usize) -> Option<SourceSlot> {
        self.slots.get(place).map(|&(_, slot)| slot)
    }

    pub(super) fn name(&self, place: usize) -> Option<&str> {
        let start = match place.checked_sub(1) {
            Some(before) => self.slots.get(before)?.0,
            None => 0,
        };
        self.names.get(start..self.slots.get(place)?.0)
    }
}

impl Planned {
    /// Whether a variable of the plan says nothing of steps.
    pub(super) fn is_beside(&self, place: usize) -> bool {
        let variable = self.plan.variables.get(place);
        variable.is_some_and(|variable| variable.is_beside)
    }

    /// How a variable of the plan is read, and where its elements lie in a buffer.
    pub(super) fn variable(&self, place: usize) -> Option<(&Variable, &ElementLayout)> {
        debug_assert_eq!(self.plan.variables.len(), self.layouts.len());
        self.plan.variables.get(place).zip(self.layouts.get(place))
    }
}
