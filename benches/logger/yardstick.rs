//! What everything is measured by: one plain copy of the same tensors into memory that is ready.

use tch::{Kind, Tensor};

use crate::model::Model;

/// Ready targets for both kinds of copy.
pub(crate) struct Yardstick {
    sources: Vec<(*const f32, usize)>,
    tensors: Vec<(Tensor, Tensor)>,
    arena: Vec<f32>,
}

impl Yardstick {
    pub(crate) fn of(model: &Model) -> Yardstick {
        let _no_grad = tch::no_grad_guard();
        let tensors = model.tensors().map(|tensor| {
            assert!(tensor.kind() == Kind::Float && tensor.is_contiguous());
            // Written to, so that its pages are there.
            (tensor.shallow_clone(), tensor.detach().copy())
        });
        Yardstick {
            sources: model
                .tensors()
                .map(|tensor| (tensor.data_ptr().cast::<f32>().cast_const(), tensor.numel()))
                .collect(),
            tensors: tensors.collect(),
            arena: vec![1.0; model.elements()],
        }
    }

    /// One thread, one `memcpy` for each tensor, nothing asked of libtorch.
    pub(crate) fn memcpy(&mut self) {
        let mut rest = self.arena.as_mut_slice();
        for &(start, len) in &self.sources {
            let (target, behind) = rest.split_at_mut(len);
            // SAFETY: the model outlives its yardstick in every measurement, its storages are never
            // replaced, and nothing writes to them while this thread copies.
            target.copy_from_slice(unsafe { std::slice::from_raw_parts(start, len) });
            rest = behind;
        }
        std::hint::black_box(&self.arena);
    }

    /// libtorch's `copy_` for each tensor, on as many threads as it takes.
    pub(crate) fn copy_(&mut self) {
        let _no_grad = tch::no_grad_guard();
        for (source, target) in &mut self.tensors {
            target.copy_(source);
        }
    }
}
