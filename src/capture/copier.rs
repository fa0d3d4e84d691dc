//! The pass over a source that copies it.

use crate::capture::planned::Planned;
use crate::capture::walk::Walk;
use crate::error::{Error, Result};
use crate::model::subject::Subject;
use crate::model::variable_info::Role;
use crate::source::element_source::{Access, CopyMethod, ElementSource, PendingTransfers};
use crate::source::gradient_sampler::{GradientSampler, Look};
use crate::source::named_tensors::{Membership, StoreIdentity, VariableSink};

/// Gradients that one call looks at, in turn: looking at those of hundreds of small variables would
/// take longer than copying them, and a verdict looks back over many calls.
const SAMPLED_GRADIENTS: usize = 64;

/// Copies every planned variable to its place in the buffer.
pub(crate) struct Copier<'a> {
    walk: Walk<'a>,
    target: &'a mut [u8],
    method: CopyMethod,
    /// Beside the plan's variables.
    looks: &'a mut Vec<Look>,
    /// The first variable whose gradient is looked at.
    sample_from: usize,
    sampler: GradientSampler,
    /// What lies on another device is fetched at the end, in few pieces.
    transfers: PendingTransfers,
    error: Option<Error>,
}

impl<'a> Copier<'a> {
    /// `call` counts the copies.
    pub(crate) fn new(
        subject: Subject,
        planned: &'a Planned,
        method: CopyMethod,
        call: u64,
        (target, looks): (&'a mut [u8], &'a mut Vec<Look>),
    ) -> Copier<'a> {
        looks.clear();
        let variables = planned.plan.variables.len();
        if subject == Subject::Weights {
            looks.resize(variables, Look::default());
        }
        Copier {
            walk: Walk::new(subject, planned),
            target,
            method,
            looks,
            sample_from: (call as usize).wrapping_mul(SAMPLED_GRADIENTS) % variables.max(1),
            sampler: GradientSampler::new(call),
            transfers: PendingTransfers::default(),
            error: None,
        }
    }

    /// A number that differs between the stores that were copied from.
    pub(crate) fn owners(&self) -> usize {
        self.walk.owners
    }

    /// False when the plan is stale and the buffer worthless.
    ///
    /// # Errors
    /// A tensor that libtorch cannot copy.
    pub(crate) fn finish(self) -> Result<bool> {
        if let Some(error) = self.error {
            return Err(error);
        }
        if !self.walk.is_complete() {
            return Ok(false);
        }
        self.transfers.fetch(self.target)?;
        self.sampler.finish(self.looks);
        Ok(true)
    }

    /// Looks whether a gradient is required, and at the gradient when it is the variable's turn:
    /// also at one of a variable that requires none, since a new one shows that it did in between.
    fn look(&mut self, place: usize, source: &dyn ElementSource) {
        let variables = self.looks.len();
        let turn = (place + variables).saturating_sub(self.sample_from) % variables.max(1);
        let planned = self.walk.planned;
        let (Some((variable, layout)), Some(look)) =
            (planned.variable(place), self.looks.get_mut(place))
        else {
            return;
        };
        look.required = source.requires_grad();
        if turn < SAMPLED_GRADIENTS && variable.info.role != Role::Buffer {
            look.glimpse = self.sampler.sample(place, source, layout);
        }
    }

    fn copy(&mut self, place: usize, source: &dyn ElementSource) -> Result<()> {
        if self.walk.subject == Subject::Weights {
            return self.copy_elements(place, source);
        }
        let mut copied = Ok(());
        source.with_gradient(&mut |gradient| match gradient {
            Some(gradient) => copied = self.copy_elements(place, gradient),
            None => self.walk.stale = true,
        });
        copied
    }

    fn copy_elements(&mut self, place: usize, source: &dyn ElementSource) -> Result<()> {
        let planned = self.walk.planned;
        let Some((variable, layout)) = planned.variable(place) else {
            return Ok(());
        };
        let Some(target) = self.target.get_mut(variable.bytes()) else {
            debug_assert!(false, "a buffer has room for its plan");
            self.walk.stale = true;
            return Ok(());
        };
        let (name, stride) = (&*variable.name, variable.extent.stride());
        let is_as_planned = if layout.access == Access::Remote {
            let bytes = variable.bytes();
            source.fetch_later(name, layout, stride, bytes, &mut self.transfers)?
        } else {
            source.copy(name, layout, stride, self.method, target)?
        };
        self.walk.stale |= !is_as_planned;
        Ok(())
    }
}

impl VariableSink for Copier<'_> {
    fn variable(&mut self, name: &str, source: &dyn ElementSource, membership: Option<Membership>) {
        if self.error.is_some() {
            return;
        }
        let Some(place) = self.walk.place(name, source, membership) else {
            return;
        };
        // To move what is no error would wait for the bytes that were just stored.
        if let Err(error) = self.copy(place, source) {
            self.error = Some(error);
        }
        if self.walk.subject == Subject::Weights {
            self.look(place, source);
        }
    }

    fn knows_store(&mut self, store: StoreIdentity) -> bool {
        self.walk.knows_store(store)
    }
}
