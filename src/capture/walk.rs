//! Follows a source through a plan.

use crate::capture::planned::{Planned, SourceSlot};
use crate::model::subject::Subject;
use crate::model::variable_info::Role;
use crate::source::element_source::ElementSource;
use crate::source::named_tensors::{Membership, StoreIdentity};

/// Follows a source through a plan: finds each variable's place and notices when the plan does not
/// fit any more.
pub(super) struct Walk<'a> {
    pub(super) subject: Subject,
    pub(super) planned: &'a Planned,
    /// Variables seen.
    seen: usize,
    /// Beside the plan's order, from the first variable on that came out of it: which ones were
    /// seen.
    marked: Option<Vec<bool>>,
    stores: usize,
    /// Made of where the stores lie.
    pub(super) owners: usize,
    /// The source is not what the plan says.
    pub(super) stale: bool,
}

impl<'a> Walk<'a> {
    pub(super) fn new(subject: Subject, planned: &'a Planned) -> Walk<'a> {
        Walk {
            subject,
            planned,
            seen: 0,
            marked: None,
            stores: 0,
            owners: 0,
            stale: false,
        }
    }

    /// The place in the plan, `None` for a variable that is left out or when the plan is stale.
    pub(super) fn place(
        &mut self,
        name: &str,
        source: &dyn ElementSource,
        membership: Option<Membership>,
    ) -> Option<usize> {
        if self.stale {
            return None;
        }
        let slot = self.slot(name);
        self.seen += 1;
        let planned = match slot {
            Some(SourceSlot::Copied(place)) => self
                .planned
                .plan
                .variables
                .get(place)
                .filter(|_| self.planned.in_turn.get(place) != Some(&true))
                .map(|variable| variable.info.role),
            Some(SourceSlot::Left(role)) => Some(role),
            Some(SourceSlot::NoGradient | SourceSlot::Unsupported) => None,
            None => {
                self.stale = true;
                return None;
            }
        };
        if let Some(planned) = planned {
            self.stale = !keeps_role(
                planned,
                source,
                membership.map(|membership| membership.role),
            );
        }
        match slot {
            Some(SourceSlot::NoGradient) => {
                source.with_gradient(&mut |gradient| self.stale = gradient.is_some());
            }
            Some(SourceSlot::Unsupported) => self.stale = self.is_supported(name, source),
            _ => {}
        }
        match slot {
            Some(SourceSlot::Copied(place)) if !self.stale => Some(place),
            _ => None,
        }
    }

    /// True when a variable that could not be logged can be now.
    fn is_supported(&self, name: &str, source: &dyn ElementSource) -> bool {
        let mut is_supported = false;
        match self.subject {
            Subject::Weights => is_supported = source.inspect(name).is_ok(),
            Subject::Gradients => source.with_gradient(&mut |gradient| {
                is_supported = gradient.is_none_or(|gradient| gradient.inspect(name).is_ok());
            }),
        }
        is_supported
    }

    /// What the plan has for a variable; `None` for one that it does not know or that was seen in
    /// this walk already.
    fn slot(&mut self, name: &str) -> Option<SourceSlot> {
        let order = &self.planned.order;
        if self.marked.is_none() {
            match order.name(self.seen) {
                Some(expected) if expected == name => return order.slot(self.seen),
                _ => self.marked = Some((0..order.len()).map(|place| place < self.seen).collect()),
            }
        }
        let place = *self.planned.index.get(name)?;
        let mark = self.marked.as_mut()?.get_mut(place)?;
        let is_new = !std::mem::replace(mark, true);
        order.slot(place).filter(|_| is_new)
    }

    pub(super) fn knows_store(&mut self, store: StoreIdentity) -> bool {
        let known = self.planned.stores.get(self.stores) == Some(&store);
        self.stores += 1;
        self.owners = self.owners.rotate_left(7) ^ store.0;
        known
    }

    pub(super) fn is_complete(&self) -> bool {
        !self.stale && self.seen == self.planned.order.len()
    }
}

/// True when the variable has the role it was planned with. A store that is known gives no role:
/// then the switch that `freeze` and `unfreeze` turn is looked at.
fn keeps_role(planned: Role, source: &dyn ElementSource, role: Option<Role>) -> bool {
    match role {
        Some(role) => role == planned,
        None => source
            .requires_grad()
            .is_none_or(|tracked| tracked == (planned == Role::Trainable)),
    }
}
