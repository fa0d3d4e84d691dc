//! A tensor as a source of elements.

use std::ops::Range;

use tch::Tensor;

use crate::error::Result;
use crate::model::types::sealed::Sealed;
use crate::source::element_source::{
    Access, CopyMethod, ElementLayout, ElementSource, Peek, PendingTransfers, Stride,
};
use crate::source::image::{Image, ImageLayout};
use crate::source::values::{ValueSource, Values};
use crate::tensor::copying::{copy, pick};
use crate::tensor::layout::{inspect, memory, requires_grad};
use crate::tensor::metadata::Metadata;
use crate::tensor::remote::{Remote, Remotes};

impl Sealed for Tensor {}
impl Values for Tensor {
    fn source(&self) -> ValueSource<'_> {
        ValueSource::Other(self)
    }
}

impl<'a> Image<'a> {
    /// An image, or a batch, in a tensor on any device whose dimensions have this order.
    pub fn from_tensor(tensor: &'a Tensor, layout: ImageLayout) -> Image<'a> {
        Image::from_source(tensor.source(), layout)
    }
}

impl ElementSource for Tensor {
    fn inspect(&self, name: &str) -> Result<ElementLayout> {
        inspect(name, self)
    }

    fn copy(
        &self,
        name: &str,
        layout: &ElementLayout,
        stride: Stride,
        method: CopyMethod,
        target: &mut [u8],
    ) -> Result<bool> {
        copy(name, self, layout, stride, method, target)
    }

    fn pick(
        &self,
        name: &str,
        layout: &ElementLayout,
        numbers: &[usize],
        target: &mut [u8],
    ) -> Result<bool> {
        pick(name, self, layout, numbers, target)
    }

    fn peek(&self, layout: &ElementLayout) -> Peek<'_> {
        if layout.access != Access::Memory {
            return Peek::Hidden;
        }
        memory(self, layout).map_or(Peek::Changed, Peek::Bytes)
    }

    fn fetch_later(
        &self,
        name: &str,
        layout: &ElementLayout,
        stride: Stride,
        bytes: Range<usize>,
        transfers: &mut PendingTransfers,
    ) -> Result<bool> {
        let Some(queue) = transfers.queue::<Remotes>() else {
            return Ok(false);
        };
        let remote = Remote::new(name, self, layout, stride, bytes)?;
        let is_as_planned = remote.is_some();
        queue.extend(remote);
        Ok(is_as_planned)
    }

    fn with_gradient(&self, see: &mut dyn FnMut(Option<&dyn ElementSource>)) {
        match gradient(self) {
            Some(gradient) => see(Some(&gradient)),
            None => see(None),
        }
    }

    fn with_kept_gradient(&self, see: &mut dyn FnMut(Option<&dyn ElementSource>)) {
        match kept_gradient(self) {
            Some(gradient) => see(Some(&gradient)),
            None => see(None),
        }
    }

    fn with_stored(&self, see: &mut dyn FnMut(&dyn ElementSource)) {
        if !self.is_sparse() {
            return see(self);
        }
        let _guard = tch::no_grad_guard();
        if let Ok(values) = self.f_internal_values() {
            see(&values);
        }
    }

    fn requires_grad(&self) -> Option<bool> {
        Some(requires_grad(self))
    }
}

/// The gradient left by the last backward pass, if there is one.
fn gradient(tensor: &Tensor) -> Option<Tensor> {
    requires_grad(tensor).then(|| kept_gradient(tensor))?
}

/// The same of a tensor that may not require a gradient any more, and has kept one. Asking a tensor
/// that is no leaf would warn.
fn kept_gradient(tensor: &Tensor) -> Option<Tensor> {
    let metadata = Metadata::of(tensor);
    // An undefined tensor would leave an error behind for the next call of libtorch.
    if !(metadata.is_defined() && metadata.is_leaf()) {
        return None;
    }
    tensor.f_grad().ok().filter(Tensor::defined)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::gradient_sampler::{GradientSample, GradientSampler};
    use tch::{Device, Kind};

    /// A leaf of this shape whose gradient is `gradient`.
    fn leaf(gradient: &Tensor) -> Tensor {
        let leaf = Tensor::zeros(gradient.size(), (gradient.kind(), Device::Cpu));
        let leaf = leaf.set_requires_grad(true);
        (&leaf * gradient).sum(gradient.kind()).backward();
        leaf
    }

    fn look(tensor: &Tensor) -> GradientSample {
        let layout = tensor.inspect("w").unwrap();
        GradientSampler::new(0).sample(0, tensor, &layout)
    }

    fn norm(sample: GradientSample) -> f64 {
        match sample {
            GradientSample::NonZero(Some(norm)) => norm,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn states_of_a_gradient() {
        let float = (Kind::Float, Device::Cpu);
        assert_eq!(look(&Tensor::zeros([3], float)), GradientSample::Unseen);
        let waiting = Tensor::zeros([3], float).set_requires_grad(true);
        assert_eq!(look(&waiting), GradientSample::Undefined);
        assert_eq!(
            look(&leaf(&Tensor::zeros([300, 300], float))),
            GradientSample::Zero
        );
        let large = Tensor::zeros([GradientSampler::SEARCH as i64 + 1], float);
        assert_eq!(look(&leaf(&large)), GradientSample::PerhapsZero);
        let wild = Tensor::from_slice(&[1.0_f32, f32::NAN]);
        assert_eq!(look(&leaf(&wild)), GradientSample::NonFinite);
        assert_eq!(norm(look(&leaf(&Tensor::from_slice(&[3.0_f32, 4.0])))), 5.0);
    }

    #[test]
    fn a_norm_is_estimated_in_every_type_and_layout() {
        for kind in [Kind::Float, Kind::Double, Kind::Half, Kind::BFloat16] {
            let gradient = Tensor::ones([64, 64], (kind, Device::Cpu));
            assert!(
                (norm(look(&leaf(&gradient))) - 64.0).abs() < 1e-3,
                "{kind:?}"
            );
        }
        let turned = Tensor::ones([64, 32], (Kind::Float, Device::Cpu)).tr();
        assert!((norm(look(&leaf(&turned))) - 2048_f64.sqrt()).abs() < 1e-3);
    }

    #[test]
    fn columns_without_a_gradient_do_not_hide_the_others() {
        for width in [64_i64, 48, 9, 49, 768, 512] {
            let gradient = Tensor::ones([256, width], (Kind::Float, Device::Cpu));
            let _ = gradient.slice(1, 0, width / 4, 1).fill_(0.0);
            let (found, truth) = (
                norm(look(&leaf(&gradient))),
                gradient.norm().double_value(&[]),
            );
            assert!(
                (0.8..1.25).contains(&(found / truth)),
                "{width}: {found} {truth}"
            );
        }
    }

    #[test]
    fn one_element_is_found_in_turn() {
        let gradient = Tensor::zeros(
            [4 * GradientSampler::SEARCH as i64],
            (Kind::Float, Device::Cpu),
        );
        let _ = gradient
            .get(3 * GradientSampler::SEARCH as i64 + 5)
            .fill_(1.0);
        let tensor = leaf(&gradient);
        let layout = tensor.inspect("w").unwrap();
        let looks: Vec<GradientSample> = (0..4)
            .map(|turn| GradientSampler::new(turn).sample(0, &tensor, &layout))
            .collect();
        assert_eq!(looks[3], GradientSample::NonZero(None));
        assert_eq!(looks[0], GradientSample::PerhapsZero);
    }
}
